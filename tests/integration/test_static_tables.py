"""A table with static columns is two: its rows, and `albums.static`, one row a partition; both go through everything."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Event
from typing import Any

import pytest
from support.backfills import until
from support.dual import Table, prepare
from support.places import NewPlace, Place
from support.reverse import be_primary
from support.sql_writers import without_triggers

from sync.errors import QueryNotSupported, SyncError, WriteRefused
from sync.settings import Config, DualWriteTuning, load_config
from sync.stores import AsyncDualWriteStore, CqlStore, DualWriteStore, PostgresStore
from sync.stores.one_side.renamed import named_store

pytest_plugins = ("support.fixtures",)
Row = dict[str, Any]
ALBUMS = (
    "CREATE TABLE KS.albums (artist text, year int, title text, shelf text STATIC, stars int STATIC, "
    "tags map<text, int> STATIC, price int, PRIMARY KEY (artist, year, title))"
)
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=8, heartbeat_seconds=0.2))
TOML = """
schema_files = []
[dual_write]
heartbeat_seconds = 0.2
connections = 8
[drift]
grace_seconds = 0.1
tries = 8
"""


def run(place: Place, *argv: str, code: int = 0) -> Any:
    done = place.commands.run(*argv)
    assert done.code == code, done
    return done


def figures(place: Place, code: int = 0, *argv: str) -> dict[str, Any]:
    """A drift report's tables, by name."""
    done = run(place, "drift-report", "--workers", "1", "--format", "json", *argv, code=code)
    return {table["table"]: table for table in done.json["tables"]}


def statics(place: Place) -> dict[str, tuple[Any, ...]]:
    """The static columns of every partition that has any; they are equal on both sides."""
    asked = place.cql("SELECT DISTINCT artist, shelf, stars, tags FROM KS.albums")
    source = {row.artist: (row.shelf, row.stars, dict(row.tags or {}) or None) for row in asked}
    source = {artist: values for artist, values in source.items() if values != (None, None, None)}
    target = {artist: tuple(values) for artist, *values in place.sql("SELECT artist, shelf, stars, tags FROM albums_static")}
    assert target == source
    return source


def rows(place: Place) -> set[tuple[Any, ...]]:
    """The rows, equal on both sides."""
    source = {
        (row.artist, row.year, row.title, row.price)
        for row in place.cql("SELECT artist, year, title, price FROM KS.albums")
        if row.year is not None
    }
    assert set(place.sql("SELECT artist, year, title, price FROM albums")) == source
    return source


@pytest.fixture
def home(new_place: NewPlace) -> Iterator[Place]:
    """Partitions with rows, with static columns, with both, and with static columns that were set to null."""
    with new_place() as place:
        place.cql(ALBUMS)
        place.configure(TOML)
        for n in range(60):
            if n % 3:
                place.cql(f"INSERT INTO KS.albums (artist, shelf, stars) VALUES ('a{n}', 'shelf {n}', {n})")
            for year in range(n % 3 and n % 4):
                place.cql(f"INSERT INTO KS.albums (artist, year, title, price) VALUES ('a{n}', {year}, 't', {n})")
        place.cql(
            "INSERT INTO KS.albums (artist, year, title) VALUES ('rows alone', 1, 't')",
            "INSERT INTO KS.albums (artist, tags) VALUES ('tags alone', {'x': 1})",
            "INSERT INTO KS.albums (artist, shelf, stars) VALUES ('null again', 'x', 1)",
            "INSERT INTO KS.albums (artist, shelf, stars) VALUES ('null again', null, null)",
        )
        yield place


