"""An increment of counters while the source is primary: one UPDATE between the announcement of its key and its reconcile.

It takes no timestamp and cannot be repeated, so it is treated as a wrapped class's write (rule 17): Postgres gets the number
that the source shows. Its refusal is definite, and leaves no unsure intent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from sync.core.mutations import Key
from sync.errors import WriteRefused, WriteUnsure
from sync.flows.wrapped_write import WrappedWrite
from sync.ports import Outcome


class Counters(Protocol):
    """Rows of counters in the source; each increment is sent once."""

    def increment(self, key: Key, amounts: Mapping[str, int]) -> tuple[Outcome, str]: ...


@dataclass(frozen=True, slots=True)
class ForwardIncrement:
    """Increments counters of one table."""

    wrapped: WrappedWrite
    primary: Counters

    def write(self, key: Key, amounts: Mapping[str, int]) -> bool:
        """Add the amounts; True. Raises WriteRefused, WriteUnsure; EpochChanged before anything is sent."""
        outcome, error = self.wrapped.write([key], lambda: self._increment(key, amounts))
        if outcome == "refused":
            raise WriteRefused(f"{key.table}: the primary refused the increment: {error}")
        return True

    def _increment(self, key: Key, amounts: Mapping[str, int]) -> tuple[Outcome, str]:
        outcome, error = self.primary.increment(key, amounts)
        if outcome == "unsure":
            raise WriteUnsure(
                f"{key.table}: the primary did not acknowledge the increment ({error}): it may have been counted, or still "
                "be, and repeating it may count it twice; `sync intents` lists it until both sides agree"
            )
        return outcome, error
