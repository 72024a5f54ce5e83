"""Transactions of the store for asyncio: one is one thread's, and its end comes whatever becomes of the task."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from support.dual import Table
from support.places import Place
from support.prepared_places import home_of
from support.reverse import be_primary, both

from sync.errors import NotSupported, StoreClosed, WriteRefused, WriteRefusedNow
from sync.settings import Config, DualWriteTuning
from sync.stores import AsyncDualWriteStore, Transaction
from sync.stores.both_sides.async_transaction import AsyncTransaction

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=4, heartbeat_seconds=0.2, max_wait_seconds=3))
LISTENS = "CREATE TABLE IF NOT EXISTS listens (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, song uuid NOT NULL)"
LISTEN = "INSERT INTO listens (song) VALUES (%s)"
IN_TRANSACTION = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"
Key = dict[str, UUID]

home = home_of(CONFIG, songs="id uuid PRIMARY KEY, title text, year int")


@pytest.fixture
def table(home: Place) -> Iterator[Table]:
    """Songs; Postgres is primary, and nothing is open."""
    with closing(Table(home.cassandra, home.settings, CONFIG, "songs")) as opened:
        opened.sql("DELETE FROM sync.intent; DELETE FROM sync.sql_change")
        opened.sql("UPDATE sync.writer SET state = 'signed_off'")
        opened.sql(LISTENS)
        be_primary(opened, "postgres")
        yield opened
        assert opened.sql(IN_TRANSACTION) == [(0,)]


@pytest.fixture
def key() -> Key:
    return {"id": uuid4()}


def opened(home: Place) -> AsyncDualWriteStore:
    return AsyncDualWriteStore(home.settings.model_copy(update={"storage_backend": "postgres"}), CONFIG)


def listens(table: Table, key: Key) -> int:
    return int(table.sql("SELECT count(*) FROM listens WHERE song = %s", (key["id"],))[0][0])


def test_it_has_the_same_methods() -> None:
    """Would break: a method that an application on asyncio does not have, or that takes other arguments."""
    for name, method in inspect.getmembers(Transaction, inspect.isfunction):
        if not name.startswith("_"):
            other = inspect.signature(getattr(AsyncTransaction, name))
            assert list(other.parameters.values()) == list(inspect.signature(method).parameters.values()), name


def test_it_commits_all_or_nothing(home: Place, table: Table, key: Key) -> None:
    """Would break: an awaited transaction is none."""

    async def run() -> None:
        async with opened(home) as store:
            async with store.transaction() as tx:
                assert await tx.put("songs", {**key, "title": "a"}) is True
                assert await tx.insert("songs", {**key, "title": "b"}) is False
                assert await tx.update("songs", key, {"year": 1}) is True
                await tx.execute(LISTEN, (key["id"],))
                assert await tx.run(lambda connection: connection.info.transaction_status.name) == "INTRANS"
                assert await tx.get_many("songs", [key]) == [{**key, "title": "a", "year": 1}]
                assert {**key, "title": "a", "year": 1} in [row async for row in await tx.scan("songs", page_rows=1)]
                assert await store.get("songs", key) is None
            other = {"id": uuid4()}
            with pytest.raises(ZeroDivisionError):
                async with store.transaction() as tx:
                    await tx.put_many("songs", [other])
                    await tx.delete("songs", key)
                    _ = 1 / 0
            async with store.transaction() as tx:
                await tx.put_many("songs", [other])
                raise psycopg.Rollback
            with pytest.raises(StoreClosed):
                await tx.get("songs", key)
            assert await store.get_many("songs", [key, other]) == [{**key, "title": "a", "year": 1}, None]

    asyncio.run(run())
    table.drained()
    assert both(table, table.key(**key)) == ({"title": "a", "year": 1},) * 2
    assert listens(table, key) == 1


def test_before_the_cut_over_it_is_refused(home: Place, table: Table) -> None:
    """Would break: an error that only a server's log has."""
    be_primary(table, "astra")

    async def run() -> None:
        async with AsyncDualWriteStore(home.settings, CONFIG) as store:
            with pytest.raises(NotSupported, match="after the cut-over"):
                async with store.transaction():
                    raise AssertionError

    asyncio.run(run())


