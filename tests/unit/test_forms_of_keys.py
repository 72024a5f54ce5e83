"""Keys, both ways: every cell that a key column may have comes back as it was, or is a reject; no two share a key."""

from __future__ import annotations

import json
import struct
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cells import cell, varint, with_length
from support.pg_types import pg_type
from support.values import strategy

from sync.core.cql import CqlType, parse_type
from sync.core.decode.order import order_of
from sync.core.encode.base import INT32, Reject, UnsupportedPair
from sync.core.encode.rows import encode_cell
from sync.core.key_forms import key_decoder, key_encoder, key_note, key_target
from sync.core.rows import SourceColumn

Kind = Literal["partition_key", "clustering"]
KINDS: tuple[Kind, ...] = ("partition_key", "clustering")
PAIRS = [
    ("text", "text"), ("int", "numeric"), ("timeuuid", "uuid"), ("timestamp", "timestamptz"), ("timestamp", "timestamp(0)"),
    ("date", "date"), ("time", "time(3)"), ("inet", "inet"), ("boolean", "bool"), ("varint", "numeric"),
    ("varint", "numeric(20,0)"), ("decimal", "text"), ("decimal", "numeric"), ("decimal", "numeric(12,3)"),
    ("decimal", "numeric(3,-2)"), ("float", "float4"), ("float", "float8"), ("double", "float8"),
    ("frozen<list<decimal>>", "jsonb"), ("frozen<list<decimal>>", "numeric[]"), ("frozen<set<decimal>>", "jsonb"),
    ("frozen<set<double>>", "float8[]"), ("frozen<set<double>>", "jsonb"), ("frozen<list<text>>", "text[]"),
    ("frozen<map<decimal, text>>", "jsonb"), ("frozen<map<text, double>>", "jsonb"), ("frozen<map<boolean, varint>>", "jsonb"),
    ("frozen<tuple<int, decimal, boolean>>", "jsonb"), ("frozen<list<frozen<set<varint>>>>", "jsonb"),
    ("frozen<tuple<text, frozen<list<decimal>>>>", "jsonb"),
    ("vector<float, 2>", "vector(2)"), ("vector<float, 2>", "halfvec(2)"), ("vector<float, 2>", "float4[]"),
    ("vector<float, 2>", "jsonb"),
]  # fmt: skip
_FLOATS = ("00000000", "80000000", "3fc00000", "7fc00000", "7fc00001", "ffc00000", "ff800001", "3dcccccd")
_DOUBLES = ("0000000000000000", "8000000000000000", "3ff8000000000000", "7ff8000000000000", "7ff8000000000001",
            "fff8000000000000", "7ff0000000000001")  # fmt: skip


def _padded(value: int, pad: int) -> bytes:
    return (b"\xff" if value < 0 else b"\x00") * pad + varint(value)


_FEW: dict[str, st.SearchStrategy[bytes]] = {
    "decimal": st.builds(
        lambda value, zeros, scale, pad: INT32.pack(scale + zeros) + _padded(value * 10**zeros, pad),
        st.integers(-2, 12), st.integers(0, 2), st.integers(-2, 2), st.sampled_from([0, 0, 0, 1]),
    ),
    "varint": st.builds(_padded, st.integers(-2, 2), st.integers(0, 2)),
    "boolean": st.sampled_from([b"\x00", b"\x01", b"\x02", b"\xff"]),
    "float": st.sampled_from([bytes.fromhex(v) for v in _FLOATS]),
    "double": st.sampled_from([bytes.fromhex(v) for v in _DOUBLES]),
}  # fmt: skip


def cells(cql: CqlType) -> st.SearchStrategy[bytes]:
    """Cells of a type, of few values in many forms, and some of length zero."""
    if cql.name in ("list", "set", "map"):
        parts = st.tuples(*(st.one_of(cells(arg), st.just(b"")) for arg in cql.args))
        return st.lists(parts, max_size=2).map(lambda found: INT32.pack(len(found)) + b"".join(map(_joined, found)))
    if cql.name == "tuple":
        whole = st.tuples(*(st.one_of(cells(arg), st.just(b""), st.none()) for arg in cql.args)).map(_joined)
        return st.one_of(whole, st.tuples(*(cells(arg) for arg in cql.args[:-1])).map(_joined))
    if cql.name == "vector":
        return st.tuples(*[cells(cql.args[0])] * (cql.dimension or 0)).map(b"".join)
    few = _FEW[cql.name] if cql.name in _FEW else strategy(cql).map(lambda value: cell(cql, value) or b"")
    return few if cql.name in ("text", "blob", "ascii") else st.one_of(few, few, st.just(b""))


def _joined(parts: tuple[bytes | None, ...]) -> bytes:
    return b"".join(map(with_length, parts))


