"""A drain with several batches under way at once, on doubles alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Barrier, Lock

import pytest

from sync.core.mutations import Key, KnownKey
from sync.errors import TargetUnavailable
from sync.flows.drain import Drain


class Journal:
    """Gives each of its keys once."""

    def __init__(self, keys: int) -> None:
        self._left, self._lock = list(range(keys)), Lock()
        self.failures: list[bytes] = []
        self.expanded = 0

    def due(self, _epoch: int, _owner: str, limit: int, _lease: float) -> list[KnownKey]:
        with self._lock:
            taken, self._left = self._left[:limit], self._left[limit:]
        return [KnownKey(str(number).encode(), b"", 1) for number in taken]

    def expand(self) -> int:
        """What SQL changes in other tables, without end."""
        self.expanded += 1
        return 1

    def failed(self, key: bytes, _error: str) -> None:
        self.failures.append(key)


class Together:
    """A reconcile that two must do at once."""

    def __init__(self) -> None:
        self._both, self.done = Barrier(2), list[Key]()

    def keys(self, keys: Iterable[Key], _failed: Callable[[Key, str], None]) -> int:
        self._both.wait(30)
        self.done += keys
        return 64


class Broken:
    """A reconcile without Postgres."""

    def __init__(self) -> None:
        self.calls = 0

    def keys(self, _keys: Iterable[Key], _failed: Callable[[Key, str], None]) -> int:
        self.calls += 1
        raise TargetUnavailable("away")


def drain(journal: Journal, reconcile: Together | Broken, lanes: int) -> Drain:
    return Drain(journal, reconcile, lambda known: Key("t", (), known.canonical, 1), 30, 1, lanes=lanes)


def test_batches_are_under_way_at_once_and_each_key_is_done_once() -> None:
    """Would break: one batch waits for another; or what a second thread has done is not counted."""
    reconcile = Together()
    assert drain(Journal(4 * 64), reconcile, 2).run("me", lambda: False) == 4 * 64
    assert len(set(reconcile.done)) == len(reconcile.done) == 4 * 64


def test_what_one_of_them_raises_ends_all() -> None:
    """Would break: the others drain on, and the job does not say that Postgres is away."""
    journal, reconcile = Journal(100 * 64), Broken()
    with pytest.raises(TargetUnavailable):
        drain(journal, reconcile, 3).run("me", lambda: False)
    assert reconcile.calls <= 3
    assert len(journal.failures) == 64 * reconcile.calls


def test_what_sql_changes_in_other_tables_does_not_keep_a_drain() -> None:
    """Would break: a drain of a quiet table has no end while SQL writes another one, whose rows nobody sends meanwhile."""
    journal = Journal(0)
    assert drain(journal, Broken(), 1).run("worker", lambda: journal.expanded > 100) == 0
    assert journal.expanded == 1
