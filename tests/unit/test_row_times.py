"""Write times between a row's token and its columns: rows are encoded and hashed as without them, and those ahead are found."""

from __future__ import annotations

import struct

import pytest

from sync.core.cql import CqlType
from sync.core.encode.row_times import RowTimes
from sync.core.encode.rows import RowEncoder
from sync.core.rows import ColumnPair, Page, PgType, SourceColumn, SourceTable, TableMap, TargetColumn, TargetTable

NOW = 1_700_000_000_000_000
SOURCE = SourceTable(
    "ks",
    "t",
    (
        SourceColumn("id", CqlType("int"), "partition_key"),
        SourceColumn("a", CqlType("text"), "regular"),
        SourceColumn("b", CqlType("boolean"), "regular"),
    ),
)
TARGET = TargetTable(
    "public",
    "t",
    (TargetColumn("id", PgType("int4"), True), TargetColumn("a", PgType("text")), TargetColumn("b", PgType("bool"))),
    ("id",),
)
TABLE = TableMap(SOURCE, TARGET, tuple(map(ColumnPair, SOURCE.columns, TARGET.columns)))
ROWS: list[tuple[int, bytes | None, bytes | None, int | None, int | None]] = [
    (1, b"one", b"\x01", NOW, NOW - 1),
    (2, None, b"\x00", None, NOW + 7),
    (3, b"x" * 300, None, NOW + 9, None),
    (4, b"", b"\x01", NOW + 1, NOW + 3),
    (6, b"six", b"\x00", NOW, NOW),
    (7, b"seven", b"\x01", NOW + 2, NOW + 2),
    (8, b"old", b"\x01", -5, -5),
    (5, None, None, None, None),
]
"""Key, columns, and when each column was written; the last row is shorter than the times of another."""


def cell(value: bytes | None) -> bytes:
    return struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value


def page(with_times: bool, rows: list[tuple[int, bytes | None, bytes | None, int | None, int | None]]) -> Page:
    made = b""
    for key, a, b, *times in rows:
        made += cell(struct.pack(">q", key * 10))
        if with_times:
            made += b"".join(cell(None if at is None else struct.pack(">q", at)) for at in times)
        made += cell(struct.pack(">i", key)) + cell(a) + cell(b)
    return Page(b"head" + made, 4, len(rows))


def encoders(limit: int = NOW) -> tuple[RowEncoder, RowEncoder, RowTimes]:
    times = RowTimes(2, 1, lambda: limit)
    times.begin()
    return RowEncoder(TABLE, 9, times), RowEncoder(TABLE, 9), times


def test_rows_are_encoded_hashed_and_checked_as_without_times() -> None:
    """Would break: a write time is loaded as a column's value, or a null among the times shifts the columns."""
    timed, plain, _ = encoders()
    a, b = page(True, ROWS), page(False, ROWS)
    encoded = b"".join(plain.encode_page(b.data, b.offset, b.count))
    assert b"".join(timed.encode_page(a.data, a.offset, a.count)) == encoded
    assert timed.hash_page(a.data, a.offset, a.count)[:3] == plain.hash_page(b.data, b.offset, b.count)[:3]
    assert list(timed.check_page(a.data, a.offset, a.count)) == list(plain.check_page(b.data, b.offset, b.count))


def test_rows_ahead_are_found_with_their_keys_and_newest_times() -> None:
    """Would break: a row that no write of today can change is not known, or another row is taken for it (decision 0018)."""
    timed, _, times = encoders()
    given = page(True, ROWS)
    wanted = [((struct.pack(">i", key),), at) for key, at in ((2, NOW + 7), (3, NOW + 9), (4, NOW + 3), (7, NOW + 2))]
    timed.encode_page(given.data, given.offset, given.count)
    assert times.ahead(given.data) == wanted
    assert times.ahead_in(given, 3) == wanted, "a page whose encoding failed in the middle"
    times.begin()
    assert times.ahead(given.data) == []


def test_a_time_at_the_limit_is_not_ahead() -> None:
    timed, _, times = encoders(NOW + 9)
    given = page(True, ROWS)
    timed.encode_page(given.data, given.offset, given.count)
    assert times.ahead(given.data) == []


def test_a_page_that_cannot_be_encoded_is_still_looked_at() -> None:
    """Would break: the row behind a bad value is copied, and nobody learns that it lies ahead."""
    timed, _, times = encoders()
    given = page(True, [(1, b"ok", b"\x02", NOW, NOW), ROWS[1]])
    with pytest.raises(ValueError, match="boolean"):
        timed.encode_page(given.data, given.offset, given.count)
    assert times.ahead_in(given, 3) == [((struct.pack(">i", 2),), NOW + 7)]
