"""Puts of many tasks go together, on a double of the store: no thread for each, and each has its own answer."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import pytest
from support.running_commands import until

from sync.errors import EpochChanged, StoreClosed, WriteRefused, WriteRefusedNow, copied
from sync.flows import gathering as gathering_module
from sync.flows.gathering import Gathering, Limit
from sync.stores.both_sides import task_puts
from sync.stores.both_sides.puts import Answer, GivenRow
from sync.stores.both_sides.task_puts import TaskPuts

REFUSED, CLOSED = WriteRefused("no"), StoreClosed("closed")
THREADS = AT_ONCE = 3


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_puts, "PATIENCE_SECONDS", 600.0)


class Store:
    """Keys in `held` wait within their write; `answers` are those of the batches, by key, or raised."""

    def __init__(self, *answers: Mapping[str, Answer] | BaseException) -> None:
        self.held = {f"busy {n}": Event() for n in range(AT_ONCE)}
        self.answers, self.alone, self.batches = list(answers), list[str](), list[list[str]]()
        self.first: Callable[[], object] = lambda: None
        self.then: Callable[[], object] = lambda: None

    def _shares(self, table: str) -> bool:
        return True

    def _put(self, table: str, row: Mapping[str, Any], ttl: int | None) -> bool:
        self.alone.append(row["id"])
        if row["id"] in self.held:
            assert self.held[row["id"]].wait(60)
        if row["id"] == "bad":
            raise REFUSED
        return True

    def _put_each(self, table: str, rows: Sequence[GivenRow], tell: Callable[[Mapping[int, Answer]], object]) -> None:
        names = [row.values["id"] for row in rows]
        self.batches.append(names)
        self.first()
        given = self.answers.pop(0) if self.answers else {}
        if isinstance(given, BaseException):
            raise given
        late = {n: answer for n, name in enumerate(names) if (answer := given.get(f"late {name}"))}
        tell({n: given.get(name, "written") for n, name in enumerate(names) if n not in late})
        self.then()
        for number, answer in late.items():
            tell({number: answer})


async def busy(puts: TaskPuts, store: Store) -> list[asyncio.Task[bool]]:
    tasks = [asyncio.create_task(puts.put("t", {"id": name}, None)) for name in store.held]
    await asyncio.to_thread(until, lambda: len(store.alone) == AT_ONCE)
    return tasks


async def begun(puts: TaskPuts, *names: str) -> list[asyncio.Task[bool]]:
    tasks = [asyncio.create_task(puts.put("t", {"id": name}, None)) for name in names]
    await asyncio.sleep(0)  # each has entered
    return tasks


def run(store: Store, scene: Callable[[TaskPuts], Coroutine[Any, Any, Any]]) -> Any:
    async def main() -> Any:
        with ThreadPoolExecutor(THREADS + 1) as threads:
            puts = TaskPuts(store, threads, THREADS)  # type: ignore[arg-type]
            try:
                return await asyncio.wait_for(scene(puts), 60)
            finally:
                for event in store.held.values():
                    event.set()

    return asyncio.run(main())


def test_a_task_alone_is_written_alone() -> None:
    store = Store()
    assert run(store, lambda puts: puts.put("t", {"id": "a"}, None)) is True
    assert (store.alone, store.batches) == (["a"], [])


def test_tasks_that_wait_go_together_and_each_has_its_own_answer() -> None:
    """Would break: a thread a task; or the error of one row is every task's."""
    store = Store({"b": REFUSED, "c": "alone", "late d": "written"})

    async def scene(puts: TaskPuts) -> list[Any]:
        first = await busy(puts, store)
        tasks = await begun(puts, "a", "b", "c", "d")
        store.held["busy 0"].set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        for event in store.held.values():
            event.set()
        return [*found, *await asyncio.gather(*first)]

    assert run(store, scene) == [True, REFUSED, True, True, *[True] * AT_ONCE]
    assert (store.batches, store.alone[AT_ONCE:]) == ([["a", "b", "c", "d"]], ["c"])