def test_partitions_of_every_kind_arrive_and_are_compared(home: Place) -> None:
    """Would break: static columns are lost, or come once a row; a partition of them alone is lost, or of rows alone comes."""
    run(home, "schema", "apply")
    ready = run(home, "preflight")
    assert "albums.static" in ready.out and "albums_static" in ready.out
    done = run(home, "migrate", "--workers", "1", "--json")
    found = {t["table"]: t for t in done.json["tables"]} if "tables" in (done.json or {}) else {}
    assert not found or found["albums.static"]["rows_rejected"] == 0
    held = statics(home)
    assert len(held) == 41 and held["tags alone"] == (None, None, {"x": 1})
    assert "rows alone" not in held and "null again" not in held
    assert ("rows alone", 1, "t", None) in rows(home)
    checked = figures(home)
    assert {name: t["rows"]["source"] for name, t in checked.items()} == {"albums": len(rows(home)), "albums.static": 41}
    assert home.sql("SELECT count(*) FROM sync.reject") == [(0,)]


def test_drift_in_static_columns_is_found_and_repaired(home: Place) -> None:
    """Would break: the proof says equal where static columns differ; or a repair of them takes the partition's rows along."""
    run(home, "schema", "apply")
    run(home, "backfill", "--workers", "1")
    before = rows(home)
    home.cql(
        "UPDATE KS.albums SET shelf = 'other' WHERE artist = 'a1'",
        "DELETE shelf, stars FROM KS.albums WHERE artist = 'a5'",
        "INSERT INTO KS.albums (artist, stars) VALUES ('new', 5)",
        "UPDATE KS.albums SET tags['y'] = 2 WHERE artist = 'tags alone'",
    )
    found = figures(home, 2)
    assert not found["albums"]["findings"]
    kinds = {each["key"]["artist"]: each["kind"] for each in found["albums.static"]["findings"]}
    assert kinds == {"a1": "different", "a5": "extra", "new": "missing", "tags alone": "different"}
    figures(home, 2, "--repair")
    assert all(table["clean"] for table in figures(home).values())
    held = statics(home)
    assert held["a1"] == ("other", 1, None) and "a5" not in held and held["new"] == (None, 5, None)
    assert rows(home) == before
    home.sql("DELETE FROM albums_static WHERE artist = 'a7'", "UPDATE albums_static SET stars = 0 WHERE artist = 'a8'")
    assert len(figures(home, 2, "--repair")["albums.static"]["findings"]) == 2
    assert all(table["clean"] for table in figures(home).values())
    assert statics(home)["a8"] == ("shelf 8", 8, None)


@contextmanager
def writing(place: Place) -> Iterator[DualWriteStore]:
    """An application of four threads that writes rows and static columns, and a worker, during the block."""
    stop = Event()

    def writes(store: DualWriteStore, n: int) -> int:
        rng, done = random.Random(n), 0
        while not stop.wait(0.01):
            artist = f"a{rng.randrange(70)}"
            calls: list[Callable[[], object]] = [
                lambda a=artist: store.put("albums.static", {"artist": a, "shelf": str(rng.random())}),
                lambda a=artist: store.update("albums.static", {"artist": a}, {"stars": rng.randrange(9)}),
                lambda a=artist: store.delete("albums.static", {"artist": a}),
                lambda a=artist: store.put("albums", {"artist": a, "year": rng.randrange(3), "title": "t", "price": 1}),
                lambda a=artist: store.delete_many("albums", {"artist": a}),
            ]
            rng.choices(calls, (4, 3, 2, 4, 1))[0]()
            done += 1
        return done

    worker = place.commands.start("worker", "-n", "1")
    try:
        with (
            DualWriteStore(place.settings, load_config(place.commands.folder / "sync.toml")) as store,
            ThreadPoolExecutor(4) as pool,
        ):
            working = [pool.submit(writes, store, n) for n in range(4)]
            try:
                yield store
            finally:
                stop.set()
            assert all(each.result(60) > 20 for each in working)
        until(lambda: not place.sql("SELECT 1 FROM sync.intent"), what="nothing is left open")
    finally:
        worker.terminate()
        done = place.commands.ended(worker)
    assert done.code == 0, done


