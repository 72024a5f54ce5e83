"""What a writer buffers for a moment, while its threads add to it."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sync.adapters.postgres.dual_write.write_behind import WriteBehind
from sync.adapters.witness import Witness
from sync.core.mutations import Key
from sync.ports import Intent


class Journal:
    """Counts what is ended."""

    table = "pairs"

    def __init__(self) -> None:
        self.removed = 0

    def remove(self, intents: list[Intent]) -> None:
        self.removed += len(intents)

    def mark(self, *_: Any) -> set[int]:
        return set()  # a worker has removed them


@pytest.fixture
def often() -> Iterator[None]:
    """The garbage collector runs at every chance, and lets other threads run in the middle of what looks like one step."""
    before = gc.get_threshold()
    gc.set_threshold(1)
    callback = lambda *_: threading.Event().wait(0)  # noqa: E731  (lets another thread in)
    gc.callbacks.append(callback)
    yield
    gc.callbacks.remove(callback)
    gc.set_threshold(*before)


def test_marks_that_come_in_while_marks_are_told(often: None) -> None:
    """Would break: the heartbeat's thread ends with an error of Python's, and the writer counts as dead."""
    write_behind, journal, ended, count = WriteBehind(True, lambda _: None), Journal(), threading.Event(), [0, 0]

    def write(n: int) -> None:
        while not ended.is_set() and count[n] < 1500:
            write_behind.remove_later(journal, Intent(count[n], 1, 1))  # type: ignore[arg-type]
            count[n] += 1

    writers = [threading.Thread(target=write, args=(n,)) for n in range(2)]
    for thread in writers:
        thread.start()
    try:
        while any(thread.is_alive() for thread in writers):
            write_behind.mark()
    finally:
        ended.set()
        for thread in writers:
            thread.join()
    write_behind.mark()
    assert journal.removed == sum(count)


def test_a_key_ahead_of_the_clock_is_remembered_until_the_clock_has_overtaken_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a host whose clock is behind keeps every key it ever wrote; or a stamp is not above the row's cell."""
    clock = [10**15]
    monkeypatch.setattr(time, "time_ns", lambda: clock[0] * 1000)
    write_behind, minute = WriteBehind(True, lambda _: None), 60_000_000
    keys = [Key("pairs", (), str(n).encode(), n) for n in range(2000)]
    for key in keys[:1000]:
        write_behind.observe(clock[0] + minute + 1, key)
    clock[0] += 10 * minute
    for key in keys[1000:]:
        write_behind.observe(clock[0] + minute + 1, key)
    assert len(write_behind._far) == 1000, "the first ones are forgotten"
    assert all(write_behind.stamp(key) > clock[0] + minute for key in keys[1000:])
    assert clock[0] <= write_behind.stamp(keys[0]) < clock[0] + minute


def test_a_recheck_that_is_recorded_again_is_seen_when_this_process_is_killed(tmp_path: Path) -> None:
    """Would break: killed before Postgres knows of it, this writer counts as one that had nothing unrecorded, and is signed off."""
    witness, journal = Witness(tmp_path), Journal()
    write_behind = WriteBehind(True, lambda _: None, witness)
    write_behind.mark_later(journal, Intent(1, 1, 1), "finished", "", Key("pairs", (b"1",), b"1", 1))  # type: ignore[arg-type]
    write_behind.mark()
    assert write_behind.unrecorded_count == 1
    (file,) = tmp_path.iterdir()
    assert file.read_bytes()[:1] == b"1"
    witness.end()
