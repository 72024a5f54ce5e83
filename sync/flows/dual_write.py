"""A write to both sides while the source is primary: intent, primary, then the target with the end of the intent.

Whatever fails after the intent leaves the intent, and reconciliation makes both sides equal. The caller's answer is the
primary's: a sick secondary costs the application nothing but the journal's commit (invariant 8).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from sync.core.expiry import expires_late
from sync.core.mutations import Key, Mutation
from sync.errors import AnswerLost, TargetBusy, TargetUnavailable, WriteRefused, WriteRefusedNow, WriteUnsure
from sync.failpoints import failpoint
from sync.flows.observing import Observe, unobserved
from sync.ports import Intent, Outcome, PrimaryRows, TableJournal

log = logging.getLogger(__name__)
Mode = Literal["inline", "async"]
State = Literal["finished", "unsure"]
_ALONE: dict[Outcome, State | None] = {"written": "finished", "unsure": "unsure", "refused": None}
"""The state in which a write without an intent is remembered; None: it is not."""


class WriteBehind(Protocol):
    """Notifies workers of what is left to reconcile; buffers what Postgres could not take until it is back."""

    def begin_accepting(self) -> bool: ...
    def end_accepting(self) -> None: ...
    def gaps(self) -> int: ...
    def stamp(self, key: Key) -> int: ...
    def accepted(self, key: Key) -> int: ...
    def accepted_in(self, table: str) -> int: ...
    def forget(self, key: Key) -> None: ...
    def observe(self, version: int, key: Key, in_partition: bool = False) -> None: ...
    def add_unrecorded(
        self, journal: TableJournal, mutation: Mutation, version: int, state: Literal["finished", "unsure"]
    ) -> None: ...

    def needs_reconcile(self, table: str) -> None: ...
    def mark_later(
        self,
        journal: TableJournal,
        intent: Intent,
        state: Literal["finished", "unsure"],
        error: str,
        partition: Key | None = None,
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class ForwardWrite:
    """Writes one table's rows to both sides."""

    journal: TableJournal
    primary: PrimaryRows
    write_behind: WriteBehind
    mode: Mode = "inline"
    observe: Observe = unobserved

    def write(self, mutation: Mutation) -> bool:
        """Write to both sides; True. Raises WriteRefused, WriteUnsure; EpochChanged before anything is written."""
        failpoint("write.before_intent")
        try:
            intent = self.journal.open(mutation, self._accepted(mutation))
        except AnswerLost as lost:
            # The intent may be there; then a reconcile sends its write to the primary.
            raise WriteUnsure(lost_reason(mutation.key, lost)) from None
        except TargetUnavailable as away:
            return self._without_journal(mutation, away)
        self.write_behind.observe(intent.version, mutation.key, mutation.kind == "delete_partition")
        failpoint("write.after_intent")
        sent = time.monotonic()
        outcome, error = self.primary.write(mutation, intent.version)
        is_late = expires_late(mutation.cells, time.monotonic() - sent)
        self.observe("source", outcome, time.monotonic() - sent)
        failpoint("write.after_primary")
        if outcome == "refused":
            self.withdraw(intent, error)
        if outcome == "unsure":
            self.mark([intent], "unsure", error)
            raise WriteUnsure(unsure_reason(mutation.key, error))
        if is_late:
            self.mark([intent], "finished", "")  # the row expires that much later in the primary: its expiry is read back
        else:
            self.second_half(mutation, intent)
        return True

    def _accepted(self, mutation: Mutation) -> int:
        """The newest stamp that the journal does not know of yet, of what the mutation writes."""
        if mutation.kind == "delete_partition":
            return self.write_behind.accepted_in(mutation.key.table)
        return self.write_behind.accepted(mutation.key)

    def _without_journal(self, mutation: Mutation, away: TargetUnavailable) -> bool:
        """Postgres cannot be reached before the intent: refuse, or write the primary alone and remember it (rule 28).

        A delete of a partition is refused: a version that exceeds those of all its keys is known to Postgres alone (rule 35).
        """
        gaps = self.write_behind.gaps()
        if mutation.kind == "delete_partition" or not self.write_behind.begin_accepting():
            raise WriteRefusedNow(
                f"{mutation.key.table}: the journal in Postgres is {away.state} ({away}); nothing was written"
            ) from None
        return self._without_intent(mutation, gaps)

    def _without_intent(self, mutation: Mutation, gaps: int) -> bool:
        version = self.write_behind.stamp(mutation.key)
        state: State | None = "unsure"  # until it is known: a signal's handler, or a task's timeout, may raise anywhere here
        try:
            failpoint("write.accepted")
            sent = time.monotonic()
            outcome, error = self.primary.write(mutation, version)
            self.observe("source", outcome, time.monotonic() - sent)
            failpoint("write.unrecorded")
            state = _ALONE[outcome]
        finally:
            # In this order: an interruption between the two keeps the writer from signing off (rule 29).
            if state:
                self.write_behind.add_unrecorded(self.journal, mutation, version, state)
            else:
                self.write_behind.forget(mutation.key)
            self.write_behind.end_accepting()
        if outcome == "refused":
            raise WriteRefused(f"the primary refused the write: {error}") from None
        if outcome == "unsure":
            raise WriteUnsure(unsure_reason(mutation.key, error)) from None
        if self.write_behind.gaps() != gaps:
            raise WriteUnsure(late_write_reason(mutation.key.table)) from None
        return True

    def withdraw(self, intent: Intent, error: str) -> None:
        """Take back the intent of a write that the primary has refused. Always raises: WriteRefused, or WriteUnsure."""
        failpoint("write.before_withdraw")
        try:
            withdrawn = self.journal.withdraw(intent)
        except TargetUnavailable as away:
            log.warning("the intent of a refused write could not be withdrawn: %s", away)
            raise refusal(error, away) from None
        raise refusal(error, withdrawn)

    def second_half(self, mutation: Mutation, intent: Intent) -> None:
        """The target's half of a write that the primary has; what fails of it is left to workers."""
        if self.mode == "async":
            failpoint("write.before_mark")
            # Nobody waits for the mark: if it is lost with the process, the intent stays open, and is claimed all the same.
            self.write_behind.mark_later(self.journal, intent, "finished", "")
            return
        sent, outcome = time.monotonic(), "left"
        try:
            if not self.journal.write(mutation, intent):
                self.write_behind.needs_reconcile(self.journal.table)  # refused by the guard: something newer is there
            failpoint("write.after_secondary")
            outcome = "written"
        except TargetBusy as error:
            self.mark([intent], "finished", str(error))
        except TargetUnavailable as error:
            self.write_behind.mark_later(self.journal, intent, "finished", str(error))
        except ValueError as error:  # a value that the target cannot hold: the reconcile records the reject
            self.mark([intent], "finished", str(error))
        finally:
            self.observe("target", outcome, time.monotonic() - sent)

    def mark(self, intents: Sequence[Intent], state: State, error: str) -> None:
        """Leave writes to workers: now, or when Postgres takes the mark."""
        failpoint("write.before_mark")
        try:
            self.journal.mark(intents, state, error)
            self.write_behind.needs_reconcile(self.journal.table)
        except TargetUnavailable as away:
            for intent in intents:
                self.write_behind.mark_later(self.journal, intent, state, f"{error} {away}".strip())


