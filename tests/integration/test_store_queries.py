"""What a store reads besides the rows of a partition: by indexes, near a vector, across a switch, and after the migration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from typing import Any
from uuid import UUID, uuid4

import pytest
from support.dual import Table
from support.places import NewPlace, Place
from support.reverse import be_primary
from support.sql_writers import without_triggers

from sync.core.reads.cursor import Place as ReadPlace
from sync.core.reads.cursor import to_cursor
from sync.errors import QueryNotSupported, SourceUnavailable, TargetUnavailable
from sync.settings import Config, DualWriteTuning
from sync.stores import AsyncDualWriteStore, CqlStore, DualWriteStore, PostgresStore

pytest_plugins = ("support.fixtures",)
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=8, heartbeat_seconds=0.3))
SONGS = 300
SAI = "CREATE CUSTOM INDEX ON KS.{} ({}) USING 'StorageAttachedIndex'"
TABLES = (
    "CREATE TABLE KS.songs (id uuid PRIMARY KEY, genre text, year int, mood text, loose text, plain text)",
    SAI.format("songs", "genre"),
    SAI.format("songs", "year"),
    SAI.format("songs", "loose") + " WITH OPTIONS = {'case_sensitive': 'false'}",
    "CREATE INDEX ON KS.songs (mood)",
    "CREATE TABLE KS.lists (owner int, at int, genre text, PRIMARY KEY (owner, at)) WITH CLUSTERING ORDER BY (at DESC)",
    SAI.format("lists", "genre"),
    "CREATE TABLE KS.vectors (id int PRIMARY KEY, kind int, v vector<float, 3>)",
    SAI.format("vectors", "v") + " WITH OPTIONS = {'similarity_function': 'cosine'}",
    SAI.format("vectors", "kind"),
    "CREATE TABLE KS.nested (a int, b frozen<list<int>>, PRIMARY KEY (a, b))",
)
Sides = list[CqlStore | PostgresStore | DualWriteStore]


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as place:
        place.cql(*TABLES)
        assert place.commands.run("schema", "apply").code == 0
        without_triggers(place)
        place.sql(
            "CREATE INDEX ON songs (genre)", "CREATE INDEX ON songs (year)", "CREATE INDEX ON songs USING hash (mood)",
            "CREATE INDEX ON lists (genre)", "CREATE INDEX ON vectors (kind)",
            "CREATE INDEX ON vectors USING hnsw (v vector_cosine_ops)",
        )  # fmt: skip
        yield place


@pytest.fixture(scope="module")
def dual(home: Place) -> Iterator[DualWriteStore]:
    with DualWriteStore(home.settings, CONFIG) as store:
        store.put_many(
            "songs",
            [
                {"id": uuid4(), "genre": "JBR"[n % 3], "year": 1900 + n % 10, "mood": "so"[n % 2], "loose": "a"}
                for n in range(SONGS)
            ],
        )
        store.put_many("lists", [{"owner": n % 2, "at": n, "genre": "JB"[n % 3 == 0]} for n in range(40)])
        # Only the farthest vectors are of kind 1.
        store.put_many("vectors", [{"id": n, "kind": int(n >= 380), "v": [1.0, n / 100, 0.5]} for n in range(400)])
        store.put_many("nested", [{"a": 1, "b": [n]} for n in range(3)])
        yield store


@pytest.fixture(scope="module")
def sides(home: Place, dual: DualWriteStore) -> Iterator[Sides]:
    with CqlStore(home.settings) as cql, PostgresStore(home.settings) as postgres:
        yield [cql, postgres, dual]


@pytest.mark.parametrize(
    ("table", "where", "count"),
    [
        ("songs", {"genre": "J"}, 100),
        ("songs", {"genre": "J", "year": {">=": 1905}}, 50),
        ("songs", {"year": {">": 1901, "<=": 1903}}, 60),
        ("songs", {"mood": "s"}, 150),
        ("songs", {"genre": "none"}, 0),
        ("lists", {"owner": 1, "genre": "B"}, 7),
        ("lists", {"owner": 1, "at": {"<": 20}, "genre": "B"}, 3),
        ("lists", {"genre": "B"}, 14),
    ],
)
def test_columns_with_indexes(sides: Sides, table: str, where: dict[str, Any], count: int) -> None:
    """Would break: other rows, another order, or pages that repeat rows of one token."""
    expected = list(sides[0].find(table, where))
    assert len(expected) == count
    for store in sides:
        for page_rows in (1, 7, 1000):
            assert list(store.find(table, where, page_rows=page_rows)) == expected
        rows = store.find(table, where, limit=5)
        begun = list(rows)
        assert begun + list(store.find(table, where, after=rows.cursor)) == expected


def test_an_index_that_is_missing_is_named_on_its_side(home: Place, sides: Sides) -> None:
    """Would break: a query that reads the whole table, or an error that does not say what to create."""
    cql, postgres, _ = sides
    for store in sides:
        with pytest.raises(QueryNotSupported, match="songs: plain has no index"):
            store.find("songs", {"plain": "x"})
    with pytest.raises(QueryNotSupported, match="the index of loose finds more than equal values"):
        cql.find("songs", {"loose": "A"})
    with pytest.raises(QueryNotSupported, match="the index of mood answers no other condition"):
        cql.find("songs", {"mood": "s", "genre": "J"})
    with pytest.raises(QueryNotSupported, match="the index of mood finds values, not ranges"):
        postgres.find("songs", {"mood": {">": "a"}})
    home.sql("CREATE INDEX ON songs (plain)")
    home.cql(SAI.format("songs", "plain"))
    try:
        for store in sides:
            _until(lambda store=store: _finds_by(store, "plain"))
    finally:
        home.sql("DROP INDEX songs_plain_idx")
        home.cql("DROP INDEX KS.songs_plain_idx")


def _finds_by(store: CqlStore | PostgresStore | DualWriteStore, column: str) -> bool:
    try:
        return list(store.find("songs", {column: "x"})) == []
    except (QueryNotSupported, SourceUnavailable):
        return False  # the driver learns of an index within seconds, and Cassandra builds it


def test_a_search_with_conditions(sides: Sides) -> None:
    """Would break: HNSW ends after its 40 candidates, of which none meets the condition."""
    for store in sides:
        found = store.search("vectors", "v", [1.0, 0.0, 0.5], 10, where={"kind": 1})
        assert [row["id"] for row, _ in found] == list(range(380, 390))
        with pytest.raises(QueryNotSupported, match="v has no index"):
            store.search("vectors", "v", [1.0, 0.0, 0.5], 10, where={"v": [1.0, 0.0, 0.5]})


def test_a_search_by_the_index_returns_as_many_rows_as_are_asked_for(home: Place, sides: Sides) -> None:
    """Would break: after the cut-over a search for 100 rows returns 40, `hnsw.ef_search`'s default."""
    database = home.settings.postgres_database
    home.sql(f'ALTER DATABASE "{database}" SET enable_seqscan = off', f'ALTER DATABASE "{database}" SET enable_sort = off')
    try:
        with PostgresStore(home.settings) as by_index:
            for store in (*sides, by_index):
                assert [row["id"] for row, _ in store.search("vectors", "v", [1.0, 0.0, 0.5], 100)] == list(range(100))
    finally:
        home.sql(f'ALTER DATABASE "{database}" RESET ALL')


