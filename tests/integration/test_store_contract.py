"""One interface, every store: the same calls with the same results over Cassandra, the Data API, Postgres, and both sides."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid1, uuid4

import pytest
from support import endpoint
from support.awaited import AwaitedStore
from support.dataapi.server import DataApi, data_api, settings_of
from support.dual import Table, prepare
from support.places import NewPlace, Place
from support.sql_writers import without_triggers

from sync.adapters.postgres.connection.connect import connect
from sync.errors import NotSupported, QueryNotSupported, SyncError, WriteRefused
from sync.settings import Config, DualWriteTuning
from sync.stores import ApiDualWriteStore, AstraStore, CqlStore, DualWriteStore, PostgresStore

pytest_plugins = ("support.fixtures",)
INSERTED = ("songs", "notes", "pairs", "kinds")
PLAIN = Config(schema_files=(), dual_write=DualWriteTuning(connections=8))
CONFIG = Config(
    schema_files=(),
    dual_write=PLAIN.dual_write,
    tables={name: {"lightweight_transactions": True} for name in INSERTED},  # type: ignore[misc]
)
Store = AstraStore | CqlStore | PostgresStore | DualWriteStore | AwaitedStore
BOTH_SIDES = (DualWriteStore, AwaitedStore)
TABLES = (
    "CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text, year int, length double, made timestamp, tags map<text, text>)",
    "CREATE TABLE KS.notes (piece text, at int, pitch int, words text, PRIMARY KEY (piece, at))",
    "CREATE TABLE KS.embeddings (song_id uuid PRIMARY KEY, model text, embedding vector<float, 3>)",
    "CREATE CUSTOM INDEX ON KS.embeddings (embedding) USING 'StorageAttachedIndex' "
    "WITH OPTIONS = {'similarity_function': 'cosine'}",
    "CREATE TABLE KS.writer (id uuid PRIMARY KEY, title text)",
    "CREATE TABLE KS.pairs (a text, b int, PRIMARY KEY (a, b))",
    "CREATE TABLE KS.plays (a text, b int, times counter, skips counter, PRIMARY KEY (a, b))",
    'CREATE TABLE KS."Odd" ("Key" text PRIMARY KEY, "select" text, "a b" int, "50%" int, "qu""ote" text)',
    "CREATE TABLE KS.kinds (k uuid PRIMARY KEY, t text, a ascii, i int, b bigint, s smallint, y tinyint, f float, d double, "
    "o boolean, x blob, u uuid, tu timeuuid, ts timestamp, dt date, n decimal, vi varint, ip inet, "
    "m map<text, text>, mi map<text, int>, l list<text>, li list<int>, st set<text>, si set<int>, su set<uuid>, ml map<text, frozen<set<text>>>, v vector<float, 4>)",
)
NAMES = ("songs", "notes", "embeddings", "kinds", "pairs", "plays", "Odd", "writer")


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as place:
        place.cql(*TABLES)
        prepare(place.settings, CONFIG, *NAMES)
        without_triggers(place)
        yield place


@pytest.fixture(scope="module")
def api(home: Place) -> Iterator[DataApi]:
    """A Data API over the same tables."""
    with data_api(home.cassandra.session) as opened:
        yield opened


@pytest.fixture(scope="module", params=["astra", "postgres", "dual", "async dual", "api", "dual api", "endpoint"])
def store(request: pytest.FixtureRequest, home: Place, api: DataApi) -> Iterator[Store]:
    if request.param == "endpoint":
        with endpoint.keyspace(endpoint.given()) as settings, endpoint.tables(settings), AstraStore(settings) as opened:
            yield opened
        return
    made: dict[str, Callable[[], Store]] = {
        "astra": lambda: CqlStore(home.settings),
        "postgres": lambda: PostgresStore(home.settings),
        "dual": lambda: DualWriteStore(home.settings, CONFIG),
        "async dual": lambda: AwaitedStore(home.settings, CONFIG),
        "api": lambda: AstraStore(settings_of(home.settings, api)),
        "dual api": lambda: ApiDualWriteStore(settings_of(home.settings, api), CONFIG),
    }
    with made[request.param]() as opened:
        yield opened


@pytest.fixture(scope="module")
def other(home: Place) -> Iterator[PostgresStore]:
    """The target, seen from outside."""
    with PostgresStore(home.settings) as opened:
        yield opened


@pytest.fixture
def same(store: Store, other: PostgresStore) -> Callable[[str, dict[str, Any]], dict[str, Any] | None]:
    """Read a row from the store; where it writes to both sides, check that they are equal."""

    def read(table: str, key: dict[str, Any]) -> dict[str, Any] | None:
        found = store.get(table, key)
        if isinstance(store, BOTH_SIDES):
            there = other.get(table, key)
            if isinstance(store, ApiDualWriteStore) and there and found:  # a type that the API does not know: "ml"
                there = {name: value for name, value in there.items() if name in found}
            assert there == found, "the sides differ"
        return found

    return read


Same = Callable[[str, dict[str, Any]], dict[str, Any] | None]
EMPTY = {"title": None, "year": None, "length": None, "made": None, "tags": None}


def test_a_row_comes_back_as_it_was_put(store: Store, same: Same) -> None:
    """Would break: a row is not read as it was put."""
    row = {"id": uuid4(), "title": "One", "year": 1900, "length": 1.5, "made": datetime(2020, 1, 2, 3, 4, 5, 6000, UTC),
           "tags": {"a": "b"}}  # fmt: skip
    assert store.put("songs", row) is True
    assert same("songs", {"id": row["id"]}) == row


def test_it_says_which_side_is_primary(store: Store) -> None:
    """Would break: an application's own queries, one for each driver, end with an AttributeError before or after the migration."""
    assert store.primary == ("postgres" if isinstance(store, PostgresStore) else "astra")


