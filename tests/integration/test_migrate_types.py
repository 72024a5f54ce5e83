"""`sync migrate` from end to end with every type of the matrix: in the key, outside it, and at its edges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from cassandra import InvalidRequest, WriteFailure
from cassandra.cluster import NoHostAvailable, ResponseFuture
from cassandra.query import BoundStatement
from support.cells import cell
from support.edges import edges
from support.matrix import MATRIX, TYPES
from support.places import NewPlace, Place
from support.values import sample, strategy

from sync.adapters.cassandra.schema.catalogue import read_tables
from sync.core.cql import CqlType
from sync.core.rows import SourceTable

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow

_SHORT = 120
"""Bytes of a cell that goes into a key: an entry of Postgres's index holds 2,704 in all."""
_NO_KEY = ("counter", "duration")


def _keys(names: list[str]) -> list[str]:
    frozen = [t if t.startswith(("frozen", "vector")) or "<" not in t else f"frozen<{t}>" for t in names]
    named = ["frozen<place>" if t == "place" else t for t in frozen]
    plain = [t for t in named if t not in _NO_KEY and "duration" not in t and "vector<float, 16000>" not in t]
    return list(dict.fromkeys(t for t in plain if "4096" not in t))


_SCALARS = [t for t in _keys(list(MATRIX)) if "<" not in t]
_NESTED = [t for t in _keys(list(MATRIX)) if "<" in t]


def _values(cql: CqlType, most: int | None = None) -> list[bytes | None]:
    several = 1 if (cql.dimension or 0) > 50 else 3
    found = [cell(cql, v) for v in [*edges(cql), *sample(strategy(cql), several)]]
    return [c for c in found if most is None or (c is not None and len(c) <= most)]


class _Rows:
    """Writes rows into one table, each different from an ordinary row in one column."""

    def __init__(self, place: Place, table: SourceTable) -> None:
        self._session, self._table = place.cassandra.session, table
        names = ", ".join(f'"{c.name}"' for c in table.columns)
        marks = ", ".join("?" * len(table.columns))
        self._insert = self._session.prepare(f'INSERT INTO "{place.keyspace}".{table.name} ({names}) VALUES ({marks})')
        self._n = 0

    def _put(self, cells: dict[str, bytes | None]) -> ResponseFuture:
        self._n += 1
        bound = BoundStatement(self._insert)
        bound.values = [self._n.to_bytes(4, "big") if c.name == "n" else cells[c.name] for c in self._table.columns]
        return self._session.execute_async(bound)

    def fill(self) -> int:
        """Write each column's values in turn; return how many rows Cassandra took."""
        keys = {c.name for c in self._table.primary_key}
        values = {c.name: _values(c.type, _SHORT if c.name in keys else None) for c in self._table.columns if c.name != "n"}
        usual = {c.name: _usual(c.type) if c.name in keys else None for c in self._table.columns}
        futures = [self._put({**usual, name: one}) for name, found in values.items() for one in found]
        return sum(map(_is_taken, futures))


def _is_taken(future: ResponseFuture) -> bool:
    """Whether Cassandra took the row; it refuses some of the edges."""
    try:
        future.result()
    except (InvalidRequest, NoHostAvailable, WriteFailure) as error:
        assert "Connection" not in str(error), error
        return False
    return True


def _usual(cql: CqlType) -> bytes | None:
    """An ordinary value, which the target can hold."""
    nested = {"list": [], "set": [], "map": [], "vector": [1.0] * (cql.dimension or 0)}
    fields = [None] * len(cql.args)
    return cell(cql, _ORDINARY.get(cql.name, nested.get(cql.name, fields)))


_NUMBERS = ("tinyint", "smallint", "int", "bigint", "varint", "float", "double", "timestamp", "date", "time", "boolean")
_ORDINARY: dict[str, Any] = {
    **dict.fromkeys(_NUMBERS, 1), "time": 1000, "text": "a", "ascii": "a", "decimal": (15, 1), "blob": b"b", "inet": bytes([10, 0, 0, 1]),
    "uuid": UUID(int=1), "timeuuid": UUID("58e0a7d7-eebc-11d8-9669-0800200c9a66"),
}  # fmt: skip


@pytest.fixture(scope="module")
def migrated(new_place: NewPlace) -> Iterator[tuple[dict[str, int], Any]]:
    """Rows by table, for tables with all types, and the result of `sync migrate`."""
    with new_place() as place:
        place.cql(*(t.format('"' + place.keyspace + '"') for t in TYPES))
        columns = [t for t in MATRIX if t != "counter"]
        tables = {"in_columns": ("n int PRIMARY KEY", columns)}
        halves = (("scalar_keys", _SCALARS), ("nested_keys", _NESTED[:20]), ("more_keys", _NESTED[20:]))
        for name, types in halves:
            half = len(types) // 2
            partition = ", ".join(["n", *(f"c{i}" for i in range(half))])
            rest = ", ".join(f"c{i}" for i in range(half, len(types)))
            tables[name] = (f"n int, PRIMARY KEY (({partition}), {rest})", types)
        for name, (head, types) in tables.items():
            listed = ", ".join(f"c{i} {t}" for i, t in enumerate(types))
            place.cql(f"CREATE TABLE KS.{name} ({listed}, {head})")
        place.cql("CREATE TABLE KS.counts (n int PRIMARY KEY, c counter)", "UPDATE KS.counts SET c = c + 5 WHERE n = 1")
        found = read_tables(place.cassandra.session, place.keyspace)
        filled = {name: _Rows(place, found[name]).fill() for name in tables}
        place.configure("schema_files = []\n[backfill]\nrange_mb = 64\n")
        done = place.commands.run("migrate", "--workers", "1", "--sample", "400", "--json", timeout=300)
        yield filled, done


def test_every_type_goes_through_migrate(migrated: tuple[dict[str, int], Any]) -> None:
    """Would break: a step of `sync migrate` that takes values through a driver's own types instead of their bytes."""
    filled, done = migrated
    assert done.code == 0, done
    report = done.json
    assert report["ok"] is True
    for table in report["verification"]["tables"]:
        name, rows = table["table"], table["rows"]
        assert table["clean"] and rows["source"] == rows["same"] + rows["rejected"], table
        assert rows["source"] == (1 if name == "counts" else filled[name]), table
        assert rows["same"] > rows["rejected"], table


def test_every_sampled_row_is_found_by_its_key(migrated: tuple[dict[str, int], Any]) -> None:
    """Would break: a lookup by key or content is skipped, or asks for something other than the row's own bytes."""
    filled, done = migrated
    found = {r["table"]: r for r in done.json["verification"]["retrieval"]}
    for name in filled:
        assert found[name]["asked"] == found[name]["by_key"] > 50, found[name]
    maps = found["in_columns"]
    assert maps["by_content_asked"] == maps["by_content"] > 5, maps