@pytest.mark.slow
def test_a_whole_migration_under_load(home: Place) -> None:
    """Would break: a static column written around the copy, a pass or a switch is lost, or a delete of rows takes it along."""
    run(home, "schema", "apply")
    with writing(home) as store:
        run(home, "backfill", "--workers", "1")
        for kind, primary in (("cutover", "postgres"), ("rollback", "astra"), ("cutover", "postgres")):
            home.prove()
            run(home, kind, "--yes")
            assert store.primary == primary
            store.put("albums.static", {"artist": kind, "shelf": primary, "tags": {"n": 1}})
    held = statics(home)
    assert held["cutover"] == ("postgres", None, {"n": 1}) and held["rollback"] == ("astra", None, {"n": 1})
    assert len(held) > 30 and rows(home)
    assert all(table["clean"] for table in figures(home).values())
    done = run(home, "finish", "--yes", "--json").json
    assert done["delete_source"] == [f'DROP TABLE "{home.keyspace}"."albums";']
    with named_store(home.settings, Config()) as store_after:
        assert store_after.get("albums.static", {"artist": "cutover"}) == {
            "artist": "cutover", "shelf": "postgres", "stars": None, "tags": {"n": 1},
        }  # fmt: skip


# the stores


@pytest.fixture(scope="module")
def place(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as made:
        made.cql(ALBUMS)
        prepare(made.settings, CONFIG, "albums", "albums.static")
        without_triggers(made)
        yield made


@pytest.fixture(scope="module")
def settled(place: Place) -> Iterator[Callable[[], None]]:
    """What makes both sides equal: it waits for what is sent behind, and does what workers would."""
    with (
        closing(Table(place.cassandra, place.settings, CONFIG, "albums")) as albums,
        closing(Table(place.cassandra, place.settings, CONFIG, "albums.static")) as static,
    ):

        def settle() -> None:
            for table in (albums, static):
                table.epoch = place.sql("SELECT max(epoch) FROM sync.epoch")[0][0]
                table.at_rest()

        yield settle


@pytest.fixture(scope="module", params=["astra", "postgres"])
def dual(request: pytest.FixtureRequest, place: Place, settled: Callable[[], None]) -> Iterator[DualWriteStore]:
    settled()
    with closing(Table(place.cassandra, place.settings, CONFIG, "albums")) as table:
        be_primary(table, request.param)
    with DualWriteStore(place.settings.model_copy(update={"storage_backend": request.param}), CONFIG) as store:
        yield store


@pytest.fixture(scope="module")
def cql(place: Place) -> Iterator[CqlStore]:
    with CqlStore(place.settings) as store:
        yield store


@pytest.fixture(scope="module")
def postgres(place: Place) -> Iterator[PostgresStore]:
    with PostgresStore(place.settings) as store:
        yield store


def test_the_same_calls_on_every_store(
    place: Place, settled: Callable[[], None], dual: DualWriteStore, cql: CqlStore, postgres: PostgresStore
) -> None:
    """Would break: an application has to write static columns in one way before the migration and in another after it."""
    one, two = {"artist": "one"}, {"artist": "two"}
    full = {**one, "shelf": "s", "stars": 3, "tags": {"a": 1}}
    for store in (cql, postgres, dual):
        for key in (one, two):
            store.delete("albums.static", key)
        assert store.put("albums.static", full) and store.put("albums.static", {**two, "stars": 1})
        assert store.put("albums", {**one, "year": 1, "title": "t", "price": 9})
        assert store.update("albums.static", one, {"stars": 4})
    settled()
    stored = {**full, "stars": 4}
    other = {**two, "shelf": None, "stars": 1, "tags": None}
    for store in (cql, postgres, dual):
        assert store.get("albums.static", one) == stored
        assert store.get_many("albums.static", [two, {"artist": "none"}, one]) == [other, None, stored]
        assert list(store.find("albums.static", one)) == [stored]
        assert sorted(store.scan("albums.static"), key=lambda row: row["artist"]) == [stored, other]
        assert store.count("albums.static") == 2 and store.count("albums") == 1
        assert store.get("albums", {**one, "year": 1, "title": "t"}) == {**one, "year": 1, "title": "t", "price": 9}
        assert list(store.find("albums", two)) == [] and list(store.find("albums.static", {"artist": "none"})) == []
    for store in (cql, postgres, dual):
        assert store.delete("albums.static", one) and store.delete_many("albums.static", two)
        assert store.delete_many("albums", one)
    settled()
    for store in (cql, postgres, dual):
        assert store.count("albums.static") == 0 == store.count("albums")


def test_a_delete_of_a_partition_s_rows_leaves_its_static_columns(
    place: Place, settled: Callable[[], None], dual: DualWriteStore, cql: CqlStore, postgres: PostgresStore
) -> None:
    """Would break: a partition's delete takes its static columns in Cassandra, and not in Postgres, where nobody sees it."""
    key = {"artist": "kept"}
    for deleting in (dual, cql):
        dual.put("albums.static", {**key, "shelf": "s"})
        dual.put_many("albums", [{**key, "year": year, "title": "t"} for year in (-5, 0, 5)])
        settled()
        assert len(list(cql.find("albums", key))) == 3
        assert deleting.delete_many("albums", key)
        settled()
        assert list(cql.find("albums", key)) == []
        for store in (cql, postgres, dual):
            assert (store.get("albums.static", key) or {})["shelf"] == "s"
        postgres.delete_many("albums", key)
    for each in (cql, postgres, dual):
        each.delete("albums.static", key)


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda s: s.put("albums", {"artist": "x", "year": 1, "title": "t", "shelf": "s"}), "shelf is"),
        (lambda s: s.update("albums", {"artist": "x", "year": 1, "title": "t"}, {"stars": 1}), "stars is"),
        (lambda s: s.put("albums.static", {"artist": "x"}), "static"),
        (lambda s: s.put("albums.static", {"artist": "x", "shelf": None}), "static"),
        (
            lambda s: s.update("albums.static", {"artist": "x"}, {"shelf": None, "stars": 1}),
            "shelf cannot be updated to null",
        ),
        (lambda s: s.insert("albums.static", {"artist": "x", "shelf": "s"}), "use put"),
        (lambda s: s.put("albums.static", {"artist": "x", "shelf": "s", "price": 1}), "price is not a column"),
    ],
)
def test_what_no_store_takes(
    place: Place,
    settled: Callable[[], None],
    dual: DualWriteStore,
    cql: CqlStore,
    postgres: PostgresStore,
    call: Callable[[Any], Any],
    why: str,
) -> None:
    """Would break: one side has a row of static columns without a value, which the other has not; or a column is lost."""
    for store in (cql, postgres, dual):
        with pytest.raises(WriteRefused, match=why):
            call(store)
    settled()
    assert cql.get("albums.static", {"artist": "x"}) is None and postgres.get("albums.static", {"artist": "x"}) is None


