"""The encoders of single cells: pairs of types, numbers, arrays, and what once went wrong with them."""

from __future__ import annotations

import struct
from contextlib import suppress
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cells import Raw, cell, varint
from support.encoding import PROFILE, SCALARS, STRUCTURED, UDTS, encode, encode_json
from support.pg_types import pg_type

from sync.core.cql import CqlType, parse_type
from sync.core.encode import Reject, UnsupportedPair, default_target, encoder_for
from sync.core.encode.numerics import encode_numeric
from sync.core.encode.rows import ENCODE_ERRORS, encode_cell
from sync.core.encode.scalars import read_vints


@pytest.mark.parametrize("name", [*SCALARS, *STRUCTURED])
def test_every_type_has_a_default_target_that_takes_it(name: str) -> None:
    """Would break: preflight proposes a column that the backfill then refuses."""
    cql = parse_type(name, UDTS)
    names = {
        "integer": "int4",
        "bigint": "int8",
        "smallint": "int2",
        "real": "float4",
        "double precision": "float8",
        "boolean": "bool",
    }
    target = default_target(cql)
    encoder_for(cql, pg_type(names.get(target, target)))


@pytest.mark.parametrize(
    "name", ["vector<text, 2>", "vector<int, 2>", "vector<bigint, 2>", "vector<tinyint, 4>", "list<vector<int, 2>>"]
)
@pytest.mark.parametrize("pg", ["text[]", "int4[]", "int8[]", "jsonb", "vector(2)", "float4[]"])
def test_a_vector_of_anything_but_floats_is_refused_by_name(name: str, pg: str) -> None:
    """Would break: a vector<text, 2> cut into pieces of four bytes arrives as texts that nobody wrote."""
    with pytest.raises(UnsupportedPair):
        encoder_for(parse_type(name), pg_type(pg))


def test_a_vector_too_long_for_pgvector_is_not_proposed_as_one() -> None:
    """Would break: `vector(20000)`, which Postgres refuses, in the DDL that preflight shows."""
    assert default_target(parse_type("vector<float, 16000>")) == "vector(16000)"
    assert default_target(parse_type("vector<float, 20000>")) == "jsonb"
    for name in ("vector<int, 3>", "list<frozen<vector<int, 3>>>", "map<text, 'a.b.Custom'>", "'a.b.Custom'"):
        with pytest.raises(UnsupportedPair):
            default_target(parse_type(name))