def test_a_transaction_is_possible_in_postgres_alone(store: Store) -> None:
    """Would break: before the cut-over two commits look like one transaction, or a store has another interface."""
    key = {"id": uuid4()}
    if store.primary == "astra":
        with pytest.raises(NotSupported, match="after the cut-over"), store.transaction():
            raise AssertionError
        return
    with store.transaction() as tx:
        tx.put("songs", {**key, "title": "a"})
        assert tx.execute("SELECT title FROM songs WHERE id = %s", (key["id"],)).fetchone() == ("a",)
        assert store.get("songs", key) is None
    assert store.get("songs", key) == {**EMPTY, **key, "title": "a"}


def test_a_row_that_is_not_there_is_none(store: Store, same: Same) -> None:
    """Would break: an absent row looks like an empty one."""
    assert same("songs", {"id": uuid4()}) is None


def test_a_column_left_out_of_a_put_becomes_null(store: Store, same: Same) -> None:
    """Would break: a put leaves old values in place."""
    key = {"id": uuid4()}
    store.put("songs", {**key, "title": "a", "year": 1, "tags": {"x": "y"}})
    store.put("songs", {**key, "title": "b"})
    assert same("songs", key) == {**EMPTY, **key, "title": "b"}


def test_a_row_of_its_key_alone_exists(store: Store, same: Same) -> None:
    """Would break: a row with nothing but nulls is taken for absent."""
    key = {"id": uuid4()}
    store.put("songs", key)
    assert same("songs", key) == {**EMPTY, **key}


def test_an_update_changes_what_it_names(store: Store, same: Same) -> None:
    """Would break: an update changes columns that it does not name, or leaves those that it names."""
    key = {"id": uuid4()}
    store.put("songs", {**key, "title": "a", "year": 1})
    assert store.update("songs", key, {"year": 2, "tags": {"a": "b"}}) is True
    assert same("songs", key) == {**EMPTY, **key, "title": "a", "year": 2, "tags": {"a": "b"}}
    assert store.update("songs", key, {"title": None, "year": None, "tags": None}) is True
    assert same("songs", key) == {**EMPTY, **key}


