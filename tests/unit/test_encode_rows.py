"""Whole rows: the generated fast path against the slow one, over tables of every shape."""

from __future__ import annotations

from dataclasses import replace
from hashlib import md5
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cells import Raw, cell, row, split, with_length
from support.edges import edges
from support.pg_types import pg_type
from support.values import strategy

from sync.core.cql import parse_type
from sync.core.encode import encoder_for
from sync.core.encode.rows import ENCODE_ERRORS, CheckedRow, RowEncoder, encode_cell
from sync.core.rows import ColumnPair, OnReject, SourceColumn, SourceTable, TableMap, TargetColumn, TargetTable

VERSION = 1_700_000_000_000_001
KINDS = {  # copied as they are, copied with a prefix, encoded
    "text": "text", "ascii": "varchar", "int": "int4", "bigint": "int8", "smallint": "int2", "uuid": "uuid",
    "double": "float8",
    "float": "float4", "boolean": "bool", "blob": "bytea", "timeuuid": "uuid",
    "vector<float, 2>": "vector(2)", "vector<float, 40>": "vector", "vector<float, 3>": "halfvec(3)",
    "tinyint": "int2", "timestamp": "timestamptz", "date": "date", "time": "time", "duration": "interval", "inet": "inet",
    "varint": "numeric", "decimal": "numeric(12,3)", "map<text, text>": "jsonb", "list<int>": "int4[]", "set<text>": "text[]",
    "tuple<int, text>": "jsonb",
}  # fmt: skip
_KEYS = ["text", "int", "uuid", "blob", "timestamp", "tinyint", "varint", "boolean"]
_PROFILE = settings(max_examples=150, derandomize=True, database=None, deadline=None)


def make_table(keys: list[str], rest: list[str], on_reject: OnReject = "reject", not_null: bool = False) -> TableMap:
    """A table with these types of columns, named k0, k1, … and c0, c1, …; the target's names are the same with a t before."""
    columns, pairs = [], []
    for kind, types in (("partition_key", keys), ("regular", rest)):
        for i, name in enumerate(types):
            column = SourceColumn(f"{'k' if types is keys else 'c'}{i}", parse_type(name), kind)  # type: ignore[arg-type]
            target = TargetColumn(f"t{column.name}", pg_type(KINDS[name]), not_null or kind != "regular")
            columns.append(column)
            pairs.append(ColumnPair(column, target, on_reject if kind == "regular" else "reject"))
    target_table = TargetTable("public", "t", tuple(p.target for p in pairs), tuple(f"tk{i}" for i in range(len(keys))))
    return TableMap(SourceTable("ks", "t", tuple(columns)), target_table, tuple(pairs))


def page_of(encoder: RowEncoder, rows: list[dict[str, bytes | None]]) -> bytes:
    """A page with these rows after seven bytes that are not theirs; tokens count up from −3."""
    return b"garbage" + b"".join(row(i - 3, [r[c] for c in encoder.columns]) for i, r in enumerate(rows))


def _cells(name: str) -> st.SearchStrategy[bytes | None]:
    cql = parse_type(name)
    picked = [c for c in (cell(cql, v) for v in edges(cql)) if c is not None and len(c) < 5000]
    return st.one_of(st.builds(lambda v: cell(cql, v), strategy(cql)), st.sampled_from(picked))


CELLS = {(parse_type(name).name, parse_type(name).dimension): _cells(name) for name in KINDS}


@st.composite
def tables_and_rows(draw: st.DrawFn) -> tuple[RowEncoder, list[dict[str, bytes | None]]]:
    """A table of any shape, and rows with values, nulls and cells of length zero."""
    keys = draw(st.lists(st.sampled_from(_KEYS), min_size=1, max_size=3))
    rest = draw(st.lists(st.sampled_from(list(KINDS)), max_size=9))
    encoder = RowEncoder(make_table(keys, rest), VERSION)
    made = {}
    for pair in encoder.pairs:
        value = CELLS[pair.source.type.name, pair.source.type.dimension]
        usual = [value] * 4 if pair.source.kind != "regular" else [value] * 4 + [st.none()]
        made[pair.source.name] = st.one_of(*usual, st.just(b"")) if draw(st.booleans()) else st.one_of(*usual)
    return encoder, draw(st.lists(st.fixed_dictionaries(made), max_size=6))


