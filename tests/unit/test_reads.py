"""What a read may ask for, the text of a place in it, the recorded order of a key, and rows as values."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cells import cell
from support.values import strategy

from sync.adapters.cassandra.rows.cells import Cells
from sync.adapters.cassandra.rows.values import RowValues
from sync.core.cql import CqlType, parse_type
from sync.core.encode.base import join_cells
from sync.core.reads.cursor import Place, from_cursor, to_cursor
from sync.core.reads.key_order import KeyColumn, KeyOrder, from_comment, to_comment
from sync.core.reads.query import Condition, Index, filters, query
from sync.core.rows import SourceColumn, SourceTable
from sync.errors import QueryNotSupported, ValueUnreadable

KEY = KeyOrder(
    (KeyColumn("artist", "text"), KeyColumn("year", "int")), (KeyColumn("at", "int", True), KeyColumn("id", "timeuuid"))
)
INDEXES = {
    "genre": Index(False),
    "length": Index(True),
    "old": Index(False, alone=True),
    "loose": Index(False, unlike="it folds case"),
}
WHOLE = {"artist": "Bach", "year": 1720}


def test_a_partition_and_what_orders_its_rows() -> None:
    """Would break: conditions on a key, a range on its last given column, both directions."""
    assert query("t", KEY, {}, WHOLE, None, None).in_partition
    found = query("t", KEY, {}, {**WHOLE, "at": {">=": 1, "<": 5}}, [("at", "asc")], 3)
    assert found.conditions[2:] == (Condition("at", ">=", 1), Condition("at", "<", 5))
    assert (found.reversed, found.limit) == (True, 3)
    assert not query("t", KEY, {}, WHOLE, [("at", "desc"), ("id", "asc")], None).reversed
    assert query("t", KEY, {}, WHOLE, [("at", "asc"), ("id", "desc")], None).reversed
    assert query("t", KEY, {}, {**WHOLE, "at": 1}, [("id", "desc")], None).reversed
    assert query("t", KEY, {}, {**WHOLE, "at": 1}, [("at", "asc"), ("id", "asc")], None).reversed is False


def test_columns_with_indexes() -> None:
    """Would break: an index that is not used, or one that is used for what it does not answer."""
    assert not query("t", KEY, INDEXES, {"genre": "x", "length": {">": 1}}, None, None).in_partition
    assert query("t", KEY, INDEXES, {**WHOLE, "genre": "x"}, None, None).in_partition
    assert query("t", KEY, INDEXES, {"old": 1}, None, None)
    assert filters("t", INDEXES, {"genre": "x"}) == (Condition("genre", "=", "x"),)


@pytest.mark.parametrize(
    ("where", "order_by", "limit", "says"),
    [
        ({}, None, None, "scan reads the whole table"),
        ({"artist": "Bach"}, None, None, r"artist has no index: find takes the whole partition key \(artist, year\)"),
        ({**WHOLE, "id": 1}, None, None, "id follows at in the key, which is not given by its value"),
        ({**WHOLE, "at": {">": 1}, "id": 1}, None, None, "id follows at in the key"),
        ({"artist": {">": "a"}, "year": 1}, None, None, "artist is found by its value, not by a range"),
        ({**WHOLE, "at": {">": 1, ">=": 2}}, None, None, "one lower and one upper end, not >, >="),
        ({**WHOLE, "at": {"=": 1, "<": 2}}, None, None, "one lower and one upper end, not =, <"),
        ({**WHOLE, "at": None}, None, None, "at: nothing is found by null"),
        ({"genre": {">": "x"}}, None, None, "the index of genre finds values, not ranges"),
        ({"old": 1, "genre": "x"}, None, None, "the index of old answers no other condition"),
        ({**WHOLE, "old": 1}, None, None, "the index of old answers no other condition"),
        ({"loose": "a"}, None, None, "finds more than equal values: it folds case"),
        ({"genre": "x"}, [("at", "asc")], None, "order_by takes no conditions on other columns"),
        (WHOLE, [("id", "asc")], None, "ordered by at, id, not by id asc"),
        (WHOLE, [("at", "asc"), ("id", "asc")], None, "the table's order or its reverse"),
        (WHOLE, [("at", "up")], None, "at is 'asc' or 'desc', not 'up'"),
        (WHOLE, None, 0, "limit is 0, and must be at least 1"),
    ],
)
def test_what_is_refused(where: Mapping[str, Any], order_by: Any, limit: int | None, says: str) -> None:
    """Would break: a query that Cassandra would answer only with ALLOW FILTERING, or an error that does not say why."""
    with pytest.raises(QueryNotSupported, match=says):
        query("t", KEY, INDEXES, where, order_by, limit)


_VALUES = st.one_of(
    st.booleans(), st.integers(), st.text(), st.uuids(), st.decimals(allow_nan=False), st.floats(allow_nan=False), st.binary(),
    st.datetimes(timezones=st.just(UTC)), st.dates(), st.times(),
)  # fmt: skip


@given(st.none() | st.integers(-(2**63), 2**63 - 1), st.lists(_VALUES, max_size=4).map(tuple))
def test_a_cursor_is_the_place(token: int | None, key: tuple[Any, ...]) -> None:
    """Would break: a read that resumes at another row."""
    found = from_cursor(to_cursor(Place(token, key)))
    assert found == Place(token, key)
    assert [type(v) for v in found.key] == [type(v) for v in key]


@pytest.mark.parametrize(
    "text", ["", "x", "🎵", "bnVsbA", to_cursor(Place(1, ("a",)))[:-3], "WzEsW1sicSIsMV1dXQ", "WzEsW1sidSIsMV1dXQ"]
)
def test_no_cursor(text: str) -> None:
    """Would break: a traceback, or the start of the table, for a text that is no cursor."""
    with pytest.raises(QueryNotSupported, match="no cursor"):
        from_cursor(text)


def test_no_cursor_of_a_collection() -> None:
    """Would break: a key that cannot be found again."""
    with pytest.raises(QueryNotSupported, match="list"):
        to_cursor(Place(None, (["a"],)))


def test_a_keys_order_is_recorded() -> None:
    """Would break: after `sync finish` nothing says how Cassandra ordered the rows."""
    assert from_comment(to_comment(KEY)) == KEY
    for text in (
        None,
        "",
        "ours",
        "Cassandra key: {",
        'Cassandra key: {"partition": 1, "clustering": []}',
        "Cassandra key: []",
    ):
        assert from_comment(text) is None


_KINDS = [
    "ascii", "text", "blob", "int", "bigint", "smallint", "tinyint", "float", "double", "uuid", "timeuuid", "timestamp", "date",
    "time", "boolean", "decimal", "varint", "inet", "list<int>", "list<text>", "map<text, text>", "map<int, double>", "frozen<map<uuid, list<int>>>", "map<text, timestamp>", "set<uuid>", "vector<float, 3>",
]  # fmt: skip


@pytest.mark.parametrize("kind", _KINDS)
@given(data=st.data())
def test_rows_have_the_values_of_single_rows(kind: str, data: st.DataObject) -> None:
    """Would break: `find` returns another value than `get`."""
    cql = parse_type(kind)
    made = data.draw(st.one_of(st.none(), st.just(b""), strategy(cql).map(lambda value: cell(cql, value))))
    table = SourceTable("k", "t", (SourceColumn("k", CqlType("int"), "partition_key"), SourceColumn("v", cql, "regular")))
    cells = Cells(table, None)
    rows = RowValues(cells, [("k", CqlType("int")), ("v", cql)])
    row = {"k": b"\0\0\0\1", "v": made}
    try:
        expected = cells.values(row)
    except ValueUnreadable as error:
        with pytest.raises(ValueUnreadable) as found:
            values_of(rows, list(row.values()))
        assert str(found.value) == str(error)
        return
    assert repr(values_of(rows, list(row.values()))) == repr(expected)


def values_of(rows: RowValues, cells: list[bytes | None]) -> dict[str, Any]:
    """The values of a page's only row."""
    page = b"before" + join_cells([struct.pack(">q", 7), *cells])
    ((token, values),) = rows.page(page, 6, 1)
    assert token == 7
    return values


def test_examples_of_values() -> None:
    """Would break: the test above compares nothing with nothing."""
    kinds = {"i": "int", "t": "timestamp", "u": "uuid", "s": "text", "d": "double"}
    table = SourceTable("k", "t", tuple(SourceColumn(n, parse_type(k), "regular") for n, k in kinds.items()))
    cells: list[bytes | None] = [b"\xff" * 4, struct.pack(">q", 1), UUID(int=5).bytes, "é".encode(), struct.pack(">d", 0.1)]
    rows = RowValues(Cells(table, None), [(n, parse_type(k)) for n, k in kinds.items()])
    found = values_of(rows, cells)
    assert found == {"i": -1, "t": datetime(1970, 1, 1, 0, 0, 0, 1000, UTC), "u": UUID(int=5), "s": "é", "d": 0.1}
