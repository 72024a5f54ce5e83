"""What a worker does for intents: take keys in batches, reconcile each, until there are none left."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sync.core.mutations import Key
from sync.errors import SourceUnavailable
from sync.flows.reconcile import Reconcile

log = logging.getLogger(__name__)
BATCH = 200


class DueKeys(Protocol):
    """The journal as a drain needs it."""

    def due(self, owner: str, limit: int, lease_seconds: float) -> list[tuple[bytes, bytes | None]]: ...
    def failed(self, key: bytes, error: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Drain:
    """Drains one table's intents."""

    journal: DueKeys
    reconcile: Reconcile
    key: Callable[[bytes, bytes | None], Key]
    lease_seconds: float

    def run(self, owner: str, stopped: Callable[[], bool]) -> int:
        """Reconcile until nothing is due or `stopped()`; how many keys. Raises TargetUnavailable."""
        done = 0
        while not stopped():
            due = self.journal.due(owner, BATCH, self.lease_seconds)
            if not due:
                break
            for canonical, mutation in due:
                done += self._one(canonical, mutation)
        return done

    def _one(self, canonical: bytes, mutation: bytes | None) -> bool:
        try:
            if self.reconcile.key(self.key(canonical, mutation)):
                return True
            self.journal.failed(canonical, "the key changed each time it was tried")
        except SourceUnavailable as error:
            log.warning("%s", error)
            self.journal.failed(canonical, str(error))
        return False