@pytest.mark.parametrize(
    ("cql", "pg"),
    [
        ("text", "int4"), ("bigint", "int4"), ("double", "float4"), ("timestamp", "date"), ("varint", "int8"), ("list<int>",
        "int2[]"),
        ("list<frozen<list<int>>>", "int4[]"), ("map<int, int>", "int4[]"), ("vector<float, 3>", "vector(4)"), ("uuid",
        "text"),
        ("vector<float, 16001>", "halfvec"), ("vector<float, 40000>", "vector"), ("no_such_type", "text"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_any_row(cql: str, pg: str) -> None:
    """Would break: a pair that loses values is accepted, or refused with an error that no caller expects."""
    with pytest.raises(UnsupportedPair):
        encoder_for(parse_type(cql), pg_type(pg))


def test_any_byte_but_zero_is_true() -> None:
    """Would break: Cassandra stores boolean 0x02, Postgres sends 1, and the row differs in every drift pass forever."""
    assert [encode("boolean", "bool", Raw(bytes([b]))) for b in (0, 1, 2, 255)] == [b"\0", b"\1", b"\1", b"\1"]
    assert encode_json("list<boolean>", [Raw(b"\2"), False]) == "[true, false]"


@PROFILE
@given(st.integers(-(10**60), 10**60), st.integers(-60, 60))
def test_numeric_holds_the_number_and_its_decimals(unscaled: int, scale: int) -> None:
    """Would break: a group of four digits is shifted, or trailing zeros depend on the encoder."""
    value, shown = _numeric(encode_numeric(unscaled, scale))
    assert value == unscaled / Fraction(10) ** scale and shown == max(scale, 0)


def _numeric(data: bytes) -> tuple[Fraction, int]:
    """What numeric_recv reads: base-10,000 digits, weight of the first, sign, display scale; no zero digit at either end."""
    count, weight, sign, scale = struct.unpack(">HhHH", data[:8])
    groups = struct.unpack(f">{count}h", data[8:])
    assert not groups or (groups[0] and groups[-1] and all(0 <= g < 10_000 for g in groups))
    total = sum((g * Fraction(10_000) ** (weight - i) for i, g in enumerate(groups)), Fraction(0))
    return (-total if sign else total), scale


@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_of_all_the_digits_that_numeric_holds(sign: int) -> None:
    """Would break: 32,768 groups of digits overflow a signed count, and a number that Postgres holds is rejected."""
    encoded = encode("varint", "numeric", sign * (10**131_072 - 1))
    assert struct.unpack(">HhHH", encoded[:8]) == (32_768, 32_767, 0x4000 if sign < 0 else 0, 0)
    with pytest.raises(Reject, match="131072 digits before the point"):
        encode("varint", "numeric", sign * 10**131_072)


def test_trailing_zeros_may_go_where_the_column_has_no_room_for_them() -> None:
    """Would break: 10.000… with 4,500 digits is exactly 10.00 and is rejected as "not a decimal"."""
    assert _numeric(encode("decimal", "numeric(12,3)", (10**4500, 4499))) == (10, 3)
    with pytest.raises(Reject, match="more decimals"):
        encode("decimal", "numeric(12,3)", (10**4500 + 1, 4499))
    with pytest.raises(Reject, match="too large"):
        encode("varint", "numeric(20,0)", 10**5000)


@pytest.mark.parametrize("scale", [-(2**31), -200_000, -5, 0])
def test_zero_is_zero_whatever_its_scale(scale: int) -> None:
    """Would break: 0 × 10^200,000, which is 0, is rejected as too large."""
    assert encode_json("list<decimal>", [(0, scale)]) == "[0]"
    assert _numeric(encode("decimal", "numeric", (0, scale))) == (0, 0)


@pytest.mark.parametrize("pg", ["numeric", "numeric(12,3)", "numeric(3,-2)"])
@pytest.mark.parametrize("scale", [2**31 - 1, -(2**31)])
def test_the_scales_at_the_ends_of_int32_are_rejected_at_once(scale: int, pg: str) -> None:
    """Would break: the worker spends its memory on 10^2147483648 before it notices."""
    for target, cql, value in ((pg, "decimal", (7, scale)), ("jsonb", "list<decimal>", [(7, scale)])):
        with pytest.raises(Reject, match="number"):
            encode(cql, target, value)


@pytest.mark.parametrize("pg", ["numeric", "numeric(12,3)"])
def test_a_decimal_without_digits_is_not_zero(pg: str) -> None:
    """Would break: four bytes that neither Cassandra nor its driver can read arrive as 0.0."""
    with pytest.raises(Reject):
        encode("decimal", pg, Raw(b"\0\0\0\1"))


@pytest.mark.parametrize(
    ("cql", "pg", "value"),
    [
        ("list<text>", "varchar(5)[]", ["abcdef"]), ("list<text>", "varchar(5)[]", ["abcde "]), ("list<time>", "time(3)[]",
        [1_000]),
        ("list<timestamp>", "timestamptz(0)[]", [1]), ("list<decimal>", "numeric(12,3)[]", [(1, 4)]), ("list<int>",
        "numeric(2,0)[]", [100]),
    ],
)  # fmt: skip
def test_the_modifier_of_an_array_is_that_of_its_elements(cql: str, pg: str, value: Any) -> None:
    """Would break: Postgres rounds and cuts elements in silence: timestamptz(0)[] loses the milliseconds."""
    with pytest.raises(Reject, match=r"finer|longer|decimals|too large"):
        encode(cql, pg, value)


@pytest.mark.parametrize("name", [n for n in SCALARS if n not in ("text", "ascii", "blob", "counter")])
def test_an_element_of_length_zero_is_null(name: str) -> None:
    """Would break: an empty int within a collection reads as null everywhere, but as 0 in Postgres, or loses its row."""
    assert encode_json(f"list<{name}>", [Raw(b"")]) == "[null]"
    assert encode_json(f"map<text, {name}>", [("k", Raw(b""))]) == '{"k": null}'
    assert encode_json(f"tuple<int, {name}>", [1, Raw(b"")]) == "[1, null]"
    target = {"int4": "int4", "integer": "int4", "bigint": "int8", "smallint": "int2", "real": "float4"}
    shown = target.get(default_target(CqlType(name)), default_target(CqlType(name)).replace("double precision", "float8"))
    pg = shown.replace("boolean", "bool")
    array = encode(f"list<{name}>", f"{pg}[]", [Raw(b"")])
    assert array[:8] == struct.pack(">ii", 1, 1) and array[12:] == struct.pack(">iii", 1, 1, -1)


@pytest.mark.parametrize("nanoseconds", [-1, -(2**63), 86_400_000_000_000, 2**63 - 1])
def test_a_time_outside_the_day_is_a_reject_in_json_too(nanoseconds: int) -> None:
    """Would break: Cassandra stores any int64 as a time, and JSON says "-1:59:59.999999999"."""
    for cql, pg, value in (("time", "time", nanoseconds), ("list<time>", "jsonb", [nanoseconds])):
        with pytest.raises(Reject, match="outside"):
            encode(cql, pg, value)


@PROFILE
@given(st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-300, 300)), min_size=3, max_size=3))
def test_durations_of_any_length(parts: list[int]) -> None:
    """Would break: a vint is wrong where it needs one more byte."""
    data = cell(CqlType("duration"), parts)
    assert data is not None and read_vints(data, 3) == parts


