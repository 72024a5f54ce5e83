"""The supervisor with doubles: when it notifies, when it ends, what it does if the ledger or jobs fail, or on Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from sync.core.ring import TokenRange
from sync.errors import TargetUnavailable, Unreachable, UnreachableNow, WorkFailed
from sync.flows import backfill as flow
from sync.flows import retry
from sync.flows.backfill import Supervisor
from sync.ports import Progress

RUNS = [3, 4]


def _progress(done: int = 0, failed: int = 0, rows: int = 0) -> Progress:
    return Progress("songs", 2, done, 0, failed, rows, rows, 0, 0, 0, 0, None, 1.0)


@dataclass
class World:
    """Ledger, notifier and workers in one; `looks` is what the ledger shows each time it is read, the last one repeated."""

    looks: list[Progress | Exception | type[BaseException]]
    left: int = 1
    active: int = 0
    failed: Callable[[int], int] = lambda _look: 0
    own_workers: int = 2
    log: list[object] = field(default_factory=list)
    seen: int = 0
    opened: int = 0
    now: float = 0.0

    # the ledger

    def progress(self, runs: list[int]) -> list[Progress]:
        assert runs == RUNS
        look = self.looks[min(self.seen, len(self.looks) - 1)]
        self.seen += 1
        if isinstance(look, Progress):
            return [look]
        raise look

    def begin(self, plans: dict[str, list[TokenRange]]) -> list[int]:
        raise NotImplementedError

    def finish(self, run: int) -> bool:
        raise NotImplementedError

    def work_left(self, _runs: list[int]) -> int:
        return self.left

    def active_workers(self, _runs: list[int]) -> int:
        return self.active

    def fail_deadly(self, _runs: list[int]) -> None:
        self.log.append("fail deadly")

    def request_stop(self, _runs: list[int], stop: bool) -> None:
        self.log.append(("stop", stop))

    def failures(self, _runs: list[int]) -> tuple[int, str]:
        return self.failed(self.seen), "boom"

    # notifier and workers

    def notify_idle(self, runs: list[int], at_least: int) -> int:
        self.log.append(("notify", runs, at_least))
        return at_least

    def clear(self) -> None:
        self.log.append("clear")

    def __len__(self) -> int:
        return self.own_workers

    def heal(self) -> int:
        self.log.append("heal")
        return 0

    def dismiss(self) -> None:
        self.log.append("dismiss")

    # time

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.active and self.now > 5:
            self.active -= 1

    @contextmanager
    def open_ledger(self) -> Iterator[World]:
        self.opened += 1
        yield self

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> list[Progress]:
        for module in (flow, retry):
            monkeypatch.setattr(module, "time", self)
        shown: list[list[Progress]] = []
        opened: Any = self.open_ledger  # has of a ledger what a supervisor asks for
        try:
            return Supervisor(opened, self, self, shown.append).watch(RUNS)
        finally:
            self.log.append(("shown", len(shown)))

    def notified(self) -> list[int]:
        return [entry[2] for entry in self.log if isinstance(entry, tuple) and entry[0] == "notify"]


def test_it_ends_when_every_range_is_done_or_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a run never ends, or ends while ranges are being copied."""
    world = World([_progress(), _progress(1), _progress(1, 1)])
    assert world.watch(monkeypatch) == [_progress(1, 1)]
    assert world.log[-3:] == ["clear", "dismiss", ("shown", 3)]
    assert world.seen == 3


def test_looking_takes_a_tenth_of_the_time_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: with a million ranges, reading the progress takes a second, and the next reading follows at once."""

    class Slow(World):
        def progress(self, runs: list[int]) -> list[Progress]:
            self.now += 2.0
            return super().progress(runs)

    world = Slow([_progress(), _progress(1), _progress(2)])
    world.watch(monkeypatch)
    assert world.now >= 2 * 20 + 2


def test_what_shows_the_progress_is_not_waited_out_tenfold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: what is shown, or sampled, beside the progress takes 15 s once, and the command rests for 135 s."""
    world = World([_progress(), _progress(1), _progress(2)])

    def show(_progress: list[Progress]) -> None:
        world.now += 15.0 if world.seen == 1 else 0.0

    for module in (flow, retry):
        monkeypatch.setattr(module, "time", world)
    opened: Any = world.open_ledger
    Supervisor(opened, world, world, show).watch(RUNS)
    assert world.seen == 3 and world.now < 17


