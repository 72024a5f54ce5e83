"""Reads of many rows through the Data API: the same rows in the same order as over CQL, or a clear refusal; with CQL beside it, all."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any
from uuid import uuid4

import pytest
from support import endpoint
from support.commands import environment
from support.dataapi.server import DataApi, data_api, settings_of
from support.dual import Table, prepare
from support.places import NewPlace, Place
from support.read_tables import TYPES, random_query, random_table
from support.reverse import be_primary
from support.running_commands import until

from sync.adapters.astra.api import open_api
from sync.core.reads.cursor import Place as ReadPlace
from sync.core.reads.cursor import to_cursor
from sync.errors import QueryNotSupported
from sync.settings import Config, DualWriteTuning, Settings
from sync.stores import ApiDualWriteStore, AstraStore, CqlStore, open_store
from sync.stores.both_sides.read_back import ReadBackStore

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=4, heartbeat_seconds=0.3))
NO_CQL = {"cassandra_contact_points": None}
RANDOM = {seed: random_table(seed) for seed in range(len(TYPES))}
SAI = "CREATE CUSTOM INDEX ON KS.{} ({}) USING 'StorageAttachedIndex'"
TABLES = (
    "CREATE TABLE KS.songs (id uuid PRIMARY KEY, genre text, year int, loose text, plain text, v vector<float, 3>)",
    *(SAI.format("songs", column) for column in ("genre", "year")),
    SAI.format("songs", "loose") + " WITH OPTIONS = {'case_sensitive': 'false'}",
    SAI.format("songs", "v") + " WITH OPTIONS = {'similarity_function': 'cosine'}",
    "CREATE TABLE KS.lists (owner int, at int, id int, genre text, kept text STATIC, PRIMARY KEY (owner, at, id)) "
    "WITH CLUSTERING ORDER BY (at DESC, id ASC)",
    SAI.format("lists", "genre"),
)


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as place:
        place.cql(*TABLES, *(table.ddl for table in RANDOM.values()))
        with CqlStore(place.settings) as store:
            for n in range(90):
                place_of = {"v": [1.0, n / 100, 0.5], "loose": "a", "plain": "x"}
                store.put("songs", {"id": uuid4(), "genre": "JBR"[n % 3], "year": 1900 + n % 10, **place_of})
            store.put_many("lists", [{"owner": n % 2, "at": n // 4, "id": n, "genre": "JB"[n % 3 == 0]} for n in range(140)])
            for table in RANDOM.values():
                store.put_many(table.name, table.rows)
        place.cql("INSERT INTO KS.lists (owner, kept) VALUES (9, 'nothing but this')")
        yield place


@pytest.fixture(scope="module")
def double(home: Place) -> Iterator[DataApi]:
    with data_api(home.cassandra.session) as opened:
        yield opened


@pytest.fixture(scope="module")
def settings(home: Place, double: DataApi) -> Settings:
    return settings_of(home.settings, double)


@pytest.fixture(scope="module")
def api(settings: Settings) -> Iterator[AstraStore]:
    with AstraStore(settings) as store:
        yield store


@pytest.fixture(scope="module")
def cql(home: Place) -> Iterator[CqlStore]:
    with CqlStore(home.settings) as store:
        yield store


def has_binary_range(seed: int, where: dict[str, Any]) -> bool:
    return any(kind == "blob" and isinstance(where.get(name), dict) for name, kind, _ in RANDOM[seed].clustering)


@pytest.mark.parametrize("seed", RANDOM)
def test_a_partition_has_the_order_of_cql(api: AstraStore, cql: CqlStore, seed: int) -> None:
    """Would break: a type that JSON carries in another form, ASC and DESC mixed, ranges, limits."""
    table, chosen = RANDOM[seed], random.Random(seed)
    for _ in range(12):
        query = random_query(chosen, table)
        if has_binary_range(seed, query["where"]):
            with pytest.raises(QueryNotSupported, match=r"no ranges of binary values.*CASSANDRA_CONTACT_POINTS"):
                api.find(table.name, **query)
            continue
        assert list(api.find(table.name, **query)) == list(cql.find(table.name, **query)), (table.ddl, query)


@pytest.mark.parametrize("seed", RANDOM)
def test_a_cursor_is_good_over_either(api: AstraStore, cql: CqlStore, seed: int) -> None:
    """Would break: a page's link that was made over the API skips or repeats rows over CQL, or the other way round."""
    table, chosen = RANDOM[seed], random.Random(seed)
    for _ in range(3):
        query = {k: v for k, v in random_query(chosen, table).items() if k != "limit"}
        if has_binary_range(seed, query["where"]):
            continue
        found: list[dict[str, Any]] = []
        took, cursor = True, None
        while took:
            rows = chosen.choice([api, cql]).find(table.name, **query, after=cursor, limit=4)
            took, cursor, found = bool(page := list(islice(rows, 3))), rows.cursor, found + page
        assert found == list(cql.find(table.name, **query)), (table.ddl, query)


