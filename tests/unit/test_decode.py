"""The decoders of single cells: what went into Postgres comes back, and what the source cannot hold is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.cells import Raw, cell
from support.edges import INF, NAN, edges, huge
from support.encoding import PROFILE, SCALARS, STRUCTURED, UDTS
from support.matrix import MATRIX
from support.pg_types import OIDS, pg_type
from support.stored_forms import back, held
from support.values import strategy

from sync.core.cql import CqlType, parse_type
from sync.core.decode import Decode, decoder_for
from sync.core.decode.order import order_of
from sync.core.encode import Reject, UnsupportedPair, encoder_for
from sync.core.encode.rows import encode_cell
from sync.core.rows import PgType

_CQL = list(dict.fromkeys([*MATRIX, *SCALARS, *STRUCTURED]))
_PG = list(dict.fromkeys([*(pg for targets in MATRIX.values() for pg in targets), *OIDS, *(f"{name}[]" for name in OIDS)]))


def _is_supported(find: Callable[[CqlType, PgType], object], cql: str, pg: str) -> bool:
    try:
        find(parse_type(cql, UDTS), pg_type(pg))
    except UnsupportedPair:
        return False
    return True


PAIRS = [(cql, pg) for cql in _CQL for pg in _PG if _is_supported(encoder_for, cql, pg)]


def test_every_pair_that_is_encoded_is_decoded() -> None:
    """Would break: a pair of types goes to Postgres and cannot come back, which is found only after the cut-over."""
    assert [(cql, pg) for cql in _CQL for pg in _PG if _is_supported(decoder_for, cql, pg)] == PAIRS
    assert {(cql, pg) for cql, targets in MATRIX.items() for pg in targets} <= set(PAIRS)


_TIMES = [("ffffffff", "ffff", "000"), ("00000002", "0000", "001"), ("00000000", "0001", "001"), ("00000000", "0000", "002")]


def _uuid(version: str, low_time: str, last: str = "00") -> UUID:
    return UUID(f"{low_time}-0000-{version}000-{last}00-0000000000{last}")


def _check(cql: CqlType, pg: PgType, value: Any) -> None:
    """A value that Postgres takes comes back as the same cell, except for what `back` states, and encodes the same again."""
    encoder, decode = encoder_for(cql, pg), decoder_for(cql, pg)
    data = cell(cql, held(cql, value))
    try:
        encoded = encode_cell(encoder, data or b"")
    except Reject:
        return
    if not data and encoder.empty_is_null:
        return
    if _has_raw(value):
        _check_unusual(decode, encoder.encode, encoded, value)
        return
    found = decode(encoded)
    assert found == cell(cql, back(cql, pg, value)), f"{value!r:.300}"
    assert found is None or encode_cell(encoder, found) == encoded


def _check_unusual(decode: Decode, encode: Callable[[bytes], bytes], encoded: bytes, value: Any) -> None:
    """Bytes that have no plain value; of these Cassandra refuses nulls within most collections, and then so do we."""
    try:
        found = decode(encoded)
    except Reject as reject:
        assert "a null within" in str(reject) and "b''" in repr(value)
        return
    assert found is None or encode(found) == encoded


def _has_raw(value: Any) -> bool:
    return isinstance(value, Raw) or (isinstance(value, list | tuple) and any(map(_has_raw, value)))


@pytest.mark.parametrize(("cql", "pg"), PAIRS)
def test_the_edges_of_every_pair_come_back(cql: str, pg: str) -> None:
    """Would break: a value at some edge is altered on its way back, and a rollback finds a different row."""
    kind = parse_type(cql, UDTS)
    for value in edges(kind):
        _check(kind, pg_type(pg), value)


@pytest.mark.parametrize(
    ("cql", "pg"), [pytest.param(cql, pg, marks=pytest.mark.slow if "16000" in cql else ()) for cql, pg in PAIRS]
)
@settings(PROFILE, max_examples=15)
@given(data=st.data())
def test_any_value_of_every_pair_comes_back(data: st.DataObject, cql: str, pg: str) -> None:
    """Would break: the inverse of an encoder is wrong for values that nobody thought of."""
    kind = parse_type(cql, UDTS)
    _check(kind, pg_type(pg), data.draw(strategy(kind)))


@pytest.mark.parametrize(
    ("cql", "pg"),
    [
        ("float", "float4"),
        ("float", "float8"),
        ("double", "float8"),
        ("list<float>", "float8[]"),
        ("list<double>", "float8[]"),
        ("vector<float, 1>", "float4[]"),
        ("vector<float, 1>", "float8[]"),
    ],
)
@settings(PROFILE, max_examples=60)
@given(sign=st.booleans(), payload=st.integers(1, 2**23 - 1))
@example(sign=False, payload=1)
@example(sign=True, payload=2**22)
def test_a_nan_comes_back_to_the_bit(cql: str, pg: str, sign: bool, payload: int) -> None:
    """Would break: a signalling NaN depends on the processor or the Python, and differs in every digest forever."""
    bits, kind = sign << 31 | 0xFF << 23 | payload, parse_type(cql)
    data = struct.pack(">I", bits)
    wide = struct.pack(">Q", sign << 63 | 0x7FF << 52 | payload << 29)
    single = wide if "double" in cql else data
    held = single if kind.name in ("float", "double", "vector") else cell(kind, [Raw(single)])
    assert held is not None
    assert (encoded := encode_cell(encoder_for(kind, pg_type(pg)), held)).endswith(wide if "float8" in pg else data)
    assert decoder_for(kind, pg_type(pg))(encoded) == held


def test_a_nan_of_a_double_stays_one_in_a_float() -> None:
    """Would break: a NaN written in Postgres, whose payload is in bits that a float lacks, becomes Infinity."""
    decode = decoder_for(parse_type("float"), pg_type("float8"))
    assert [decode(bytes.fromhex(d)).hex() for d in ("7ff0000000000001", "fff8000000000001")] == ["7fc00000", "ffc00000"]


@pytest.mark.parametrize(("cql", "pg"), [("varint", "numeric"), ("decimal", "numeric"), ("frozen<list<varint>>", "jsonb")])
def test_the_largest_numbers_come_back(cql: str, pg: str) -> None:
    """Would break: beyond Python's limit of 4,300 digits a number is refused, or takes minutes."""
    for value in huge(parse_type(cql)):
        _check(parse_type(cql), pg_type(pg), value)


