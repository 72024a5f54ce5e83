"""Stores in processes like those of applications: asyncio with many tasks, forked workers, many rows in one call."""

from __future__ import annotations

import asyncio
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from uuid import uuid4

import pytest
from support.backfills import until
from support.commands import environment
from support.dual import Table
from support.places import Place
from support.prepared_places import home_of
from support.reverse import be_primary
from support.sql_writers import without_triggers

from sync.errors import ForkedStore, StoreClosed, WriteRefused
from sync.settings import Config, DualWriteTuning
from sync.stores import AsyncDualWriteStore, CqlStore, DualWriteStore, PostgresStore

pytest_plugins = ("support.fixtures",)
CONNECTIONS = 6
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=CONNECTIONS, heartbeat_seconds=0.3))
OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
OURS = f"SELECT count(*) {OTHERS}"


home = home_of(CONFIG, songs="id uuid PRIMARY KEY, title text, year int")


@pytest.fixture
def table(home: Place) -> Iterator[Table]:
    """The table from outside; both sides are equal after every test."""
    with closing(Table(home.cassandra, home.settings, CONFIG, "songs")) as opened:
        yield opened
        opened.drained()
        opened.check_equal()


def test_200_tasks_share_one_store(home: Place, table: Table) -> None:
    """Would break: a task that waits blocks the loop; tasks share a connection, or each leaves one behind."""
    before = home.sql(OURS)[0][0]
    keys = [{"id": uuid4()} for _ in range(20)]

    async def one(store: AsyncDualWriteStore, n: int) -> None:
        key, own = keys[n % len(keys)], {"id": uuid4()}
        await store.put("songs", {**own, "title": "own", "year": n})
        await store.put("songs", {**key, "title": f"{n}", "year": n})
        await store.update("songs", own, {"title": "mine"})
        assert await store.get("songs", own) == {**own, "title": "mine", "year": n}
        with pytest.raises(WriteRefused):
            await store.put("songs", {"title": "no key"})

    async def run() -> int:
        most = 0
        async with AsyncDualWriteStore(home.settings, CONFIG) as store:
            tasks = [asyncio.create_task(one(store, n)) for n in range(200)]
            while not all(task.done() for task in tasks):
                most = max(most, await asyncio.to_thread(lambda: home.sql(OURS)[0][0]))
                await asyncio.sleep(0.02)  # the loop is free while they wait
            await asyncio.gather(*tasks)
            assert await store.put_many("songs", [{"id": uuid4(), "year": n} for n in range(20)])
            assert await store.count("songs") == 240
        return most

    most = asyncio.run(run())
    assert most - before <= CONNECTIONS + 2, "the heartbeat's, and the last look's, which may not be gone yet"
    try:
        until(lambda: home.sql(OURS)[0][0] <= before, what="every connection is gone")
    except AssertionError:
        left = home.sql(f"SELECT backend_type, application_name, state, backend_start, state_change, query {OTHERS}")
        raise AssertionError(f"{before} before, and now {left}") from None
    for key in keys:
        found = table.settled(table.key(**key))
        assert found is not None and found["title"] == str(found["year"]), "a row that nobody has put"


