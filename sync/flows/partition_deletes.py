"""What a worker does for deletes of partitions that are left: the target's half, or the write once more (rules 37, 38)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sync.core.mutations import Mutation, PendingDelete
from sync.errors import TargetBusy, TargetUnavailable
from sync.failpoints import failpoint
from sync.ports import Intent, Primary, SecondaryRows


class DeletesJournal(Protocol):
    """The journal as this needs it."""

    def due_deletes(self, epoch: int, owner: str, lease_seconds: float) -> list[PendingDelete]: ...
    def write(self, mutation: Mutation, intent: Intent) -> bool: ...
    def remove(self, intents: list[Intent]) -> None: ...
    def failed(self, key: bytes, error: str) -> None: ...


@dataclass(frozen=True, slots=True)
class PartitionDeletes:
    """Ends the intents of one table's deletes of partitions; `source` are its rows. Nothing is read from either side."""

    journal: DeletesJournal
    source: SecondaryRows
    primary: Primary
    lease_seconds: float
    epoch: int

    def run(self, owner: str) -> int:
        """Work on what is due now; how many deletes are done. Raises TargetUnavailable."""
        due = self.journal.due_deletes(self.epoch, owner, self.lease_seconds)
        if due:
            failpoint("partitions.claimed")
        return sum(self._ended(each) for each in due)

    def _ended(self, due: PendingDelete) -> bool:
        try:
            error = self._done(due)
        except (TargetBusy, ValueError) as reason:
            error = str(reason)
        except TargetUnavailable as away:
            self.journal.failed(due.mutation.key.canonical, str(away))
            raise
        if error:
            self.journal.failed(due.mutation.key.canonical, error)
        return not error

    def _done(self, due: PendingDelete) -> str:
        """Do what is missing; why it could not be done, or nothing."""
        forward = self.primary == "astra"
        if not (forward and due.is_acknowledged):
            # With its own version, never a newer one: a row that was put again meanwhile is newer, and stays.
            outcome, error = self.source.write(due.mutation, due.version)
            if outcome != "written":
                return f"the source did not take the delete: {error}"  # a refusal says nothing of an earlier attempt
            failpoint("partitions.sent")
        intent = Intent(due.intent, due.version, self.epoch)
        if forward:
            self.journal.write(due.mutation, intent)
        else:
            self.journal.remove([intent])
        return ""