def test_the_refusal_names_where_static_columns_are_written(dual: DualWriteStore, cql: CqlStore) -> None:
    for store in (cql, dual):
        with pytest.raises(WriteRefused, match=r'write it to "albums.static"'):
            store.put("albums", {"artist": "x", "year": 1, "title": "t", "shelf": "s"})
        with pytest.raises((QueryNotSupported, WriteRefused)):
            store.find("albums.static", {"shelf": "s"})


def test_over_asyncio_and_in_a_transaction(
    place: Place, settled: Callable[[], None], dual: DualWriteStore, cql: CqlStore
) -> None:
    """Would break: an asynchronous application, or one with transactions, has no static columns."""
    key = {"artist": "loop"}

    async def main() -> None:
        settings = place.settings.model_copy(update={"storage_backend": dual.primary})
        async with AsyncDualWriteStore(settings, CONFIG) as store:
            await store.put("albums.static", {**key, "shelf": "s"})
            assert (await store.get("albums.static", key) or {})["shelf"] == "s"

    asyncio.run(main())
    if dual.primary == "postgres":
        with dual.transaction() as tx:
            tx.put("albums.static", {**key, "shelf": "within"})
            assert (tx.get("albums.static", key) or {})["shelf"] == "within"
    settled()
    assert (cql.get("albums.static", key) or {})["shelf"] == ("within" if dual.primary == "postgres" else "s")
    dual.delete("albums.static", key)


