"""An insert's flow against fakes: what is announced, marked and answered for each outcome of the transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.dual import WriteBehind

from sync.core.mutations import InsertOutcome, Key, Mutation
from sync.errors import SyncError, TargetUnavailable, WriteRefused, WriteUnsure
from sync.flows.insert import ForwardInsert
from sync.flows.wrapped_write import WrappedTable, WrappedWrite
from sync.ports import Intent

KEY = Key("t", (b"k",), b"k", 0)
PUT = Mutation("put", KEY, {"a": b"1"})


@dataclass
class Fake:
    """Both sides, and what was asked of them."""

    outcome: InsertOutcome
    away: bool = False
    table: str = "t"
    steps: list[Any] = field(default_factory=list)
    write_behind: WriteBehind = field(default_factory=lambda: WriteBehind(accepts=True))

    def announce(self, keys: Sequence[Key]) -> list[Intent]:
        if self.away:
            raise TargetUnavailable("away")
        self.steps.append("announced")
        return [Intent(1, 100, 1) for _ in keys]

    def insert(self, put: Mutation, above: int) -> tuple[InsertOutcome, str]:
        assert put is PUT
        self.steps.append(above)
        return self.outcome, "why"

    def mark(self, intents: list[Intent], state: str, __: str) -> set[int]:
        self.steps.append(state)
        return {intent.id for intent in intents}

    def keys(self, *_: Any) -> int:
        self.steps.append("reconciled")
        return 1

    def write(self) -> bool:
        table = WrappedTable(self, self, "inline")  # type: ignore[arg-type]
        wrapped = WrappedWrite(self.announce, {"t": table}, self.write_behind, True)
        return ForwardInsert(wrapped, self).write(PUT)


ANSWERS: list[tuple[InsertOutcome, bool | type[SyncError], str]] = [
    ("written", True, "finished"),
    ("exists", False, "finished"),
    ("refused", WriteRefused, "finished"),
    ("unsure", WriteUnsure, "unsure"),
]


@pytest.mark.parametrize(("outcome", "answer", "state"), ANSWERS)
def test_it_is_announced_and_ends_as_the_transaction_did(
    outcome: InsertOutcome, answer: bool | type[SyncError], state: str
) -> None:
    """Would break: a refusal that waits a minute and disturbs the proof; a timeout whose key is read at once."""
    fake = Fake(outcome)
    if isinstance(answer, bool):
        assert fake.write() is answer
    else:
        with pytest.raises(answer, match="why"):
            fake.write()
    assert fake.steps == ["announced", 100, state, *(["reconciled"] if state == "finished" else [])]


@pytest.mark.parametrize(("outcome", "answer", "state"), ANSWERS)
def test_without_a_journal_it_is_remembered(outcome: InsertOutcome, answer: bool | type[SyncError], state: str) -> None:
    """Would break: an insert during an outage of Postgres of which nobody knows, or with an older timestamp than a delete."""
    fake = Fake(outcome, away=True)
    fake.write_behind.observe(2**62, KEY)
    if isinstance(answer, bool):
        assert fake.write() is answer
    else:
        with pytest.raises(answer):
            fake.write()
    (above,) = fake.steps
    assert above > 2**62
    ((_, mutation, _, kept),) = fake.write_behind.unrecorded_writes
    assert (mutation.kind, kept) == ("recheck", state)
    assert fake.write_behind.accepting == 0
