"""Whole rows back from Postgres: every column gets its own cell, and errors name their column."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from support.cells import cell, with_length
from test_encode_rows import VERSION, make_table, tables_and_rows

from sync.core.cql import COLLECTIONS, CqlType, parse_type
from sync.core.decode import decoder_for
from sync.core.decode.rows import RowDecoder
from sync.core.encode import Reject
from sync.core.encode.rows import RowEncoder

_PROFILE = settings(max_examples=150, derandomize=True, database=None, deadline=None)


def _decoder(keys: list[str], rest: list[str]) -> RowDecoder:
    table = make_table(keys, rest)
    return RowDecoder(table, RowEncoder(table, VERSION).pairs)


@_PROFILE
@given(tables_and_rows())
def test_every_column_gets_its_own_cell(drawn: tuple[RowEncoder, list[dict[str, bytes | None]]]) -> None:
    """Would break: columns that the encoder reordered for speed come back in each other's places."""
    encoder, rows = drawn
    table = make_table([str(p.source.type) for p in encoder.pairs if p.source.kind != "regular"], _rest(encoder))
    decoder, types = RowDecoder(table, encoder.pairs), {p.source.name: p.source.type for p in encoder.pairs}
    for row in rows:
        canonical = encoder.canonical_row(row)
        if canonical is None:
            continue
        try:
            found = decoder.cells(canonical)
        except Reject as reject:
            assert "key" in str(reject) or "a null within" in str(reject) or "duplicate" in str(reject)
            continue
        assert found.keys() == row.keys()
        settled = encoder.canonical_row(found) or b""
        # Sets are sorted, and collections without elements become null.
        assert {types[c].name for c in encoder.different_columns(canonical, settled)} <= COLLECTIONS
        assert decoder.cells(settled) == found
        keys = tuple(found[c] for c in encoder.columns[: encoder.key_count])
        assert decoder.key(canonical[: _key_length(encoder, canonical)]) == keys


def _rest(encoder: RowEncoder) -> list[str]:
    by_name = sorted((int(p.source.name[1:]), str(p.source.type)) for p in encoder.pairs if p.source.kind == "regular")
    return [name for _, name in by_name]


def _key_length(encoder: RowEncoder, canonical: bytes) -> int:
    at = 0
    for _ in range(encoder.key_count):
        at += 4 + max(0, struct.unpack_from(">i", canonical, at)[0])
    return at


def test_an_error_names_its_column() -> None:
    """Would break: a row cannot go back, and nobody can tell why."""
    decoder = _decoder(["int"], ["timestamp", "text"])
    row = with_length(bytes(4)) + with_length(b"text") + with_length(struct.pack(">q", 1))
    with pytest.raises(Reject, match="c0: a timestamp finer than 1 ms"):
        decoder.cells(row)


def test_nulls_and_empty_collections_are_null() -> None:
    """Would break: a null is left out, so that Cassandra keeps the old value."""
    decoder = _decoder(["int"], ["text", "list<int>"])
    empty = struct.pack(">iiI", 0, 0, 23)
    assert decoder.cells(with_length(bytes(4)) + with_length(None) + with_length(empty)) == {
        "k0": bytes(4),
        "c0": None,
        "c1": None,
    }


@pytest.mark.parametrize("data", [b"", bytes(7), with_length(bytes(4)), with_length(bytes(4)) + with_length(b"a") + b"more"])
def test_a_row_of_another_table_is_no_row(data: bytes) -> None:
    """Would break: bytes of another shape are taken for a row, and its columns are filled with pieces of them."""
    with pytest.raises((ValueError, struct.error)):
        _decoder(["int"], ["text"]).cells(data)


@pytest.mark.parametrize(
    ("keys", "cells", "reason"),
    [
        (["text"], [b""], "k0: empty"), (["text"], [b"x" * 65_536], "65,535 bytes"), (["int"], [None], "k0: null"),
        (["text", "text"], [b"x" * 40_000, b"x" * 30_000], "65,535 bytes"),
        (["text", "text"], [b"", b"x" * 65_530], "65,535 bytes"),
    ],
)  # fmt: skip
def test_a_key_that_cassandra_refuses_is_refused_here(keys: list[str], cells: list[bytes | None], reason: str) -> None:
    """Would break: Postgres takes an empty or overlong key that Cassandra never takes, and its intent is tried forever."""
    with pytest.raises(Reject, match=reason):
        _decoder(keys, []).key(b"".join(map(with_length, cells)))


def test_clustering_columns_have_a_limit_together() -> None:
    """Would break: clustering columns are accepted that are each short enough, but together too long for Cassandra."""
    table = make_table(["int", "text", "text"], [])
    columns = tuple(replace(c, kind="clustering") if c.name != "k0" else c for c in table.source.columns)
    decoder = RowDecoder(replace(table, source=replace(table.source, columns=columns)), RowEncoder(table, VERSION).pairs)
    key = [bytes(4), b"x" * 40_000, b"x" * 25_535]
    assert decoder.key(b"".join(map(with_length, key))) == tuple(key)
    with pytest.raises(Reject, match="65,535 bytes"):
        decoder.key(b"".join(map(with_length, [*key[:2], b"x" * 25_536])))


def test_keys_up_to_the_limit_are_taken() -> None:
    """Would break: a key that Cassandra holds is refused on its way back."""
    assert _decoder(["text"], []).key(with_length(b"x" * 65_535)) == (b"x" * 65_535,)
    assert _decoder(["text", "text"], []).key(with_length(b"") + with_length(b"x" * 65_529)) == (b"", b"x" * 65_529)


def test_a_cell_is_decoded_by_its_own_type() -> None:
    """Would break: two columns of one Postgres type and two CQL types are decoded alike."""
    decoder = _decoder(["int"], ["tinyint", "smallint"])
    pairs = RowEncoder(make_table(["int"], ["tinyint", "smallint"]), VERSION).pairs
    row = with_length(bytes(4)) + b"".join(with_length(b"\0\7") for _ in pairs[1:])
    assert decoder.cells(row) == {"k0": bytes(4), "c0": b"\7", "c1": b"\0\7"}
    assert cell(CqlType("tinyint"), 7) == decoder_for(parse_type("tinyint"), pairs[-1].target.type)(b"\0\7")