def test_partitions_of_one_token(new_place: NewPlace) -> None:
    """Would break: a cursor of the other side, which orders partitions of one token by their bytes, passes over one of them."""
    with new_place() as place:
        place.cql("CREATE TABLE KS.lists (owner int, at int, PRIMARY KEY (owner, at))")
        assert place.commands.run("schema", "apply").code == 0
        with DualWriteStore(place.settings, CONFIG) as store:
            store.put_many("lists", [{"owner": owner, "at": at} for owner in (-1, 1, 2) for at in (1, 2)])
        place.sql("UPDATE lists SET _sync_token = 5")
        with PostgresStore(place.settings) as store:
            rows = [(row["owner"], row["at"]) for row in store.scan("lists", after=to_cursor(ReadPlace(5, (2, 1))))]
            assert rows == [(-1, 1), (-1, 2), (1, 1), (1, 2), (2, 2)]
            assert [(r["owner"], r["at"]) for r in store.scan("lists", page_rows=1)] == sorted([*rows, (2, 1)])


def test_keys_that_postgres_does_not_order(sides: Sides) -> None:
    """Would break: a list's order, in which the two sides differ, is taken for the same."""
    cql, postgres, _ = sides
    assert len(list(cql.find("nested", {"a": 1}))) == 3
    for read in (lambda: postgres.find("nested", {"a": 1}), lambda: postgres.scan("nested")):
        with pytest.raises(QueryNotSupported, match="Postgres does not order b"):
            read()
    assert postgres.get_many("nested", [{"a": 1, "b": [1]}, {"a": 1, "b": [9]}]) == [{"a": 1, "b": [1]}, None]


@pytest.fixture
def table(home: Place, dual: DualWriteStore) -> Iterator[Table]:
    with closing(Table(home.cassandra, home.settings, CONFIG, "songs")) as opened:
        yield opened
        be_primary(opened, "astra")


def test_reads_across_a_cut_over_and_a_rollback(home: Place, dual: DualWriteStore, table: Table) -> None:
    """Would break: a scan under way ends, repeats rows, or reads what is primary no more."""
    expected = list(dual.scan("songs"))
    partition = list(dual.find("lists", {"owner": 1}, limit=15))
    with DualWriteStore(home.settings, CONFIG) as store:
        scan, find = store.scan("songs", page_rows=7), store.find("lists", {"owner": 1}, limit=15, page_rows=2)
        found, listed = list(islice(scan, 20)), list(islice(find, 3))
        be_primary(table, "postgres")
        _until(lambda: store.primary == "postgres")
        # What only one side has shows which one is read.
        gone = expected[-1]["id"]
        home.sql(f"DELETE FROM songs WHERE id = '{gone}'")
        found += islice(scan, 150)
        be_primary(table, "astra")
        _until(lambda: store.primary == "astra")
        found += scan
        listed += find
    assert found == expected
    assert listed == partition
    with DualWriteStore(home.settings, CONFIG) as store:
        scan = store.scan("songs", page_rows=50)
        assert list(islice(scan, 120)) == expected[:120]
        be_primary(table, "postgres")
        _until(lambda: store.primary == "postgres")
        assert list(scan) == expected[120:-1]
    dual.put("songs", {"id": gone, **{k: v for k, v in expected[-1].items() if k != "id"}})


