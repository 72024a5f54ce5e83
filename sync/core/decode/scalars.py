"""Texts, integers, floats, UUIDs, addresses and durations, back from Postgres."""

from __future__ import annotations

import re
import struct

from sync.core.decode.base import Decode
from sync.core.encode.base import Reject
from sync.core.encode.scalars import INT_BYTES

_INTERVAL = struct.Struct(">qii")
_DOUBLE, _FLOAT = struct.Struct(">d"), struct.Struct(">f")
_DURATION_TEXT = re.compile(r"(-?)(\d{1,10})mo(\d{1,10})d(\d{1,19})ns", re.ASCII)
_INFINITE = {(2**63 - 1, 2**31 - 1, 2**31 - 1), (-(2**63), -(2**31), -(2**31))}


def decode_ascii(cell: bytes) -> bytes:
    """ascii: seven bits a character."""
    if not cell.isascii():
        raise Reject("a character beyond ASCII")
    return cell


def integer(source: str) -> Decode:
    """An integer of any width into `source`."""
    width = INT_BYTES[source]

    def decode(cell: bytes) -> bytes:
        return cell if len(cell) == width else integer_cell(int.from_bytes(cell, "big", signed=True), source)

    return decode


def integer_cell(value: int, source: str) -> bytes:
    """The cell of a number. Raises Reject where `source` is too narrow for it."""
    try:
        return value.to_bytes(INT_BYTES[source], "big", signed=True)
    except OverflowError:
        raise Reject(f"a number beyond the range of {source}") from None


def double_to_float(cell: bytes) -> bytes:
    """float8 → float, if no digit is lost; a NaN keeps as much of its payload as a float has room for."""
    (value,) = _DOUBLE.unpack(cell)
    if value != value:
        return _narrow_nan(cell)
    try:
        packed = _FLOAT.pack(value)
    except OverflowError:
        raise Reject("a number beyond the range of float") from None
    if _FLOAT.unpack(packed)[0] != value:
        raise Reject("a number finer than a float")
    return packed


def _narrow_nan(cell: bytes) -> bytes:
    """Narrow it by its bits, as it was widened; with no payload left it would be Infinity, so it becomes the usual NaN."""
    bits = int.from_bytes(cell, "big")
    payload = bits >> 29 & 0x7FFFFF or 0x400000
    return (bits >> 63 << 31 | 0xFF << 23 | payload).to_bytes(4, "big")


def decode_timeuuid(cell: bytes) -> bytes:
    """timeuuid: Cassandra takes only UUIDs of version 1."""
    if len(cell) != 16 or cell[6] >> 4 != 1:
        raise Reject("a UUID that is not of version 1, where the source has a timeuuid")
    return cell


def decode_inet(cell: bytes) -> bytes:
    """inet: the address, where it is one and not a network."""
    _, bits, _, length = cell[:4]
    if bits != 8 * length:
        raise Reject("a network, where the source has addresses")
    return cell[4:]


def decode_duration(cell: bytes) -> bytes:
    """interval (µs, days, months) → duration (months, days, ns)."""
    micros, days, months = _INTERVAL.unpack(cell)
    if (micros, days, months) in _INFINITE:
        raise Reject("an infinite interval")
    return duration_cell(months, days, micros * 1000)


def duration_cell(months: int, days: int, nanoseconds: int) -> bytes:
    """The cell of a duration. Raises Reject for what Cassandra refuses."""
    parts = (months, days, nanoseconds)
    if min(parts) < 0 < max(parts):
        raise Reject("an interval whose months, days and time have different signs")
    if any(not -(2**bits) <= part < 2**bits for part, bits in zip(parts, (31, 31, 63), strict=True)):
        raise Reject("an interval beyond the range of duration")
    return b"".join(map(_vint, parts))


def parse_duration(text: str) -> bytes:
    """The cell of a duration's text in JSON. Raises ValueError, Reject."""
    found = _DURATION_TEXT.fullmatch(text)
    if found is None:
        raise ValueError("another form")
    months, days, nanoseconds = (int(found[1] + part) for part in found.groups()[1:])
    return duration_cell(months, days, nanoseconds)


def _vint(value: int) -> bytes:
    """A signed integer of variable length, as `read_vints` reads it."""
    raw = value << 1 ^ value >> 63
    extra = min(8, max(0, raw.bit_length() - 1) // 7)
    ones = 0xFF << 8 - extra & 0xFF
    return (raw | ones << 8 * extra).to_bytes(extra + 1, "big")