def test_an_update_of_an_absent_row(store: Store, home: Place) -> None:
    """Would break: over Postgres a row is made or `update` returns True; over Cassandra no row is made."""
    key = {"id": uuid4()}
    made = store.update("songs", key, {"title": "a"})
    assert made is not isinstance(store, PostgresStore)
    found = store.get("songs", key)
    assert found == (None if isinstance(store, PostgresStore) else {**EMPTY, **key, "title": "a"})


def test_a_deleted_row_is_gone_and_may_come_back(store: Store, same: Same) -> None:
    """Would break: a deleted row stays, or cannot be put again."""
    key = {"id": uuid4()}
    store.put("songs", {**key, "title": "a", "year": 1})
    assert store.delete("songs", key) is True
    assert same("songs", key) is None
    assert store.delete("songs", key) is True
    store.put("songs", {**key, "title": "b"})
    assert same("songs", key) == {**EMPTY, **key, "title": "b"}


def test_a_key_of_several_columns(store: Store, same: Same, request: pytest.FixtureRequest) -> None:
    """Would break: keys with clustering columns are mixed up."""
    endpoint.need(request, endpoint.WIDE_KEYS)
    for at in range(3):
        store.put("notes", {"piece": "p", "at": at, "pitch": at})
    store.update("notes", {"piece": "p", "at": 1}, {"words": "la"})
    store.delete("notes", {"piece": "p", "at": 2})
    assert same("notes", {"at": 1, "piece": "p"}) == {"piece": "p", "at": 1, "pitch": 1, "words": "la"}
    assert same("notes", {"piece": "p", "at": 2}) is None
    assert same("notes", {"piece": "p", "at": 0}) == {"piece": "p", "at": 0, "pitch": 0, "words": None}


def test_put_many_and_count(store: Store, same: Same) -> None:
    """Would break: one of many rows is left out or counted twice."""
    before = store.count("songs")
    rows = [{**EMPTY, "id": uuid4(), "title": f"{i}"} for i in range(25)]
    assert store.put_many("songs", (row for row in rows)) is True
    assert store.count("songs") == before + 25
    assert [same("songs", {"id": row["id"]}) for row in rows] == rows
    assert store.put_many("songs", []) is True
    for row in rows:
        store.delete("songs", {"id": row["id"]})
    assert store.count("songs") == before


def test_a_table_of_nothing_but_its_key(store: Store, same: Same, request: pytest.FixtureRequest) -> None:
    """Would break: a statement without a column to set fails."""
    endpoint.need(request, endpoint.WIDE_KEYS)
    key = {"a": uuid4().hex, "b": 1}
    assert store.put("pairs", key) is True
    assert store.put("pairs", key) is True
    assert same("pairs", key) == key
    store.delete("pairs", key)
    assert same("pairs", key) is None


def test_a_row_is_inserted_once(store: Store, same: Same) -> None:
    """Would break: an insert that replaces a row, or says that it wrote where it did not; a column left out keeps a value."""
    key = {"id": uuid4()}
    if isinstance(store, AstraStore | ApiDualWriteStore):
        with pytest.raises(NotSupported, match="songs: the Data API"):
            store.insert("songs", {**key, "title": "a"})
        assert same("songs", key) is None
        return
    for title in ("a", "b"):
        assert store.insert("songs", {**key, "title": title, "tags": {"x": title}}) is True
        assert store.insert("songs", {**key, "title": "other", "year": 1}) is False
        assert same("songs", key) == {**EMPTY, **key, "title": title, "tags": {"x": title}}
        store.update("songs", key, {"year": 5})
        assert same("songs", key) == {**EMPTY, **key, "title": title, "tags": {"x": title}, "year": 5}
        store.delete("songs", key)
        assert same("songs", key) is None
    store.put("songs", {**key, "title": "put"})
    assert store.insert("songs", {**key, "title": "inserted"}) is False
    assert same("songs", key) == {**EMPTY, **key, "title": "put"}