def test_what_is_to_go_later_goes_before_those_that_came_later() -> None:
    """Would break: two of a key change places; or one is never written."""
    store = Store({"a2": "later", "a3": "later"})

    async def scene(puts: TaskPuts) -> list[Any]:
        await busy(puts, store)
        tasks = await begun(puts, "a", "a2", "b", "a3")
        more: list[asyncio.Task[bool]] = []
        store.held["busy 0"].set()
        await tasks[0]
        more += await begun(puts, "c")
        return await asyncio.gather(*tasks, *more)

    assert run(store, scene) == [True] * 5
    assert store.batches[0] == ["a", "a2", "b", "a3"]
    assert [name for batch in store.batches[1:] for name in batch][:2] == ["a2", "a3"]


def test_the_next_ones_begin_while_a_locked_row_is_waited_for() -> None:
    """Would break: a row that somebody has locked keeps a place."""
    store, locked = Store({"late b": "written"}), Event()
    store.then = lambda: locked.wait(60)

    async def scene(puts: TaskPuts) -> bool:
        await busy(puts, store)
        tasks = await begun(puts, "a", "b")
        store.held["busy 0"].set()
        assert await tasks[0] is True
        assert await puts.put("t", {"id": "c"}, None) is True, "by the place that is free"
        assert not tasks[1].done()
        locked.set()
        return await tasks[1]

    assert run(store, scene) is True


def test_a_cancelled_task_that_waits_is_not_written_and_one_that_has_begun_is() -> None:
    store = Store()

    async def scene(puts: TaskPuts) -> list[Any]:
        first = await busy(puts, store)
        tasks = await begun(puts, "a", "b", "c")
        tasks[1].cancel()
        first[1].cancel()
        await asyncio.sleep(0)
        store.held["busy 0"].set()
        return await asyncio.gather(*tasks, first[1], return_exceptions=True)

    found = run(store, scene)
    assert [type(each) for each in found] == [bool, asyncio.CancelledError, bool, asyncio.CancelledError]
    assert store.batches == [["a", "c"]]


def test_a_task_that_is_cancelled_before_its_thread_begins_is_not_written() -> None:
    """Would break: the caller was told that it is cancelled, which says: if it had begun, it is finished; else it is not."""
    store = Store()

    async def scene() -> None:
        with ThreadPoolExecutor(1) as threads:
            puts, occupied = TaskPuts(store, threads, THREADS), Event()  # type: ignore[arg-type]
            threads.submit(occupied.wait, 60)
            tasks = await begun(puts, "a", "b", "c", "d", "e")
            tasks[0].cancel()
            tasks[1].cancel()
            await asyncio.sleep(0)
            occupied.set()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(scene())
    assert (store.batches, store.alone) == ([["d", "e"]], ["c"]), "a was to lead"


@pytest.mark.parametrize("error", [CLOSED, ValueError("a fault"), KeyboardInterrupt()])
def test_what_ends_a_batch_is_every_task_s_answer(error: BaseException) -> None:
    """Would break: tasks that wait for ever; or nobody leads the next ones."""
    store = Store(error)

    async def scene(puts: TaskPuts) -> list[Any]:
        await busy(puts, store)
        tasks = await begun(puts, "a", "b")
        store.held["busy 0"].set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        return [*found, await puts.put("t", {"id": "c"}, None)]

    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            run(store, scene)
    else:
        first, second, last = run(store, scene)
        assert [(type(each), str(each)) for each in (first, second)] == [(type(error), str(error))] * 2
        assert last is True
        assert first is not second, "each gathers its own traceback"


class Odd(Exception):
    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


UNREADABLE = UnicodeDecodeError("utf-8", b"x", 0, 1, "invalid")


@pytest.mark.parametrize(
    "error", [EpochChanged(2, "postgres", "open"), OSError(2, "no", "such"), UNREADABLE, Odd(1, 2), CLOSED]
)
def test_a_copied_error_says_the_same(error: Exception) -> None:
    """Would break: an error whose constructor wants other arguments cannot be told to its tasks, which wait for ever."""
    made = copied(error)
    assert (made is error) == isinstance(error, Odd)
    assert (type(made), str(made), vars(made)) == (type(error), str(error), vars(error))


def test_an_error_alone_is_the_task_s_own() -> None:
    with pytest.raises(WriteRefused, match="no"):
        run(Store(), lambda puts: puts.put("t", {"id": "bad"}, None))


