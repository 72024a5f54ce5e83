"""A write that an application's own class makes: its keys are announced, then read back from the primary and reconciled.

Such a class cannot be given a timestamp, so it is never trusted for a version: the target's side is written by reconcile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from sync.core.mutations import Key, Kind, Mutation
from sync.errors import TargetUnavailable, WriteRefusedNow, WriteUnsure
from sync.failpoints import failpoint
from sync.flows.dual_write import Mode, WriteBehind, late_write_reason
from sync.ports import MAX_LOCKS, Intent, KeyReconciler, TableJournal

T = TypeVar("T")
State = Literal["finished", "unsure"]


@dataclass(frozen=True, slots=True)
class WrappedTable:
    """One of the tables that a call writes."""

    journal: TableJournal
    reconcile: KeyReconciler
    mode: Mode
    width: int = 0
    """How many columns its keys have; a key of fewer is a partition, whose rows nobody knows before (rule 47)."""

    def is_partition(self, key: Key) -> bool:
        """Whether it is a partition's, and not a row's."""
        return len(key.cells) < self.width


@dataclass(frozen=True, slots=True)
class WrappedWrite:
    """Calls that write keys of these tables.

    `announce` commits the intents of up to MAX_LOCKS keys, all or none; without a key it looks whether a write may begin.
    `may_accept`: also without an intent, while Postgres is unreachable (rule 28). `sql_announces`: whether Postgres
    is primary, and each key that a call changes in a partition of this table is announced by triggers (rule 45).
    `expand`: makes rechecks of what triggers have told, so that those of a call's keys are done with them (rule 50); it never
    raises.
    """

    announce: Callable[[Sequence[Key]], Sequence[Intent]]
    tables: Mapping[str, WrappedTable]
    write_behind: WriteBehind
    may_accept: bool
    sql_announces: Callable[[str], bool] = lambda _: False
    expand: Callable[[], object] = lambda: None

    def write(self, keys: Sequence[Key], call: Callable[[], T]) -> T:
        """Announce the keys, call, reconcile; what the call returned. An error of the call leaves the keys unsure.

        Raises WriteRefused and EpochChanged before anything is called; WriteUnsure if this process was suspended during it.
        """
        return self.write_above(keys, lambda _: call())

    def write_above(self, keys: Sequence[Key], call: Callable[[int], T]) -> T:
        """The same; the call gets a version that exceeds all that is known of the keys."""
        begun = self.begin(keys)
        try:
            result = call(begun.above)
        except BaseException as error:
            begun.fail(error)
            raise
        begun.finish()
        return result

    def begin(self, keys: Sequence[Key]) -> BegunWrite:
        """Announce the keys: the call may be made then, and the caller must say how it ended. Raises as `write` does."""
        keys = list(dict.fromkeys(keys))
        gaps = self.write_behind.gaps()
        intents: dict[Key, Intent] = {}
        try:
            for at in range(0, len(keys) or 1, MAX_LOCKS):
                failpoint("wrapped.announcing")
                some = keys[at : at + MAX_LOCKS]
                intents.update(zip(some, self.announce(some), strict=True))
        except TargetUnavailable as away:
            self.withdraw(intents)
            if not self.may_accept or not self.write_behind.begin_accepting():
                text = f"{_tables(keys)}: the journal in Postgres is {away.state} ({away}); nothing was written"
                raise WriteRefusedNow(text) from None
            return self._accepted(keys, gaps)
        except BaseException:
            self.withdraw(intents)
            raise
        failpoint("wrapped.announced")
        return BegunWrite(self, keys, intents, gaps, max((i.version for i in intents.values()), default=0))

    def _accepted(self, keys: Sequence[Key], gaps: int) -> BegunWrite:
        failpoint("wrapped.accepted")
        above = 0
        for key in keys:
            above = max(above, self.write_behind.stamp(key))
            self.write_behind.forget(key)  # it is not written with
        return BegunWrite(self, keys, None, gaps, above)

    def withdraw(self, intents: Mapping[Key, Intent]) -> None:
        """End these intents: nothing is going to be called."""
        if not intents:
            return
        try:
            next(iter(self.tables.values())).journal.withdraw(*intents.values())
        except TargetUnavailable:  # then their keys are read once, which changes nothing
            self.mark_later(intents, "finished", "")

    def mark_later(self, intents: Mapping[Key, Intent], state: State, error: str) -> None:
        """Keep the intents' marks until Postgres takes them."""
        for key, intent in intents.items():
            partition = key if self.is_partition(key) else None
            self.write_behind.mark_later(self.tables[key.table].journal, intent, state, error, partition)

    def mark(self, intents: Mapping[Key, Intent], state: State, error: str) -> list[Key]:
        """Record how the call ended, for all its keys in one statement; the partitions that must be remembered.

        These have no intent any more: a worker took this writer for dead, and has looked before the end (rule 47).
        """
        if not intents:
            return []
        try:
            found = next(iter(self.tables.values())).journal.mark(list(intents.values()), state, error)
        except TargetUnavailable as away:
            self.mark_later(intents, state, str(away))
            return []
        for table in {key.table for key in intents}:
            self.write_behind.needs_reconcile(table)
        return [key for key, intent in intents.items() if self.is_partition(key) and intent.id not in found]

    def remember(self, keys: Sequence[Key], state: State) -> None:
        """Have the keys recorded, stamped at the end of the call: the time that the primary gave the write is not known."""
        for key in keys:
            journal, above = self.tables[key.table].journal, self.write_behind.stamp(key)
            kind: Kind = "recheck_partition" if self.is_partition(key) else "recheck"
            self.write_behind.add_unrecorded(journal, Mutation(kind, key, {}), above, state)

    def is_partition(self, key: Key) -> bool:
        """Whether it is a partition's, and not a row's."""
        return self.tables[key.table].is_partition(key)

    def told_by_sql(self, partitions: Mapping[Key, Intent]) -> dict[Key, Intent]:
        """Those of these whose changes triggers announce, key by key, in the call's own transactions."""
        try:
            told = {table: self.sql_announces(table) for table in {key.table for key in partitions}}
        except TargetUnavailable:  # then workers look
            return {}
        return {key: intent for key, intent in partitions.items() if told[key.table]}

    def reconcile(self, keys: Sequence[Key]) -> None:
        """Make both sides equal, except for partitions, and for tables that are left to workers."""
        by_table: dict[str, list[Key]] = {}
        for key in keys:
            if self.is_partition(key):  # however many rows it has
                continue
            by_table.setdefault(key.table, []).append(key)
        inline = {name: some for name, some in by_table.items() if self.tables[name].mode == "inline"}
        if inline:
            self.expand()
        for name, some in inline.items():
            try:
                self.tables[name].reconcile.keys(some, lambda key, _: self.write_behind.needs_reconcile(key.table))
            except TargetUnavailable:
                self.write_behind.needs_reconcile(name)  # the intents stay, and workers drain them


