"""docs/types.md against the real Cassandra: what it takes and refuses, and where SELECT JSON has another form than ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cassandra import InvalidRequest
from cassandra.query import BoundStatement
from support.cells import split
from support.lab import Lab, open_lab

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.connection.pages import RAW_PROFILE
from sync.adapters.cassandra.schema.catalogue import read_tables
from sync.core.cql import CqlType
from sync.core.encode import Reject
from sync.core.encode.jsonb import json_text
from sync.settings import Settings

REFUSED = {
    "tinyint", "smallint", "date", "time", "duration", "vector<float, 2>",
    "list<int>", "set<int>", "map<int, int>", "frozen<list<int>>", "frozen<set<int>>", "frozen<map<int, int>>",
}  # fmt: skip
NULL = {
    "int", "bigint", "varint", "decimal", "float", "double", "boolean", "uuid", "timeuuid", "timestamp", "inet",
    "frozen<tuple<int, int>>", "tuple<int, int>", "frozen<plain>",
}  # fmt: skip
ITSELF = {"ascii": "", "text": "", "blob": b""}
# Type, CQL literal, and the JSON of both sides.
SAME = [
    ("ascii", "'a\"b'", r'"a\"b"'), ("text", "'ü\\'", r'"ü\\"'), ("tinyint", "-1", "-1"), ("smallint", "2", "2"), ("int", "3", "3"),
    ("bigint", "-9223372036854775808", "-9223372036854775808"), ("varint", "9" * 40, "9" * 40), ("decimal", "1.50", "1.50"),
    ("float", "1.5", "1.5"), ("double", "0.001", "0.001"), ("boolean", "true", "true"), ("blob", "0xcafe", '"0xcafe"'),
    ("uuid", "550e8400-e29b-41d4-a716-446655440000", '"550e8400-e29b-41d4-a716-446655440000"'), ("inet", "'1.2.3.4'", '"1.2.3.4"'),
    ("timestamp", "'2011-02-03 04:05:06.789Z'", '"2011-02-03 04:05:06.789Z"'),
    ("timestamp", "253402300800000", '"+10000-01-01 00:00:00.000Z"'), ("timestamp", "-62135596800000", '"0001-01-01 00:00:00.000Z"'),
    ("date", "'2011-02-03'", '"2011-02-03"'), ("date", "4294967295", '"+5881580-07-11"'), ("date", "'-0001-01-01'", '"-0001-01-01"'), ("date", "2146764485", '"0000-12-31"'), ("date", "0", '"-5877641-06-23"'),
    ("timestamp", "'1200-02-29 00:00:00.000Z'", '"1200-02-29 00:00:00.000Z"'),
    ("time", "'04:05:06'", '"04:05:06.000000000"'), ("list<int>", "[2, 1]", "[2, 1]"), ("set<int>", "{2, 1}", "[1, 2]"),
    ("map<int, text>", "{1: 'a'}", '{"1": "a"}'), ("map<frozen<tuple<int, text>>, text>", "{(1, 'q'): 'z'}", r'{"[1, \"q\"]": "z"}'),
    ("map<boolean, int>", "{true: 1}", '{"true": 1}'), ("map<double, int>", "{-0.0: 1}", '{"-0.0": 1}'),
    ("tuple<int, text>", "(1, null)", "[1, null]"), ("vector<float, 2>", "[1.5, 2]", "[1.5, 2.0]"),
    ("frozen<plain>", "{a: 1}", '{"a": 1, "b": null}'),
]  # fmt: skip
# Type, CQL literal, Cassandra's JSON, ours; None where the value is a reject.
OTHER: list[tuple[str, str, str, str | None]] = [
    ("inet", "blobasinet(0x00000000000000000000ffff01020304)", '"1.2.3.4"', '"::ffff:1.2.3.4"'),
    ("inet", "'::1'", '"0:0:0:0:0:0:0:1"', '"::1"'),
    ("inet", "'2001:db8::1'", '"2001:db8:0:0:0:0:0:1"', '"2001:db8::1"'),
    ("double", "-0.0", "-0.0", "0.0"),
    ("double", "1e20", "1.0E20", "100000000000000000000"),
    ("double", "0.0001", "1.0E-4", "0.0001"),
    ("decimal", "1E+2", "1E+2", "100"),
    ("map<double, int>", "{1e20: 1}", '{"1.0E20": 1}', '{"100000000000000000000": 1}'),
    ("float", "1.1", "1.1", "1.100000023841858"),
    ("vector<float, 2>", "[1.1, 2]", "[1.1, 2.0]", "[1.100000023841858, 2.0]"),
    ("duration", "1mo2d3h4ns", '"1mo2d3h4ns"', '"1mo2d10800000000004ns"'),
    ("duration", "-1mo2d3h", '"-1mo2d3h"', '"-1mo2d10800000000000ns"'),
    ("duration", "3d", '"3d"', '"0mo3d0ns"'),
    ("double", "NaN", "null", None),
    ("double", "Infinity", "null", None),
    ("timestamp", "-62135596800001", '"0001-12-31 23:59:59.999Z"', '"0000-12-31 23:59:59.999Z"'),
    ("frozen<mixed>", '{"A": 1}', r'{"\"A\"": 1}', '{"A": 1}'),
]


@pytest.fixture(scope="module")
def lab(cassandra: Cassandra, base_settings: Settings) -> Iterator[Lab]:
    """A keyspace and a database of this module's own, with two user types."""
    with open_lab(cassandra, base_settings) as opened:
        cassandra.session.execute(f"CREATE TYPE {opened.keyspace}.plain (a int, b text)")
        cassandra.session.execute(f'CREATE TYPE {opened.keyspace}.mixed ("A" int)')
        yield opened


