"""A table that changes under an open store: its schema is read again, once, and the call goes through; or it says what changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest
from support.dataapi.server import data_api, settings_of
from support.dual import Table, prepare
from support.places import Place
from support.prepared_places import home_of
from support.reverse import be_primary
from support.running_commands import until
from support.sql_writers import without_triggers

from sync.adapters.cassandra.rows.rows import SourceRows
from sync.errors import SyncError, WriteRefused
from sync.settings import Config, DualWriteTuning
from sync.stores import ApiDualWriteStore, AsyncDualWriteStore, CqlStore, DualWriteStore, PostgresStore

pytest_plugins = ("support.fixtures",)
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=4, heartbeat_seconds=0.3))
KEY = {"id": 1}
OPEN: dict[str, Callable[[Place], Any]] = {
    "cql": lambda home: CqlStore(home.settings),
    "dual": lambda home: DualWriteStore(home.settings, CONFIG),
}


home = home_of(CONFIG, first="id int PRIMARY KEY")


@pytest.fixture
def songs(home: Place) -> str:
    """A table with a column that will be dropped."""
    name = f"songs_{uuid4().hex[:8]}"
    home.cql(
        f"CREATE TABLE KS.{name} (id int PRIMARY KEY, title text, junk text, v vector<float, 2>)",
        f"CREATE CUSTOM INDEX ON KS.{name} (v) USING 'StorageAttachedIndex'",
    )
    prepare(home.settings, CONFIG, name)
    without_triggers(home)
    return name


@pytest.mark.parametrize("kind", OPEN)
def test_a_column_dropped_from_the_source(home: Place, songs: str, kind: str) -> None:
    """Would break: reads and writes fail until the process is restarted, though the error says "can be tried again"."""
    with OPEN[kind](home) as store:
        store.put(songs, {**KEY, "title": "a", "junk": "b", "v": [1.0, 0.0]})
        store.update(songs, KEY, {"title": "c", "junk": "d"})
        assert store.search(songs, "v", [1.0, 0.0], 1)
        home.cql(f"ALTER TABLE KS.{songs} DROP junk")
        assert store.get(songs, KEY) == {**KEY, "title": "c", "v": [1.0, 0.0]}
        assert store.put(songs, {**KEY, "title": "e", "v": [1.0, 0.0]})
        assert store.put_many(songs, [{"id": n, "title": "many"} for n in range(2, 5)])
        assert store.update(songs, {"id": 5}, {"title": "f"})
        ((found, _),) = store.search(songs, "v", [1.0, 0.0], 1)
        assert found == {**KEY, "title": "e", "v": [1.0, 0.0]}
        assert store.delete(songs, {"id": 5})
        assert store.count(songs) == 4
        with pytest.raises(WriteRefused, match=f"{songs}: junk is not a column"):
            store.put(songs, {**KEY, "junk": "x"})


@pytest.mark.parametrize("call", ["put", "put_many", "update", "delete", "search", "count"])
@pytest.mark.parametrize("kind", OPEN)
def test_the_first_call_behind_the_change_goes_through(home: Place, songs: str, kind: str, call: str) -> None:
    """Would break: the same, for each call."""
    calls: dict[str, Callable[[Any], object]] = {
        "put": lambda store: store.put(songs, {**KEY, "title": "e"}),
        "put_many": lambda store: store.put_many(songs, [{**KEY, "title": "e"}, {"id": 2}]),
        "update": lambda store: store.update(songs, KEY, {"title": "e"}),
        "delete": lambda store: store.delete(songs, KEY),
        "search": lambda store: store.search(songs, "v", [1.0, 0.0], 1),
        "count": lambda store: store.count(songs),
    }
    with OPEN[kind](home) as store:
        store.put(songs, {**KEY, "title": "a", "junk": "b", "v": [1.0, 0.0]})
        store.update(songs, KEY, {"title": "b"})
        store.search(songs, "v", [1.0, 0.0], 1)
        home.cql(f"ALTER TABLE KS.{songs} DROP junk")
        calls[call](store)


@pytest.mark.parametrize("change", ["added", "dropped"])
def test_put_many_meets_the_change_between_two_batches(
    home: Place, songs: str, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Would break: rows made before the change are written by what is known after it: a new column becomes null in Postgres
    alone, and nothing is left to reconcile it; or a batch is refused for a column that is gone."""
    whole = SourceRows.write_many
    with DualWriteStore(home.settings, CONFIG) as store, DualWriteStore(home.settings, CONFIG) as other:
        store.put(songs, {"id": 99})
        before = store._of(songs)

        def then_change(self: SourceRows, writes: Any) -> Any:
            ended = whole(self, writes)
            monkeypatch.setattr(SourceRows, "write_many", whole)
            if change == "added":
                home.sql(f'ALTER TABLE public."{songs}" ADD more int')
                home.cql(f"ALTER TABLE KS.{songs} ADD more int")
                until(lambda: puts(other, songs, {**KEY, "title": "b", "more": 5}), what="another store has heard of it")
            else:
                home.cql(f"ALTER TABLE KS.{songs} DROP junk")
            until(lambda: store._of(songs) is not before, what="the store has heard of it")
            return ended

        monkeypatch.setattr(SourceRows, "write_many", then_change)
        rows = [{"id": n, "title": title} for title in ("a", "c") for n in range(64)]  # the second batch waits for the first
        assert store.put_many(songs, rows)
        with CqlStore(home.settings) as source, PostgresStore(home.settings) as target:
            for n in range(64):
                found = {name: value for name, value in (target.get(songs, {"id": n}) or {}).items() if name[:5] != "_sync"}
                expected = source.get(songs, {"id": n}) or {}
                assert {**expected, "junk": None} == {**found, "junk": None}
                assert expected["title"] == "c"
        overtaken = int(change == "added")  # the first batch's row that the other store has put meanwhile: workers look at it
        assert home.sql(f"SELECT count(*) FROM sync.intent WHERE table_name = '{songs}'") == [(overtaken,)]


