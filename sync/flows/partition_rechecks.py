"""What a worker does for rechecks of partitions: it leaves rechecks of their keys, in steps of bounded memory (rule 46).

First the partition's tombstone: from then on no write that the source hides comes into the target. Then the source's keys,
which an event may have brought, and the target's, which one may have taken away. A worker that dies begins again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from sync.core.mutations import PendingRecheck
from sync.errors import EpochChanged, LeaseLost, SourceTimeout, SourceUnavailable, TargetBusy, TargetUnavailable
from sync.failpoints import failpoint


class RechecksJournal(Protocol):
    """The journal as this needs it."""

    def due(self, owner: str) -> list[PendingRecheck]: ...
    def bury(self, due: PendingRecheck) -> None: ...
    def leave(self, due: PendingRecheck, keys: Sequence[tuple[bytes, ...]]) -> None: ...
    def leave_target(self, due: PendingRecheck, after: tuple[str, ...] | None) -> tuple[str, ...] | None: ...
    def remove(self, due: PendingRecheck) -> None: ...
    def failed(self, due: PendingRecheck, error: str) -> None: ...


class KeysOfPartition(Protocol):
    """The source as this needs it."""

    def pages(self, partition: tuple[bytes, ...]) -> Iterator[list[tuple[bytes, ...]]]: ...


@dataclass(frozen=True, slots=True)
class ExpandPartitions:
    """Expands the rechecks of one table's partitions, whichever store is primary."""

    journal: RechecksJournal
    source: KeysOfPartition

    def run(self, owner: str) -> int:
        """Expand what is due now; how many partitions. Raises TargetUnavailable."""
        due = self.journal.due(owner)
        if due:
            failpoint("partition_rechecks.claimed")
        return sum(self._expanded(each) for each in due)

    def _expanded(self, due: PendingRecheck) -> bool:
        try:
            self._expand(due)
        except LeaseLost:
            return False
        except (SourceUnavailable, SourceTimeout, TargetBusy, EpochChanged) as error:
            self.journal.failed(due, str(error))
            return False
        except TargetUnavailable as away:
            self.journal.failed(due, str(away))
            raise
        return True

    def _expand(self, due: PendingRecheck) -> None:
        self.journal.bury(due)
        failpoint("partition_rechecks.buried")
        for keys in self.source.pages(due.key.cells):
            self.journal.leave(due, keys)
        failpoint("partition_rechecks.source_read")
        after = self.journal.leave_target(due, None)
        while after is not None:
            after = self.journal.leave_target(due, after)
        failpoint("partition_rechecks.target_read")
        self.journal.remove(due)