@_PROFILE
@given(tables_and_rows())
def test_the_fast_path_gives_the_bytes_of_the_slow_one(drawn: tuple[RowEncoder, list[dict[str, bytes | None]]]) -> None:
    """Would break: in some order of columns or nulls a run is cut wrongly, and rows shift without any error."""
    encoder, rows = drawn
    data = page_of(encoder, rows)
    checked = list(encoder.check_page(data, 7, len(rows)))
    assert [c.token for c in checked] == [i - 3 for i in range(len(rows))]
    singles, at = [], 7
    for source, slow in zip(rows, checked, strict=True):
        fast = _encode_page(encoder, data, at, 1)
        _, at = split(data, at, 1 + len(encoder.columns))
        assert _is_excused(encoder, source, slow) or fast == slow.encoded
        singles.append(fast)
    whole = _encode_page(encoder, data, 7, len(rows))
    assert whole == (None if None in singles else b"".join(s for s in singles if s is not None))


def _encode_page(encoder: RowEncoder, data: bytes, at: int, count: int) -> bytes | None:
    try:
        return b"".join(encoder.encode_page(data, at, count))
    except ENCODE_ERRORS:
        return None


def _is_excused(encoder: RowEncoder, source: dict[str, bytes | None], slow: CheckedRow) -> bool:
    """What the fast path leaves to Postgres, which refuses it: a value with an issue, an empty cell copied as it is."""
    kinds = zip(encoder.pairs, encoder.encoders, strict=True)
    empty = (e.empty_is_null and (e.same or e.prefix) and source[p.source.name] == b"" for p, e in kinds)
    return bool(slow.issues) or any(empty) or any(_is_odd_boolean(source[p.source.name], p) for p in encoder.pairs)


def _is_odd_boolean(data: bytes | None, pair: ColumnPair) -> bool:
    return pair.source.type.name == "boolean" and data not in (None, b"", b"\x00", b"\x01")


@_PROFILE
@given(tables_and_rows())
def test_every_column_gets_its_own_value(drawn: tuple[RowEncoder, list[dict[str, bytes | None]]]) -> None:
    """Would break: columns are reordered for speed but `copy_columns` is not, so that values land in their neighbours."""
    encoder, rows = drawn
    checked = encoder.check_page(page_of(encoder, rows), 7, len(rows))
    for source, slow in zip(rows, checked, strict=True):
        if slow.encoded is None:
            continue
        width = len(encoder.copy_columns)
        cells, end = split(slow.encoded, 2, width)
        assert (int.from_bytes(slow.encoded[:2], "big"), end) == (width, len(slow.encoded))
        by_name = dict(zip(encoder.copy_columns, cells, strict=True))
        assert by_name.pop("_sync_token") == slow.token.to_bytes(8, "big", signed=True)
        assert by_name.pop("_sync_version") == VERSION.to_bytes(8, "big")
        for name, found in by_name.items():
            pair = next(p for p in encoder.pairs if p.target.name == name)
            assert found == _encoded_alone(pair, source[pair.source.name])


def _encoded_alone(pair: ColumnPair, data: bytes | None) -> bytes | None:
    encoder = encoder_for(pair.source.type, pair.target.type)
    return None if data is None or (not data and encoder.empty_is_null) else encode_cell(encoder, data)


@_PROFILE
@given(tables_and_rows())
def test_the_digest_is_that_of_the_rows_sent(drawn: tuple[RowEncoder, list[dict[str, bytes | None]]]) -> None:
    """Would break: the page's digest takes the columns in another order than the encoder, and equal sides look different."""
    encoder, rows = drawn
    data = page_of(encoder, rows)
    checked = list(encoder.check_page(data, 7, len(rows)))
    if any(_is_excused(encoder, source, slow) for source, slow in zip(rows, checked, strict=True)):
        return
    hashes = [md5(c.canonical).digest() for c in checked]
    assert [c.canonical for c in checked] == [_canonical(c) for c in checked]
    high, low = (sum(int.from_bytes(h[part], "big") for h in hashes) for part in (slice(8), slice(8, 16)))
    assert encoder.digest_page(data, 7, len(rows)) == (len(rows), high, low)


def _canonical(checked: CheckedRow) -> bytes:
    assert checked.encoded is not None
    count = int.from_bytes(checked.encoded[:2], "big")
    return b"".join(with_length(c) for c in split(checked.encoded, 2, count)[0][1:-1])


_BAD: dict[str, tuple[Any, str]] = {
    "text": ("a\0b", "NUL"),
    "map<text, text>": ([("a\0", "b\0c")], "NUL"),
    "set<text>": (["a\0b"], "NUL"),
    "vector<float, 2>": ([1.0, float("nan")], "NaN"),
    "date": (2**31 - 1, "outside"),
    "decimal": ((12_345, 4), "more decimals"),
    "time": (1, "finer"),
}


