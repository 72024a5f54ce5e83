"""The process that reconciles what waits while all workers are busy, with a session that a test holds."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sync.settings import Config, Settings
from sync.workers import overdue
from sync.workers.overdue import Overdue

SETTINGS = Settings(_env_file=None)
FORK = multiprocessing.get_context("fork")


class Session:
    """Drains nothing; says which table it was given, and goes on until it is told to stop."""

    told: Any = None
    is_long = False

    def __init__(self, *_: object) -> None: ...

    def run(self, table: str, stopped: Callable[[], bool]) -> int:
        Session.told.put(table)
        while Session.is_long and not stopped():
            time.sleep(0.01)
        Session.told.put(f"{table} ended")
        return 0

    def close(self) -> None: ...


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Overdue]:
    monkeypatch.setattr(overdue, "DrainSession", Session)
    monkeypatch.setattr(Session, "told", FORK.Queue())
    monkeypatch.setattr(Session, "is_long", getattr(request, "param", False))
    one = Overdue(SETTINGS, Config())
    yield one
    one.stop()


def test_what_waits_for_two_sweeps_is_drained(made: Overdue) -> None:
    """Would break: every write that is under way at the moment of a sweep costs a drain, beside idle workers."""
    made.sweep(["songs", "genres"])
    made.sweep(["songs"])
    assert [Session.told.get(timeout=30) for _ in range(2)] == ["songs", "songs ended"]
    assert Session.told.empty()


@pytest.mark.parametrize("made", [True], indirect=True)
def test_it_ends_after_its_batch(made: Overdue) -> None:
    """Would break: each restart of `sync worker` leaves claims that nobody ends, and counters whose sum is not known."""
    made.sweep(["songs"])
    made.sweep(["songs"])
    assert Session.told.get(timeout=30) == "songs"
    made.stop()
    assert Session.told.get(timeout=30) == "songs ended"
    assert made._process.exitcode == 0


def test_one_that_died_is_replaced(made: Overdue) -> None:
    """Would break: it is killed, and `sync worker` ends with it, or drains no more."""
    os.kill(made._process.pid or 0, 9)
    until = time.monotonic() + 30
    while Session.told.empty() and time.monotonic() < until:
        made.sweep(["songs"])
        time.sleep(0.05)
    assert Session.told.get(timeout=1) == "songs"
