"""A thread for work that nobody waits for: bounded, and ended without waiting for what is left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Event, Thread

import pytest

from sync.stores.both_sides.background import Background, Ended


class Work:
    """What the thread does: it waits for `go` with each batch that is not empty."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun, self.go = Event(), Event()

    def __call__(self, batch: list[int]) -> None:
        self.batches.append(batch)
        if batch:
            self.begun.set()
            assert self.go.wait(60)


@pytest.fixture
def work() -> Iterator[Work]:
    made = Work()
    yield made
    made.go.set()


def ended(thread: Background[int]) -> None:
    thread.end()
    thread.join(time.monotonic() + 60)


def test_what_there_is_no_room_for_is_turned_away(work: Work) -> None:
    """Would break: a store whose memory grows while the other side is slow; or a caller that waits for it."""
    thread = Background[int]("test", 3, work, 60)
    assert thread.offer([0]) == 0
    assert work.begun.wait(60)
    assert thread.offer([1, 2]) == 0
    assert thread.offer([3, 4, 5]) == 2, "there is room for one"
    assert thread.offer([6]) == 1
    work.go.set()
    ended(thread)
    assert work.batches in ([[0], [1, 2, 3], []], [[0], []]), "what waits at the end may be given up"


def test_the_end_gives_up_what_waits(work: Work) -> None:
    """Would break: a store that closes for as long as the other side takes."""
    thread = Background[int]("test", 3, work, 60)
    thread.offer([0])
    assert work.begun.wait(60)
    thread.offer([1, 2])
    assert thread.end() == [1, 2] and thread.is_ended
    assert thread.offer([3]) == 1
    work.go.set()
    thread.join(time.monotonic() + 60)
    assert work.batches == [[0], []], "it is called once more, without anything"


def test_a_pause_ends_with_the_thread() -> None:
    """Would break: a grace period of seconds that a store waits for as it closes."""
    begun, given_up = Event(), Event()

    def work(batch: list[int]) -> None:
        if batch:
            begun.set()
            try:
                thread.pause(3600)
            except Ended:
                given_up.set()

    thread = Background[int]("test", 3, work, 60)
    thread.offer([0])
    assert begun.wait(60)
    ended(thread)
    assert given_up.is_set()


def test_an_error_ends_no_thread(work: Work, caplog: pytest.LogCaptureFixture) -> None:
    """Would break: one answer that nobody foresaw, and nothing is compared any more."""
    failed, done = Event(), Event()

    def fail_once(batch: list[int]) -> None:
        if batch and not failed.is_set():
            failed.set()
            raise ZeroDivisionError
        if batch:
            done.set()

    thread = Background[int]("test", 3, fail_once, 60)
    thread.offer([0])
    assert failed.wait(60)
    thread.offer([1])
    assert done.wait(60)
    ended(thread)
    assert [r.getMessage() for r in caplog.records] == ["test"]


def test_it_is_called_while_there_is_nothing(work: Work) -> None:
    """Would break: counts that wait for the next difference."""
    thread = Background[int]("test", 3, work, 0.01)
    thread.begin()
    while not work.batches:
        time.sleep(0.01)
    ended(thread)
    assert set(map(tuple, work.batches)) == {()}


def test_where_no_thread_can_be_had_nothing_is_taken(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a process at its limit of threads, whose reads fail for the sake of a comparison."""

    def refuse(_: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", refuse)
    thread = Background[int]("test", 3, work, 60)
    thread.begin()
    assert thread.offer([1]) == 1
    ended(thread)
    assert work.batches == []
