"""Text, integers, floats, booleans, UUIDs, blobs, addresses and durations."""

from __future__ import annotations

import struct

from sync.core.encode.base import Encode, Reject
from sync.core.rows import PgType

_INTERVAL = struct.Struct(">qii")
_DOUBLE, _FLOAT = struct.Struct(">d"), struct.Struct(">f")
_AF_INET, _AF_INET6 = 2, 3
INT_BYTES = {"tinyint": 1, "smallint": 2, "int": 4, "bigint": 8, "counter": 8}
_PG_INT_BYTES = {"int2": 2, "int4": 4, "int8": 8}


def encode_text(cell: bytes) -> bytes:
    """Text as it is; Postgres refuses NUL and whatever is not UTF-8."""
    if b"\x00" in cell:
        raise Reject("text with a NUL character (U+0000), which Postgres cannot hold")
    try:
        cell.decode()
    except UnicodeDecodeError as error:
        raise Reject(f"text that is not UTF-8 at byte {error.start}") from None
    return cell


def without_nul(encode: Encode) -> Encode:
    """The encode function of text, given the text without its NUL characters."""
    return lambda cell: encode(cell.replace(b"\x00", b""))


def text(pg: PgType) -> tuple[Encode, bool]:
    """The encode function for text into `pg`, and whether the bytes are the same without a check."""
    limit = pg.typmod - 4 if pg.name == "varchar" and pg.typmod >= 4 else None
    if limit is None:
        return encode_text, True

    def encode(cell: bytes) -> bytes:
        # varchar(n) silently drops trailing blanks beyond n, so the length is checked here.
        if len(encode_text(cell).decode()) > limit:
            raise Reject(f"text longer than {pg}")
        return cell

    return encode, False


def integer(source: str, target: str) -> tuple[Encode, bool]:
    """Integers into an integer type at least as wide."""
    width, room = INT_BYTES[source], _PG_INT_BYTES[target]
    if width == room:
        return _fixed(width, source), True
    pad = room - width

    def widen(cell: bytes) -> bytes:
        return (b"\xff" if cell[0] & 0x80 else b"\x00") * pad + cell

    return widen, False


def _fixed(width: int, what: str) -> Encode:
    def encode(cell: bytes) -> bytes:
        if len(cell) != width:
            raise Reject(f"{len(cell)} bytes where a {what} has {width}")
        return cell

    return encode


def fixed(width: int, what: str) -> tuple[Encode, bool]:
    """A value of `width` bytes that both sides write alike."""
    return _fixed(width, what), True


def encode_boolean(cell: bytes) -> bytes:
    """boolean: Cassandra takes any byte but 0 for true; Postgres sends 1."""
    if len(cell) != 1:
        raise Reject(f"{len(cell)} bytes where a boolean has 1")
    return b"\x01" if cell[0] else b"\x00"


def float_to_double(cell: bytes) -> bytes:
    """float → float8: exact, a NaN's payload too."""
    (value,) = _FLOAT.unpack(cell)
    return _DOUBLE.pack(value) if value == value else _wide_nan(cell)


def _wide_nan(cell: bytes) -> bytes:
    """Widen it by its bits: whether a conversion keeps a signalling NaN depends on the processor and on Python's version."""
    bits = int.from_bytes(cell, "big")
    return (bits >> 31 << 63 | 0x7FF << 52 | (bits & 0x7FFFFF) << 29).to_bytes(8, "big")


def encode_inet(cell: bytes) -> bytes:
    """inet: family, prefix bits, not a CIDR, length, address (Postgres `network_send`)."""
    if len(cell) not in (4, 16):
        raise Reject(f"an address of {len(cell)} bytes")
    family = _AF_INET if len(cell) == 4 else _AF_INET6
    return bytes((family, len(cell) * 8, 0, len(cell))) + cell


def read_vints(cell: bytes, count: int) -> list[int]:
    """`count` signed variable-length integers (native protocol v5, section 6.10: zig-zag, leading ones say the length)."""
    values, at = [], 0
    for _ in range(count):
        first = cell[at]
        extra = 8 - (first ^ 0xFF).bit_length()
        raw = first & (0xFF >> extra)
        for byte in cell[at + 1 : at + 1 + extra]:
            raw = raw << 8 | byte
        values.append((raw >> 1) ^ -(raw & 1))
        at += 1 + extra
    return values


def encode_duration(cell: bytes) -> bytes:
    """duration (months, days, ns) → interval (µs, days, months)."""
    months, days, nanoseconds = read_vints(cell, 3)
    if nanoseconds % 1000:
        raise Reject("a duration finer than 1 µs")
    return _INTERVAL.pack(nanoseconds // 1000, days, months)