def test_both_zeros_of_a_set_come_back() -> None:
    """Would break: −0.0 and 0.0, two elements to Cassandra, are 0.0 twice in JSON, and the row cannot go back."""
    for name in ("float", "double"):
        cql = parse_type(f"set<{name}>")
        _assert_same(cql, "jsonb", cell(cql, [-1.0, -0.0, 0.0, 1.0]))


def test_a_set_within_a_tuple_stays_as_it_is() -> None:
    """Would break: Cassandra keeps such a set unsorted; if we sort it, the row differs from its target forever."""
    cql = parse_type("tuple<frozen<set<int>>, int>")
    _assert_same(cql, "jsonb", cell(cql, [[3, 1, 2, 1], 7]))
    within = parse_type("tuple<frozen<list<frozen<set<int>>>>>")
    _assert_same(within, "jsonb", cell(within, [[[2, 1, 1], [3]]]))


def test_a_null_in_a_frozen_list_comes_back() -> None:
    """Would break: a null in a frozen list, which Cassandra can hold, comes back with length zero, which is another text."""
    cql = parse_type("frozen<list<text>>")
    for pg in ("text[]", "jsonb"):
        _assert_same(cql, pg, cell(cql, ["a", None, ""]))


def test_a_null_within_nested_lists_is_a_cell_of_length_zero() -> None:
    """Would break: Cassandra refuses a null in such a list, and the row is tried forever."""
    cql = parse_type("list<frozen<list<int>>>")
    for pg in ("jsonb[]", "jsonb"):
        _assert_same(cql, pg, cell(cql, [[1, Raw(b"")]]))


def _assert_same(cql: CqlType, pg: str, data: bytes | None) -> None:
    encoded = encode_cell(encoder_for(cql, pg_type(pg)), data or b"")
    assert decoder_for(cql, pg_type(pg))(encoded) == data


def test_what_cassandra_does_not_tell_from_null_is_null() -> None:
    """Would break: an empty cell is sent for a collection that is not frozen, and is read back as something else."""
    for name, pg, sent in (
        ("list<int>", "int4[]", struct.pack(">iiI", 0, 0, 23)), ("set<text>", "jsonb", b"\1[]"), ("map<int, int>", "jsonb",
        b"\1{}"), ("place", "jsonb", b'\1{"number": null, "street": null}'),
    ):  # fmt: skip
        assert decoder_for(parse_type(name, UDTS), pg_type(pg))(sent) is None
        assert decoder_for(parse_type(f"frozen<{name}>", UDTS), pg_type(pg))(sent) is not None


