"""A process that was suspended notices it, and writes nothing on its own before Postgres has answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from sync.adapters.postgres.dual_write.write_behind import WriteBehind
from sync.adapters.suspension import SuspensionDetector
from sync.core.mutations import Key
from sync.errors import Suspended, TargetUnavailable, WriteUnsure
from sync.flows.wrapped_write import WrappedTable, WrappedWrite
from sync.ports import Intent

KEY = Key("t", (b"k",), b"k", 0)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def suspension(clock: Clock) -> SuspensionDetector:
    return SuspensionDetector(10.0, 30.0, clock)


def test_who_runs_all_the_time_knows_however_long_postgres_is_away(suspension: SuspensionDetector, clock: Clock) -> None:
    """Would break: an outage that is longer than the lease stops the application (invariant 8)."""
    for _ in range(1000):
        clock.now += 9.9
        assert suspension.gaps() == 0
    assert suspension.is_confirmed


def test_only_an_answer_to_what_was_asked_since_counts(suspension: SuspensionDetector, clock: Clock) -> None:
    """Would break: an answer from before the suspension is read after it, and taken to mean that all is well."""
    asked = suspension.gaps()
    clock.now += 10
    assert suspension.gaps() == 1
    suspension.answered(asked)
    assert not suspension.is_confirmed
    assert suspension.awaits_answer
    suspension.answered(suspension.gaps())
    assert suspension.is_confirmed
    assert not suspension.awaits_answer


def test_postgres_is_waited_for_once(suspension: SuspensionDetector, clock: Clock) -> None:
    """Would break: Postgres is unreachable as well, and every write of the application waits for the longest time allowed."""
    write_behind = WriteBehind(True, lambda _: None, suspension=suspension)
    clock.now += 1000
    with pytest.raises(Suspended):
        write_behind.begin_accepting()
    for _ in range(4):
        clock.now += 7.5
        suspension.gaps()
    suspension.wait(60)  # ends at once
    assert not write_behind.begin_accepting()
    suspension.answered(suspension.gaps())
    assert write_behind.begin_accepting()


@dataclass
class Wrapping:
    """Everything that a wrapped write works with; it records the steps."""

    clock: Clock
    write_behind: WriteBehind
    away: bool
    steps: list[str] = field(default_factory=list)
    table: str = "t"

    def announce(self, keys: Sequence[Key]) -> list[Intent]:
        if self.away:
            raise TargetUnavailable("away")
        return [Intent(1, 100, 1) for _ in keys]

    def mark(self, intents: list[Intent], state: str, __: str) -> set[int]:
        self.steps.append(state)
        return {intent.id for intent in intents}

    def keys(self, *_: Any) -> int:
        self.steps.append("reconcile")
        return 1

    def flow(self) -> WrappedWrite:
        table = WrappedTable(self, self, "inline")  # type: ignore[arg-type]
        return WrappedWrite(self.announce, {"t": table}, self.write_behind, True)


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("raises", [False, True])
def test_a_class_s_write_within_which_one_was_suspended_is_unsure_and_recorded(
    suspension: SuspensionDetector, clock: Clock, away: bool, raises: bool
) -> None:
    """Would break: its intent is given up meanwhile, the primary changes, and the write reaches the old one."""
    work = Wrapping(clock, WriteBehind(True, lambda _: None, suspension=suspension), away)

    def call() -> None:
        clock.now += 100
        if raises:
            raise ConnectionError

    with pytest.raises(ConnectionError if raises else WriteUnsure):
        work.flow().write([KEY], call)
    assert work.steps == ([] if away else ["unsure"])
    assert work.write_behind.unrecorded_count == 1
    suspension.answered(suspension.gaps())
    assert work.flow().write([KEY], lambda: 1) == 1
