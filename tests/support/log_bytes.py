"""Segments of a commit log made by hand: for what no real node writes."""

from __future__ import annotations

import json
import struct
from zlib import crc32

from sync.core.capture.commitlog.tables import ColumnRow, LogTable, log_table

TABLE = bytes(range(16))
OTHER = bytes(range(100, 116))


def header(version: int = 8, number: int = 1234, **parameters: object) -> bytes:
    """A segment's header."""
    text = json.dumps(parameters).encode() if parameters else b"{}"
    low, high = number & 0xFFFFFFFF, number >> 32
    checksum = crc32(text, crc32(struct.pack(">iIII", version, low, high, len(text))))
    return struct.pack(">iqH", version, number, len(text)) + text + struct.pack(">I", checksum)


def marker(end: int, at: int, number: int = 1234) -> bytes:
    """The marker at `at` of a section that ends at `end`."""
    return struct.pack(">II", end, crc32(struct.pack(">III", number & 0xFFFFFFFF, number >> 32, at)))


def entry(data: bytes) -> bytes:
    """A mutation as an entry of a section."""
    size = struct.pack(">I", len(data))
    return size + struct.pack(">I", crc32(size)) + data + struct.pack(">I", crc32(data, crc32(size)))


def segment(*sections: bytes, version: int = 8, number: int = 1234, room: int = 4096, **parameters: object) -> bytes:
    """A whole segment of these sections, with zeros behind."""
    found = header(version, number, **parameters)
    for section in sections:
        end = len(found) + 8 + len(section)
        found += marker(end, len(found), number) + section
    return found + bytes(room)


def name(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def insert(key: bytes, clustering: int, value: str, table: bytes = TABLE) -> bytes:
    """An update: one row of the table below, with its own timestamp 7 µs after the least one."""
    stats = b"\x64" + b"\0\0"  # 100 µs after the epoch of such times
    columns = b"\x02" + name("n") + name("v")
    cells = b"\x08" + struct.pack(">q", 1) + b"\x08" + bytes([len(value)]) + value.encode()
    row = b"\x24" + b"\0" + struct.pack(">i", clustering) + b"\x07" + cells
    return table + bytes([len(key)]) + key + b"\x10" + stats + columns + b"\x01" + row + b"\x01"


def mutation(*updates: bytes) -> bytes:
    return bytes([len(updates)]) + b"".join(updates)


def table(identity: bytes = TABLE, title: str = "t") -> LogTable:
    """`(p int, c int, n bigint, v text, PRIMARY KEY (p, c))`."""
    columns = [
        ColumnRow("p", "partition_key", 0, "int"),
        ColumnRow("c", "clustering", 0, "int"),
        ColumnRow("n", "regular", -1, "bigint"),
        ColumnRow("v", "regular", -1, "text"),
    ]
    return log_table(identity, "ks", title, columns, (), frozenset())
