"""Rows that several callers put at the same time, on doubles alone: each has its own answer, and waits for no other's lock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from support.puts_double import Store, ids
from support.running_commands import until
from support.spans import recorded

from sync.errors import ForkedStore, WriteUnsure
from sync.ports import Intent
from sync.stores.both_sides.halves import Half
from sync.stores.both_sides.puts import GivenRow
from sync.stores.both_sides.task_puts import TaskPuts
from sync.wiring.tracing import tracing

UNSURE = WriteUnsure("perhaps")
AT_ONCE = 3


def each(store: Store, *keys: bytes) -> list[dict[int, Any]]:
    told: list[dict[int, Any]] = []
    store._put_each("t", [GivenRow(row, None) for row in ids(*keys)], lambda answers: told.append(dict(answers)))
    assert store._calls.end(60) == 0
    return told


def test_rows_of_several_callers_have_each_its_own_answer() -> None:
    """Would break: a caller hears of another's row; or two rows of a key are one statement's."""
    store = Store([{1: UNSURE}])
    told = {0: "written", 1: UNSURE, 2: "later", 3: "alone", 4: "alone", 5: "written"}
    odd: Any = None
    rows = [*ids(b"a", b"b", b"a", b"bad"), odd, *ids(b"c")]
    found: list[dict[int, Any]] = []
    store._put_each("t", [GivenRow(row, None) for row in rows], lambda answers: found.append(dict(answers)))
    assert found == [told]
    assert store.batches == [[b"a", b"b", b"c"]]


def test_one_row_of_several_callers_goes_alone_and_so_do_all_while_a_side_is_away() -> None:
    store = Store()
    assert each(store, b"a", b"a") == [{0: "alone", 1: "later"}]
    store = Store()
    store.flows.puts.is_apart = True
    assert each(store, b"a", b"b") == [{0: "alone", 1: "alone"}]
    assert store.batches == []


def test_a_key_that_was_locked_a_moment_ago_goes_alone() -> None:
    """Would break: a row that somebody holds takes a tenth of a second of every batch."""
    store = Store()
    store.apart = {b"b"}
    assert each(store, b"a", b"b", b"b", b"c") == [{0: "written", 1: "alone", 2: "later", 3: "written"}]
    assert store.batches == [[b"a", b"c"]]


def test_rows_that_are_held_up_are_told_of_last() -> None:
    """Would break: who has its answer, or whose row is free, waits for a stranger's lock."""
    store = Store()
    store.locked = {b"b"}
    assert each(store, b"a", b"b", b"c") == [{}, {0: "written"}, {2: "written"}, {1: "written"}]
    assert store.halves == [b"a", b"c", b"b"]


def test_a_half_that_fails_is_its_own_caller_s() -> None:
    """Would break: a fault in a thread of the store, and a task that waits for ever; or a store that cannot close."""
    store, fault = Store(), ValueError("a fault")

    def fails() -> None:
        raise fault

    store.locked, store.hold = {b"b"}, fails
    assert each(store, b"a", b"b") == [{}, {0: "written"}, {1: fault}]


def test_a_store_that_is_closed_waits_for_halves_and_one_whose_threads_have_ended_does_them_itself() -> None:
    """Would break: a store signs off while it still writes, or a row's half is never written (rule 29)."""
    store, told, held = Store(), list[dict[int, Any]](), Event()
    store.locked, store.hold = {b"a"}, lambda: held.wait(60)
    store._put_each("t", [GivenRow(row, None) for row in ids(b"a", b"b")], lambda answers: told.append(dict(answers)))
    until(lambda: store._calls._under_way.total() == 1, what="only the half that is locked is left")
    assert store._calls.end(0.01) == 1, "it counts as a call"
    held.set()
    assert store._calls.end(60) == 0
    store = Store()
    store.locked = {b"a"}
    store._many.shutdown()
    assert each(store, b"a", b"b") == [{}, {0: "written"}, {1: "written"}]


def test_a_half_is_written_once_though_no_thread_could_be_started() -> None:
    """Would break: it counts as ended twice, and the store closes while another call is under way."""
    store, told = Store(), list[BaseException | None]()
    taken, submit = list[Any](), store._many.submit

    def refused(call: Any) -> Any:
        taken.append(call)
        raise RuntimeError("can't start new thread")

    store._many.submit = refused  # type: ignore[method-assign, assignment]
    half = Half(store.flows.batch, store._made({"id": b"a"}), Intent(1, 1, 1), told.append)
    with store._calls:
        store._halves.begin([half])
        submit(taken[0]).result(60)
        assert (told, store.halves) == ([None], [b"a"])
        assert store._calls._under_way.total() == 1
    assert store._calls.end(0) == 0


def test_a_row_is_made_once_for_the_same_flows() -> None:
    """Would break: of a thousand tasks that put one key, each row is made again for every one before it."""
    store, row = Store(), GivenRow({"id": b"a"}, None)
    made = row.put(store.flows)
    assert row.put(store.flows) is made
    assert row.put(Store().flows) is not made