@pytest.mark.parametrize(
    ("name", "in_order"),
    [
        ("int", [Raw(b""), -5, 0, 7]), ("varint", [-300, -2, 0, 1, 255, 70_000]), ("decimal", [(-1, 0), (1, 3), (5, 1), (1, -2)]),
        ("double", [-INF, -1.0, -0.0, 0.0, 1.5, INF, NAN]), ("boolean", [False, True]), ("text", ["", "Z", "a", "aa", "é"]),
        ("blob", [b"", b"\0", b"\0\0", b"\x7f", b"\xff"]), ("timestamp", [-1, 0, 1]), ("date", [-1, 0, 1]),
        ("inet", [bytes(15) + b"\1", b"\1\2\3\4", b"\x7f\0\0\1"]),
        ("uuid", [_uuid("1", "00000001"), _uuid("4", "00000000"), _uuid("4", "ffffffff"), _uuid("7", "00000000")]),
        ("uuid", [_uuid("1", "00000000", "00"), _uuid("1", "00000000", "7f"), _uuid("1", "00000000", "80"), _uuid("1", "00000001", "00")]),
        ("uuid", [UUID(f"{low}-{middle}-1{high}-8000-000000000000") for low, middle, high in _TIMES]),
        ("timeuuid", [UUID(f"{low}-{middle}-1{high}-8000-000000000000") for low, middle, high in _TIMES]),
        ("timeuuid", [_uuid("1", "00000000", "80"), _uuid("1", "00000000", "00"), _uuid("1", "00000000", "7f"), _uuid("1", "00000001", "80")]),
        ("frozen<list<int>>", [[], [-1, 9], [0], [0, 0], [1]]), ("tuple<int, text>", [[None, "z"], [-1, "z"], [1, None], [1, "a"]]),
        ("frozen<map<text, int>>", [[("a", -1)], [("a", 1)], [("b", -9)]]),
        ("frozen<map<int, int>>", [[], [(1, 1)], [(1, 2)], [(1, 2), (3, 0)], [(2, 0)]]),
        ("vector<float, 2>", [[-1.0, 9.0], [0.0, 0.0], [0.0, 1.0]]),
    ],
)  # fmt: skip
def test_elements_come_in_cassandras_order(name: str, in_order: list[Any]) -> None:
    """Would break: a map, which JSON holds in an order of its own, goes back in an order that is not Cassandra's.

    `test_the_order_of_a_set_is_cassandras` asks Cassandra itself.
    """
    cql = parse_type(name)
    cells = [cell(cql, value) for value in in_order]
    for seed in range(5):
        assert sorted(Random(seed).sample(cells, len(cells)), key=order_of(cql)) == cells


_NUMERIC = struct.Struct(">hhHH")
_FAR = 2**63 - 1
_REFUSED: list[tuple[str, str, bytes, str]] = [
    ("tinyint", "int2", struct.pack(">h", 128), "range of tinyint"),
    ("smallint", "int4", struct.pack(">i", -32_769), "range of smallint"),
    ("int", "int8", struct.pack(">q", 2**31), "range of int"),
    ("int", "numeric", _NUMERIC.pack(1, 2, 0, 0) + b"\0\x64", "range of int"),
    ("bigint", "numeric", _NUMERIC.pack(2, 0, 0, 1) + struct.pack(">hh", 1, 5000), "decimals"),
    ("varint", "numeric", _NUMERIC.pack(1, -1, 0, 2) + struct.pack(">h", 100), "decimals"),
    ("varint", "numeric", _NUMERIC.pack(0, 0, 0xC000, 0), "NaN"),
    ("decimal", "numeric", _NUMERIC.pack(0, 0, 0xD000, 0), "Infinity"),
    ("decimal", "numeric", _NUMERIC.pack(0, 0, 0xF000, 0), "Infinity"),
    ("ascii", "text", "é".encode(), "ASCII"),
    ("float", "float8", struct.pack(">d", 0.1), "finer"),
    ("float", "float8", struct.pack(">d", 1e300), "range of float"),
    ("timeuuid", "uuid", bytes(16), "version 1"),
    ("timestamp", "timestamptz", struct.pack(">q", 1001), "finer than 1 ms"),
    ("timestamp", "timestamp", struct.pack(">q", _FAR), "infinite"),
    ("timestamp", "timestamptz", struct.pack(">q", -_FAR - 1), "infinite"),
    ("date", "date", struct.pack(">i", 2**31 - 1), "infinite"),
    ("date", "date", struct.pack(">i", -(2**31)), "infinite"),
    ("time", "time", struct.pack(">q", 86_400_000_000), "24:00"),
    ("duration", "interval", struct.pack(">qii", 1, -1, 0), "different signs"),
    ("duration", "interval", struct.pack(">qii", 2**62, 0, 0), "range of duration"),
    ("duration", "interval", struct.pack(">qii", _FAR, 2**31 - 1, 2**31 - 1), "infinite"),
    ("inet", "inet", b"\2\x18\0\4\x0a\0\0\0", "network"),
    ("vector<float, 3>", "vector", b"\0\2\0\0" + bytes(8), "2 dimensions, where the source has 3"),
    ("vector<float, 3>", "halfvec", b"\0\4\0\0" + bytes(8), "4 dimensions, where the source has 3"),
    ("vector<float, 3>", "float4[]", struct.pack(">iiIiiiiii", 1, 0, 700, 2, 1, 4, 0, 4, 0), "3 numbers"),
    ("vector<float, 1>", "float4[]", struct.pack(">iiIiiiii", 1, 1, 700, 2, 1, -1, 4, 0), "1 numbers"),
    ("list<int>", "int4[]", struct.pack(">iiIiiii", 2, 0, 23, 1, 1, 1, 1) + b"\0\0\0\4" + bytes(4), "2 dimensions"),
    ("list<int>", "int4[]", struct.pack(">iiIiiii", 1, 0, 23, 1, 0, 4, 7), "begin at 1"),
    ("list<int>", "int4[]", struct.pack(">iiIiii", 1, 1, 23, 1, 1, -1), "a null within"),
    ("set<text>", "text[]", struct.pack(">iiIiii", 1, 1, 25, 1, 1, -1), "a null within"),
    ("set<int>", "int4[]", struct.pack(">iiIiiiiii", 1, 0, 23, 2, 1, 4, 7, 4, 7), "duplicate"),
]


