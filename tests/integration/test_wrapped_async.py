"""A wrapped class of coroutine functions; a task that is cancelled anywhere leaves no key open, and none different."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from typing import Any
from uuid import UUID, uuid4

import pytest
from support.backfills import until
from support.breakers import open_breaker
from support.commands import environment
from support.dual import WINDOW_PASSES, Table
from support.places import Place
from support.prepared_places import home_of
from support.reverse import be_primary
from support.sql_writers import RECHECK
from support.wrapped import WRITES, AsyncSongs, NewSongs, OldSongs, Songs

from sync.adapters.postgres.connection.pool import open_pool
from sync.adapters.postgres.dual_write.announcements import Announcements
from sync.errors import SettingsError, StoreClosed, WriteRefused
from sync.flows.wrapped_write import WrappedWrite
from sync.settings import Config, DualWriteTuning
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=4, heartbeat_seconds=0.2))
home = home_of(CONFIG, songs="id uuid PRIMARY KEY, title text", titles="title text PRIMARY KEY, song uuid")


class Scene:
    """Both tables, and the application's classes."""

    def __init__(self, home: Place, songs: Table, titles: Table, new: NewSongs) -> None:
        self.home, self.tables = home, (songs, titles)
        self.old, self.new = OldSongs(home.cassandra.session, home.keyspace), new

    def be_primary(self, primary: str) -> None:
        for table in self.tables:
            be_primary(table, primary)
            table.epoch = table.sql("SELECT max(epoch) FROM sync.epoch")[0][0]

    def intents(self) -> list[tuple[str, str]]:
        return [intent for table in self.tables for intent in table.intents()]

    def run(self, body: Callable[[Any, AsyncSongs], Awaitable[None]], toml: str = "") -> None:
        """Run this with the wrapped class, and the class of the source beneath it."""

        async def main() -> None:
            self.home.configure(f"schema_files = []\n[dual_write]\nheartbeat_seconds = 0.2\nconnections = 4\n{toml}")
            old, new = AsyncSongs(self.old), AsyncSongs(self.new)
            async with DualWriteStore.wrap(old, new, WRITES) as store:
                await body(store, old)

        asyncio.run(main())

    def settled(self) -> int:
        """Drain all once no call can land any more; both sides must be equal. How many rows there are."""
        self.tables[0].sql(WINDOW_PASSES)
        for table in self.tables:
            table.drained()
        return sum(table.check_equal() for table in self.tables)