@pytest.mark.parametrize(
    "query",
    [
        {"where": {"owner": 0}},
        {"where": {"owner": 0}, "order_by": [("at", "asc")]},
        {"where": {"owner": 0}, "order_by": [("at", "asc"), ("id", "desc")], "limit": 45},
        {"where": {"owner": 0, "at": {">=": 3, "<": 30}}, "order_by": [("at", "asc")]},
        {"where": {"owner": 1, "genre": "J"}},
        {"where": {"owner": 1, "at": 3, "genre": "J"}},
        {"where": {"genre": "B"}},
        {"where": {"genre": "B"}, "limit": 30},
        {"where": {"owner": 9}},
    ],
)
def test_pages_of_the_api(api: AstraStore, cql: CqlStore, query: dict[str, Any]) -> None:
    """Would break: only the first page of 20 is read, its reverse sorted page by page, or a row of statics alone is found."""
    expected = [{k: v for k, v in row.items() if k != "kept"} for row in cql.find("lists", **query)]
    rows = api.find("lists", **query)
    assert [{k: v for k, v in row.items() if k != "kept"} for row in rows] == expected
    again = api.find("lists", **{**query, "limit": 25})
    begun = list(again)
    rest = api.find("lists", **{k: v for k, v in query.items() if k != "limit"}, after=again.cursor)
    whole = [{k: v for k, v in row.items() if k != "kept"} for row in [*begun, *rest]]
    assert whole[: len(expected)] == expected


def test_a_partition_at_an_endpoint() -> None:
    """Would break: the double answers otherwise than a real Data API, of which the environment names one."""
    with endpoint.keyspace(endpoint.given()) as given, endpoint.tables(given), AstraStore(given) as store:
        store.put_many("notes", [{"piece": "a", "at": at, "pitch": at % 7} for at in range(120)])
        orders: list[tuple[Any, list[int]]] = [("asc", list(range(120))), ("desc", list(range(119, -1, -1)))]
        for order, expected in orders:
            rows = store.find("notes", {"piece": "a"}, [("at", order)], limit=70)
            begun = [row["at"] for row in rows]
            assert begun == expected[:70]
        with pytest.raises(QueryNotSupported, match="pitch has no index"):
            store.find("notes", {"pitch": 1})


def test_a_place_between_partitions(api: AstraStore, cql: CqlStore) -> None:
    """Would break: a row that was the cursor's is deleted, and the read by an index begins again."""
    whole = list(cql.find("lists", {"genre": "B"}))
    select = f'SELECT owner, token(owner) AS place FROM "{cql.source("lists").keyspace}".lists'
    tokens = {row.owner: row.place for row in cql.cassandra.session.execute(select)}
    first = min(tokens.values())
    after = to_cursor(ReadPlace(first + 1, (5, 5, 5)))
    assert [row["id"] for row in api.find("lists", {"genre": "B"}, after=after)] == [
        row["id"] for row in whole if tokens[row["owner"]] > first
    ]


def test_by_an_index(api: AstraStore, cql: CqlStore) -> None:
    """Would break: a column without an index is filtered over the whole table, or an index that folds case finds other rows."""
    for where in ({"genre": "J"}, {"genre": "J", "year": {">": 1902, "<=": 1907}}, {"year": 1904}):
        assert list(api.find("songs", where)) == list(cql.find("songs", where))
    for column, says in (("plain", "plain has no index"), ("loose", "loose finds more than equal values: .*case_sensitive")):
        for read in (
            lambda c=column: api.find("songs", {c: "x"}),
            lambda c=column: api.search("songs", "v", [1, 0, 0], 3, {c: "x"}),
        ):
            with pytest.raises(QueryNotSupported, match=says):
                read()
    with pytest.raises(QueryNotSupported, match="the index of genre finds values, not ranges"):
        api.find("songs", {"genre": {">": "A"}})


