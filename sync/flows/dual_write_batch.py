"""Writes of many rows to both sides while the source is primary: each step is taken for all rows of a batch at once.

Every row is judged by itself, as `ForwardWrite` would: one that is refused or unsure says nothing of the others. What cannot
be done together is done row by row.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sync.core.expiry import expires_late
from sync.core.mutations import Mutation
from sync.errors import AnswerLost, BatchTimedOut, SyncError, TargetBusy, TargetUnavailable, WriteRefused, WriteUnsure
from sync.failpoints import failpoint
from sync.flows.dual_write import ForwardWrite, lost_reason, refusal, unsure_reason
from sync.flows.observing import Observe, unobserved
from sync.ports import Intent

log = logging.getLogger(__name__)


class BatchJournal(Protocol):
    """Intents and guarded writes of whole rows. Each method may raise TargetUnavailable."""

    @property
    def takes_rows(self) -> bool: ...
    @property
    def is_away(self) -> bool: ...
    def open(self, puts: Sequence[Mutation], above: Sequence[int]) -> list[Intent | WriteRefused]: ...
    def write(self, written: Sequence[tuple[Mutation, Intent]], waits: bool = True) -> int: ...
    def withdraw(self, intents: Sequence[Intent]) -> Container[int]: ...


@dataclass(slots=True)
class Ends:
    """What became of a batch, by the rows' numbers: `errors` of those that were refused or are unsure.

    `alone`: of these nothing was done, since the batch could not begin; each must be written by itself.
    `halves`: these the primary has; the target could not take them together, and each needs its second half by itself.
    `is_slow`: since together they take the target too long.
    """

    errors: dict[int, SyncError] = field(default_factory=dict)
    alone: list[int] = field(default_factory=list)
    halves: dict[int, Intent] = field(default_factory=dict)
    is_slow: bool = False


@dataclass(frozen=True, slots=True)
class ForwardBatch:
    """Writes rows of one table; `one` does it for a single row, and counts each.

    `together` is told of a side's part as a whole.
    """

    one: ForwardWrite
    journal: BatchJournal
    together: Observe = unobserved

    def write(self, puts: Sequence[Mutation]) -> Ends:
        """Write MAX_LOCKS rows at most, no two of the same key. Raises EpochChanged before anything is written."""
        ends = self.begin(puts)
        for number, intent in ends.halves.items():
            self.one.second_half(puts[number], intent)
        ends.halves = {}
        return ends

    def second_half(self, put: Mutation, intent: Intent) -> bool:
        """One of the `halves`. False, and nothing was done, if somebody else has locked its row, or the target refuses it."""
        ends = Ends()
        self._in_target({0: (put, intent)}, ends, waits=False)
        return not ends.halves

    def begin(self, puts: Sequence[Mutation], waits: bool = True) -> Ends:
        """The same, but for `halves`, which are left. Without `waits` they are, too, if the target would have to wait."""
        ends = Ends()
        behind = self.one.write_behind
        failpoint("write.before_intent")
        try:
            opened = self.journal.open(puts, [behind.accepted(put.key) for put in puts])
        except AnswerLost as lost:
            ends.errors = {number: WriteUnsure(lost_reason(put.key, lost)) for number, put in enumerate(puts)}
            return ends
        except (TargetUnavailable, WriteRefused):  # one row may be to blame; and only single writes go on without a journal
            ends.alone = list(range(len(puts)))
            return ends
        begun: dict[int, tuple[Mutation, Intent]] = {}
        for number, (put, intent) in enumerate(zip(puts, opened, strict=True)):
            if isinstance(intent, WriteRefused):
                ends.errors[number] = intent
            else:
                behind.observe(intent.version, put.key)
                begun[number] = put, intent
        failpoint("write.after_intent")
        self._in_target(self._in_primary(begun, ends), ends, waits)
        return ends

    def _in_primary(self, begun: dict[int, tuple[Mutation, Intent]], ends: Ends) -> dict[int, tuple[Mutation, Intent]]:
        """Write all rows into the primary at once; those that it has, and whose other half is to be done here."""
        sent = time.monotonic()
        outcomes = self.one.primary.write_many([(put, intent.version) for put, intent in begun.values()])
        bad = [outcome for outcome, *_ in outcomes if outcome != "written"]
        self.together("source", bad[0] if bad else "written", time.monotonic() - sent)
        failpoint("write.after_primary")
        written, late, unsure = dict[int, tuple[Mutation, Intent]](), [], dict[str, list[Intent]]()
        refused: dict[int, tuple[Intent, str]] = {}
        for (number, (put, intent)), (outcome, error, seconds) in zip(begun.items(), outcomes, strict=True):
            self.one.observe("source", outcome, seconds)
            if outcome == "refused":
                refused[number] = intent, error
            elif outcome == "unsure":
                unsure.setdefault(error, []).append(intent)
                ends.errors[number] = WriteUnsure(unsure_reason(put.key, error))
            elif expires_late(put.cells, seconds):
                late.append(intent)
            else:
                written[number] = put, intent
        if refused:
            ends.errors.update(self._withdrawn(refused))
        for error, intents in unsure.items():
            self.one.mark(intents, "unsure", error)
        if late:
            self.one.mark(late, "finished", "")  # the rows expire that much later in the primary: their expiry is read back
        return written

    def _withdrawn(self, refused: dict[int, tuple[Intent, str]]) -> dict[int, SyncError]:
        """Take back the intents of what the primary refused, all at once: too few replicas refuse a whole batch."""
        failpoint("write.before_withdraw")
        try:
            gone = self.journal.withdraw([intent for intent, _ in refused.values()])
        except TargetUnavailable as away:
            log.warning("the intents of %d refused writes could not be withdrawn: %s", len(refused), away)
            return {number: refusal(error, away) for number, (_, error) in refused.items()}
        return {number: refusal(error, intent.id in gone) for number, (intent, error) in refused.items()}

    def _in_target(self, written: dict[int, tuple[Mutation, Intent]], ends: Ends, waits: bool) -> None:
        """Write the target's halves together; those that it did not take so are the `halves`."""
        if self.one.mode == "async":
            for put, intent in written.values():
                self.one.second_half(put, intent)
            return
        if not written:
            return
        sent = time.monotonic()
        try:
            if self.journal.write(list(written.values()), waits) < len(written):  # by the guard: something newer is there
                self.one.write_behind.needs_reconcile(self.one.journal.table)
            failpoint("write.after_secondary")
            self._observe(written, "written", sent)
        except (TargetBusy, ValueError) as error:  # one of them is locked, or is refused: nothing of the batch was written
            ends.is_slow = isinstance(error, BatchTimedOut)
            ends.halves = {number: intent for number, (_, intent) in written.items()}
        except TargetUnavailable as error:
            for _, intent in written.values():
                self.one.write_behind.mark_later(self.one.journal, intent, "finished", str(error))
            self._observe(written, "left", sent)

    def _observe(self, written: Collection[object], outcome: str, sent: float) -> None:
        """Count the target's halves; each of them has waited for all."""
        seconds = time.monotonic() - sent
        self.together("target", outcome, seconds)
        for _ in written:
            self.one.observe("target", outcome, seconds)