def test_counters_are_incremented(store: Store, same: Same) -> None:
    """Would break: a store that cannot count, or counts differently; or an increment of what is no counter."""
    if isinstance(store, AstraStore | ApiDualWriteStore):
        with pytest.raises(NotSupported, match="songs: the Data API has no counters"):
            store.increment("songs", {"id": uuid4()}, {"year": 1})
        return
    key = {"a": uuid4().hex, "b": 1}
    assert store.increment("plays", key, {"times": 2}) is True
    assert store.increment("plays", key, {"times": -5, "skips": 1}) is True
    assert same("plays", key) == {**key, "times": -3, "skips": 1}
    wrong: list[tuple[Any, Any]] = [(key, {"nowhere": 1}), (key, {"b": 1}), (key, {"times": "1"}), ({"a": "x"}, {"times": 1})]
    for which, amounts in wrong:
        with pytest.raises(WriteRefused, match=r"nowhere|b is no|times is incremented by an int|the key"):
            store.increment("plays", which, amounts)
    with pytest.raises(WriteRefused, match="title is no"):
        store.increment("songs", {"id": uuid4()}, {"title": 1})
    assert same("plays", key) == {**key, "times": -3, "skips": 1}


def test_rows_of_wide_keys_and_of_nothing_but_a_key_are_inserted(store: Store, same: Same) -> None:
    """Would break: a row of the same partition counts as the row; a row without values is none."""
    if isinstance(store, AstraStore | ApiDualWriteStore):
        pytest.skip("the Data API has no inserts")
    piece = uuid4().hex
    for at in (1, 2):
        assert store.insert("notes", {"piece": piece, "at": at, "pitch": at}) is True
        assert store.insert("notes", {"piece": piece, "at": at}) is False
        assert same("notes", {"piece": piece, "at": at}) == {"piece": piece, "at": at, "pitch": at, "words": None}
    assert store.insert("pairs", {"a": piece, "b": 1}) is True
    assert store.insert("pairs", {"a": piece, "b": 1}) is False
    assert same("pairs", {"a": piece, "b": 1}) == {"a": piece, "b": 1}


@pytest.mark.parametrize(
    ("table", "name", "row"),
    [
        ("songs", "wrong", {"id": UUID(int=7), "wrong": 1}),
        ("songs", "year", {"id": UUID(int=7), "year": "x"}),
        ("songs", "id", {"title": "a"}),
        ("songs", "id", {"id": None}),
        ("notes", "at", {"piece": "p"}),
        ("nowhere", "nowhere", {"id": UUID(int=7)}),
    ],
)
def test_bad_inserts_are_refused_by_name(store: Store, home: Place, table: str, name: str, row: dict[str, Any]) -> None:
    """Would break: a row is announced, or written, before all of it was checked."""
    begun, before = home.sql("SELECT id FROM sync.intent"), store.count("songs")
    with pytest.raises((NotSupported, WriteRefused), match=rf"\b{name}\b|Data API"):
        store.insert(table, row)
    assert store.count("songs") == before
    assert home.sql("SELECT id FROM sync.intent") == begun


def test_a_table_named_as_one_of_the_migrations_own(store: Store, same: Same) -> None:
    """Would break: the application's rows go into the migration's state, or the other way round."""
    key = {"id": uuid4()}
    store.put("writer", {**key, "title": "a"})
    assert same("writer", key) == {**key, "title": "a"}


def test_odd_names(store: Store, same: Same) -> None:
    """Would break: a name fails that is a word of SQL, or has capitals, a blank, a quote or a percent sign."""
    _skip_unless_there(store, "Odd", "a b")
    key = {"Key": uuid4().hex}
    row = {**key, "select": "s", "a b": 1, "50%": 50, 'qu"ote': "q"}
    store.put("Odd", row)
    assert same("Odd", key) == row
    store.update("Odd", key, {"50%": 51, "a b": None})
    assert same("Odd", key) == {**row, "50%": 51, "a b": None}
    store.delete("Odd", key)
    assert same("Odd", key) is None


def test_one_bad_row_of_many_is_refused_before_any_is_written(store: Store) -> None:
    """Would break: WriteRefused, which means that nothing was written, is raised after half of the rows."""
    rows = [{"id": uuid4(), "year": year} for year in (1, 2, "x", 4)]
    with pytest.raises(WriteRefused, match="year"):
        store.put_many("songs", rows)
    assert [store.get("songs", {"id": row["id"]}) for row in rows] == [None] * 4