def test_a_search_with_conditions(api: AstraStore, cql: CqlStore) -> None:
    """Would break: the conditions are left out, or applied to the nearest rows only."""
    for where in ({"genre": "B"}, {"genre": "R", "year": {">=": 1905}}):
        found = api.search("songs", "v", [1.0, 0.9, 0.5], 5, where)
        assert [row["id"] for row, _ in found] == [
            row["id"] for row, _ in cql.search("songs", "v", [1.0, 0.9, 0.5], 5, where)
        ]
        assert len(found) == 5


def test_a_scan_is_refused_without_cql(api: AstraStore) -> None:
    """Would break: a scan that cannot go on after a row, or an error that does not say what to do."""
    with pytest.raises(QueryNotSupported, match=r"songs: the Data API cannot scan.*CASSANDRA_CONTACT_POINTS"):
        api.scan("songs")
    with pytest.raises(QueryNotSupported, match="there is no table"):
        api.scan("nothing")
    with pytest.raises(QueryNotSupported, match="no cursor"):
        api.find("lists", {"owner": 0}, after="x")


def test_cql_reads_what_the_api_cannot(settings: Settings, double: DataApi, cql: CqlStore) -> None:
    """Would break: the same environment has CQL settings, and the store refuses a scan all the same."""
    with ReadBackStore(settings) as store:
        double.asked.clear()
        assert list(store.scan("lists")) == list(cql.scan("lists"))
        assert list(store.find("lists", {"owner": 0})) == list(cql.find("lists", {"owner": 0}))
        where = {"genre": "B"}
        assert store.search("songs", "v", [1.0, 0.9, 0.5], 5, where) == cql.search("songs", "v", [1.0, 0.9, 0.5], 5, where)
        assert double.asked == []


def test_open_store_has_both(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: `open_store()` over the Data API does not use the CQL settings that are there."""
    given = {"STORAGE_BACKEND": "astra", "SYNC_ALLOW_ONE_SIDED": "true", "SYNC_DUAL_WRITE": "false"}
    for name, value in {**environment(settings), **given}.items():
        monkeypatch.setenv(name, value)
    with open_store() as store:
        assert isinstance(store, AstraStore)
        assert len(list(store.scan("songs"))) == 90


def test_documents_have_no_finds(settings: Settings) -> None:
    """Would break: a collection's own columns are queried, over the API or over CQL."""
    open_api(settings, 30).database.create_collection("docs", definition={"vector": {"dimension": 2, "metric": "cosine"}})
    for made in (lambda: AstraStore(settings), lambda: ReadBackStore(settings)):
        with made() as store:
            for read in (
                lambda s=store: s.find("docs", {"_id": "a"}), lambda s=store: s.scan("docs"),
                lambda s=store: s.search("docs", "$vector", [1.0, 0.0], 3, {"a": 1}),
            ):  # fmt: skip
                with pytest.raises(QueryNotSupported, match="docs is a collection"):
                    read()


def test_documents_have_no_finds_in_postgres(home: Place, settings: Settings) -> None:
    """Would break: after the cut-over the application gets the rows that Postgres has for its documents."""
    name = open_api(settings, 30).database.create_collection("after").name
    prepare(settings, CONFIG, name)
    with closing(Table(home.cassandra, settings, CONFIG, name)) as table, ApiDualWriteStore(settings, CONFIG) as store:
        store.put(name, {"_id": "a", "n": 1})
        be_primary(table, "postgres")
        try:
            assert until(lambda: store.primary == "postgres")
            assert store.get(name, {"_id": "a"}) == {"_id": "a", "n": 1}
            for read in (lambda: store.find(name, {"_id": "a"}), lambda: store.scan(name)):
                with pytest.raises(QueryNotSupported, match="after is a collection"):
                    read()
        finally:
            be_primary(table, "astra")


def test_a_store_of_both_sides(home: Place, settings: Settings, cql: CqlStore) -> None:
    """Would break: the application's partitions cannot be read while it writes to both sides through the API."""
    config = CONFIG.model_copy(update={"tables": Config(tables={"lists": {"ignore": ["kept"]}}).tables})  # type: ignore[dict-item]
    prepare(settings, config, "lists")
    for own in (settings, settings.model_copy(update=NO_CQL)):
        with ApiDualWriteStore(own, config) as store:
            expected = [row["id"] for row in cql.find("lists", {"owner": 0}, [("at", "asc")])]
            assert [row["id"] for row in store.find("lists", {"owner": 0}, [("at", "asc")])] == expected
            if own is settings:
                assert list(store.scan("lists")) == list(cql.scan("lists"))
            else:
                with pytest.raises(QueryNotSupported, match="cannot scan"):
                    store.scan("lists")