def refusal(error: str, withdrawn: bool | TargetUnavailable) -> WriteRefused | WriteUnsure:
    """The answer to a write that the primary refused, by whether its intent was withdrawn, or why it could not be."""
    if isinstance(withdrawn, TargetUnavailable):
        # The refused write stays as an intent that was never acknowledged: a reconcile would replay it.
        return WriteUnsure(
            f"the primary refused the write ({error}), and the journal is {withdrawn.state}: it may still be repeated"
        )
    if not withdrawn:
        return WriteUnsure(f"the primary refused the write ({error}), but a reconcile had begun to repeat it")
    return WriteRefused(f"the primary refused the write: {error}")


def lost_reason(key: Key, lost: AnswerLost) -> str:
    """Why a write is unsure whose intent may be there."""
    return f"{key.table}: {lost}; it may have been written, and will be reconciled"


def late_write_reason(tables: str) -> str:
    """Why a write that its store has taken is unsure: that store may no longer be the primary (rule 30)."""
    return (
        f"{tables}: this process was suspended within the write, and may have been fenced and the primary changed: it "
        "may be there, or not; both sides will agree"
    )


def unsure_reason(key: Key, error: str) -> str:
    """Why a write is unsure that the primary did not acknowledge."""
    return (
        f"{key.table}: the primary did not acknowledge the write ({error}); it may be there, or still arrive; "
        "`sync intents` lists it until both sides agree"
    )