def test_vints_at_every_border() -> None:
    """Would break: the first byte of nine, which holds no bits of the value, is wrong."""
    for bits in range(1, 64):
        for value in (2**bits - 1, 2**bits, -(2**bits), -(2**bits) - 1):
            if -(2**63) <= value < 2**63:
                assert read_vints(cell(CqlType("duration"), [value, 0, value]) or b"", 3) == [value, 0, value]


_PAIRS = [
    *((n, "jsonb") for n in STRUCTURED), ("decimal", "numeric"), ("decimal", "numeric(12,3)"), ("varint", "numeric(3,-2)"),
    ("timestamp", "timestamptz(0)"), ("date", "date"), ("time", "time(3)"), ("duration", "interval"), ("inet", "inet"),
    ("text", "text"),
    ("text", "varchar(5)"), ("tinyint", "int8"), ("float", "float8"), ("boolean", "bool"), ("list<text>", "text[]"),
    ("list<decimal>", "numeric(12,3)[]"), ("vector<float, 3>", "vector(3)"), ("vector<float, 3>", "halfvec"),
    ("vector<float, 3>", "float4[]"),
]  # fmt: skip


@settings(PROFILE, max_examples=400)
@given(st.sampled_from(_PAIRS), st.one_of(st.binary(max_size=40), st.binary(max_size=8).map(lambda b: b"\0\0\0\2\0\0\0" + b)))
def test_any_bytes_are_a_value_or_a_reject(pair: tuple[str, str], data: bytes) -> None:
    """Would break: unexpected bytes raise an error that the loader does not catch, and the page kills the worker."""
    encoder = encoder_for(parse_type(pair[0], UDTS), pg_type(pair[1]))
    try:
        assert isinstance(encode_cell(encoder, data), bytes)
    except Reject as reject:
        assert str(reject) and "\n" not in str(reject)
    with suppress(*ENCODE_ERRORS):
        encoder.encode(data)


def test_a_reason_never_holds_the_value() -> None:
    """Would break: a private text ends up in `sync rejects` and in logs."""
    for cql, pg, value in (
        ("text", "text", "secret\0"),
        ("text", "varchar(5)", "secret text"),
        ("map<text, text>", "jsonb", [("secret", "\0")]),
    ):
        with pytest.raises(Reject) as caught:
            encode(cql, pg, value)
        assert "secret" not in str(caught.value)


def test_halfvec_rounds_to_the_nearest_and_keeps_to_its_range() -> None:
    """Would break: 65,519 is rejected though half precision rounds it to 65,504, or 65,520 becomes Infinity."""
    values = [65_519.0, -65_519.0, 1 / 3]
    halves = encode("vector<float, 3>", "halfvec", values)[4:]
    assert halves == np.array(values, np.float32).astype(">f2").tobytes()
    with pytest.raises(Reject, match="65,504"):
        encode("vector<float, 3>", "halfvec", [0.0, 0.0, 65_520.0])


def test_the_helper_writes_varints_as_java_does() -> None:
    """Would break: the tests themselves, whose cells come from this helper."""
    assert [varint(n) for n in (0, 127, 128, -128, -129)] == [b"\0", b"\x7f", b"\0\x80", b"\x80", b"\xff\x7f"]