def test_many_threads_meet_the_change_at_once(home: Place, songs: str) -> None:
    """Would break: one of them reads the schema again, and the others are refused."""
    with DualWriteStore(home.settings, CONFIG) as store, ThreadPoolExecutor(8) as pool:
        store.put(songs, {**KEY, "title": "a", "junk": "b"})
        store.get(songs, KEY)
        home.cql(f"ALTER TABLE KS.{songs} DROP junk")
        puts = [pool.submit(store.put, songs, {"id": n, "title": "a"}) for n in range(40)]
        gets = [pool.submit(store.get, songs, KEY) for _ in range(40)]
        assert all(put.result() for put in puts)
        assert all(get.result() for get in gets)


def test_a_column_added_to_the_source(home: Place, songs: str) -> None:
    """Would break: the new column is refused until a restart; or a column that only the source has stops every write."""
    with CqlStore(home.settings) as plain, DualWriteStore(home.settings, CONFIG) as store:
        for opened in (plain, store):
            opened.put(songs, {**KEY, "title": "a"})
        home.cql(f"ALTER TABLE KS.{songs} ADD more int")
        assert plain.put(songs, {**KEY, "title": "a", "more": 1})
        assert plain.get(songs, KEY) == {**KEY, "title": "a", "junk": None, "v": None, "more": 1}
        until(lambda: "more" in (store.get(songs, KEY) or {}), what="it has heard of it")
        assert store.put(songs, {"id": 2, "title": "without it"}), "Postgres has no such column yet"
        with pytest.raises(WriteRefused, match=rf"{songs}: more is not a column; the table has changed: {songs}: .*more"):
            store.put(songs, {**KEY, "title": "a", "more": 2})
        home.sql(f'ALTER TABLE public."{songs}" ADD more int')
        until(lambda: puts(store, songs, {**KEY, "title": "a", "more": 2}), what="both have it")
        with PostgresStore(home.settings) as target:
            assert (target.get(songs, KEY) or {})["more"] == 2


def puts(store: Any, table: str, row: dict[str, Any]) -> bool:
    try:
        return bool(store.put(table, row))
    except WriteRefused:
        return False


def test_a_table_made_again(home: Place, songs: str) -> None:
    """Would break: a recreated table of another shape is written like the old one."""
    with CqlStore(home.settings) as store:
        store.put(songs, {**KEY, "title": "a"})
        store.get(songs, KEY)
        home.cql(f"DROP TABLE KS.{songs}")
        with pytest.raises(SyncError, match=f"there is no table '{songs}'"):
            store.get(songs, KEY)
        home.cql(f"CREATE TABLE KS.{songs} (id int PRIMARY KEY, title int)")
        until(lambda: puts(store, songs, {**KEY, "title": 7}), what="it has heard of it")
        assert store.get(songs, KEY) == {**KEY, "title": 7}


