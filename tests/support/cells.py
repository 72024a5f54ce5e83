"""Plain Python values as CQL cells, written from the native protocol's specification alone, so that edges can be spelled out.

The plain form of a value: str, int, bool, float, bytes (blob), UUID; a decimal is (unscaled, scale), a duration (months,
days, ns), a timestamp its ms since 1970, a date its days since 1970, a time its ns, an inet its 4 or 16 bytes; lists, sets,
tuples and UDTs are lists, maps are lists of pairs. None is null; `Raw` is a cell as it is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sync.core.cql import CqlType

_LAYOUTS = {
    "tinyint": ">b", "smallint": ">h", "int": ">i", "bigint": ">q", "counter": ">q", "float": ">f", "double": ">d",
    "boolean": ">?", "timestamp": ">q", "time": ">q",
}  # fmt: skip


@dataclass(frozen=True)
class Raw:
    """A cell's bytes, where no plain value produces them."""

    data: bytes


def cell(cql: CqlType, value: Any) -> bytes | None:
    """The cell of a plain value; None for null."""
    if value is None:
        return None
    if isinstance(value, Raw):
        return value.data
    if cql.name in _LAYOUTS:
        return struct.pack(_LAYOUTS[cql.name], value)
    if cql.name in ("text", "ascii"):
        return value.encode()
    if cql.name in ("list", "set"):
        return struct.pack(">i", len(value)) + b"".join(with_length(cell(cql.args[0], v)) for v in value)
    if cql.name == "map":
        pairs = (with_length(cell(t, v)) for pair in value for t, v in zip(cql.args, pair, strict=True))
        return struct.pack(">i", len(value)) + b"".join(pairs)
    if cql.name in ("tuple", "udt"):
        return b"".join(with_length(cell(t, v)) for t, v in zip(cql.args, value, strict=True))
    if cql.name == "vector":
        return struct.pack(f">{len(value)}f", *value)
    return _SCALARS[cql.name](value)


def with_length(data: bytes | None) -> bytes:
    """A cell with its length in front; −1 is null."""
    return b"\xff\xff\xff\xff" if data is None else struct.pack(">i", len(data)) + data


def varint(value: int) -> bytes:
    """Java's BigInteger.toByteArray: the shortest two's complement."""
    negative = -value - 1 if value < 0 else value
    return value.to_bytes(negative.bit_length() // 8 + 1, "big", signed=True)


def _vint(value: int) -> bytes:
    """A signed vint: zig-zag; the leading ones of the first byte count those that follow (protocol v5, section 6.10)."""
    raw = value * 2 if value >= 0 else -value * 2 - 1
    for extra in range(8):
        if raw < 1 << 7 * (extra + 1):
            ones = (0xFF << 8 - extra) & 0xFF
            return (raw | ones << 8 * extra).to_bytes(extra + 1, "big")
    return b"\xff" + raw.to_bytes(8, "big")


_SCALARS = {
    "varint": varint,
    "decimal": lambda v: struct.pack(">i", v[1]) + varint(v[0]),
    "uuid": lambda v: v.bytes,
    "timeuuid": lambda v: v.bytes,
    "blob": bytes,
    "inet": bytes,
    "date": lambda v: struct.pack(">I", v + 2**31),
    "duration": lambda v: b"".join(map(_vint, v)),
}


def row(token: int, cells: Iterable[bytes | None]) -> bytes:
    """A row of a page: the token, then the cells."""
    return with_length(struct.pack(">q", token)) + b"".join(map(with_length, cells))


def split(data: bytes, at: int, count: int) -> tuple[list[bytes | None], int]:
    """`count` length-prefixed cells from `at`, and the offset after them."""
    found: list[bytes | None] = []
    for _ in range(count):
        length = int.from_bytes(data[at : at + 4], "big", signed=True)
        at += 4
        found.append(data[at : at + length] if length >= 0 else None)
        at += max(length, 0)
    return found, at