def test_a_missing_row_is_updated_as_in_any_table(
    place: Place, settled: Callable[[], None], dual: DualWriteStore, cql: CqlStore
) -> None:
    key = {"artist": "absent"}
    assert dual.update("albums.static", key, {"shelf": "s"}) is (dual.primary == "astra")
    settled()
    assert (cql.get("albums.static", key) is not None) is (dual.primary == "astra")
    dual.delete("albums.static", key)


# what sync.toml says


def test_some_static_columns_are_ignored(new_place: NewPlace) -> None:
    """Would break: a partition with a value in an ignored column alone is a row on one side; or a store writes such a column."""
    with new_place() as place:
        place.cql(
            ALBUMS,
            "INSERT INTO KS.albums (artist, shelf, stars) VALUES ('both', 's', 1)",
            "INSERT INTO KS.albums (artist, shelf) VALUES ('ignored alone', 's')",
        )
        place.configure(
            TOML + '[tables."albums.static"]\nignore = ["shelf"]\ntarget = "partitions"\nrename = { stars = "n" }\n'
            '[tables.albums]\nignore = ["tags"]\n'
        )
        run(place, "schema", "apply")
        run(place, "backfill", "--workers", "1")
        assert place.sql("SELECT artist, n FROM partitions") == [("both", 1)]
        with DualWriteStore(place.settings, load_config(place.commands.folder / "sync.toml")) as store:
            store.put("albums.static", {"artist": "new", "stars": 2})
            assert store.delete("albums.static", {"artist": "both"})
            for name in ("shelf", "tags"):
                with pytest.raises(WriteRefused, match=f"{name} is ignored"):
                    store.put("albums.static", {"artist": "new", "stars": 2, name: None})
        assert place.sql("SELECT artist, n FROM partitions") == [("new", 2)]
        assert all(table["clean"] for table in figures(place).values())
        (left,) = place.cql("SELECT DISTINCT artist, shelf, stars FROM KS.albums WHERE artist = 'both'")
        assert (left.shelf, left.stars) == ("s", None), "what is ignored is left alone"


@pytest.mark.parametrize("toml", ['[tables.albums]\nignore = ["shelf", "stars", "tags"]\n', 'exclude = ["albums.static"]'])
def test_static_columns_that_are_all_left_out(new_place: NewPlace, toml: str) -> None:
    """Would break: there is an empty table of them, or the owner cannot do without."""
    with new_place() as place:
        place.cql(ALBUMS, "INSERT INTO KS.albums (artist, year, title, shelf) VALUES ('x', 1, 't', 's')")
        place.configure(f"{toml}\n{TOML}" if toml.startswith("exclude") else TOML + toml)
        run(place, "schema", "apply")
        run(place, "migrate", "--workers", "1")
        assert place.sql("SELECT artist FROM albums") == [("x",)]
        assert place.sql("SELECT to_regclass('public.albums_static')") == [(None,)]
        with (
            DualWriteStore(place.settings, load_config(place.commands.folder / "sync.toml")) as store,
            pytest.raises(SyncError, match=r"ignored|leaves it out"),
        ):
            store.put("albums.static", {"artist": "x", "shelf": "y"})


def test_a_new_static_column_comes_with_another_schema_apply(home: Place) -> None:
    """Would break: a partition that has a value in the new column alone is refused by the old check."""
    run(home, "schema", "apply")
    home.cql("ALTER TABLE KS.albums ADD label text STATIC", "INSERT INTO KS.albums (artist, label) VALUES ('labelled', 'x')")
    run(home, "schema", "apply")
    run(home, "backfill", "--workers", "1")
    assert home.sql("SELECT label FROM albums_static WHERE artist = 'labelled'") == [("x",)]
    assert home.sql("SELECT count(*) FROM sync.reject") == [(0,)]


