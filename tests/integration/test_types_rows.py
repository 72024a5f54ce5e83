"""Rows of many columns, and what `on_reject` makes of bad values, through both real servers."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any
from uuid import UUID

import pytest
from cassandra.query import BoundStatement
from support import oracle
from support.cells import cell, split
from support.edges import edges
from support.lab import UNDECODABLE, VERSION, Lab, open_lab
from support.pg_types import pg_type
from support.values import keys, sample, strategy

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.connection.pages import RangeReader
from sync.adapters.cassandra.schema.catalogue import read_tables
from sync.adapters.postgres.schema.catalogue import read_target
from sync.core.cql import CqlType, parse_type
from sync.core.encode import Reject, encoder_for
from sync.core.encode.rows import COPY_HEADER, COPY_TRAILER, RowEncoder, encode_cell
from sync.core.ring import WHOLE_RING, plan_ranges
from sync.core.rows import ColumnPair, OnReject, SourceTable, TableMap
from sync.settings import Settings

_COLUMNS = {
    "text": "text", "timestamp": "timestamptz", "int": "int4", "vector<float, 3>": "vector(3)", "boolean": "bool",
    "varint": "numeric",
    "uuid": "uuid", "map<text, text>": "jsonb", "double": "float8", "tinyint": "int2", "blob": "bytea", "date": "date",
    "bigint": "int8",
    "vector<float, 40>": "vector(40)", "set<text>": "text[]", "smallint": "int2", "inet": "inet", "float": "float4",
    "time": "time",
    "duration": "interval", "ascii": "varchar(9)", "tuple<int, text>": "jsonb", "timeuuid": "uuid",
}  # fmt: skip
_ROWS = 400


@pytest.fixture(scope="module")
def lab(cassandra: Cassandra, base_settings: Settings) -> Iterator[Lab]:
    """A keyspace and a database of this module's own."""
    with open_lab(cassandra, base_settings) as opened:
        yield opened


def _wide_source(lab: Lab) -> SourceTable:
    """A table of every kind of column, in an order that mixes them, with a composite key and names that need quoting."""
    columns = ", ".join(f'"C {i}" {name}' for i, name in enumerate(_COLUMNS))
    key = 'PRIMARY KEY ((k, "K 2"), r)'
    lab.session.execute(f'CREATE TABLE {lab.keyspace}."Wide" (k text, "K 2" int, r timestamp, {columns}, {key})')
    return read_tables(lab.session, lab.keyspace)["Wide"]


def _fill(lab: Lab, source: SourceTable) -> None:
    random = Random(7)
    names = [c.name for c in source.columns]
    listed = ", ".join('"' + n + '"' for n in names)
    insert = lab.session.prepare(f'INSERT INTO {lab.keyspace}."Wide" ({listed}) VALUES ({", ".join("?" * len(names))})')
    targets = list(_COLUMNS.values())
    choices = [_holdable(c.type, targets[int(c.name.split()[1])]) for c in source.columns[3:]]
    futures = []
    for n in range(_ROWS):
        bound = BoundStatement(insert)
        key = [f"key {n % 7}".encode(), n.to_bytes(4, "big"), cell(CqlType("timestamp"), n - 200)]
        bound.values = [*key, *(random.choice([None, *c]) if random.random() < 0.8 else None for c in choices)]
        futures.append(lab.session.execute_async(bound))
    for future in futures:
        future.result()


def _holdable(cql: CqlType, target: str) -> list[bytes]:
    """Cells that Postgres can hold, and that the fast path takes as they are."""
    encoder = encoder_for(cql, pg_type(target))
    found = []
    for value in [*edges(cql), *sample(strategy(cql), 30)]:
        data = cell(cql, value)
        try:
            encode_cell(encoder, data or b"")
        except Reject:
            continue
        if data and len(data) < 5000 and not (cql.name == "boolean" and data > b"\x01"):
            found.append(data)
    return found


