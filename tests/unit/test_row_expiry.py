"""The moment at which a row expires, from the TTLs of its cells; and what two sides' moments say of a row."""

from __future__ import annotations

import struct
import uuid

import pytest

from sync.core.cell_ttls import ExpiryReader
from sync.core.cql import CqlType, parse_type
from sync.core.drift.digest import is_equal, is_expiring
from sync.core.drift.expiring import Span
from sync.core.drift.verdicts import SourceRow, TargetRow, judge
from sync.core.encode.base import INT32, INT64, join_cells, read_cells
from sync.core.encode.times import KEY_ALONE, MIXED
from sync.core.expiry import (
    EXPIRY_NAME,
    TOLERANCE_MS,
    expiry_comment,
    expiry_ttl,
    is_same_moment,
    migrated,
    moment_after,
    packed,
    seconds_left,
)
from sync.core.rows import Page, SourceColumn, SourceTable, TableOptions

ADDRESS = CqlType("udt", (CqlType("text"), CqlType("int")), fields=("street", "number"))
TABLE = migrated(
    SourceTable(
        "ks",
        "t",
        (
            SourceColumn("id", CqlType("int"), "partition_key"),
            SourceColumn("a", CqlType("text"), "regular"),
            SourceColumn("left_out", CqlType("text"), "regular"),
            SourceColumn("tags", parse_type("set<text>"), "regular"),
            SourceColumn("at", ADDRESS, "regular"),
        ),
    ),
    TableOptions(expiry="until"),
)
NOW = 1_790_000_000
CLOCK = struct.pack(
    ">IHH8s", (ticks := NOW * 10**7 + 0x01B21DD213814000) & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, ticks >> 48 | 0x1000, bytes(8)
)
NULL, ONE = b"\xff\xff\xff\xff", INT32.pack(1)


def many(*seconds: int | None) -> bytes:
    return INT32.pack(len(seconds)) + join_cells(None if s is None else INT32.pack(s) for s in seconds)


def one(seconds: int | None) -> bytes | None:
    return None if seconds is None else INT32.pack(seconds)


def moment(a: int | None, left_out: int | None = None, tags: bytes | None = None, at: bytes | None = None) -> bytes | None:
    """The cell for a row with these TTLs; -1 and None for cells and columns that are null."""
    reader = ExpiryReader(TABLE, ("id", "a", "tags", "at", EXPIRY_NAME))
    values = [ONE, None if a == -1 else b"x", tags and b"tags", at and join_cells([b"street", None])]
    others = [None if left_out == -1 else b"x", CLOCK]
    ttls = [one(a) if a != -1 else None, one(left_out) if left_out != -1 else None, tags, at]
    assert len([*values, *others, *ttls]) == reader.width == len(reader.terms(str))
    page = reader.page(Page(join_cells([INT64.pack(7), *values, *others, *ttls]), 0, 1))
    cells, end = read_cells(page.data, 0, 6)
    assert end == len(page.data) and cells[:3] == [INT64.pack(7), ONE, values[1]]
    return cells[5]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"a": None}, None),
        ({"a": 30, "left_out": 30}, 30),
        ({"a": 30, "left_out": 32}, 32),
        ({"a": 30, "left_out": 33}, MIXED),
        ({"a": 30, "left_out": None}, MIXED),
        ({"a": 30, "left_out": -1}, 30),
        ({"a": -1, "left_out": -1}, KEY_ALONE),
        ({"a": 30, "left_out": -1, "tags": many(30, 30), "at": many(30, None)}, 30),
        ({"a": 30, "left_out": -1, "tags": many(30, None)}, MIXED),
        ({"a": 30, "left_out": -1, "tags": many(30, 99)}, MIXED),
        ({"a": -1, "left_out": -1, "at": many(None, None)}, None),
    ],
)
def test_a_row_has_one_moment_or_none_that_can_be_told(given: dict[str, int], expected: int | bytes | None) -> None:
    """Would break: elements, null fields of a user type and columns that are left out do not count as they do in Cassandra."""
    assert moment(**given) == (INT64.pack((NOW + expected) * 1000) if isinstance(expected, int) else expected)  # type: ignore[arg-type]


def test_the_clock_of_a_version_1_uuid_is_read() -> None:
    """Would break: the test's own clock is no such UUID."""
    assert uuid.UUID(bytes=CLOCK).time == NOW * 10**7 + 0x01B21DD213814000


def test_a_ttl_and_its_moment() -> None:
    """Would break: a write that is sent in the same second has another TTL than it was given."""
    assert moment_after(60, NOW + 0.9) == (NOW + 60) * 1000
    assert [seconds_left((NOW + 60) * 1000, NOW + later) for later in (0.0, 0.9, 1, 59.9, 60, 61)] == [60, 60, 59, 1, 0, -1]
    assert [expiry_ttl(text) for text in (expiry_comment(0), expiry_comment(86400), "a comment", None)] == [
        0,
        86400,
        None,
        None,
    ]


AT = NOW * 1000
LATER = AT + 3_600_000


def hashed(content: bytes, at: int | None) -> bytes:
    return content * 16 + packed(None if at is None else INT64.pack(at))


def test_moments_are_equal_within_the_tolerance() -> None:
    """Would break: what two servers round differently is a finding, or nothing is."""
    for one_, other, same in (
        (LATER, LATER + TOLERANCE_MS, True),
        (LATER, LATER - TOLERANCE_MS - 1, False),
        (LATER, None, False),
        (None, None, True),
    ):
        assert is_same_moment(one_, other) is same and is_equal(hashed(b"h", one_), hashed(b"h", other)) is same
    assert not is_equal(hashed(b"g", None), hashed(b"h", None)) and not is_equal(None, hashed(b"h", None))
    assert is_equal(b"h" * 16, b"h" * 16) and not is_equal(b"g" * 16, b"h" * 16)
    assert is_expiring(hashed(b"h", AT), AT - 4000) and not is_expiring(hashed(b"h", AT), AT - 6000)
    assert not is_expiring(hashed(b"h", None), AT) and not is_expiring(b"h" * 16, AT)


def verdict(here: tuple[bytes, int | None] | None, there: tuple[bytes, int | None] | None) -> str:
    """The verdict at the moment AT on what Postgres and Cassandra hold: content and moment."""
    span = Span(AT, AT + 100)
    row = span.visible(TargetRow(here[0] if here else None, 1, expiry=here[1] if here else None))
    source = SourceRow(True, there[0], 1, expiry=there[1]) if there else SourceRow()
    return span.verdict(row, source, row) or judge(row, source, row)


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        ((b"x", LATER), (b"x", LATER + 2000), "same"),
        ((b"x", LATER), (b"x", LATER + 9000), "different"),
        ((b"x", None), (b"x", LATER), "different"),
        ((b"x", LATER), None, "extra"),
        (None, (b"x", LATER), "missing"),
        ((b"x", AT + 3000), None, "gone"),
        ((b"x", AT - 3000), (b"x", AT + 200), "gone"),
        (None, (b"x", AT + 3000), "gone"),
        ((b"x", AT - 9000), None, "gone"),
        ((b"x", AT - 9000), (b"x", LATER), "missing"),
        ((b"x", AT + 3000), (b"x", LATER), "in flight"),
        ((b"x", LATER), (b"x", AT + 3000), "in flight"),
    ],
)
def test_a_row_at_its_moment_is_no_finding(
    here: tuple[bytes, int | None] | None, there: tuple[bytes, int | None] | None, expected: str
) -> None:
    """Would break: a row that one side lets go a little earlier is a finding; or one that stays on one side is none."""
    assert verdict(here, there) == expected
