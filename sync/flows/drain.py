"""What a worker does for intents: take keys in batches, reconcile each, until there are none left."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Protocol

from sync.core.mutations import Key, KnownKey
from sync.errors import SyncError, TargetUnavailable
from sync.failpoints import failpoint
from sync.flows.partition_deletes import PartitionDeletes
from sync.flows.partition_rechecks import ExpandPartitions
from sync.ports import CHANGES_AT_ONCE, MAX_LOCKS, KeyReconciler

log = logging.getLogger(__name__)
BATCH = MAX_LOCKS


class DueKeys(Protocol):
    """The journal as a drain needs it."""

    def due(self, epoch: int, owner: str, limit: int, lease_seconds: float) -> list[KnownKey]: ...
    def expand(self) -> int: ...
    def failed(self, key: bytes, error: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Drain:
    """Drains one table's intents, up to those of one epoch: later ones have another direction (rule 22)."""

    journal: DueKeys
    reconcile: KeyReconciler
    key: Callable[[KnownKey], Key]
    lease_seconds: float
    epoch: int
    deletes: PartitionDeletes | None = None
    """Those of partitions; None: the table has none of several rows."""
    rechecks: ExpandPartitions | None = None
    lanes: int = 1
    """How many batches are under way at once: while one waits for a server, the other keeps the other one busy."""

    def run(self, owner: str, stopped: Callable[[], bool]) -> int:
        """Reconcile until nothing is due or `stopped()`; how many keys and partitions. Raises TargetUnavailable."""
        if self.lanes == 1:
            return self._run(owner, stopped)
        failed = Event()

        def lane(partitions: bool) -> int:
            try:
                return self._run(owner, lambda: failed.is_set() or stopped(), partitions)
            except BaseException:
                failed.set()
                raise

        with ThreadPoolExecutor(self.lanes - 1, thread_name_prefix="sync-drain") as executor:
            others = [executor.submit(lane, False) for _ in range(self.lanes - 1)]
            done = lane(True)
        return done + sum(other.result() for other in others)

    def _run(self, owner: str, stopped: Callable[[], bool], partitions: bool = True) -> int:
        done, is_moved = 0, False
        while not stopped():
            begun = sum(each.run(owner) for each in (self.deletes, self.rechecks) if each) if partitions else 0
            done += begun
            due = self.journal.due(self.epoch, owner, BATCH, self.lease_seconds)
            if not due:
                if begun:
                    continue
                # What SQL has changed may be other tables': once it is moved, and nothing here is due, their drains go on.
                changes = 0 if is_moved else self.journal.expand()
                if not changes:
                    break
                is_moved = changes < CHANGES_AT_ONCE
                continue
            is_moved = False
            failpoint("drain.leased")
            keys = list(self._keys(due))
            try:
                settled = self.reconcile.keys(keys, lambda key, error: self.journal.failed(key.canonical, error))
                done += settled
                if keys:
                    more = {"table": keys[0].table, "keys": settled, "worker": owner}
                    log.info("%s: %d of %d keys are reconciled", keys[0].table, settled, len(keys), extra=more)
            except TargetUnavailable as error:
                for key in keys:  # raises the same if Postgres is unreachable; else `sync intents` shows the error
                    self.journal.failed(key.canonical, str(error))
                raise
        return done

    def _keys(self, due: list[KnownKey]) -> Iterator[Key]:
        for known in due:
            try:
                yield self.key(known)
            except (SyncError, ValueError) as error:
                self.journal.failed(known.canonical, str(error))