def test_it_rings_for_idle_workers_while_there_is_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: own workers wait for a notification that never comes (after a FLUSHALL), or are notified for nothing."""
    world = World([_progress(), _progress(1), _progress(2)])
    world.watch(monkeypatch)
    assert world.notified() == [2, 2]
    busy = World([_progress(), _progress(2)], active=3)
    busy.watch(monkeypatch)
    assert busy.notified() == [0]
    nothing = World([_progress(), _progress(2)], left=0)
    nothing.watch(monkeypatch)
    assert nothing.notified() == []
    assert nothing.log.count("heal") == nothing.log.count("fail deadly") == 1


def test_jobs_that_fail_without_progress_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a wrong password of the target makes jobs fail forever, and nobody is told."""
    world = World([_progress()], failed=lambda look: look)
    with pytest.raises(WorkFailed, match=r"jobs failed, the last one with: boom; .* run it again"):
        world.watch(monkeypatch)
    assert world.seen <= 6
    assert world.log[-3:-1] == ["clear", "dismiss"]


def test_one_worker_that_fails_does_not_end_the_run_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a helper on a host that cannot reach Cassandra joins, and within seconds ends a backfill of hours."""
    looks: list[Progress | Exception | type[BaseException]] = [_progress(rows=10 * i) for i in range(50)]
    world = World([*looks, _progress(2)], failed=lambda look: 2 * look)
    assert world.watch(monkeypatch) == [_progress(2)]


def test_a_ledger_that_breaks_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a restart of Postgres ends the command although its workers continue."""
    world = World([_progress(), TargetUnavailable("cut"), Unreachable("Postgres at x: starting"), _progress(1), _progress(2)])
    assert world.watch(monkeypatch) == [_progress(2)]
    assert world.opened == 3
    assert world.log.count("dismiss") == 1, "own workers are kept meanwhile"


def test_a_ledger_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a command waits forever for a server that is gone."""
    world = World([_progress(), Unreachable("Postgres at x: nothing listens there")])
    with pytest.raises(Unreachable, match="nothing listens there"):
        world.watch(monkeypatch)
    assert 100 < world.now < 180
    assert world.log[-3:-1] == ["clear", "dismiss"]


def test_ctrl_c_has_the_workers_let_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: workers are killed in the middle of a batch, and their ranges stay blocked until the leases expire."""
    world = World([_progress(), KeyboardInterrupt], active=2)
    with pytest.raises(KeyboardInterrupt):
        world.watch(monkeypatch)
    assert world.log[-4:-1] == [("stop", True), "clear", "dismiss"]
    assert world.active == 0
    stuck = World([KeyboardInterrupt], active=10_000)
    with pytest.raises(KeyboardInterrupt):
        stuck.watch(monkeypatch)
    assert 60 <= stuck.now < 62, "not for ever"


def test_ctrl_c_is_heard_while_the_target_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: the stop itself fails because the target is unreachable, and its error hides the Ctrl-C."""
    world = World([KeyboardInterrupt])
    monkeypatch.setattr(World, "request_stop", lambda *_: _away())
    with pytest.raises(KeyboardInterrupt):
        world.watch(monkeypatch)
    assert world.log[-3:-1] == ["clear", "dismiss"]


def _away() -> None:
    raise TargetUnavailable("cut")


def test_the_figures_of_all_tables_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: the run ends when the first of its tables is done."""
    first, second = _progress(2), replace(_progress(), table="genres")
    world = World([_progress()])
    answers = iter([[first, second], [first, replace(second, done=2)]])
    monkeypatch.setattr(World, "progress", lambda *_: next(answers))
    assert [p.done for p in world.watch(monkeypatch)] == [2, 2]


def test_jobs_that_fail_while_others_work_do_not_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: while one last long range is copied, five failed jobs of a misconfigured host end the run for all."""
    world = World([*[_progress()] * 15, _progress(2)], failed=lambda look: look, active=1)
    assert world.watch(monkeypatch) == [_progress(2)]


def test_a_ledger_that_cannot_now_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a target that takes more than two minutes to start ends a backfill of a whole night."""
    world = World([*[UnreachableNow("Postgres at x: it starts")] * 40, _progress(2)])
    assert world.watch(monkeypatch) == [_progress(2)]
    assert world.now > 300
