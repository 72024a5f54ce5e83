"""Writes of many rows to the source: how many are under way at once, and that each has its own time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from types import SimpleNamespace
from typing import Any

import pytest

from sync.adapters.cassandra.rows.timed_requests import TimedRequest
from sync.core.expiry import EXPIRY_NAME
from sync.core.mutations import Key, Mutation
from sync.errors import TargetUnavailable, WriteRefused, WriteUnsure
from sync.flows.dual_write import ForwardWrite
from sync.flows.dual_write_batch import ForwardBatch
from sync.flows.resend import Resend
from sync.ports import Intent, PendingResend

KEYS = [Key("t", (b"%d" % n,), b"%d" % n, n) for n in range(16)]
EXPIRES = {"a": b"x", EXPIRY_NAME: bytes(8)}


def slow_at(place: int) -> Callable[[Sequence[Any]], list[Any]]:
    return lambda writes: [("written", "", 9.0 if n == place else 0.1) for n, _ in enumerate(writes)]


def test_a_slow_partition_keeps_its_own_expiring_row_alone() -> None:
    """Would break: a row is held to be late because another one of its batch was, and is sent again, for ever."""
    removed: list[int] = []
    picked = {key: PendingResend((n,), 1, b"row") for n, key in enumerate(KEYS)}
    steps = SimpleNamespace(pick=lambda keys, quickly=False: picked, remove=removed.extend)
    failed: list[Key] = []
    resend = Resend(steps, SimpleNamespace(write_many=slow_at(5)), lambda _: EXPIRES)  # type: ignore[arg-type]
    assert resend.keys(KEYS, lambda key, _: failed.append(key)) == 15
    assert (failed, removed) == ([KEYS[5]], [n for n in range(16) if n != 5])


def test_a_slow_partition_leaves_its_own_expiring_put_alone_to_workers() -> None:
    """Would break: all rows of the batch are read back, because one was slow."""
    marked: list[Intent] = []
    written: list[Intent] = []

    def write(pairs: Sequence[tuple[Mutation, Intent]], waits: bool) -> int:
        written.extend(intent for _, intent in pairs)
        return len(pairs)

    opened = [Intent(n, 1, 1) for n in range(16)]
    one = SimpleNamespace(table="t", mark=lambda intents, *_: marked.extend(intents))
    behind = SimpleNamespace(accepted=lambda _: 0, observe=lambda *_: None, needs_reconcile=lambda _: None)
    flow = ForwardWrite(one, SimpleNamespace(write_many=slow_at(5)), behind)  # type: ignore[arg-type]
    journal = SimpleNamespace(open=lambda *_: opened, write=write)
    ForwardBatch(flow, journal).write([Mutation("put", key, EXPIRES) for key in KEYS])  # type: ignore[arg-type]
    assert (marked, written) == ([opened[5]], [each for each in opened if each.id != 5])


def test_a_request_ends_with_its_answer_not_when_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("sync.adapters.cassandra.rows.timed_requests.time", SimpleNamespace(monotonic=lambda: now[0]))
    slots = BoundedSemaphore(1)
    request = TimedRequest(slots)
    now[0] = 0.5
    request.end("answer")
    now[0] = 30.0
    assert (request.end(), request.seconds) == (0.5, 0.5)
    with pytest.raises(ValueError):
        slots.release()  # it was freed once


def test_so_many_requests_are_under_way_at_once() -> None:
    """Would break: eight batches are 512 requests, which a node has no threads for."""
    slots = BoundedSemaphore(2)
    first, _ = TimedRequest(slots), TimedRequest(slots)
    assert not slots.acquire(blocking=False)
    with ThreadPoolExecutor(1) as pool:
        third = pool.submit(TimedRequest, slots)
        first.end()
        third.result(20)


@pytest.mark.parametrize("away", [None, TargetUnavailable("away")])
def test_what_the_primary_refuses_is_withdrawn_at_once(away: TargetUnavailable | None) -> None:
    """Would break: with too few replicas, sixty callers wait for sixty statements in a row."""
    asked: list[list[int]] = []

    def withdraw(intents: Sequence[Intent]) -> set[int]:
        asked.append([intent.id for intent in intents])
        if away:
            raise away
        return {intent.id for intent in intents} - {5}

    primary = SimpleNamespace(write_many=lambda writes: [("refused", "too few replicas", 0.1) for _ in writes])
    behind = SimpleNamespace(accepted=lambda _: 0, observe=lambda *_: None)
    flow = ForwardWrite(SimpleNamespace(table="t"), primary, behind)  # type: ignore[arg-type]
    journal = SimpleNamespace(open=lambda *_: [Intent(n, 1, 1) for n in range(16)], withdraw=withdraw)
    ends = ForwardBatch(flow, journal).write([Mutation("put", key, {}) for key in KEYS])  # type: ignore[arg-type]
    assert asked == [list(range(16))]
    unsure = set(range(16)) if away else {5}
    assert {number for number, error in ends.errors.items() if isinstance(error, WriteUnsure)} == unsure
    assert {number for number, error in ends.errors.items() if isinstance(error, WriteRefused)} == set(range(16)) - unsure
    assert all("too few replicas" in str(error) for error in ends.errors.values())