@dataclass(frozen=True, slots=True)
class BegunWrite:
    """A call that may be made: exactly one of `finish`, `fail` and `withdraw` must follow.

    `intents` is None where it was accepted without, while Postgres is unreachable; `above` exceeds all versions of the keys.
    """

    flow: WrappedWrite
    keys: Sequence[Key]
    intents: Mapping[Key, Intent] | None
    gaps: int
    above: int

    def finish(self) -> None:
        """The call has ended, and both sides are made equal. Raises WriteUnsure if this process was suspended during it."""
        if self._was_suspended:
            late = WriteUnsure(late_write_reason(_tables(self.keys)))
            self.fail(late)
            raise late
        if self.intents is None:
            self._remember("finished")
            return
        failpoint("wrapped.called")
        self.flow.remember(self._mark(self.intents, "finished", ""), "unsure")
        failpoint("wrapped.marked")
        self.flow.reconcile(self.keys)

    def fail(self, error: BaseException) -> None:
        """The call has raised: it may have written, or may still, so its keys are not read at once (rule 17)."""
        if self.intents is None:
            self._remember("unsure")
            return
        missing = self._mark(self.intents, "unsure", type(error).__name__)
        # Of one that was suspended each announcement may be given up, and forgotten (rule 17).
        self.flow.remember(self.keys if self._was_suspended else missing, "unsure")

    def withdraw(self) -> None:
        """The call is not made after all."""
        if self.intents is None:
            self.flow.write_behind.end_accepting()
        else:
            self.flow.withdraw(self.intents)

    def _mark(self, intents: Mapping[Key, Intent], state: State, error: str) -> list[Key]:
        # First the row keys' marks: an error of what follows must not leave them open while this writer lives.
        partitions = {key: intent for key, intent in intents.items() if self.flow.is_partition(key)}
        self.flow.mark({key: intent for key, intent in intents.items() if key not in partitions}, state, error)
        told = self.flow.told_by_sql(partitions)
        missing = self.flow.mark({key: intent for key, intent in partitions.items() if key not in told}, state, error)
        self.flow.withdraw(told)
        return missing

    @property
    def _was_suspended(self) -> bool:
        return self.flow.write_behind.gaps() != self.gaps

    def _remember(self, state: State) -> None:
        # In this order: an interruption between the two keeps the writer from signing off (rule 29).
        self.flow.remember(self.keys, state)
        self.flow.write_behind.end_accepting()


def _tables(keys: Sequence[Key]) -> str:
    return ", ".join(dict.fromkeys(key.table for key in keys)) or "a call that writes no key"