def test_search_finds_the_nearest_first(store: Store, request: pytest.FixtureRequest) -> None:
    """Would break: the order or the similarity depends on the store."""
    endpoint.need(request, endpoint.VECTORS)
    model = uuid4().hex
    vectors = {(1.0, 0.0, 0.0): 1.0, (0.8, 0.6, 0.0): 0.9, (0.0, 1.0, 0.0): 0.5, (-1.0, 0.0, 0.0): 0.0}
    for vector in vectors:
        store.put("embeddings", {"song_id": uuid4(), "model": model, "embedding": list(vector)})
    found = [
        (row, score) for row, score in store.search("embeddings", "embedding", [2.0, 0.0, 0.0], 50) if row["model"] == model
    ]
    assert [score for _, score in found] == pytest.approx(list(vectors.values()), abs=1e-6)
    assert [row["embedding"] for row, _ in found] == [pytest.approx(v) for v in vectors]
    assert len(store.search("embeddings", "embedding", (1, 0, 0), 2)) == 2


@pytest.mark.parametrize(("vector", "limit"), [((1, 0, 0), 0), ((1, 0, 0), -1), ((1, 0, 0), 1001), ((0, 0, 0), 5)])
def test_a_search_that_one_side_refuses_is_refused_by_all(
    store: Store, request: pytest.FixtureRequest, vector: tuple[int, ...], limit: int
) -> None:
    """Would break: a search that works on one side fails after the cut-over, or returns rows with a similarity of NaN."""
    endpoint.need(request, endpoint.VECTORS)
    with pytest.raises(QueryNotSupported, match="embedding"):
        store.search("embeddings", "embedding", vector, limit)


# values

VALUES: dict[str, list[Any]] = {
    "t": ["", "héllo", "\U0001f3b5", "a'b\"c\\d\n", "x" * 20_000],
    "a": ["", "ascii"],
    "i": [0, -(2**31), 2**31 - 1],
    "b": [0, -(2**63), 2**63 - 1],
    "s": [-(2**15), 2**15 - 1],
    "y": [-128, 127],
    "f": [0.0, 1.5, 0.10000000149011612, -3.4028234663852886e38, math.inf],
    "d": [0.1, -1e308, 5e-324, math.inf],
    "o": [True, False],
    "x": [b"", b"\x00\xff"],
    "u": [UUID(int=0), UUID("12345678-1234-4234-8234-123456789abc")],
    "tu": [uuid1()],
    "ts": [datetime(1970, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999000, UTC)],
    "dt": [date(1970, 1, 1), date(1, 1, 1), date(9999, 12, 31)],
    "n": [Decimal("0"), Decimal("-123456789012345678901234567890.0123456789"), Decimal("0.10")],
    "vi": [0, 2**100, -(2**100)],
    "m": [{"a": "b"}, {"ü": "", "": "x"}],
    "mi": [{"a": 1, "b": -2}],
    "l": [["b", "a", "b"]],
    "li": [[3, 1, 2]],
    "v": [[0.10000000149011612, -1.0, 3.4028234663852886e38, 0.0]],
}
CASES = [(name, value) for name, values in VALUES.items() for value in values]


@pytest.mark.parametrize(("name", "value"), CASES, ids=[f"{n}{i}" for i, (n, _) in enumerate(CASES)])
def test_values_come_back_as_they_were(store: Store, same: Same, name: str, value: Any) -> None:
    """Would break: an application reads something else after the cut-over than before."""
    key = {"k": uuid4()}
    _skip_unless_there(store, "kinds", name)
    if isinstance(store, AstraStore | ApiDualWriteStore) and name == "n" and value < 0:
        with pytest.raises(WriteRefused, match="n: astrapy cannot send"):  # and not a wrong number
            store.put("kinds", {**key, name: value})
        return
    store.put("kinds", {**key, name: value})
    found = (same("kinds", key) or {})[name]
    assert found == value
    assert type(found) is type(value) or name == "vi", "Postgres has no integer without end: it is a Decimal"
    store.update("kinds", key, {name: None})
    assert (same("kinds", key) or {name: ""})[name] is None


