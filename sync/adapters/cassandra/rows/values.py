"""Rows of many cells as Python values: as `Cells.values` makes them, with less work for the common types."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sync.adapters.cassandra.rows.cell_types import PROTOCOL, cell_type
from sync.adapters.cassandra.rows.cells import Cells, plain
from sync.core.cql import CqlType
from sync.core.encode.base import INT32, INT64, elements, map_elements

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DOUBLE, _FLOAT, _SHORT, _TINY = struct.Struct(">d"), struct.Struct(">f"), struct.Struct(">h"), struct.Struct(">b")
Decode = Callable[[bytes], Any]


def _unpacking(layout: struct.Struct) -> Decode:
    return lambda cell: layout.unpack(cell)[0]


def _utf8(cell: bytes) -> str:
    return cell.decode()


def _uuid(cell: bytes) -> UUID:
    return UUID(bytes=cell)


def _timestamp(cell: bytes) -> datetime:
    return _EPOCH + timedelta(milliseconds=INT64.unpack(cell)[0])


_FAST: dict[str, Decode] = {
    "ascii": lambda cell: cell.decode("ascii"),
    "text": _utf8,
    "blob": bytes,
    "int": _unpacking(INT32),
    "bigint": _unpacking(INT64),
    "smallint": _unpacking(_SHORT),
    "tinyint": _unpacking(_TINY),
    "float": _unpacking(_FLOAT),
    "double": _unpacking(_DOUBLE),
    "uuid": _uuid,
    "timeuuid": _uuid,
    "timestamp": _timestamp,
}


def decoder(kind: CqlType) -> Decode:
    """From a cell that is not null to its Python value."""
    slow = _by_driver(kind)
    fast = _FAST.get(kind.name) or _collection(kind)
    if fast is None:
        return slow
    return lambda cell: fast(cell) if cell else slow(cell)  # a cell of length zero is null for most types


def _collection(kind: CqlType) -> Decode | None:
    """Lists and maps of these types; the driver itself sorts sets."""
    parts = [_FAST.get(arg.name) for arg in kind.args]
    if kind.name not in ("list", "map") or not all(parts):
        return None
    one, other = (_or_null(decoder(arg)) for arg in (kind.args * 2)[:2])
    if kind.name == "list":
        return lambda cell: [one(element) for element in elements(cell)]

    def read_map(cell: bytes) -> dict[Any, Any]:
        found = map_elements(cell)
        return {one(k): other(v) for k, v in zip(found[::2], found[1::2], strict=True)}

    return read_map


def _or_null(decode: Decode) -> Callable[[bytes | None], Any]:
    return lambda cell: None if cell is None else decode(cell)


def _by_driver(kind: CqlType) -> Decode:
    read = cell_type(kind).from_binary
    return lambda cell: plain(read(cell, PROTOCOL))


class RowValues:
    """Rows of some columns of one table."""

    def __init__(self, cells: Cells, columns: Sequence[tuple[str, CqlType]]) -> None:
        self._cells = cells
        self._names = tuple(name for name, _ in columns)
        self._decoders = tuple(decoder(kind) for _, kind in columns)

    def values(self, row: Sequence[bytes | None]) -> dict[str, Any]:
        """The row's cells, in the columns' order, as values. Raises ValueUnreadable if Python cannot represent one."""
        try:
            return {
                name: None if cell is None else decode(cell)
                for name, decode, cell in zip(self._names, self._decoders, row, strict=True)
            }
        except (OverflowError, ValueError, struct.error):
            return self._cells.values(dict(zip(self._names, row, strict=True)))  # it names the column in its error
