"""`delete_many`: the same rows go from every store, whoever is primary, while tables are copied and switched."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from support.dataapi.server import data_api, settings_of
from support.dual import Table, prepare
from support.partitions import TABLE, settled
from support.places import NewPlace, Place
from support.reverse import be_primary
from support.running_commands import until

from sync.adapters.postgres.backfill.range_ledger import RangeLedger
from sync.adapters.postgres.connection.connect import connect
from sync.core.mutations import Mutation
from sync.core.ring import WHOLE_RING
from sync.errors import NotSupported, QueryNotSupported, WriteRefused, WriteRefusedNow
from sync.settings import Config, DualWriteTuning
from sync.stores import ApiDualWriteStore, AstraStore, AsyncDualWriteStore, CqlStore, DualWriteStore, PostgresStore
from sync.wiring.backfill.worker import copy_job

pytest_plugins = ("support.fixtures",)
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=8, heartbeat_seconds=0.2))
PLAIN = "CREATE TABLE KS.plain (id int PRIMARY KEY, a text)"
Row = dict[str, Any]


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as place:
        place.cql(TABLE, PLAIN)
        prepare(place.settings, CONFIG, "plays", "plain")
        yield place


@pytest.fixture(scope="module")
def table(home: Place) -> Iterator[Table]:
    with closing(Table(home.cassandra, home.settings, CONFIG, "plays")) as opened:
        yield opened


@pytest.fixture(scope="module", params=["astra", "postgres"])
def dual(request: pytest.FixtureRequest, home: Place, table: Table) -> Iterator[DualWriteStore]:
    table.at_rest()
    be_primary(table, request.param)
    with DualWriteStore(home.settings.model_copy(update={"storage_backend": request.param}), CONFIG) as store:
        yield store


@pytest.fixture(scope="module")
def cql(home: Place) -> Iterator[CqlStore]:
    with CqlStore(home.settings) as store:
        yield store


@pytest.fixture(scope="module")
def postgres(home: Place) -> Iterator[PostgresStore]:
    with PostgresStore(home.settings) as store:
        yield store


def ended(table: Table) -> None:
    """Wait until what the store sends in the background has ended."""
    until(lambda: table.sql("SELECT count(*) FROM sync.intent") == [(0,)])


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ({}, "whole partition key"),
        ({"day": 1}, "whole partition key"),
        ({"room": {">": "a"}}, "not by a range"),
        ({"room": "r", "song": "x"}, "song follows day"),
        ({"room": "r", "day": {">": 1}, "song": "x"}, "song follows day"),
        ({"room": "r", "a": "1"}, "a is not part of the key"),
        ({"room": "r", "nothing": "1"}, "nothing is not part of the key"),
        ({"room": "r", "day": None}, "null"),
        ({"room": None}, "null"),
    ],
)
def test_other_rows_are_refused_by_every_store(
    dual: DualWriteStore, cql: CqlStore, postgres: PostgresStore, where: Row, why: str
) -> None:
    """Would break: a typing mistake deletes more than was meant, on one side or on both."""
    for store in (cql, postgres, dual):
        with pytest.raises(QueryNotSupported, match=why):
            store.delete_many("plays", where)


def test_a_value_of_another_type_is_refused(dual: DualWriteStore, cql: CqlStore) -> None:
    """Would break: it is refused after one side has deleted."""
    for store in (cql, dual):
        with pytest.raises(WriteRefused, match="day takes int"):
            store.delete_many("plays", {"room": "r", "day": {">": "x"}})


def test_a_row_by_its_whole_key(dual: DualWriteStore, cql: CqlStore, postgres: PostgresStore, table: Table) -> None:
    """Would break: a table whose partitions have one row each needs another method."""
    dual.put("plain", {"id": 1, "a": "x"})
    dual.put("plays", {"room": "whole", "day": 1, "song": "x", "a": "1"})
    assert dual.delete_many("plain", {"id": 1})
    assert dual.delete_many("plays", {"room": "whole", "day": 1, "song": "x"})
    ended(table)
    for store in (cql, postgres):
        assert store.get("plain", {"id": 1}) is None
        assert list(store.find("plays", {"room": "whole"})) == []


def test_over_asyncio(home: Place, dual: DualWriteStore, cql: CqlStore) -> None:
    """Would break: an asynchronous application has no such call."""
    dual.put_many("plays", [{"room": "loop", "day": day, "song": "x"} for day in range(3)])

    async def main() -> None:
        settings = home.settings.model_copy(update={"storage_backend": dual.primary})
        async with AsyncDualWriteStore(settings, CONFIG) as store:
            assert await store.delete_many("plays", {"room": "loop", "day": {"<": 2}})
            assert [row["day"] async for row in await store.find("plays", {"room": "loop"})] == [2]

    asyncio.run(main())


def test_through_the_data_api_it_is_refused(home: Place, table: Table) -> None:
    """Would break: rows of one side are deleted without a record."""
    table.at_rest()
    be_primary(table, "astra")
    with data_api(home.cassandra.session) as api:
        settings = settings_of(home.settings, api)
        with AstraStore(settings) as single, ApiDualWriteStore(settings, CONFIG) as both:
            for store in (single, both):
                with pytest.raises(NotSupported, match="Data API"):
                    store.delete_many("plays", {"room": "r"})


def test_without_postgres_it_is_refused(home: Place, table: Table) -> None:
    """Would break: what only Postgres knows of the partition is not exceeded, and the delete leaves rows of a fast clock."""
    table.at_rest()
    be_primary(table, "astra")
    with DualWriteStore(home.settings, CONFIG) as store:
        store.put("plays", {"room": "away", "day": 1, "song": "x", "a": "1"})
        store._registration.breaker.failures = 99
        with pytest.raises(WriteRefusedNow, match="nothing was written"):
            store.delete_many("plays", {"room": "away"})
        assert len(settled(table, "away")) == 1


def test_ranges_that_overlap_and_rows_beside_them(home: Place, table: Table) -> None:
    """Would break: the delete of one range is taken for that of another, or a row just outside of it goes."""
    table.at_rest()
    be_primary(table, "astra")
    room = str(uuid4())
    with DualWriteStore(home.settings, CONFIG) as store:
        store.put_many("plays", [{"room": room, "day": day, "song": "x", "a": "1"} for day in range(10)])
        assert store.delete_many("plays", {"room": room, "day": {">=": 2, "<": 6}})
        store.put("plays", {"room": room, "day": 6, "song": "y", "a": "2"})
        assert store.delete_many("plays", {"room": room, "day": {">": 3, "<=": 7}})
        store.put("plays", {"room": room, "day": 4, "song": "x", "a": "3"})
    assert {day for day, _ in settled(table, room)} == {0, 1, 4, 8, 9}


@pytest.mark.slow
@pytest.mark.parametrize("primary", ["astra", "postgres"])
def test_100000_rows_in_one_call(home: Place, table: Table, primary: str) -> None:
    """Would break: the delete of a large partition runs into a timeout, and holds up writers for longer than they wait."""
    table.at_rest()
    be_primary(table, primary)
    room = uuid4().hex
    table.sql(
        "INSERT INTO plays (room, day, song, a, _sync_token, _sync_version) "
        "SELECT %s, n, 'x', 'a', %s, 1 FROM generate_series(1, 100000) AS n",
        (room, table.cells.first_columns({"room": room}).token),
    )
    rows_in = [table.key(room=room, day=day, song="x") for day in (1, 50_000, 100_000)]
    for key in rows_in:
        assert table.rows.write(Mutation("put", key, table.cells.row({"a": "a"})), 1) == ("written", "")
    with DualWriteStore(home.settings.model_copy(update={"storage_backend": primary}), CONFIG) as store:
        assert store.delete_many("plays", {"room": room, "day": {">": 1}})
        assert store.put("plays", {"room": room, "day": 2, "song": "x", "a": "b"})
    table.at_rest()
    assert table.sql("SELECT day FROM plays WHERE room = %s ORDER BY day", (room,)) == [(1,), (2,)]
    assert [table.source(key) is not None for key in rows_in] == [True, False, False]
    table.sql("DELETE FROM plays WHERE room = %s", (room,))


@pytest.mark.slow
def test_partitions_are_deleted_and_written_while_their_range_is_copied(home: Place, table: Table) -> None:
    """Would break: a page that was read before a delete is merged behind it, or a write beside it is lost."""
    table.at_rest()
    be_primary(table, "astra")
    names = [uuid4().hex for _ in range(12)]
    for room in names:
        for day in range(60):
            mutation = Mutation("put", table.key(room=room, day=day, song="x"), table.cells.row({"a": "old"}))
            assert table.rows.write(mutation, 1) == ("written", "")
    copied, last = Event(), dict[tuple[str, int], str | None]()

    def write(mine: list[str], seed: int) -> None:
        chosen = random.Random(seed)
        for n in range(10_000):
            if copied.is_set() and n > 100:
                return
            room, day = chosen.choice(mine), chosen.randrange(60)
            if chosen.random() < 0.5:
                store.put("plays", {"room": room, "day": day, "song": "x", "a": f"{n}"})
                last[room, day] = f"{n}"
            else:
                where = chosen.choice([{}, {"day": {">=": day}}, {"day": {"<": day}}])
                store.delete_many("plays", {"room": room, **where})
                ends = where.get("day", {})
                for of in range(60):
                    if ends.get(">=", 0) <= of < ends.get("<", 60):
                        last[room, of] = None

    with DualWriteStore(home.settings, CONFIG) as store, ThreadPoolExecutor(3) as threads:
        writing = [threads.submit(write, names[at::3], at) for at in range(3)]
        for _ in range(3):
            table.sql("DELETE FROM sync.run")
            with closing(connect(home.settings, autocommit=True)) as connection:
                ledger = RangeLedger(connection, 30)
                runs = ledger.begin({"plays": WHOLE_RING.split(8)})
                copy_job(home.settings, CONFIG, runs, lambda: False)
                assert all(ledger.finish(run) for run in runs)
        copied.set()
        for each in writing:
            each.result(60)
    for room in names:
        found = {day: row["a"] for (day, _), row in settled(table, room).items()}
        assert found == {day: last.get((room, day), "old") for day in range(60) if last.get((room, day), "old") is not None}


@pytest.mark.slow
def test_where_rows_are_kept_only_whole_partitions_go(new_place: NewPlace) -> None:
    """Would break: a row beside the range counts as deleted, and is not kept when it expires; or a put of it is lost."""
    config = Config.model_validate({"schema_files": (), "tables": {"plays": {"ttl": "keep"}}})
    with new_place() as place:
        place.cql(TABLE)
        prepare(place.settings, config, "plays")
        with DualWriteStore(place.settings, config) as store:
            store.put_many("plays", [{"room": "r", "day": day, "song": "x", "a": "1"} for day in range(3)])
            for where in ({"day": 1}, {"day": {"<": 1}}):
                with pytest.raises(QueryNotSupported, match="delete a whole partition, or single rows"):
                    store.delete_many("plays", {"room": "r", **where})
            assert store.delete_many("plays", {"room": "r", "day": 1, "song": "x"}), "a single row"
            assert {row["day"] for row in store.find("plays", {"room": "r"})} == {0, 2}
            assert store.delete_many("plays", {"room": "r"})
            assert list(store.find("plays", {"room": "r"})) == []