def test_threads_that_take_no_calls_any_more_leave_nobody_waiting() -> None:
    """Would break: tasks that wait while the store closes are never told."""
    store = Store(CLOSED)

    async def scene() -> list[Any]:
        threads = ThreadPoolExecutor(THREADS + 1)
        puts = TaskPuts(store, threads, THREADS)  # type: ignore[arg-type]
        await busy(puts, store)
        tasks = await begun(puts, "a", "b")
        threads.shutdown(wait=False)
        store.held["busy 0"].set()
        found = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
        for event in store.held.values():
            event.set()
        return found

    assert [str(each) for each in asyncio.run(scene())] == ["closed", "closed"]


def test_a_loop_that_is_closed_is_not_told() -> None:
    """Would break: a thread of the store ends with an error, and its place is taken for good."""
    store = Store()
    threads = ThreadPoolExecutor(THREADS + 1)

    async def scene() -> TaskPuts:
        puts = TaskPuts(store, threads, THREADS)  # type: ignore[arg-type]
        await busy(puts, store)
        return puts

    puts = asyncio.run(scene())
    for event in store.held.values():
        event.set()
    threads.shutdown()
    assert not puts._tables["t"]._places


def test_a_task_that_is_cancelled_as_it_is_called_to_lead_loses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: its place goes to the next one, who is never told: that task waits for ever, and so do all after three."""
    store, withdraw, leave = Store(), Gathering.withdraw, Gathering.leave
    is_called, is_withdrawn = Event(), Event()

    async def scene(puts: TaskPuts) -> list[bool]:
        first = await busy(puts, store)
        gone, other = await begun(puts, "gone", "a")

        def late(gathering: Gathering[Any], one: Any) -> None:
            if one.row.values["id"] == "gone":  # its task is cancelled; meanwhile a thread calls it to lead
                store.held["busy 0"].set()
                assert is_called.wait(60)
            withdraw(gathering, one)
            is_withdrawn.set()

        def calling(gathering: Gathering[Any], one: Any, has_written: bool) -> Any:
            called = leave(gathering, one, has_written)
            if called and called.row.values["id"] == "gone":
                is_called.set()
                assert is_withdrawn.wait(60)
            return called

        monkeypatch.setattr(Gathering, "withdraw", late)
        monkeypatch.setattr(Gathering, "leave", calling)
        gone.cancel()
        assert await other is True
        for event in store.held.values():
            event.set()
        return await asyncio.gather(*first)

    puts: list[TaskPuts] = []
    assert run(store, lambda made: puts.append(made) or scene(made)) == [True] * AT_ONCE  # type: ignore[func-returns-value]
    assert not puts[0]._tables["t"]._places
    assert "gone" not in store.alone


@pytest.fixture
def never_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering_module, "time", SimpleNamespace(monotonic=lambda: 0.0))


def test_who_has_waited_long_leads_though_all_places_are_taken() -> None:
    """Would break: three rows that somebody has locked, and every other task waits for as long as they do."""
    store = Store()

    async def scene(puts: TaskPuts) -> list[bool]:
        puts._gathering("t").patience = 0.01
        await busy(puts, store)
        late = await asyncio.gather(*(puts.put("t", {"id": name}, None) for name in "abc"))
        assert not any(event.is_set() for event in store.held.values())
        return late

    assert run(store, scene) == [True] * 3


def test_what_was_put_back_may_have_waited_long_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: of two of a key the second is put back, and waits behind three that are stuck."""
    store, has_waited, asked = Store({"a2": "later"}), Gathering.has_waited, Event()

    def noted(gathering: Gathering[Any], one: Any, beside_called: bool) -> bool:
        leads = has_waited(gathering, one, beside_called)
        if not leads:
            asked.set()
        return leads

    monkeypatch.setattr(Gathering, "has_waited", noted)
    store.first = lambda: asked.wait(60)

    async def scene(puts: TaskPuts) -> list[bool]:
        await busy(puts, store)
        puts._gathering("t").patience = 0.01
        return await asyncio.gather(*await begun(puts, "a", "a2"))

    assert run(store, scene) == [True] * 2