def test_postgres_alone(home: Place, songs: str) -> None:
    """Would break: psycopg's own error, or "cached plan must not change result type", for good."""
    with PostgresStore(home.settings) as store:
        for n in range(8):
            store.put(songs, {**KEY, "title": str(n), "junk": "b"})
            assert store.get(songs, KEY)
        home.sql(f'ALTER TABLE public."{songs}" DROP junk')
        assert store.get(songs, KEY) == {**KEY, "title": "7", "v": None} | sync_columns(store, songs)
        assert store.put(songs, {**KEY, "title": "a"})
        with pytest.raises(WriteRefused, match="junk is not a column"):
            store.put(songs, {**KEY, "junk": "x"})
        home.sql(f'ALTER TABLE public."{songs}" ADD more int')
        until(lambda: puts(store, songs, {**KEY, "title": "a", "more": 1}), what="a look a second")
        for n in range(8):
            assert (store.get(songs, KEY) or {})["more"] == 1, n
        home.sql(f'ALTER TABLE public."{songs}" ALTER more TYPE text, ALTER title TYPE varchar(20)')
        assert (store.get(songs, KEY) or {})["more"] == "1"
        home.sql(f'DROP TABLE public."{songs}"')
        until(
            lambda: f"there is no table '{songs}' in Postgres" in says(lambda: store.get(songs, KEY)), what="a look a second"
        )


def says(call: Callable[[], object]) -> str:
    with pytest.raises(SyncError) as raised:
        call()
    return str(raised.value)


def sync_columns(store: PostgresStore, table: str) -> dict[str, Any]:
    return {name: value for name, value in (store.get(table, KEY) or {}).items() if name.startswith("_sync")}


def test_postgres_where_it_is_primary(home: Place, songs: str) -> None:
    """Would break: every write is refused with "Postgres is primary and unreachable", for a column that is gone."""
    with closing(Table(home.cassandra, home.settings, CONFIG, songs)) as table:
        be_primary(table, "postgres")
        try:
            settings = home.settings.model_copy()
            settings.__pydantic_fields_set__.discard("storage_backend")
            with DualWriteStore(settings, CONFIG) as store:
                store.put(songs, {**KEY, "title": "a", "junk": "b"})
                home.sql(f'ALTER TABLE public."{songs}" DROP junk')
                assert "junk" not in (store.get(songs, KEY) or {"junk": 1})
                with pytest.raises(WriteRefused, match=rf"the table has changed: {songs}: .*junk"):
                    store.put(songs, {**KEY, "title": "c"})
                home.cql(f"ALTER TABLE KS.{songs} DROP junk")
                until(lambda: puts(store, songs, {**KEY, "title": "c"}), what="both sides are without it")
                assert store.update(songs, KEY, {"title": "d"})
                until(lambda: table.intents() == [], what="Cassandra has it")
        finally:
            be_primary(table, "astra")


def test_asyncio(home: Place, songs: str) -> None:
    """Would break: the same, awaited."""

    async def use() -> None:
        async with AsyncDualWriteStore(home.settings, CONFIG) as store:
            await store.put(songs, {**KEY, "title": "a", "junk": "b"})
            await store.get(songs, KEY)
            home.cql(f"ALTER TABLE KS.{songs} DROP junk")
            assert await store.get(songs, KEY) == {**KEY, "title": "a", "v": None}
            assert await store.put_many(songs, [{"id": n, "title": "b"} for n in range(9)])

    asyncio.run(use())


def test_the_data_api(home: Place, songs: str) -> None:
    """Would break: the same, over the Data API."""
    with data_api(home.cassandra.session) as api, ApiDualWriteStore(settings_of(home.settings, api), CONFIG) as store:
        store.put(songs, {**KEY, "title": "a", "junk": "b"})
        assert store.get(songs, KEY)
        home.cql(f"ALTER TABLE KS.{songs} DROP junk")
        assert store.put(songs, {**KEY, "title": "c"})
        assert store.get(songs, KEY) == {**KEY, "title": "c", "v": None}
        assert store.update(songs, KEY, {"title": "d"})
        with pytest.raises(WriteRefused, match="junk"):
            store.put(songs, {**KEY, "junk": "x"})


def test_a_refusal_stays_one_where_postgres_is_away_for_the_look(home: Place, songs: str) -> None:
    """Would break: a refused write fails with "Postgres is unreachable", which leaves open whether it was done."""
    with PostgresStore(home.settings) as store:
        store.count(songs)
        store.pool.close()
        with pytest.raises(WriteRefused, match="nothing is not a column"):
            store.update(songs, {"id": uuid4()}, {"nothing": 1})
