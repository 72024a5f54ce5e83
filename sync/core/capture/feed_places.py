"""Places in a topic: which message of each partition was recorded last, and whether the next one follows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A message: its ledger, its entry there, its place in the entry's batch (-1: the entry holds one message)."""

    ledger: int
    entry: int
    batch: int = -1

    @property
    def whole(self) -> tuple[int, int]:
        """The entry, which is kept and sent as a whole."""
        return self.ledger, self.entry

    def is_followed_by(self, other: Place) -> bool | None:
        """Whether nothing can have been between the two; None where only the server knows: they are in different ledgers."""
        if other.ledger == self.ledger:
            return other.entry <= self.entry + 1
        return False if other.entry else None


def to_position(places: Mapping[str, Place]) -> str:
    """The places by topic partition as text."""
    return json.dumps({name: [p.ledger, p.entry, p.batch] for name, p in sorted(places.items())})


def from_position(text: str | None) -> dict[str, Place]:
    """The places of `to_position`; none for None. Raises ValueError for another text."""
    if text is None:
        return {}
    try:
        found = json.loads(text)
        return {str(name): Place(int(ledger), int(entry), int(batch)) for name, (ledger, entry, batch) in found.items()}
    except (TypeError, AttributeError, ValueError):
        raise ValueError("not a position of a Pulsar feed") from None