def test_where_all_threads_are_busy_those_that_have_waited_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: on a machine that is too busy each goes by itself, which costs three times as much: it stays too busy."""
    store, has_waited, asked, now = Store(), Gathering.has_waited, list[str](), [0.0]

    def noted(gathering: Gathering[Any], one: Any, *how: bool, **named: bool) -> bool:
        asked.append(one.row.values["id"])
        return has_waited(gathering, one, *how, **named)

    monkeypatch.setattr(Gathering, "has_waited", noted)
    monkeypatch.setattr(gathering_module, "time", SimpleNamespace(monotonic=lambda: now[0]))

    async def scene() -> list[bool]:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            puts = TaskPuts(store, threads, THREADS)  # type: ignore[arg-type]
            first = await busy(puts, store)
            puts._gathering("t").patience = 0.01
            tasks = await begun(puts, *"abcde")
            now[0] = 1.0  # the places are stuck
            await asyncio.to_thread(until, lambda: set(asked) == set("abcde"))
            now[0] = 0.0  # else each that ends calls one more
            for event in store.held.values():
                event.set()
            return await asyncio.wait_for(asyncio.gather(*tasks, *first), 60)

    assert asyncio.run(scene()) == [True] * (5 + AT_ONCE)
    assert [sorted(batch) for batch in store.batches] == [list("abcde")]


def test_who_has_waited_long_waits_on_while_places_become_free(never_stuck: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a machine is too slow for its tasks, each thread takes a few of them, and all of it costs twice as much."""
    store, has_waited, asked = Store(), Gathering.has_waited, list[bool]()

    def noted(gathering: Gathering[Any], one: Any, beside_called: bool) -> bool:
        asked.append(has_waited(gathering, one, beside_called))
        return asked[-1]

    monkeypatch.setattr(Gathering, "has_waited", noted)

    async def scene(puts: TaskPuts) -> list[bool]:
        await busy(puts, store)
        puts._gathering("t").patience = 0.01
        tasks = await begun(puts, *"abc")
        await asyncio.to_thread(until, lambda: len(asked) > 10)
        store.held["busy 0"].set()
        return await asyncio.gather(*tasks)

    assert run(store, scene) == [True] * 3
    assert store.batches == [["a", "b", "c"]]


def test_what_has_written_nothing_does_not_count_as_quick() -> None:
    """Would break: one row that is refused, or one cancelled task, and three go at a time for a minute."""
    store = Store()

    async def scene(puts: TaskPuts) -> int:
        gathering = puts._gathering("t")
        gathering._limit = Limit(1, 10)
        gathering._limit.took(0.02, time.monotonic())
        for _ in range(20):
            with pytest.raises(WriteRefused):
                await puts.put("t", {"id": "bad"}, None)
        for _ in range(3):
            gathering._limit.took(0.02, time.monotonic())
        return gathering._limit.now

    assert run(store, scene) == 10


class Threadless(ThreadPoolExecutor):
    """As one whose process may not have more threads: it raises, and has taken the call."""

    def __init__(self) -> None:
        super().__init__(1)
        self.taken = list[Callable[[], object]]()

    def submit(self, call: Any, /, *_given: Any, **_named: Any) -> Any:
        self.taken.append(call)
        raise RuntimeError("can't start new thread")


def test_a_call_that_is_taken_and_refused_is_made_once() -> None:
    """Would break: a row is written again, long after its answer, over what somebody has written since."""
    store, threads = Store(), Threadless()
    del store.held["busy 0"]

    async def scene() -> None:
        puts = TaskPuts(store, threads, 1)  # type: ignore[arg-type]
        assert await puts.put("t", {"id": "a"}, None)
        assert await puts.put("t", {"id": "a"}, None)
        for call in threads.taken:
            call()

    asyncio.run(scene())
    assert store.alone == ["a", "a"]