def run(store: Store, scene: Callable[[TaskPuts], Coroutine[Any, Any, Any]]) -> Any:
    async def main() -> Any:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return await asyncio.wait_for(scene(TaskPuts(store, threads, AT_ONCE)), 60)

    return asyncio.run(main())


def test_a_row_that_is_none_is_its_own_task_s_error() -> None:
    """Would break: `put("songs", None)` in one task is a TypeError in sixty others, whose rows are not written."""
    store = Store()
    rows: list[Any] = ids(*(b"%d" % n for n in range(20)))
    rows[7], free = None, Event()
    store.busy = lambda: free.wait(60)

    async def scene(puts: TaskPuts) -> list[Any]:
        tasks = [asyncio.create_task(puts.put("t", row, None)) for row in rows]
        await asyncio.to_thread(until, lambda: len(puts._gathering("t")) == 20 - AT_ONCE)
        free.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = run(store, scene)
    assert [number for number, answer in enumerate(found) if answer is not True] == [7]
    assert isinstance(found[7], TypeError)
    assert len(store.batches[0]) == 20 - AT_ONCE - 1, "the others went together"


def test_rows_that_are_locked_keep_no_other_task_waiting() -> None:
    """Would break: twenty locked rows occupy all threads, and eighty tasks wait until somebody commits."""
    store, released = Store(threads=4), Event()
    names = [b"%d" % n for n in range(100)]
    store.locked, store.hold = set(names[::5]), lambda: released.wait(60)

    async def scene(puts: TaskPuts) -> list[bool]:
        tasks = [asyncio.create_task(puts.put("t", row, None)) for row in ids(*names)]
        free = [task for number, task in enumerate(tasks) if number % 5]
        try:
            assert await asyncio.wait_for(asyncio.gather(*free), 30) == [True] * 80
            # Half of the four threads wait for two of them; the others are left to workers.
            await asyncio.to_thread(until, lambda: len(store.marked) + 2 == len(store.locked - set(store.alone)))
        finally:
            released.set()
        return await asyncio.gather(*tasks)

    assert run(store, scene) == [True] * 100
    assert store._calls.end(60) == 0


@pytest.mark.parametrize("why", ["apart", "postgres", "unregistered"])
def test_where_nothing_can_be_shared_each_task_goes_alone_at_once(why: str) -> None:
    """Would break: while Postgres is away, or is primary, three at a time, each made twice, in two threads."""
    store = Store()
    if why == "apart":
        store.flows.puts.is_apart = True
    elif why == "postgres":
        store._side.registration.primary = "postgres"
    else:
        store._side.is_registered = False

    async def scene(puts: TaskPuts) -> list[bool]:
        found = await asyncio.gather(*(puts.put("t", row, None) for row in ids(*(b"%d" % n for n in range(9)))))
        assert not puts._tables
        return found

    assert run(store, scene) == [True] * 9
    assert (len(store.alone), store.batches) == (9, [])


def test_a_forked_store_says_so_though_its_locks_are_held() -> None:
    """Would break: another thread held the lock at the fork, nobody releases it, and a worker of gunicorn hangs."""
    store = Store()

    def forked() -> None:
        raise ForkedStore("forked")

    async def scene(puts: TaskPuts) -> None:
        guard = puts._gathering("t")._guard
        store._process.check = forked
        with guard, pytest.raises(ForkedStore):
            await puts.put("t", {"id": b"a"}, None)

    run(store, scene)


def test_each_task_has_its_span_and_the_sides_are_below_the_put_that_led() -> None:
    """Would break: a task's trace does not show its put, or two of them; or the sides of a batch are in no trace at all."""
    store, free = Store(), Event()
    store.busy = lambda: free.wait(60)
    together: Any = store.flows.puts.together
    table: Any = SimpleNamespace(name="t", target=SimpleNamespace(name="t"))
    application = trace.get_tracer("application")

    async def one(puts: TaskPuts, number: int) -> None:
        with application.start_as_current_span(f"task {number}"):
            assert await puts.put("t", {"id": b"%d" % number}, None)
            assert trace.get_current_span() is not trace.INVALID_SPAN, "the task's own is the current one again"

    async def scene(puts: TaskPuts) -> None:
        tasks = [asyncio.create_task(one(puts, number)) for number in range(8)]
        await asyncio.to_thread(until, lambda: len(puts._gathering("t")) == 8 - AT_ONCE)
        free.set()
        await asyncio.gather(*tasks)

    with recorded() as spans:
        sides = tracing().sides(table)
        store.flows.puts.together = lambda puts: sides("source", "written", 0.0) or together(puts)
        run(store, scene)
        found = {span.context.span_id: span for span in spans()}

    def above(span: ReadableSpan) -> str:
        assert span.parent
        return found[span.parent.span_id].name

    assert sorted(above(span) for span in found.values() if span.name == "put t") == [f"task {n}" for n in range(8)]
    assert [above(span) for span in found.values() if span.name == "source t"] == ["put t"] * len(store.batches)