def test_rows_of_every_type_arrive_by_the_fast_path(lab: Lab) -> None:
    """Would break: in a wide row, a null or a long cell shifts the columns after it."""
    source = _wide_source(lab)
    _fill(lab, source)
    columns = ", ".join(f'"C {i}" {pg}' for i, pg in enumerate(_COLUMNS.values()))
    key = 'PRIMARY KEY (k, "K 2", r)'
    lab.postgres.execute(
        f'CREATE TABLE "Wide" (r timestamptz, {columns}, "K 2" int4, k text, _sync_token bigint, _sync_version bigint, {key})'
    )
    target = read_target(lab.postgres, "Wide")
    assert target
    pairs = tuple(ColumnPair(c, target.column(c.name) or target.columns[0]) for c in source.columns)
    encoder = RowEncoder(TableMap(source, target, pairs), VERSION)
    reader = RangeReader(lab.cassandra.raw, source, encoder.columns, 1 << 16)
    rows: list[bytes] = []
    for tokens in plan_ranges([], 1, at_least=3):
        for page in reader.pages(tokens):
            slow = [c.encoded or b"" for c in encoder.check_page(page.data, page.offset, page.count)]
            assert b"".join(encoder.encode_page(page.data, page.offset, page.count)) == b"".join(slow)
            rows += slow
    assert len(rows) == _ROWS
    quoted = ", ".join('"' + n + '"' for n in encoder.copy_columns)
    _copy(lab, f'COPY "Wide" ({quoted}) FROM STDIN (FORMAT BINARY)', rows)
    assert _sent(lab, encoder) == sorted(tuple(split(r, 2, len(encoder.copy_columns))[0]) for r in rows)


def _copy(lab: Lab, statement: str, rows: list[bytes]) -> None:
    with lab.postgres.cursor().copy(statement) as copy:
        copy.write(b"".join([COPY_HEADER, *rows, COPY_TRAILER]))


def _sent(lab: Lab, encoder: RowEncoder) -> list[tuple[bytes | None, ...]]:
    """The bytes of every column as Postgres's send functions give them, in the order of the encoder's columns."""
    types = lab.postgres.execute(
        "SELECT attname, typsend::text FROM pg_attribute JOIN pg_type t ON t.oid = atttypid "
        "WHERE attrelid = '\"Wide\"'::regclass"
    ).fetchall()
    send = dict(types)
    columns = ", ".join(f'{send[name]}("{name}")' for name in encoder.copy_columns)
    rows = lab.postgres.cursor(binary=True).execute(f'SELECT {columns} FROM "Wide"').fetchall()
    return sorted(tuple(None if v is None else bytes(v) for v in row) for row in rows)


_TEXTS = {
    "text": "text",
    "map<text, text>": "jsonb",
    "set<text>": "text[]",
    "frozen<map<ascii, frozen<list<text>>>>": "jsonb",
}


def _text_values(cql: CqlType) -> list[Any]:
    return [*edges(cql), *sample(strategy(cql), 40)]


@pytest.mark.parametrize("cql", _TEXTS)
@pytest.mark.parametrize("on_reject", ["strip-nul", "null"])
def test_what_the_policies_make_of_bad_values(lab: Lab, cql: str, on_reject: OnReject) -> None:
    """Would break: a policy changes a value that it need not, changes more than the NUL, or changes one without saying so."""
    source = lab.source(cql, _text_values)
    target = lab.target(_TEXTS[cql])
    encoder = RowEncoder(lab.table_map(source.table, target, on_reject), VERSION)
    outcomes = list(lab.outcomes(encoder, source.table))
    lab.copy(target, encoder, [o.checked.encoded for o in outcomes if o.checked.encoded is not None])
    pg = encoder.pairs[-1].target.type
    shown = lab.shown(target, pg)
    actions = set()
    for outcome in outcomes:
        action = outcome.checked.issues[0].action if outcome.checked.issues else "as it is"
        actions.add(action)
        if action == "reject":
            assert on_reject == "strip-nul" and outcome.key not in shown
            continue
        seen = oracle.seen(source.type, pg, shown[outcome.key][0])
        wanted = _after(action, source.values[outcome.key])
        assert oracle.comparable(source.type, pg, seen) == oracle.comparable(source.type, pg, wanted)
        assert (action == "as it is") == (_is_clean(source.values, outcome.key))
    assert {"as it is", on_reject} <= actions


