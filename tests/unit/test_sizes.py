"""Small cells whose values would be large: recognised before anything of that size is made."""

from __future__ import annotations

import json
import tracemalloc
from decimal import Decimal
from importlib import import_module

import pytest
from support.cells import cell, varint, with_length
from support.pg_types import pg_type

from sync.core.cql import DOCUMENT, CqlType, parse_type
from sync.core.encode import documents, encoder_for, numerics, zeros
from sync.core.encode.base import INT32, Reject
from sync.core.encode.rows import encode_cell
from sync.core.keys.json_form import cell_json

LARGE = INT32.pack(-131_000) + varint(1)
TINY = INT32.pack(16_383) + varint(1)


def listed(element: bytes, count: int) -> bytes:
    return INT32.pack(count) + with_length(element) * count


def peak_of(cql: CqlType, pg: str, raw: bytes) -> tuple[str, int]:
    """Why the cell is refused, and the most memory that took."""
    encoder = encoder_for(cql, pg_type(pg))
    tracemalloc.start()
    try:
        with pytest.raises(Reject) as refused:
            encode_cell(encoder, raw)
        return str(refused.value), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("frozen<list<decimal>>", listed(LARGE, 1000)),
        ("frozen<set<decimal>>", listed(TINY, 1000)),
        ("frozen<map<decimal, text>>", INT32.pack(500) + (with_length(LARGE) + with_length(b"a")) * 500),
        ("frozen<map<text, frozen<list<decimal>>>>", INT32.pack(1) + with_length(b"a") + with_length(listed(LARGE, 1000))),
        ("frozen<list<frozen<tuple<int, decimal>>>>", listed(with_length(b"\0\0\0\1") + with_length(LARGE), 1000)),
    ],
)
def test_a_cell_of_decimals_is_refused_before_it_is_written_out(name: str, raw: bytes) -> None:
    """Would break: a cell of 9 kB takes 131 MB, and workers are killed until the range has failed."""
    reason, peak = peak_of(parse_type(name), "jsonb", raw)
    assert (reason, peak < 8 << 20) == (
        "numbers in JSON that would be more than 1,048,576 bytes longer without their exponents",
        True,
    )


@pytest.mark.parametrize("number", ["1e131000", "-7E-16000", "1.5e+100000"])
def test_a_document_of_exponents_is_refused_before_it_is_written_out(number: str) -> None:
    """Would break: the same, with a document that a user of the application wrote."""
    text = json.dumps({"a": ["N"] * 2000}).replace('"N"', number).encode()
    reason, peak = peak_of(CqlType(DOCUMENT), "jsonb", text)
    assert "without their exponents" in reason and peak < 8 << 20


def test_a_few_such_numbers_are_carried() -> None:
    """Would break: what Postgres can hold is refused."""
    encoder = encoder_for(parse_type("frozen<list<decimal>>"), pg_type("jsonb"))
    assert len(encode_cell(encoder, listed(LARGE, 7))) > 7 * 131_000
    assert len(encode_cell(encoder_for(CqlType(DOCUMENT), pg_type("jsonb")), b'{"a": [1e131000, 1e-16000]}')) > 147_000
    ordinary = listed(INT32.pack(2) + varint(150), 100_000)
    assert encode_cell(encoder, ordinary).count(b"1.50") == 100_000


@pytest.mark.parametrize(
    ("name", "pg", "raw"),
    [
        ("varint", "numeric", b"\x7f" * (1 << 20)),
        ("varint", "numeric(20,0)", b"\x7f" * (1 << 20)),
        ("decimal", "numeric", INT32.pack(3) + b"\x80" * (1 << 20)),
        ("decimal", "numeric(20,3)", INT32.pack(3) + b"\x7f" * (1 << 20)),
        ("decimal", "numeric(20,3)", INT32.pack(-131_000) + b"\x7f"),
        ("decimal", "numeric(20,3)", INT32.pack(2_400_000) + b"\x7f" * (1 << 20)),
        ("frozen<list<varint>>", "jsonb", listed(b"\x7f" * (1 << 20), 2)),
        ("frozen<list<decimal>>", "jsonb", listed(INT32.pack(1) + b"\x7f" * (1 << 20), 2)),
    ],
)
def test_a_long_number_is_refused_before_its_digits_are_made(
    name: str, pg: str, raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: a varint of one megabyte takes a minute, one of four takes longer than any lease."""
    asked: list[int] = []
    for module in ("numerics", "jsonb"):
        monkeypatch.setattr(
            import_module(f"sync.core.encode.{module}"), "decimal_digits", lambda value: asked.append(value) or "0"
        )
    with pytest.raises(Reject):
        encode_cell(encoder_for(parse_type(name), pg_type(pg)), raw)
    assert asked == []


def test_the_longest_numbers_are_not_refused() -> None:
    """Would break: the check by bits refuses what fits."""
    most = 10**numerics.MAX_INTEGER_DIGITS - 1
    encoder = encoder_for(CqlType("varint"), pg_type("numeric"))
    assert encode_cell(encoder, varint(most)) and encode_cell(encoder, varint(-most))
    assert encode_cell(encoder_for(CqlType("decimal"), pg_type("numeric")), INT32.pack(16_383) + varint(most * 10**16_000))
    with pytest.raises(Reject):
        encode_cell(encoder, varint(most + 1))
    for value in (99_999, -99_999):
        assert encode_cell(encoder_for(CqlType("varint"), pg_type("numeric(5,0)")), varint(value))


@pytest.mark.parametrize("levels", [129, 600, 100_000])
@pytest.mark.parametrize("inner", ["1", "1e5"])
def test_a_document_that_nests_too_deeply_is_a_reject_from_wherever_it_is_encoded(levels: int, inner: str) -> None:
    """Would break: a RecursionError ends the range; or the verdict depends on how deep the caller's stack is."""
    text = ("[" * levels + inner + "]" * levels).encode()
    with pytest.raises(Reject, match="nests deeper than 128 levels"):
        encode_cell(encoder_for(CqlType(DOCUMENT), pg_type("jsonb")), text)
    quoted = json.dumps({"a": "[{" * levels, "b": '\\"['}).encode()
    assert encode_cell(encoder_for(CqlType(DOCUMENT), pg_type("jsonb")), quoted)
    deepest = b"[" * 128 + inner.encode() + b"]" * 128
    assert encode_cell(encoder_for(CqlType(DOCUMENT), pg_type("jsonb")), deepest)


def test_a_reports_values_are_bounded_too() -> None:
    """Would break: `--show-values` writes out a number of a megabyte."""
    assert cell_json(parse_type("decimal"), INT32.pack(0) + b"\x7f" * 70_000).keys() == {"$cell"}
    assert cell_json(parse_type("varint"), b"\x7f" * (1 << 20)).keys() == {"$cell"}
    assert Decimal(cell_json(parse_type("decimal"), cell(parse_type("decimal"), (150, 2)))) == Decimal("1.50")
    assert zeros.MAX_ZEROS == 1 << 20 and documents.MAX_LEVELS == 128
