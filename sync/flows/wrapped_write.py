"""A write that an application's own class makes: its key is announced, then read back from the primary and reconciled.

Such a class cannot be given a timestamp, so it is never trusted for a version: the target's side is written by reconcile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from sync.core.mutations import Key, Mutation
from sync.errors import TargetUnavailable, WriteRefusedNow, WriteUnsure
from sync.failpoints import failpoint
from sync.flows.dual_write import Mode, WriteBehind, late_write_reason
from sync.ports import Intent, KeyReconciler, TableJournal

T = TypeVar("T")
State = Literal["finished", "unsure"]


@dataclass(frozen=True, slots=True)
class WrappedWrite:
    """Calls that write a key of one table; `may_accept`: also without an intent, while Postgres is unreachable (rule 28)."""

    announce: Callable[[Key], Intent]
    journal: TableJournal
    reconcile: KeyReconciler
    write_behind: WriteBehind
    mode: Mode
    may_accept: bool

    def write(self, key: Key, call: Callable[[], T]) -> T:
        """Announce the key, call, reconcile; what the call returned. An error of the call leaves the key unsure.

        Raises WriteRefused and EpochChanged before anything is called; WriteUnsure if this process was suspended during it.
        """
        return self.write_above(key, lambda _: call())

    def write_above(self, key: Key, call: Callable[[int], T]) -> T:
        """The same; the call gets a version that exceeds all that is known of the key."""
        gaps = self.write_behind.gaps()
        try:
            intent = self.announce(key)
        except TargetUnavailable as away:
            if not self.may_accept or not self.write_behind.begin_accepting():
                text = f"{key.table}: the journal in Postgres is {away.state} ({away}); nothing was written"
                raise WriteRefusedNow(text) from None
            return self._without_intent(key, call, gaps)
        failpoint("wrapped.announced")
        try:
            result = call(intent.version)
            if self.write_behind.gaps() != gaps:
                raise WriteUnsure(late_write_reason(key))
        except BaseException as error:
            self._mark(key, intent, "unsure", type(error).__name__)
            if self.write_behind.gaps() != gaps:
                self._remember(key, "unsure")  # the announcement may be given up, and forgotten (rule 17)
            raise
        failpoint("wrapped.called")
        self._mark(key, intent, "finished", "")
        failpoint("wrapped.marked")
        if self.mode == "inline":
            self._reconcile(key)
        return result

    def _without_intent(self, key: Key, call: Callable[[int], T], gaps: int) -> T:
        state: State = "unsure"  # a call that raises may have written, or may still: its key is not read at once (rule 17)
        try:
            failpoint("wrapped.accepted")
            above = self.write_behind.stamp(key)
            self.write_behind.forget(key)  # it is not written with
            result = call(above)
            if self.write_behind.gaps() != gaps:
                raise WriteUnsure(late_write_reason(key))
            state = "finished"
            return result
        finally:
            self._remember(key, state)
            self.write_behind.end_accepting()

    def _remember(self, key: Key, state: State) -> None:
        """Have the key recorded, stamped at the end of the call: the time that the primary gave the write is not known."""
        self.write_behind.add_unrecorded(self.journal, Mutation("recheck", key, {}), self.write_behind.stamp(key), state)

    def _mark(self, key: Key, intent: Intent, state: State, error: str) -> None:
        try:
            self.journal.mark([intent], state, error)
            self.write_behind.needs_reconcile(key.table)
        except TargetUnavailable as away:
            self.write_behind.mark_later(self.journal, intent, state, str(away))

    def _reconcile(self, key: Key) -> None:
        try:
            self.reconcile.keys([key], lambda key, error: self.write_behind.needs_reconcile(key.table))
        except TargetUnavailable:
            self.write_behind.needs_reconcile(key.table)  # the intent stays, and workers drain it