def postgres(name: str, sent: bytes) -> Any:
    """What Postgres compares of a value with these bytes: a separate oracle, for types where bytes are not all."""
    if name.startswith("numeric") and not name.endswith("[]"):
        count, weight, sign, _ = struct.unpack_from(">HhHH", sent)
        groups = struct.unpack_from(f">{count}H", sent, 8)
        value = sum(Fraction(group) * Fraction(10_000) ** (weight - i) for i, group in enumerate(groups))
        return -value if sign else value
    if name in ("float4", "float8"):
        (number,) = struct.unpack(">f" if name == "float4" else ">d", sent)
        return number if number == number else "NaN"
    if name == "jsonb":
        return json.loads(sent[1:], parse_float=Decimal, parse_int=Decimal)
    if name.endswith("[]"):
        at, found = 20 if len(sent) > 12 else len(sent), []
        while at < len(sent):
            length = int.from_bytes(sent[at : at + 4], "big", signed=True)
            found.append(None if length < 0 else postgres(name[:-2], sent[at + 4 : at + 4 + length]))
            at += 4 + max(length, 0)
        return found
    if name in ("vector(2)", "halfvec(2)"):
        return struct.unpack(">2f" if name == "vector(2)" else ">2e", sent[4:])
    return sent


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("cql", "pg"), PAIRS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_key_is_one_on_both_sides_or_a_reject(cql: str, pg: str, kind: Kind, data: st.DataObject) -> None:
    """Would break: two keys of the source become one row in Postgres, or one key becomes two rows."""
    column, target = SourceColumn("k", parse_type(cql), kind), pg_type(pg)
    if (cql, pg, kind) in (("decimal", "numeric", "partition_key"), ("decimal", "text", "clustering")):
        with pytest.raises(UnsupportedPair):
            key_encoder(column, target)
        return
    encoder, decode, order = key_encoder(column, target), key_decoder(column, target), order_of(column.type)
    carried: list[tuple[bytes, bytes]] = []
    for raw in data.draw(st.lists(cells(column.type), min_size=2, max_size=6)):
        try:
            carried.append((raw, encode_cell(encoder, raw)))
        except Reject:
            continue
        back = decode(carried[-1][1]) or b""
        assert order(back) == order(raw)
        assert kind == "clustering" or back == raw, "another partition"
        assert encode_cell(encoder, back) == carried[-1][1], "another key in Postgres"
    for raw, made in carried:
        for other, same in carried:
            one = raw == other if kind == "partition_key" else order(raw) == order(other)
            assert (made == same) == one == (postgres(pg, made) == postgres(pg, same)), (raw, other, made, same)


def test_which_forms_are_carried() -> None:
    """Would break: decimal keys are carried or rejected otherwise than docs/types.md says."""
    price = SourceColumn("price", CqlType("decimal"), "partition_key")
    cents, text = key_encoder(price, pg_type("numeric(12,2)")), key_encoder(price, pg_type("text"))
    one, more = INT32.pack(2) + varint(150), INT32.pack(3) + varint(1500)
    assert cents.encode(one)
    for other in (more, INT32.pack(1) + varint(15), INT32.pack(-2) + varint(1)):
        with pytest.raises(Reject, match=r"taken for another"):
            cents.encode(other)
    assert (text.encode(one), text.encode(more), text.encode(INT32.pack(-2) + varint(1))) == (b"1.50", b"1.500", b"1E+2")
    within = key_encoder(SourceColumn("price", CqlType("decimal"), "clustering"), pg_type("numeric"))
    assert within.encode(one) == within.encode(more)


@pytest.mark.parametrize(
    "text", ["", "1,5", "1.", ".5", "+1", "1e2", "01", "1E2", "1E+02", "-0", "NaN", "1E+9999999999", "é"]
)
def test_a_text_that_is_no_decimal_of_the_source_is_refused(text: str) -> None:
    """Would break: a key written by hand goes to the source as another one."""
    decode = key_decoder(SourceColumn("price", CqlType("decimal"), "partition_key"), pg_type("text"))
    with pytest.raises((Reject, ValueError)):
        decode(text.encode())


def test_what_is_to_be_known_of_a_key_column() -> None:
    """Would break: a table whose keys collide in Postgres passes preflight, or nobody says what to do instead."""
    price = SourceColumn("price", CqlType("decimal"), "partition_key")
    assert key_target(price) == "text"
    with pytest.raises(UnsupportedPair, match=r"Cassandra distinguishes 1\.0 from 1\.00.*use text.*numeric\(p, s\)"):
        key_encoder(price, pg_type("numeric"))
    assert "digit for digit" in key_note(price, pg_type("text"))
    assert "rejected" in key_note(price, pg_type("numeric(12,2)"))
    assert "rejected" in key_note(SourceColumn("l", parse_type("frozen<list<decimal>>"), "partition_key"), pg_type("jsonb"))
    within = SourceColumn("price", CqlType("decimal"), "clustering")
    assert (key_target(within), key_note(within, pg_type("numeric"))) == ("numeric", "")
    assert key_note(SourceColumn("id", CqlType("uuid"), "partition_key"), pg_type("uuid")) == ""
