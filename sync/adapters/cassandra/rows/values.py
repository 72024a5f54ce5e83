"""Pages of rows as Python values: as `Cells.values` makes them, by a function that is generated for the table's columns.

Why generated: docs/decisions/0001-raw-pages-and-generated-encoders.md.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sync.adapters.cassandra.rows.cell_types import PROTOCOL, cell_type
from sync.adapters.cassandra.rows.cells import Cells, plain
from sync.core.cql import CqlType
from sync.core.encode.base import INT32, INT64, elements, map_elements, read_cells
from sync.core.reads.cursor import Row

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Decode = Callable[[bytes], Any]


def _utf8(cell: bytes) -> str:
    return cell.decode()


def _ascii(cell: bytes) -> str:
    return cell.decode("ascii")


def _uuid(cell: bytes) -> UUID:
    return UUID(bytes=cell)


def _timestamp(cell: bytes) -> datetime:
    return _EPOCH + timedelta(milliseconds=INT64.unpack(cell)[0])


_WHOLE: dict[str, Decode] = {
    "ascii": _ascii, "text": _utf8, "blob": bytes, "uuid": _uuid, "timeuuid": _uuid, "timestamp": _timestamp,
}  # fmt: skip
"""By CQL type, what makes a value of a cell that is not empty."""
_NUMBERS = {"int": "i", "bigint": "q", "smallint": "h", "tinyint": "b", "float": "f", "double": "d"}
"""Types that `struct` reads, by its letter."""


def decoder(kind: CqlType) -> Decode:
    """From a cell that is not null to its Python value."""
    slow, fast = _by_driver(kind), _fast(kind)
    return slow if fast is None else lambda cell: fast(cell) if cell else slow(cell)  # an empty cell is null for most types


def _fast(kind: CqlType) -> Decode | None:
    if kind.name in _NUMBERS:
        layout = struct.Struct(">" + _NUMBERS[kind.name])
        return lambda cell: layout.unpack(cell)[0]
    return _WHOLE.get(kind.name) or _collection(kind)


def _collection(kind: CqlType) -> Decode | None:
    """Lists and maps of these types; the driver itself sorts sets."""
    if kind.name not in ("list", "map") or not all(_fast(arg) for arg in kind.args):
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
    """Rows of some columns of one table, each after its token."""

    def __init__(self, cells: Cells, columns: Sequence[tuple[str, CqlType]]) -> None:
        self._cells = cells
        self._names = tuple(name for name, _ in columns)
        self._read = _generated(columns)

    def page(self, data: bytes, at: int, count: int) -> list[Row]:
        """The rows of a page. Raises ValueUnreadable if Python cannot represent a value."""
        try:
            return self._read(data, at, count)
        except (OverflowError, ValueError, struct.error):
            rows: list[Row] = []
            for _ in range(count):
                (token, *row), at = read_cells(data, at, 1 + len(self._names))
                values = self._cells.values(dict(zip(self._names, row, strict=True)))  # its error names row and column
                rows.append((INT64.unpack(token or b"")[0], values))
            return rows


def _generated(columns: Sequence[tuple[str, CqlType]]) -> Callable[[bytes, int, int], list[Row]]:
    """A function that reads `count` rows from `at`: for each cell its length, then the cell."""
    given: dict[str, Any] = {"length": INT32.unpack_from, "token_at": struct.Struct(">iq").unpack_from}
    lines = [
        "def read(data, at, count):",
        " rows = []",
        " for _ in range(count):",
        "  _, token = token_at(data, at)",
        "  at += 12",
    ]
    for nth, (_, kind) in enumerate(columns):
        given[f"decode{nth}"] = _by_driver(kind) if kind.name in _NUMBERS else decoder(kind)
        lines += ["  (n,) = length(data, at)", "  at += 4"]
        if kind.name in _NUMBERS:
            number = struct.Struct(">" + _NUMBERS[kind.name])
            given[f"number{nth}"] = number.unpack_from
            lines += [f"  if n == {number.size}: (v{nth},) = number{nth}(data, at); at += n"]
        elif kind.name == "text":
            lines += [f"  if n > 0: v{nth} = data[at:at + n].decode(); at += n"]
        else:
            lines += [f"  if n > 0: v{nth} = decode{nth}(data[at:at + n]); at += n"]
        lines += [f"  elif n < 0: v{nth} = None", f"  else: v{nth} = decode{nth}(data[at:at + n]); at += n"]
    pairs = ", ".join(f"{name!r}: v{nth}" for nth, (name, _) in enumerate(columns))
    lines += [f"  rows.append((token, {{{pairs}}}))", " return rows"]
    exec("\n".join(lines), given)
    made: Callable[[bytes, int, int], list[Row]] = given["read"]
    return made