def _table(lab: Lab, name: str, types: list[str]) -> str:
    """Create a table with a column c0, c1, … of each type; return its name with the keyspace."""
    columns = ", ".join(f"c{n} {cql}" for n, cql in enumerate(types))
    lab.session.execute(f"CREATE TABLE {lab.keyspace}.{name} (k int PRIMARY KEY, {columns})")
    return f"{lab.keyspace}.{name}"


def test_which_types_cassandra_takes_no_cell_of_length_zero_of(lab: Lab) -> None:
    """Would break: the page says that a type's empty cells arrive as null, though Cassandra takes none; or the reverse."""
    types = [*REFUSED, *NULL, *ITSELF]
    table = _table(lab, "empties", types)
    for n, cql in enumerate(types):
        bound = BoundStatement(lab.session.prepare(f"INSERT INTO {table} (k, c{n}) VALUES (1, ?)"))
        bound.values = [b""]
        if cql in REFUSED:
            with pytest.raises(InvalidRequest):
                lab.session.execute(bound)
        else:
            lab.session.execute(bound)
            assert lab.session.execute(f"SELECT c{n} FROM {table}").one()[0] == ITSELF.get(cql), cql


def _both(lab: Lab, name: str, examples: list[tuple[str, str]]) -> Iterator[tuple[str, str | None]]:
    """Each example's JSON from SELECT JSON, and from jsonb in Postgres; None for a reject."""
    table = _table(lab, name, [cql for cql, _ in examples])
    listed = ", ".join(f"c{n}" for n in range(len(examples)))
    lab.session.execute(f"INSERT INTO {table} (k, {listed}) VALUES (1, {', '.join(value for _, value in examples)})")
    raw = lab.cassandra.raw.execute(f"SELECT {listed} FROM {table}", execution_profile=RAW_PROFILE).current_rows[0]
    cells, _ = split(raw.data, raw.offset, len(examples))
    source = {c.name: c.type for c in read_tables(lab.session, lab.keyspace)[name].columns}
    for n, cell in enumerate(cells):
        theirs = lab.session.execute(f"SELECT JSON c{n} FROM {table}").one()[0]
        yield theirs.removeprefix(f'{{"c{n}": ').removesuffix("}"), _ours(lab, source[f"c{n}"], cell)


def _ours(lab: Lab, cql: CqlType, cell: Any) -> str | None:
    try:
        text = json_text(cql, cell)
    except Reject:
        return None
    found = lab.postgres.execute("SELECT %s::jsonb::text", (text,)).fetchone()
    assert found == (text,), "jsonb's own text is the one that is encoded"
    return text


def test_select_json_has_the_same_form(lab: Lab) -> None:
    """Would break: an application that compares what it reads on both sides finds differences that the page denies."""
    wanted = [(text, text) for *_, text in SAME]
    assert list(_both(lab, "same", [(cql, value) for cql, value, _ in SAME])) == wanted


def test_select_json_differs_in_what_the_page_lists(lab: Lab) -> None:
    """Would break: the page lists a difference that does not exist, or gives a wrong one."""
    wanted = [(theirs, ours) for *_, theirs, ours in OTHER]
    assert list(_both(lab, "other", [(cql, value) for cql, value, *_ in OTHER])) == wanted


def test_select_json_writes_an_empty_cell_as_an_empty_text(lab: Lab) -> None:
    """Would break: the page says that both sides give null."""
    table = _table(lab, "empty_json", ["int", "uuid"])
    lab.session.execute(f"INSERT INTO {table} (k, c0, c1) VALUES (1, blobasint(0x), blobasuuid(0x))")
    assert lab.session.execute(f"SELECT JSON c0, c1 FROM {table}").one()[0] == '{"c0": "", "c1": ""}'


def _takes(lab: Lab, table: str, **cells: bytes) -> bool:
    """Whether Cassandra takes a row of these bytes."""
    names = ", ".join(cells)
    bound = BoundStatement(lab.session.prepare(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(cells))})"))
    bound.values = list(cells.values())
    try:
        lab.session.execute(bound)
    except InvalidRequest:
        return False
    return True


def test_what_cassandra_takes_as_a_key(lab: Lab) -> None:
    """Would break: the page gives another limit than the server's, or mentions keys that cannot exist."""
    with pytest.raises(InvalidRequest, match="duration"):
        lab.session.execute(f"CREATE TABLE {lab.keyspace}.durations (k duration PRIMARY KEY)")
    table = _table(lab, "numbers", ["text"])
    assert not _takes(lab, table, k=b"")
    lab.session.execute(f"CREATE TABLE {lab.keyspace}.texts (k text PRIMARY KEY)")
    texts = f"{lab.keyspace}.texts"
    assert [_takes(lab, texts, k=b"x" * n) for n in (0, 1, 65_535, 65_536)] == [False, True, True, False]
    lab.session.execute(f"CREATE TABLE {lab.keyspace}.several (k text, i int, c int, PRIMARY KEY ((k, i), c))")
    assert _takes(lab, f"{lab.keyspace}.several", k=b"", i=b"", c=b"")


def test_what_cassandra_takes_that_is_rejected(lab: Lab) -> None:
    """Would break: the page lists rejects that cannot occur."""
    table = _table(lab, "odd", ["text", "time"])
    assert [_takes(lab, table, k=bytes(4), c0=text) for text in (b"\0", b"\xc0\x80", b"\xff")] == [True, True, False]
    assert all(
        _takes(lab, table, k=bytes(4), c1=n.to_bytes(8, "big", signed=True)) for n in (-1, 86_400_000_000_000, 2**63 - 1)
    )