@pytest.fixture
def scene(home: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    for name, value in environment(home.settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("STORAGE_BACKEND", raising=False)
    monkeypatch.setenv("SYNC_CONFIG", str(home.commands.folder / "sync.toml"))
    with (
        closing(Table(home.cassandra, home.settings, CONFIG, "songs")) as songs,
        closing(Table(home.cassandra, home.settings, CONFIG, "titles")) as titles,
        closing(open_pool(home.settings, 4)) as pool,
    ):
        songs.sql("DELETE FROM sync.intent; DELETE FROM sync.sql_change")
        songs.sql("UPDATE sync.writer SET state = 'signed_off'")
        made = Scene(home, songs, titles, NewSongs(pool))
        made.be_primary("astra")
        yield made


def new_titles(count: int = 4) -> dict[UUID, str | None]:
    return {uuid4(): f"of {number}: {uuid4()}" for number in range(count)}


async def eventually(true: Callable[[], bool]) -> None:
    await asyncio.to_thread(until, true)


@pytest.mark.parametrize("primary", ["astra", "postgres"])
def test_calls_are_awaited_and_both_sides_made_equal(scene: Scene, primary: str) -> None:
    """Would break: the coroutine is returned, not awaited, and its key read before it is written."""
    scene.be_primary(primary)

    async def body(store: Any, _: AsyncSongs) -> None:
        many = [new_titles() for _ in range(30)]
        assert await asyncio.gather(*(store.save(titles) for titles in many)) == [4] * 30
        # A call may find the changes that its SQL has told of under way in another call: that one's rechecks are left to workers.
        assert [each for each in scene.intents() if primary == "astra" or each != RECHECK] == []
        for titles in many[:3]:
            for song, title in titles.items():
                assert await store.title(song) == title == scene.old.title(song) == scene.new.title(song)

    scene.run(body)
    assert scene.settled() >= 240


def test_the_event_loop_is_not_held_up(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: while one task waits for Postgres, or for a switch, all others stand still."""
    loops, announce = set(), Announcements.announce

    def announcing(self: Announcements, keys: Any) -> Any:
        loops.add(threading.current_thread() is threading.main_thread())
        return announce(self, keys)

    def reconciling(self: WrappedWrite, keys: Any) -> None:
        loops.add(threading.current_thread() is threading.main_thread())

    monkeypatch.setattr(Announcements, "announce", announcing)
    monkeypatch.setattr(WrappedWrite, "reconcile", reconciling)

    async def body(store: Any, _: AsyncSongs) -> None:
        await store.save(new_titles())

    scene.run(body)
    assert loops == {False}
    scene.settled()


def test_rule_21_calls_end_while_others_wait_for_a_switch(scene: Scene) -> None:
    """Would break: all threads wait for the switch, which waits for calls that have no thread to say that they have ended."""

    async def body(store: Any, old: AsyncSongs) -> None:
        old.gate.clear()
        under_way = asyncio.create_task(store.save(new_titles()))
        await old.entered.wait()
        scene.tables[0].sql("UPDATE sync.epoch SET state = 'closing', closing_until = clock_timestamp() + interval '1 hour'")
        await eventually(lambda: store._calls._registration.epoch.state == "closing")
        waiting = [asyncio.create_task(store.save(new_titles())) for _ in range(20)]
        old.gate.set()
        assert await under_way == 4
        assert scene.intents() == []
        scene.tables[0].sql("UPDATE sync.epoch SET state = 'open' WHERE epoch = (SELECT max(epoch) FROM sync.epoch)")
        assert await asyncio.gather(*waiting) == [4] * 20

    scene.run(body)
    scene.settled()


def test_a_cancellation_before_the_call_leaves_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: what a thread announces for a task that is gone stays open as long as the process lives."""
    announcing, go = threading.Event(), threading.Event()
    announce = Announcements.announce

    def slowly(self: Announcements, keys: Any) -> Any:
        announcing.set()
        assert go.wait(30)
        return announce(self, keys)

    monkeypatch.setattr(Announcements, "announce", slowly)
    titles = new_titles()

    async def body(store: Any, old: AsyncSongs) -> None:
        task = asyncio.create_task(store.save(titles))
        await asyncio.to_thread(announcing.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()
        await eventually(lambda: not store._calls._calls._under_way.total())
        assert scene.intents() == []
        assert not old.entered.is_set()

    scene.run(body)
    assert [scene.old.title(song) for song in titles] == [None] * 4
    scene.settled()


def test_a_cancellation_of_what_waits_for_a_thread_leaves_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: the announcement is made long after its task was cancelled, and its call never."""
    go, announced, announce = threading.Event(), [], Announcements.announce

    def slowly(self: Announcements, keys: Any) -> Any:
        announced.append(len(keys))
        assert go.wait(30)
        return announce(self, keys)

    monkeypatch.setattr(Announcements, "announce", slowly)

    async def body(store: Any, _: AsyncSongs) -> None:
        tasks = [asyncio.create_task(store.save(new_titles())) for _ in range(9)]
        await eventually(lambda: len(announced) == 4)
        for task in tasks:
            task.cancel()
        assert all(isinstance(e, asyncio.CancelledError) for e in await asyncio.gather(*tasks, return_exceptions=True))
        go.set()
        await eventually(lambda: not store._calls._calls._under_way.total())
        assert scene.intents() == []

    scene.run(body)
    assert len(announced) == 4
    scene.settled()


@pytest.mark.parametrize("again", [False, True])
def test_rule_17_a_cancellation_during_the_call_leaves_its_keys_unsure(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """Would break: half of the call was made, and its keys stay open, or are read before the other half has landed."""
    titles, marking, mark = new_titles(), threading.Event(), WrappedWrite.mark

    def slowly(self: WrappedWrite, *args: Any) -> Any:
        marking.set()
        until(lambda: not again or cancelled.is_set())
        return mark(self, *args)

    monkeypatch.setattr(WrappedWrite, "mark", slowly)
    cancelled = threading.Event()

    async def body(store: Any, old: AsyncSongs) -> None:
        old.gate.clear()
        task = asyncio.create_task(store.save(titles))
        await old.entered.wait()
        task.cancel()
        if again:
            await asyncio.to_thread(marking.wait)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        cancelled.set()
        await eventually(lambda: not store._calls._calls._under_way.total())
        assert scene.intents() == [("recheck", "unsure")] * 8

    scene.run(body)
    scene.settled()
    assert [scene.new.title(song) for song in titles] == [*list(titles.values())[:2], None, None]


def test_a_timeout_of_the_caller_is_such_a_cancellation(scene: Scene) -> None:
    """Would break: `asyncio.timeout` does not see its own cancellation come back."""

    async def body(store: Any, old: AsyncSongs) -> None:
        async def elapse(limit: asyncio.Timeout) -> None:
            await old.entered.wait()
            limit.reschedule(asyncio.get_running_loop().time())

        old.gate.clear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as group:
                group.create_task(elapse(limit))
                await store.save(new_titles())
        assert scene.intents() == [("recheck", "unsure")] * 8

    scene.run(body)
    scene.settled()


def test_a_cancellation_after_the_call_lets_it_end(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a call that was done is not marked, or its keys are not made equal."""
    titles, marking, go, mark = new_titles(), threading.Event(), threading.Event(), WrappedWrite.mark

    def slowly(self: WrappedWrite, *args: Any) -> Any:
        marking.set()
        assert go.wait(30)
        return mark(self, *args)

    monkeypatch.setattr(WrappedWrite, "mark", slowly)

    async def body(store: Any, _: AsyncSongs) -> None:
        task = asyncio.create_task(store.save(titles))
        await asyncio.to_thread(marking.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()
        await eventually(lambda: not store._calls._calls._under_way.total())
        assert scene.intents() == []

    scene.run(body)
    assert [scene.new.title(song) for song in titles] == list(titles.values())
    scene.settled()


def test_an_event_loop_that_ends_in_the_middle_leaves_keys_unsure(scene: Scene) -> None:
    """Would break: a coroutine that is thrown away, with its loop, never says how its call ended."""
    stores: list[Any] = []
    scene.home.configure("schema_files = []\n[dual_write]\nheartbeat_seconds = 0.2\n")

    async def main() -> Any:
        old = AsyncSongs(scene.old)
        old.gate.clear()
        store = DualWriteStore.wrap(old, AsyncSongs(scene.new), WRITES)
        stores.append(store)
        call = store.save(new_titles())
        task = asyncio.create_task(call)
        await old.entered.wait()
        return task

    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(main())
    task.get_coro().close()
    loop.close()
    with stores[0]:
        until(lambda: scene.intents() == [("recheck", "unsure")] * 8)
    scene.settled()


def test_an_error_of_the_call_is_the_callers(scene: Scene) -> None:
    """Would break: the caller gets another error, or the keys are taken for written."""

    async def body(store: Any, _: AsyncSongs) -> None:
        scene.old.fail_after = 1
        with pytest.raises(TimeoutError, match="the driver gave up waiting"):
            await store.save(new_titles())
        scene.old.fail_after = None
        assert scene.intents() == [("recheck", "unsure")] * 8

    scene.run(body)
    scene.settled()


def test_a_closed_store_sends_nothing(scene: Scene) -> None:
    """Would break: an error of a pool of threads, or a call that never returns."""
    stores: list[Any] = []

    async def body(store: Any, _: AsyncSongs) -> None:
        stores.append(store)

    scene.run(body)
    with pytest.raises(StoreClosed):
        asyncio.run(stores[0].save(new_titles()))


def test_without_a_journal_nothing_or_everything(scene: Scene) -> None:
    """Would break: what is awaited while Postgres is away is not counted as unrecorded (rules 28 and 31)."""
    titles = new_titles()

    async def body(store: Any, old: AsyncSongs) -> None:
        await store.save(new_titles())
        registration = store._calls._registration
        old.gate.clear()
        old.entered.clear()
        with open_breaker(registration.breaker):
            task = asyncio.create_task(store.save(titles))
            await old.entered.wait()
        assert registration.write_behind.unrecorded_count == 1, "a call that was accepted and is under way"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(lambda: registration.write_behind.unrecorded_count == 0)
        assert scene.intents() == [("recheck", "unsure")] * 8

    scene.run(body)
    scene.settled()
    assert [scene.new.title(song) for song in titles] == [*list(titles.values())[:2], None, None]


class Hidden(Songs):
    """Returns a coroutine, and does not say so."""

    def save(self, titles: Any) -> Any:
        return AsyncSongs(self).save(titles)


def test_a_coroutine_that_nobody_announced_is_an_error(scene: Scene) -> None:
    """Would break: its end is recorded before it was begun."""
    scene.home.configure("schema_files = []\n")
    with (
        DualWriteStore.wrap(Hidden(), Hidden(), WRITES) as store,
        pytest.raises(SettingsError, match="returned an awaitable"),
    ):
        store.save(new_titles())
    scene.settled()


def test_an_asynchronous_store_is_closed_by_async_with_alone(scene: Scene) -> None:
    """Would break: `async with` over synchronous classes blocks the loop and says nothing."""
    scene.home.configure("schema_files = []\n")

    async def main() -> None:
        async with DualWriteStore.wrap(scene.old, scene.new, WRITES):
            pass

    with pytest.raises(SettingsError, match="no coroutine functions"):
        asyncio.run(main())


def test_a_refusal_is_raised_before_the_call(scene: Scene) -> None:
    """Would break: the error of an announcement is lost with its thread."""

    async def body(store: Any, old: AsyncSongs) -> None:
        store._calls._registration.breaker.threshold = 0  # open, whatever a heartbeat says
        with pytest.raises(WriteRefused, match="nothing was written"):
            await store.save(new_titles())
        assert not old.entered.is_set()

    scene.run(body, 'on_postgres_down = "refuse"\n')