def test_many_tasks_at_once(home: Place, table: Table) -> None:
    """Would break: transactions hold all connections, and their own statements, or other calls, wait for a thread for ever."""
    keys = [{"id": uuid4()} for _ in range(100)]

    async def run() -> None:
        async with opened(home) as store:

            async def one(key: Key) -> None:
                async with store.transaction() as tx:
                    await tx.put("songs", {**key, "title": "a"})
                    await asyncio.sleep(0.01)
                    await tx.execute(LISTEN, (key["id"],))
                assert await store.update("songs", key, {"year": 1}) is True

            await asyncio.gather(*map(one, keys))

    asyncio.run(run())
    table.drained()
    for each in keys:
        assert both(table, table.key(**each)) == ({"title": "a", "year": 1},) * 2
        assert listens(table, each) == 1


def test_one_within_another_is_refused(home: Place, table: Table, key: Key) -> None:
    """Would break: as many as there are connections, each waiting for one more, wait for ever."""

    async def run() -> None:
        async with opened(home) as store:

            async def another() -> None:
                async with store.transaction():
                    raise AssertionError

            async with store.transaction() as tx:
                await tx.put("songs", key)
                with pytest.raises(WriteRefused, match="use a savepoint"):
                    await another()

            async def waiting_for_another() -> None:
                async with store.transaction():
                    await asyncio.create_task(another())

            answers = await asyncio.gather(*(waiting_for_another() for _ in range(4)), return_exceptions=True)
            assert {type(answer) for answer in answers} <= {WriteRefusedNow, AssertionError}
            assert WriteRefusedNow in {type(answer) for answer in answers}, answers
            async with store.transaction() as tx:
                await tx.put("songs", key)

    asyncio.run(run())


@pytest.mark.parametrize("at", ["begin", "statement", "pause"])
def test_a_task_that_is_cancelled_rolls_it_back(home: Place, table: Table, key: Key, at: str) -> None:
    """Would break: its locks are held on, or a rollback comes into the middle of a statement and its connection is lost."""

    async def work(store: AsyncDualWriteStore, begun: asyncio.Event) -> None:
        if at == "begin":
            begun.set()
        async with store.transaction() as tx:
            await tx.put("songs", {**key, "title": "a"})
            begun.set()
            await (tx.execute("SELECT pg_sleep(0.5)") if at == "statement" else asyncio.sleep(60))

    async def run() -> None:
        async with opened(home) as store:
            for _ in range(8):  # more than there are connections
                begun = asyncio.Event()
                task = asyncio.create_task(work(store, begun))
                await begun.wait()
                await asyncio.sleep(0.001 if at == "begin" else 0.05)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            async with store.transaction() as tx:
                assert await tx.get("songs", key) is None
                await tx.put("songs", {**key, "title": "b"})

    asyncio.run(run())
    table.drained()
    assert both(table, table.key(**key)) == ({"title": "b", "year": None},) * 2


def test_a_cancelled_end_is_an_end(home: Place, table: Table, key: Key) -> None:
    """Would break: a COMMIT that nobody waits for any more is never sent, and the key stays locked."""

    async def run() -> Any:
        async with opened(home) as store:

            async def work() -> None:
                async with store.transaction() as tx:
                    await tx.put("songs", {**key, "title": "a"})
                    asyncio.get_running_loop().call_soon(task.cancel)

            task = asyncio.create_task(work())
            with pytest.raises(asyncio.CancelledError):
                await task
            await store.update("songs", key, {"year": 1})
            return await store.get("songs", key)

    assert asyncio.run(run()) == {**key, "title": "a", "year": 1}
    table.drained()
    assert both(table, table.key(**key)) == ({"title": "a", "year": 1},) * 2