@pytest.mark.parametrize(("cql", "pg", "sent", "reason"), _REFUSED)
def test_what_the_source_cannot_hold_is_refused(cql: str, pg: str, sent: bytes, reason: str) -> None:
    """Would break: what somebody wrote in Postgres by hand reaches Cassandra rounded, cut, or as something else."""
    with pytest.raises(Reject, match=reason):
        decoder_for(parse_type(cql), pg_type(pg))(sent)


def test_a_number_may_show_zeros_that_are_none_of_its_value() -> None:
    """Would break: 5.0, written by hand, is refused though it equals 5."""
    assert decoder_for(parse_type("int"), pg_type("numeric"))(_NUMERIC.pack(1, 0, 0, 1) + b"\0\5") == b"\0\0\0\5"


_SENT: dict[tuple[str, str], st.SearchStrategy[bytes]] = {
    ("timestamp", "timestamptz"): st.integers(-(2**50), 2**50).map(lambda n: struct.pack(">q", n)),
    ("date", "date"): st.integers(-2_451_545, 2_145_031_948).map(lambda n: struct.pack(">i", n)),
    ("time", "time"): st.integers(0, 86_400_000_000).map(lambda n: struct.pack(">q", n)),
    ("duration", "interval"): st.builds(
        struct.Struct(">qii").pack, st.integers(-(2**63), _FAR), *[st.integers(-(2**31), 2**31 - 1)] * 2
    ),
    # Only NaNs whose payload fits into a float: the test above has the others.
    ("float", "float8"): st.one_of(st.floats(allow_nan=False), st.floats(width=32)).map(lambda n: struct.pack(">d", n)),
    ("int", "int8"): st.one_of(st.integers(-(2**63), _FAR), st.integers(-(2**32), 2**32)).map(lambda n: struct.pack(">q", n)),
    ("timeuuid", "uuid"): st.uuids().map(lambda u: u.bytes),
    ("vector<float, 2>", "halfvec"): st.lists(st.floats(width=16, allow_nan=False, allow_infinity=False), min_size=2, max_size=2)
    .map(lambda found: b"\0\2\0\0" + struct.pack(">2e", *found)),
}  # fmt: skip


@pytest.mark.parametrize("pair", _SENT)
@PROFILE
@given(data=st.data())
def test_any_value_of_postgres_goes_back_whole_or_not_at_all(data: st.DataObject, pair: tuple[str, str]) -> None:
    """Would break: a value that only Postgres can hold is taken to be another one, which Cassandra then has."""
    cql, pg = parse_type(pair[0]), pg_type(pair[1])
    sent = data.draw(_SENT[pair])
    try:
        found = decoder_for(cql, pg)(sent)
    except Reject:
        return
    assert found is not None and encode_cell(encoder_for(cql, pg), found) == sent


@settings(PROFILE, max_examples=600)
@given(st.sampled_from(PAIRS), st.one_of(st.binary(max_size=40), st.binary(max_size=8).map(lambda b: b"\0\0\0\1\0\0\0" + b)))
def test_any_bytes_are_a_value_or_a_reject(pair: tuple[str, str], data: bytes) -> None:
    """Would break: unexpected bytes raise an error that the reconciler does not catch."""
    try:
        found = decoder_for(parse_type(pair[0], UDTS), pg_type(pair[1]))(data)
        assert found is None or isinstance(found, bytes)
    except Reject as reject:
        assert str(reject) and "\n" not in str(reject)