def _until(is_so: Callable[[], bool]) -> None:
    from support.backfills import until

    until(is_so, what="the process follows")


def test_asyncio(home: Place, dual: DualWriteStore) -> None:
    """Would break: `async for`, its cursor, and errors within it."""

    async def read() -> None:
        expected = list(dual.scan("songs"))
        async with AsyncDualWriteStore(home.settings, CONFIG) as store:
            rows = await store.scan("songs")
            begun = [await anext(rows) for _ in range(250)]
            assert begun + [row async for row in await store.scan("songs", after=rows.cursor)] == expected
            assert [row async for row in await store.find("lists", {"owner": 1}, limit=3)] == list(
                dual.find("lists", {"owner": 1}, limit=3)
            )
            assert await store.get_many("songs", [{"id": expected[7]["id"]}]) == [expected[7]]
            assert len(await store.search("vectors", "v", [1.0, 0.0, 0.5], 3, where={"kind": 1})) == 3
            with pytest.raises(QueryNotSupported):
                await store.find("songs", {"plain": "x"})

    asyncio.run(read())


def test_a_server_that_ends_in_the_middle(home: Place, sides: Sides) -> None:
    """Would break: an error of the driver, or an end that looks like the last row."""
    postgres = sides[1]
    assert isinstance(postgres, PostgresStore)
    rows = postgres.scan("songs", page_rows=10)
    begun = list(islice(rows, 10))
    home.sql("ALTER TABLE songs RENAME TO hidden")
    try:
        with pytest.raises(TargetUnavailable, match="songs"):
            next(rows)
        cursor = rows.cursor
    finally:
        home.sql("ALTER TABLE hidden RENAME TO songs")
    assert begun + list(postgres.scan("songs", after=cursor)) == list(postgres.scan("songs"))


def test_rows_of_others_and_the_end_of_the_migration(new_place: NewPlace) -> None:
    """Would break: a scan that leaves out rows without a token, or an order that is lost with the migration's columns."""
    with new_place() as place:
        place.cql(*(statement for statement in TABLES if "KS.songs (id" in statement or "KS.lists (owner" in statement))
        assert place.commands.run("schema", "apply").code == 0
        assert "COMMENT ON CONSTRAINT" not in place.commands.run("schema", "apply", "--dry-run").out
        without_triggers(place)
        with DualWriteStore(place.settings, CONFIG) as store:
            store.put_many("songs", [{"id": UUID(int=n)} for n in range(30)])
            store.put_many("lists", [{"owner": 1, "at": n} for n in range(10)])
            by_token = [row["id"] for row in store.scan("songs")]
            cursor = (rows := store.scan("songs"), next(rows))[0].cursor
            with pytest.raises(QueryNotSupported, match="no cursor of a read of this table"):
                store.scan("lists", after=cursor)
        with PostgresStore(place.settings) as store:
            strangers = [{"id": UUID(int=n)} for n in (500, 501, 502)]
            store.put_many("songs", strangers)
            for page_rows in (1, 2, 1000):
                found = [row["id"] for row in store.scan("songs", page_rows=page_rows)]
                assert found == by_token + [row["id"] for row in strangers]
            rows = store.scan("songs", page_rows=2)
            begun = list(islice(rows, 31))
            assert len(begun + list(store.scan("songs", after=rows.cursor, page_rows=2))) == 33
            place.sql(
                "ALTER TABLE songs DROP COLUMN _sync_token, DROP COLUMN _sync_version",
                "ALTER TABLE lists DROP COLUMN _sync_token, DROP COLUMN _sync_version", "DROP SCHEMA sync CASCADE",
            )  # fmt: skip
            assert [row["at"] for row in store.find("lists", {"owner": 1}, limit=3)] == [9, 8, 7]
            for page_rows in (1, 1000):
                assert [row["id"] for row in store.scan("songs", page_rows=page_rows)] == sorted(
                    by_token + [r["id"] for r in strangers]
                )
            place.sql("CREATE INDEX ON songs (plain)")
            for read in (
                lambda: store.scan("songs", after=cursor),
                lambda: store.find("songs", {"plain": "x"}, after=cursor),
            ):
                with pytest.raises(QueryNotSupported, match="which `sync finish` removed"):
                    read()
        place.sql("COMMENT ON CONSTRAINT lists_pkey ON lists IS NULL")
        with (
            PostgresStore(place.settings) as store,
            pytest.raises(QueryNotSupported, match="`sync schema apply` records that"),
        ):
            store.find("lists", {"owner": 1})