REFUSED = (
    "CREATE TABLE KS.plays (song text, day int, total counter STATIC, times counter, PRIMARY KEY (song, day))",
    "CREATE TABLE KS.expiring (k int, c int, s text STATIC, v int, PRIMARY KEY (k, c)) WITH default_time_to_live = 3600",
    "CREATE TABLE KS.written (k int, c int, s text STATIC, v int, PRIMARY KEY (k, c))",
    "INSERT INTO KS.written (k, s) VALUES (1, 'x') USING TTL 1000",
    "CREATE TABLE KS.clash (k int, c int, s text STATIC, v int, PRIMARY KEY (k, c))",
    "CREATE TABLE KS.clash_static (k int PRIMARY KEY)",
    "CREATE TABLE KS.asked (k int, c int, s text STATIC, v int, PRIMARY KEY (k, c))",
)


def test_what_preflight_refuses_by_name(new_place: NewPlace) -> None:
    """Would break: static counters are copied and never counted; static columns that expire stay without a word."""
    with new_place() as place:
        place.cql(*REFUSED)
        place.configure(
            'schema_files = []\n[tables.asked]\nrename = { s = "t" }\n[tables."asked.static"]\nttl = "expire"\n'
            '[tables.expiring]\nttl = "expire"\n'
        )
        lines = place.commands.rows()

    def told(table: str, text: str) -> bool:
        return any(line.startswith(f"{table}: ") and text in line for line in lines)

    assert told("plays.static", "static counters (total) are not migrated"), lines
    assert told("expiring.static", 'ttl = "keep" under [tables."expiring.static"]'), lines
    assert told("written.static", "values of s were written with a TTL"), lines
    assert told("clash_static", "goes into") or told("clash.static", "goes into"), lines
    assert told("asked", 'belongs under [tables."asked.static"]'), lines
    assert told("asked.static", 'ttl = "expire" is not there'), lines


@pytest.mark.slow
def test_a_delete_of_all_rows_whatever_the_type_of_the_key(new_place: NewPlace) -> None:
    """Would break: rows on one side of the value that the two ranges share stay, or the server does not take that value."""
    values = {
        "int": ("-5", "0", "5"), "varint": ("-5", "0", "5"), "decimal": ("-1.5", "0", "1.5"), "boolean": ("false", "true"),
        "double": ("-1", "0", "NaN"), "text": ("''", "'a'"), "blob": ("0x", "0xff"), "timeuuid": ("now()", "now()"),
        "uuid": ("uuid()", "00000000-0000-0000-0000-000000000000"), "inet": ("'0.0.0.0'", "'::1'"), "date": ("'1960-01-01'", "'2020-01-01'"),
        "time": ("0", "5"), "timestamp": ("-5", "5"), "smallint": ("-5", "5"), "frozen<list<int>>": ("[]", "[1]"),
        "frozen<set<int>>": ("{}", "{1}"), "frozen<tuple<int, text>>": ("(1, 'a')", "(null, null)"), "vector<float, 2>": ("[-1, -1]", "[1, 1]"),
        "vector<smallint, 2>": ("[-1, -1]", "[1, 1]"), "vector<text, 2>": ("['', '']", "['a', 'b']"),
    }  # fmt: skip
    with new_place() as place:
        orders = {
            **dict.fromkeys(values, ("ASC",)),
            "int": ("ASC", "DESC"),
            "text": ("DESC",),
            "frozen<tuple<int, text>>": ("DESC",),
        }
        tables = [(kind, order, f"t{n}_{order.lower()}") for n, kind in enumerate(values) for order in orders[kind]]
        for kind, order, name in tables:
            place.cql(
                f"CREATE TABLE KS.{name} (k int, c {kind}, d int, s int STATIC, v int, PRIMARY KEY (k, c, d)) "
                f"WITH CLUSTERING ORDER BY (c {order}, d ASC)",
                *(f"INSERT INTO KS.{name} (k, c, d, s) VALUES (1, {value}, 1, 1)" for value in values[kind]),
            )
        with CqlStore(place.settings) as store:
            for kind, _, name in tables:
                assert len(place.cql(f"SELECT d FROM KS.{name}")) == len(values[kind]), name
                assert store.delete_many(name, {"k": 1}), name
                assert [row.s for row in place.cql(f"SELECT c, s FROM KS.{name}") if row.c is None] == [1], name
                assert store.count(name) == 0, name