def test_a_task_that_nobody_keeps_is_collected_while_its_gathering_is_locked() -> None:
    """Would break: a loop was closed with tasks that wait, Python collects them within the lock, and every put hangs."""
    store = Store()
    loop, threads = asyncio.new_event_loop(), ThreadPoolExecutor(THREADS + 1)
    puts = TaskPuts(store, threads, THREADS)  # type: ignore[arg-type]

    async def scene() -> None:
        await busy(puts, store)
        await begun(puts, "a", "b")

    loop.run_until_complete(scene())
    loop.close()
    gathering = puts._tables["t"]
    for event in store.held.values():
        event.set()
    threads.shutdown()
    assert store.batches == [["a", "b"]]

    def collect() -> None:
        with gathering._guard:
            gc.collect()

    collector = Thread(target=collect, daemon=True)
    collector.start()
    collector.join(20)
    assert not collector.is_alive()


def test_a_handler_of_a_signal_that_raises_leaves_no_task_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a time limit by a signal, and up to 63 tasks of others are never told."""
    store, end = Store(), task_puts._end

    class Interrupting(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            if told:
                yield from super().__iter__()
            yield from self[:2]
            raise TimeoutError("a handler's")

    def interrupted(answers: Sequence[Any]) -> None:
        monkeypatch.setattr(task_puts, "_end", end)
        try:
            end(Interrupting(answers))
        finally:
            told.append(sum(one.future.done() for one, _ in answers))

    told = list[int]()

    async def scene(puts: TaskPuts) -> list[bool]:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        await busy(puts, store)
        tasks = await begun(puts, *"abcdef")
        store.first = lambda: monkeypatch.setattr(task_puts, "_end", interrupted)
        store.held["busy 0"].set()
        return await asyncio.gather(*tasks)

    assert run(store, scene) == [True] * 6
    assert told == [2]


def test_a_handler_of_a_signal_that_raises_as_a_task_is_called_to_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: the task waits for ever, and no other one that waits long is ever called."""
    store, submit, now = Store(), TaskPuts._submit, [0.0]
    monkeypatch.setattr(gathering_module, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def interrupted(puts: TaskPuts, call: Any, table: str, one: Any) -> None:
        if one.row.values["id"] == "gone":
            raise TimeoutError("a handler's")
        submit(puts, call, table, one)

    monkeypatch.setattr(TaskPuts, "_submit", interrupted)

    async def scene(puts: TaskPuts) -> bool:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        await busy(puts, store)
        puts._gathering("t").patience = 0.01
        (gone,) = await begun(puts, "gone")
        now[0] = 1.0  # the places are stuck
        with pytest.raises(WriteRefusedNow, match="nothing was written"):
            await gone
        assert not puts._gathering("t")._called
        return await puts.put("t", {"id": "late"}, None)

    assert run(store, scene) is True
    assert "gone" not in store.alone


def test_a_handler_of_a_signal_that_raises_before_a_thread_has_the_put(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: its place is taken for good."""
    store = Store()

    def interrupted(*_: object) -> None:
        raise TimeoutError("a handler's")

    async def scene(puts: TaskPuts) -> int:
        monkeypatch.setattr(TaskPuts, "_submit", interrupted)
        with pytest.raises(TimeoutError):
            await puts.put("t", {"id": "gone"}, None)
        return len(puts._gathering("t")._places)

    assert run(store, scene) == 0


def test_an_error_that_no_future_takes_is_told_all_the_same() -> None:
    """Would break: the task waits for ever."""
    store = Store()
    del store.held["busy 0"]

    def stop(*_: object) -> bool:
        raise StopIteration

    store._put = stop  # type: ignore[method-assign, assignment]
    with pytest.raises(RuntimeError, match="StopIteration"):
        run(store, lambda puts: puts.put("t", {"id": "a"}, None))


def test_tasks_of_several_loops_share_a_store() -> None:
    """Would break: the row is written, and its task hears that a future belongs to another loop."""
    store = Store()

    async def scene(puts: TaskPuts) -> list[bool]:
        await busy(puts, store)
        tasks = await begun(puts, "a", "b")
        other = asyncio.to_thread(asyncio.run, puts.put("t", {"id": "c"}, None))
        elsewhere = asyncio.create_task(other)
        await asyncio.to_thread(until, lambda: len(puts._gathering("t")) == 3)
        store.held["busy 0"].set()
        return [*await asyncio.gather(*tasks), await elsewhere]

    assert run(store, scene) == [True] * 3
    assert store.batches == [["a", "b", "c"]]