def _check_one(kind: str, value: Any, on_reject: OnReject, not_null: bool = False) -> CheckedRow:
    encoder = RowEncoder(make_table(["int"], ["bigint", kind, "text"], on_reject, not_null), VERSION)
    cells = {"k0": cell(parse_type("int"), 1), "c0": bytes(8), "c1": cell(parse_type(kind), value), "c2": b"after"}
    (checked,) = encoder.check_page(page_of(encoder, [cells]), 7, 1)
    return checked


def _column(kind: str, checked: CheckedRow) -> bytes | None:
    encoder = RowEncoder(make_table(["int"], ["bigint", kind, "text"]), VERSION)
    assert checked.encoded is not None
    cells, _ = split(checked.encoded, 2, len(encoder.copy_columns))
    found = dict(zip(encoder.copy_columns, cells, strict=True))
    assert (found["tc0"], found["tc2"]) == (bytes(8), b"after")
    return found["tc1"]


@pytest.mark.parametrize("kind", _BAD)
def test_a_value_that_cannot_be_held_rejects_its_row(kind: str) -> None:
    """Would break: the row is dropped without a column and a reason, or goes in with a value that is not the source's."""
    value, reason = _BAD[kind]
    checked = _check_one(kind, value, "reject")
    assert checked.encoded is None and checked.key == (cell(parse_type("int"), 1),)
    assert [(i.column, i.action, reason in i.reason) for i in checked.issues] == [("c1", "reject", True)]


@pytest.mark.parametrize("kind", _BAD)
def test_the_policy_null_keeps_the_rest_of_the_row(kind: str) -> None:
    """Would break: `on_reject = "null"` loses the row, or makes a null without a record of it."""
    value, reason = _BAD[kind]
    checked = _check_one(kind, value, "null")
    assert _column(kind, checked) is None
    assert [(i.column, i.action, reason in i.reason) for i in checked.issues] == [("c1", "null", True)]


@pytest.mark.parametrize("kind", _BAD)
def test_the_policy_null_rejects_where_the_target_takes_no_null(kind: str) -> None:
    """Would break: a null goes into a NOT NULL column, and the COPY of the whole batch fails."""
    checked = _check_one(kind, _BAD[kind][0], "null", not_null=True)
    assert checked.encoded is None and [i.action for i in checked.issues] == ["reject"]


@pytest.mark.parametrize("kind", _BAD)
def test_the_policy_strip_nul_mends_nul_and_nothing_else(kind: str) -> None:
    """Would break: stripping also lets other bad values through, or strips a text but not those within a collection."""
    value, reason = _BAD[kind]
    checked = _check_one(kind, value, "strip-nul")
    assert reason in checked.issues[0].reason
    if reason != "NUL":
        assert checked.encoded is None and checked.issues[0].action == "reject"
        return
    without = {"text": "ab", "map<text, text>": [("a", "bc")], "set<text>": ["ab"]}[kind]
    wanted = _encoded_alone(make_table(["int"], [kind]).pairs[1], cell(parse_type(kind), without))
    assert (_column(kind, checked), checked.issues[0].action) == (wanted, "strip-nul")


def test_stripping_that_makes_two_keys_one_is_refused() -> None:
    """Would break: of the keys "a" and "a\\0" one value is lost without a word."""
    checked = _check_one("map<text, text>", [("a", "1"), ("a\0", "2")], "strip-nul")
    assert checked.encoded is None and "two keys" in checked.issues[0].reason


@pytest.mark.parametrize("value", [None, Raw(b"")])
@pytest.mark.parametrize("on_reject", ["reject", "null", "strip-nul"])
def test_a_null_for_a_column_that_takes_none_is_a_reject(value: Any, on_reject: OnReject) -> None:
    """Would break: a null, or an empty int that is read as one, stops the COPY of the batch instead of its own row."""
    checked = _check_one("date", value, on_reject, not_null=True)
    assert checked.encoded is None and "does not accept" in checked.issues[0].reason


def test_every_bad_column_of_a_row_is_named() -> None:
    """Would break: the second bad column shows up only after the first was fixed, a whole run later."""
    encoder = RowEncoder(make_table(["text"], ["text", "date"], "null"), VERSION)
    encoder.pairs = tuple(replace(p, on_reject="null") if p.source.name == "c1" else p for p in encoder.pairs)
    cells: dict[str, bytes | None] = {"k0": b"k\0", "c0": b"\xff", "c1": bytes(4)}
    (checked,) = encoder.check_page(page_of(encoder, [cells]), 7, 1)
    assert {(i.column, i.action) for i in checked.issues} == {("k0", "reject"), ("c0", "null"), ("c1", "null")}