def _after(action: str, value: Any) -> Any:
    if action == "null":
        return None
    return oracle.without_nul(value) if action == "strip-nul" else value


def _is_clean(values: dict[UUID, Any], key: UUID) -> bool:
    return values[key] is not UNDECODABLE and oracle.without_nul(values[key]) == values[key]


def test_a_null_in_a_column_that_takes_none_rejects_its_row_alone(lab: Lab) -> None:
    """Would break: one null, or one empty int that reads as null, stops the COPY of all the others."""
    source = lab.source("int", lambda _cql: [None, *edges(parse_type("int")), 5, 6])
    target = lab.target("int4", "NOT NULL")
    encoder = RowEncoder(lab.table_map(source.table, target, "null"), VERSION)
    outcomes = list(lab.outcomes(encoder, source.table))
    nulls = [o for o in outcomes if source.values[o.key] is None]
    assert len(nulls) == 2 and all("does not accept" in o.checked.issues[0].reason for o in nulls)
    assert all(o.checked.encoded is None for o in nulls)
    lab.copy(target, encoder, [o.checked.encoded for o in outcomes if o.checked.encoded is not None])
    assert len(lab.shown(target, encoder.pairs[-1].target.type)) == len(outcomes) - 2


def test_a_field_added_to_a_user_type(lab: Lab) -> None:
    """Would break: rows from before the field was added are refused, or those after it lose the new field in silence."""
    lab.session.execute(f"CREATE TYPE {lab.keyspace}.growing (a int)")
    lab.session.execute(f"CREATE TABLE {lab.keyspace}.grows (k uuid PRIMARY KEY, c growing, f frozen<list<frozen<growing>>>)")
    before, after = [next_key for _, next_key in zip(range(2), keys(), strict=False)]
    insert = f"INSERT INTO {lab.keyspace}.grows (k, c, f) VALUES "
    lab.session.execute(insert + f"({before}, {{a: 1}}, [{{a: 2}}])")
    old = read_tables(lab.session, lab.keyspace)["grows"]
    lab.session.execute(f"ALTER TYPE {lab.keyspace}.growing ADD b text")
    lab.session.execute(insert + f"({after}, {{a: 3, b: 'x'}}, [{{a: 4, b: 'y'}}])")
    lab.postgres.execute(
        "CREATE TABLE grows (k uuid PRIMARY KEY, c jsonb, f jsonb, _sync_token bigint, _sync_version bigint)"
    )
    new = read_tables(lab.session, lab.keyspace)["grows"]
    assert _grown(lab, new) == {
        before: (b'\x01{"a": 1, "b": null}', b'\x01[{"a": 2, "b": null}]'),
        after: (b'\x01{"a": 3, "b": "x"}', b'\x01[{"a": 4, "b": "y"}]'),
    }
    assert _grown(lab, old) == {before: (b'\x01{"a": 1}', b'\x01[{"a": 2}]'), after: "more than the 1 fields"}


def _grown(lab: Lab, source: SourceTable) -> dict[UUID, Any]:
    """By key: the encoded cells c and f of each row, or the part of its reason that is tested."""
    target = read_target(lab.postgres, "grows")
    assert target
    pairs = tuple(ColumnPair(c, target.column(c.name) or target.columns[0]) for c in source.columns)
    encoder = RowEncoder(TableMap(source, target, pairs), VERSION)
    found: dict[UUID, Any] = {}
    for page in RangeReader(lab.cassandra.raw, source, encoder.columns, 1 << 16).pages(WHOLE_RING):
        for row in encoder.check_page(page.data, page.offset, page.count):
            key = UUID(bytes=row.key[0])
            if row.encoded is None:
                assert {i.column for i in row.issues} == {"c", "f"} and len({i.reason for i in row.issues}) == 1
                found[key] = "more than the 1 fields" if "more than the 1 fields" in row.issues[0].reason else row.issues
            else:
                found[key] = tuple(split(row.encoded, 2, 4)[0][2:])
    return found


def test_the_keys_of_the_tests_differ() -> None:
    """Would break: the tests of types overwrite each other's rows."""
    made = [key for _, key in zip(range(5000), keys(), strict=False)]
    assert len(set(made)) == 5000
