"""Reads of many rows: the same rows in the same order from Cassandra, from Postgres, and from a store of both sides."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from support.dual import prepare
from support.places import NewPlace, Place
from support.read_tables import TYPES, RandomTable, random_query, random_table

from sync.errors import QueryNotSupported
from sync.settings import Config, DualWriteTuning
from sync.stores import CqlStore, DualWriteStore, PostgresStore
from sync.stores.rows import Rows

pytest_plugins = ("support.fixtures",)
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=8))
TABLES = {seed: random_table(seed) for seed in range(2 * len(TYPES))}
# Each type is first in the order of one of the quick ones.
SEEDS = [pytest.param(seed, marks=[pytest.mark.slow] if seed >= len(TYPES) else []) for seed in TABLES]


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as place:
        place.cql(*(table.ddl for table in TABLES.values()))
        prepare(place.settings, CONFIG, *(table.name for table in TABLES.values()))
        yield place


@pytest.fixture(scope="module")
def dual(home: Place) -> Iterator[DualWriteStore]:
    with DualWriteStore(home.settings, CONFIG) as store:
        for table in TABLES.values():
            store.put_many(table.name, table.rows)
        yield store


@pytest.fixture(scope="module")
def cql(home: Place, dual: DualWriteStore) -> Iterator[CqlStore]:
    with CqlStore(home.settings) as store:
        yield store


@pytest.fixture(scope="module")
def postgres(home: Place, dual: DualWriteStore) -> Iterator[PostgresStore]:
    with PostgresStore(home.settings) as store:
        yield store


@pytest.mark.parametrize("seed", SEEDS)
def test_a_partition_has_one_order(cql: CqlStore, postgres: PostgresStore, dual: DualWriteStore, seed: int) -> None:
    """Would break: a type that Postgres orders in another way, ASC and DESC mixed, ranges, limits, and pages of 1 and 7."""
    table, chosen = TABLES[seed], random.Random(seed)
    for _ in range(25):
        query = random_query(chosen, table)
        expected = list(cql.find(table.name, **query))
        assert list(dual.find(table.name, **query)) == expected
        for page_rows in (1, 7, 1000):
            assert list(postgres.find(table.name, **query, page_rows=page_rows)) == expected, (table.ddl, query)
            assert list(cql.find(table.name, **query, page_rows=page_rows)) == expected, (table.ddl, query)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_scan_has_one_order(cql: CqlStore, postgres: PostgresStore, dual: DualWriteStore, seed: int) -> None:
    """Would break: rows that one side returns elsewhere, twice or not at all."""
    table = TABLES[seed]
    expected = list(cql.scan(table.name))
    assert sorted(map(repr, expected)) == sorted(map(repr, table.rows)) or len(expected) == len(table.rows)
    for store in (cql, postgres, dual):
        for page_rows in (1, 7, 1000):
            assert list(store.scan(table.name, page_rows=page_rows)) == expected, (table.ddl, page_rows)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cursor_is_good_on_either_side(cql: CqlStore, postgres: PostgresStore, seed: int) -> None:
    """Would break: a page's link that was made before the cut-over skips or repeats rows after it."""
    table, chosen = TABLES[seed], random.Random(seed)
    whole = list(cql.scan(table.name))
    assert _in_turn(chosen, lambda store, cursor: store.scan(table.name, after=cursor), [cql, postgres]) == whole
    for _ in range(5):
        query = {k: v for k, v in random_query(chosen, table).items() if k != "limit"}
        expected = list(cql.find(table.name, **query))
        pages = _in_turn(
            chosen, lambda store, cursor, q=query: store.find(table.name, **q, after=cursor, limit=4), [cql, postgres]
        )
        assert pages == expected, (table.ddl, query)


def _in_turn(chosen: random.Random, begin: Any, stores: list[Any]) -> list[dict[str, Any]]:
    """All rows, a few from one store, then a few from another."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        rows: Rows = begin(chosen.choice(stores), cursor)
        took = list(islice(rows, chosen.randint(1, 3)))
        cursor = rows.cursor
        if not took:
            return found
        found += took


@pytest.mark.parametrize("seed", SEEDS[::3])
def test_many_keys_at_once(cql: CqlStore, postgres: PostgresStore, dual: DualWriteStore, seed: int) -> None:
    """Would break: rows in another order than their keys, one left out, or one that two keys ask for."""
    table, chosen = TABLES[seed], random.Random(seed)
    keys = [{name: row[name] for name in table.keys} for row in table.rows]
    absent = {name: keys[-1][name] for name in table.keys}
    dual.delete(table.name, absent)
    try:
        asked = [*keys, *chosen.choices(keys, k=5)]
        chosen.shuffle(asked)
        expected = [cql.get(table.name, key) for key in asked]
        assert None in expected
        for store in (cql, postgres, dual):
            assert store.get_many(table.name, asked) == expected
            assert store.get_many(table.name, []) == []
    finally:
        dual.put(table.name, table.rows[-1])


def test_what_no_side_answers(cql: CqlStore, postgres: PostgresStore, dual: DualWriteStore) -> None:
    """Would break: a query that only one side takes, or an error that speaks of a write."""
    table = next(t for t in TABLES.values() if len(t.clustering) == 2 and len(t.partition) == 2)
    row = table.rows[0]
    whole = {n: row[n] for n, _ in table.partition}
    bad: list[dict[str, Any]] = [
        {"where": {}},
        {"where": {"p0": row["p0"]}},
        {"where": {"words": "x"}},
        {"where": {**whole, "words": "x"}},
        {"where": {**whole, "c1": row["c1"]}},
        {"where": {**whole, "c0": {">": row["c0"]}, "c1": row["c1"]}},
        {"where": {**whole, "p0": {">": row["p0"]}}},
        {"where": {**whole, "c0": {">": row["c0"], ">=": row["c0"]}}},
        {"where": {**whole, "c0": None}},
        {"where": whole, "order_by": [("c1", "asc")]},
        {"where": whole, "order_by": [("words", "asc")]},
        {"where": whole, "order_by": [("c0", "up")]},
        {"where": whole, "limit": 0},
        {"where": whole, "after": "x"},
        {"where": {**whole, "nothing": 1}},
    ]
    for query in bad:
        texts = set()
        for store in (cql, postgres, dual):
            with pytest.raises(QueryNotSupported) as error:
                pytest.fail(f"{type(store).__name__}: {list(store.find(table.name, **query))} {query} {table.ddl}")
            texts.add(str(error.value))
        assert len(texts) == 1 or "nothing" in query["where"], texts
    for store in (cql, postgres, dual):
        for read in (store.find, store.get_many):
            with pytest.raises(QueryNotSupported, match="there is no table"):
                read("missing", {"a": 1})  # type: ignore[dict-item]
        with pytest.raises(QueryNotSupported, match="there is no table"):
            store.scan("missing")
        with pytest.raises(QueryNotSupported, match="the key"):
            store.get_many(table.name, [{"p0": row["p0"]}])


def test_the_tables_hold_every_type() -> None:
    """Would break: a type of which no table's order begins with."""
    firsts = {t.clustering[0][1] for t in TABLES.values() if t.clustering}
    assert firsts == set(TYPES)
    assert {t.clustering[0][2] for t in TABLES.values() if t.clustering} == {"ASC", "DESC"}
    assert isinstance(TABLES[0], RandomTable)