@pytest.mark.parametrize("backend", ["astra", "postgres", "both"])
def test_the_environment_says_which_store_is_awaited(
    home: Place, table: Table, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """Would break: an asyncio application has to be changed before, during or after the migration."""
    given = {**environment(home.settings), "STORAGE_BACKEND": "postgres" if backend == "postgres" else "astra"}
    given["SYNC_ALLOW_ONE_SIDED"] = str(backend != "both").lower()  # a migration is under way here
    for name, value in {**given, "SYNC_DUAL_WRITE": str(backend == "both").lower()}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SYNC_CONFIG", str(home.commands.folder / "sync.toml"))
    home.configure("schema_files = []")
    be_primary(table, given["STORAGE_BACKEND"])
    key = {"id": uuid4()}

    async def run() -> None:
        async with AsyncDualWriteStore() as store:
            await store.put("songs", {**key, "year": 1})
            assert await store.get("songs", key) == {**key, "year": 1, "title": None}

    asyncio.run(run())
    there = {"astra": table.source(table.key(**key)) is not None, "postgres": table.target(table.key(**key)) is not None}
    assert there == {"astra": backend != "postgres", "postgres": backend != "astra"}
    home.cql(f"DELETE FROM KS.songs WHERE id = {key['id']}")  # each side alone: away again
    table.sql("DELETE FROM songs WHERE id = %s", (key["id"],))
    be_primary(table, "astra")


def test_many_rows_at_once_keep_the_order_of_a_key(home: Place, table: Table) -> None:
    """Would break: an older row of a key wins because its thread was a little slower."""
    keys = [{"id": uuid4()} for _ in range(3)]

    async def run() -> None:
        async with AsyncDualWriteStore(home.settings, CONFIG) as store:
            rows = [{**keys[n % 3], "title": f"{n}", "year": n} for n in range(120)]
            assert await store.put_many("songs", rows)

    asyncio.run(run())
    assert [table.settled(table.key(**key)) for key in keys] == [{"title": f"{n}", "year": n} for n in (117, 118, 119)]


def test_many_rows_at_once_are_checked_before_any_is_written(home: Place, table: Table) -> None:
    """Would break: `WriteRefused` is raised by a call that has written half of its rows."""
    keys = [{"id": uuid4()} for _ in range(20)]

    async def run() -> None:
        async with AsyncDualWriteStore(home.settings, CONFIG) as store:
            with pytest.raises(WriteRefused, match="nothing is not a column"):
                await store.put_many("songs", [*({**key, "year": 1} for key in keys), {"id": uuid4(), "nothing": 1}])

    asyncio.run(run())
    assert all(table.source(table.key(**key)) is None for key in keys)


def test_a_store_that_closes_waits_for_the_calls_under_way(home: Place, table: Table) -> None:
    """Would break: a process signs off as clean while one of its threads writes (rule 29)."""
    begun, go = threading.Event(), threading.Event()
    key = {"id": uuid4()}
    store = DualWriteStore(home.settings, CONFIG)
    writer = store._registration.writer.id

    def slow() -> str:
        begun.set()
        go.wait(20)
        home.cql(f"INSERT INTO KS.songs (id, title) VALUES ({key['id']}, 'late')")
        return "done"

    with ThreadPoolExecutor(2) as executor:
        calling = executor.submit(store.call, [("songs", key)], slow, slow)
        begun.wait(20)
        ending = executor.submit(store.close)
        until(lambda: store._calls._closed, what="it is being closed")
        with pytest.raises(StoreClosed):
            store.put("songs", {"id": uuid4()})
        assert table.sql("SELECT state FROM sync.writer WHERE id = %s", (writer,)) == [("active",)]
        go.set()
        assert calling.result(20) == "done"
        ending.result(20)
    assert table.sql("SELECT state FROM sync.writer WHERE id = %s", (writer,)) == [("signed_off",)]
    assert table.target(table.key(**key)) == {"title": "late", "year": None}


def test_a_call_that_does_not_end_keeps_its_writer_registered(home: Place, table: Table) -> None:
    """Would break: a cut-over does not wait for a write that is still under way (rules 29 and 30)."""
    begun, go = threading.Event(), threading.Event()
    store = DualWriteStore(home.settings, CONFIG)
    writer, store._longest_call = store._registration.writer.id, 0.2
    key = {"id": uuid4()}

    def hangs() -> None:
        begun.set()
        go.wait(20)

    with ThreadPoolExecutor(1) as executor:
        calling = executor.submit(store.call, [("songs", key)], hangs, hangs)
        begun.wait(20)
        store.close()
        assert table.sql("SELECT state FROM sync.writer WHERE id = %s", (writer,)) == [("active",)]
        go.set()
        assert calling.exception(20) is None
    be_primary(table, "astra")
    table.sql("UPDATE sync.writer SET state = 'unclean' WHERE id = %s", (writer,))
    table.sql("UPDATE sync.intent SET state = 'finished'")


@pytest.mark.parametrize("kind", [DualWriteStore, CqlStore, PostgresStore])
def test_a_closed_store_says_so(home: Place, kind: type) -> None:
    """Would break: the error says "it will settle on both sides" of a write that was never sent."""
    store = kind(home.settings, CONFIG) if kind is DualWriteStore else kind(home.settings)
    store.close()
    store.close()
    for call in (
        lambda: store.put("songs", {"id": uuid4()}),
        lambda: store.put_many("songs", [{"id": uuid4()}]),
        lambda: store.update("songs", {"id": uuid4()}, {"year": 1}),
        lambda: store.delete("songs", {"id": uuid4()}),
        lambda: store.get("songs", {"id": uuid4()}),
        lambda: store.count("songs"),
    ):
        with pytest.raises(StoreClosed, match="nothing was sent"):
            call()


def test_a_store_that_is_not_open_says_so(home: Place) -> None:
    """Would break: an AttributeError from the inside."""
    with pytest.raises(RuntimeError, match="async with"):
        asyncio.run(AsyncDualWriteStore(home.settings, CONFIG).count("songs"))


def in_a_fork(act: Callable[[], None]) -> int:
    """Run this in a forked process, like gunicorn's workers; return its exit code."""
    child = os.fork()
    if not child:
        try:
            act()
            os._exit(0)
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_forked_workers_open_stores_of_their_own(home: Place, table: Table) -> None:
    """Would break: what was imported or closed before the fork does not work after it."""
    with DualWriteStore(home.settings, CONFIG) as store:  # the master looked at something and closed it
        store.count("songs")
    ids = [uuid4() for _ in range(3)]

    def work() -> None:
        with DualWriteStore(home.settings, CONFIG) as own:
            for key in ids:
                assert own.put("songs", {"id": key, "title": str(os.getpid())})

    for _ in range(2):
        assert in_a_fork(work) == 0
    assert len({table.settled(table.key(id=key))["title"] for key in ids}) == 1  # type: ignore[index]
    assert home.sql("SELECT count(*) FROM sync.writer WHERE state = 'active' AND id NOT LIKE 'test:%'") == [(0,)]


@pytest.mark.parametrize("make", [CqlStore, PostgresStore, lambda settings: DualWriteStore(settings, CONFIG)])
def test_a_store_from_before_the_fork_is_refused(home: Place, table: Table, make: Callable[..., DualWriteStore]) -> None:
    """Would break: two processes on one connection read each other's answers."""
    without_triggers(home)
    with make(home.settings) as store:
        key = {"id": uuid4()}
        store.put("songs", {**key, "year": 1})

        def use() -> None:
            for call in (
                lambda: store.put("songs", {**key, "year": 2}),
                lambda: store.put_many("songs", [{**key, "year": 2}]),
                lambda: store.update("songs", key, {"year": 2}),
                lambda: store.delete("songs", key),
                lambda: store.get("songs", key),
                lambda: store.count("songs"),
                lambda: store.search("songs", "title", [1.0]),
            ):
                with pytest.raises(ForkedStore, match="post_fork"):
                    call()
            store.close()  # must not touch its parent's connections

        assert in_a_fork(use) == 0
        assert store.update("songs", key, {"title": "the parent's own still works"})
        assert (store.get("songs", key) or {})["year"] == 1
    if make is PostgresStore:  # written to one side alone
        table.sql("DELETE FROM songs WHERE id = %s", (key["id"],))
    if make is CqlStore:
        home.cql(f"DELETE FROM KS.songs WHERE id = {key['id']}")


def test_of_many_rows_the_last_of_a_key_counts(home: Place, table: Table) -> None:
    """Would break: rows of one key are written at the same time, and any of them may be the last."""
    ids = [uuid4() for _ in range(5)]
    with DualWriteStore(home.settings, CONFIG) as store:
        for _ in range(3):
            assert store.put_many("songs", [{"id": key, "year": n} for n in range(8) for key in ids])
            assert {(store.get("songs", {"id": key}) or {})["year"] for key in ids} == {7}
    assert {row["year"] for row in map(table.settled, (table.key(id=key) for key in ids)) if row} == {7}
