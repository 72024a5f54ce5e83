"""What a writer keeps for a moment, while its threads add to it."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest

from sync.adapters.postgres.aside import Aside
from sync.ports import Intent


class Journal:
    """Counts what is ended."""

    table = "pairs"

    def __init__(self) -> None:
        self.removed = 0

    def remove(self, intents: list[Intent]) -> None:
        self.removed += len(intents)


@pytest.fixture
def often() -> Iterator[None]:
    """The collector runs at every chance, and with it other threads, in the middle of what looks like one step."""
    before = gc.get_threshold()
    gc.set_threshold(1)
    callback = lambda *_: threading.Event().wait(0)  # noqa: E731  (lets another thread in)
    gc.callbacks.append(callback)
    yield
    gc.callbacks.remove(callback)
    gc.set_threshold(*before)


def test_marks_that_come_in_while_marks_are_told(often: None) -> None:
    """Would break: the heartbeat's thread ends with an error of Python's, and the writer is taken for dead."""
    aside, journal, ended, count = Aside(True, lambda _: None), Journal(), threading.Event(), [0, 0]

    def write(n: int) -> None:
        while not ended.is_set() and count[n] < 3000:
            aside.settled(journal, Intent(count[n], 1, 1))  # type: ignore[arg-type]
            count[n] += 1

    writers = [threading.Thread(target=write, args=(n,)) for n in range(2)]
    for thread in writers:
        thread.start()
    try:
        while any(thread.is_alive() for thread in writers):
            aside.mark()
    finally:
        ended.set()
        for thread in writers:
            thread.join()
    aside.mark()
    assert journal.removed == sum(count)