@pytest.mark.parametrize(
    ("name", "given", "found"),
    [
        ("st", {"b", "a", "c", "é", "Z"}, ["Z", "a", "b", "c", "é"]),
        ("st", ["b", "a", "b"], ["a", "b"]),
        ("si", {3, -1, 200}, [-1, 3, 200]),
        ("ml", {"x": {"b", "a", "c"}}, {"x": ["a", "b", "c"]}),
        ("ip", "10.0.0.1", "10.0.0.1"),
        ("ip", "2001:db8::1", "2001:db8::1"),
        ("m", {}, None),
        ("l", [], None),
        ("f", 0.1, 0.10000000149011612),
        ("ts", datetime(2020, 1, 2, 3, 4, 5), datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("ts", datetime(2020, 1, 2, 3, 4, 5, 123456, UTC), datetime(2020, 1, 2, 3, 4, 5, 123000, UTC)),
        ("v", (1, 2, 3, 4), [1.0, 2.0, 3.0, 4.0]),
    ],
    # The text of a set differs from process to process.
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_values_that_change_change_alike(store: Store, same: Same, name: str, given: Any, found: Any) -> None:
    """Would break: Cassandra changes a value (sorts a set, cuts to milliseconds), and Postgres holds another one."""
    if isinstance(store, PostgresStore) and (found is None or name == "ts" or isinstance(given, list)):
        pytest.skip("Postgres keeps empty collections and microseconds, and knows no sets")
    _skip_unless_there(store, "kinds", name)
    key = {"k": uuid4()}
    store.put("kinds", {**key, name: given})
    assert (same("kinds", key) or {})[name] == found


def test_uuids_of_a_set_stand_in_cassandras_order(home: Place, other: PostgresStore) -> None:
    """Would break: the target holds a set in Python's order until a drift pass finds it different."""
    values = {uuid1(), uuid1(), *(uuid4() for _ in range(6)), UUID(int=0), UUID(int=2**128 - 1)}
    key = {"k": uuid4()}
    with DualWriteStore(home.settings, CONFIG) as store:
        store.put("kinds", {**key, "su": values})
        assert set((store.get("kinds", key) or {})["su"]) == values
    ((text,),) = home.cql(f"SELECT toJson(su) FROM KS.kinds WHERE k = {key['k']}")  # the driver would sort them its own way
    assert (other.get("kinds", key) or {})["su"] == json.loads(text)


def _skip_unless_there(store: Store, table: str, column: str) -> None:
    """Skip what a Data API lacks: collections within collections, and odd names."""
    try:
        known = {AstraStore: lambda: store, ApiDualWriteStore: lambda: store._source.store}.get(type(store))
        if known is None or any(c.name == column for c in known().source(table).columns):
            return
    except WriteRefused:
        pass
    pytest.skip(f"the Data API has no {column} in {table}")


# bad input

BAD_ROWS: list[tuple[str, str, dict[str, Any]]] = [
    ("songs", "wrong", {"wrong": 1}),
    ("songs", "year", {"year": "1999"}),
    ("songs", "year", {"year": "x"}),
    ("songs", "year", {"year": 2**31}),
    ("songs", "year", {"year": 1.5}),
    ("songs", "title", {"title": 5}),
    ("songs", "title", {"title": b"x"}),
    ("songs", "made", {"made": "yesterday"}),
    ("songs", "tags", {"tags": ["a"]}),
    ("songs", "tags", {"tags": "a"}),
    ("songs", "length", {"length": "long"}),
    ("embeddings", "embedding", {"embedding": [1.0, 2.0]}),
    ("embeddings", "embedding", {"embedding": [1.0, 2.0, "x"]}),
    ("embeddings", "embedding", {"embedding": "[1,2,3]"}),
    ("kinds", "u", {"u": "no uuid"}),
    ("kinds", "o", {"o": "yes"}),
    ("kinds", "x", {"x": "text"}),
    ("kinds", "ip", {"ip": "nowhere"}),
    ("kinds", "s", {"s": 40_000}),
    ("kinds", "li", {"li": ["a"]}),
    ("kinds", "l", {"l": "abc"}),
    ("kinds", "dt", {"dt": "someday"}),
    ("kinds", "n", {"n": "1,5"}),
]
KEYS = {"songs": "id", "embeddings": "song_id", "kinds": "k"}


@pytest.mark.parametrize(("table", "name", "values"), BAD_ROWS, ids=[f"{n}-{v!s:.20}" for _, n, v in BAD_ROWS])
def test_bad_values_are_refused_by_name(
    store: Store, other: PostgresStore, table: str, name: str, values: dict[str, Any]
) -> None:
    """Would break: a value of the wrong type is written on one side, or the error does not name its field."""
    if isinstance(store, PostgresStore) and name in ("tags", "l", "li"):
        pytest.skip("any JSON is good for a jsonb column")
    key = {KEYS[table]: uuid4()}
    with pytest.raises(WriteRefused, match=rf"\b{name}\b"):
        store.put(table, {**key, **values})
    assert store.get(table, key) is None
    store.put(table, key)
    with pytest.raises(WriteRefused, match=rf"\b{name}\b"):
        store.update(table, key, values)
    found = store.get(table, key)
    assert found is not None and all(v is None for n, v in found.items() if n not in key)


def _calls(store: Store) -> dict[str, Callable[[], object]]:
    key = {"id": uuid4()}
    return {
        "nowhere": lambda: store.put("nowhere", key),
        "nowhere ": lambda: store.get("nowhere", key),
        "nowhere  ": lambda: store.update("nowhere", key, {"title": "a"}),
        "nowhere   ": lambda: store.delete("nowhere", key),
        "nowhere    ": lambda: store.count("nowhere"),
        "nowhere     ": lambda: store.search("nowhere", "embedding", [1.0]),
        "id": lambda: store.put("songs", {"title": "a"}),
        "id ": lambda: store.put("songs", {"id": None, "title": "a"}),
        "id  ": lambda: store.get("songs", {}),
        "id   ": lambda: store.delete("songs", {}),
        "id    ": lambda: store.update("songs", {}, {"title": "a"}),
        "id     ": lambda: store.update("songs", key, {"id": uuid4()}),
        "id      ": lambda: store.get("songs", {"id": "no uuid"}),
        "id       ": lambda: store.delete("songs", {"id": 5}),
        "title": lambda: store.delete("songs", {**key, "title": "a"}),
        "title ": lambda: store.get("songs", {"title": "a"}),
        "at": lambda: store.delete("notes", {"piece": "p"}),
        "without columns": lambda: store.update("songs", key, {}),
        "model": lambda: store.search("embeddings", "model", [1.0, 2.0, 3.0]),
        "embedding": lambda: store.search("embeddings", "embedding", [1.0]),
        "wrong": lambda: store.search("embeddings", "wrong", [1.0, 2.0, 3.0]),
    }


@pytest.mark.parametrize("name", list(_calls(None)))  # type: ignore[arg-type]
def test_bad_calls_are_refused_by_name(store: Store, name: str) -> None:
    """Would break: a call with an unknown table or column, or without its key, ends in a driver's error, or in a write."""
    before = store.count("songs"), store.count("notes")
    with pytest.raises((WriteRefused, QueryNotSupported), match=name.strip()):
        _calls(store)[name]()
    assert (store.count("songs"), store.count("notes")) == before


def test_what_cassandra_refuses_is_written_nowhere(home: Place, other: PostgresStore) -> None:
    """Would break: the primary refuses a row, and the secondary has it (rule 13)."""
    with DualWriteStore(home.settings, CONFIG) as store, pytest.raises(WriteRefused, match="empty"):
        store.put("notes", {"piece": "", "at": 1})
    assert other.get("notes", {"piece": "", "at": 1}) is None
    assert home.sql("SELECT * FROM sync.intent WHERE table_name = 'notes'") == []


def test_a_key_that_postgres_cannot_hold_is_refused(home: Place) -> None:
    """Would break: a row that can never be in Postgres is acknowledged, or the application sees an internal error."""
    with DualWriteStore(home.settings, CONFIG) as store:
        for call in (
            lambda: store.put("notes", {"piece": "a\0b", "at": 1}),
            lambda: store.update("notes", {"piece": "a\0b", "at": 1}, {"pitch": 1}),
            lambda: store.delete("notes", {"piece": "a\0b", "at": 1}),
        ):
            with pytest.raises(WriteRefused, match="piece"):
                call()
        assert store.get("notes", {"piece": "a", "at": 1}) is None


# the store itself


@pytest.mark.slow
def test_32_threads_share_one_store(store: Store, same: Same, home: Place) -> None:
    """Would break: threads share state, or each error costs a connection."""
    ids = [uuid4() for _ in range(8)]

    def work(n: int) -> None:
        for i in range(4):
            key = {"id": ids[(n + i) % len(ids)]}
            store.put("songs", {**key, "title": f"{n}", "year": n})
            store.update("songs", key, {"length": float(n)})
            store.get("songs", key)
            with pytest.raises(WriteRefused):
                store.put("songs", {"title": "no key"})
            store.delete("songs", {"id": uuid4()})
            own = {"id": uuid4()}
            store.put("songs", {**own, "year": n})
            assert (store.get("songs", own) or {})["year"] == n

    with ThreadPoolExecutor(32) as pool:
        for done in [pool.submit(work, n) for n in range(32)]:
            done.result(120)
    if isinstance(store, BOTH_SIDES):
        with closing(_Drained(home)) as drained:
            drained.table.drained()
    for key in ids:
        found = same("songs", {"id": key})
        assert found is not None and found["title"] == str(found["year"]), "a row that nobody has put"


class _Drained:
    def __init__(self, home: Place) -> None:
        self.table = Table(home.cassandra, home.settings, CONFIG, "songs")

    def close(self) -> None:
        self.table.close()


def test_a_closed_store_leaves_no_connection_and_signs_off(home: Place) -> None:
    """Would break: connections stay open, or a cut-over waits for a writer that has ended."""
    before = home.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
    with DualWriteStore(home.settings, CONFIG) as store:
        store.put("songs", {"id": uuid4()})
        assert [row[0] for row in home.sql("SELECT state FROM sync.writer WHERE state = 'active'")] != []
        ((name,),) = home.sql("SELECT id FROM sync.writer ORDER BY registered_at DESC LIMIT 1")
    ((state, unrecorded),) = home.sql(f"SELECT state, unrecorded FROM sync.writer WHERE id = '{name}'")
    assert (state, unrecorded) == ("signed_off", 0)
    assert home.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()") == before


def test_dual_writes_begin_before_the_first_backfill(new_place: NewPlace) -> None:
    """Would break: writers, which must begin before a backfill (rule 3), need columns that only a backfill adds."""
    with new_place() as place:
        place.cql("CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text)")
        prepare(place.settings, PLAIN)
        key = {"id": uuid4()}
        with DualWriteStore(place.settings, PLAIN) as store:
            assert store.put("songs", {**key, "title": "a"})
            assert store.update("songs", key, {"title": "b"})
        assert place.sql("SELECT title FROM songs") == [("b",)]
        assert place.sql("SELECT * FROM sync.intent") == []


def test_without_the_state_schema_the_store_says_what_to_do(new_place: NewPlace) -> None:
    """Would break: the driver's own error is raised where `sync schema apply` was forgotten."""
    with new_place() as place:
        place.cql("CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text)")
        with closing(connect(place.settings, autocommit=True)) as connection:
            connection.execute("CREATE TABLE songs (id uuid PRIMARY KEY, title text)")
        with pytest.raises(SyncError, match="sync schema apply"):
            DualWriteStore(place.settings, PLAIN)


def test_null_does_not_mean_left_alone(store: Store, same: Same) -> None:
    """Would break: an explicit null in an update is dropped."""
    key = {"id": uuid4()}
    store.put("songs", {**key, "title": "a", "made": datetime.now(UTC) - timedelta(days=1)})
    store.update("songs", key, {"title": None})
    assert (same("songs", key) or {"title": ""})["title"] is None
