"""What every encoder is: one pair of types and the function from a source cell's bytes to the target cell's bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sync.core.cql import CqlType
from sync.core.rows import PgType

NULL = b"\xff\xff\xff\xff"
EMPTY_IS_A_VALUE = frozenset({"text", "ascii", "blob"})
"""CQL types for which a cell of length zero is a value; for all others it is null, as the driver reads it."""
INT16, INT32, INT64 = struct.Struct(">h"), struct.Struct(">i"), struct.Struct(">q")


Encode = Callable[[bytes], bytes]
"""From a cell to a cell; raises Reject."""


class Reject(ValueError):
    """A value the target cannot hold; the message says why, without the value (it may be private)."""


class UnsupportedPair(ValueError):
    """No encoder goes from this CQL type to this Postgres type; the message names both and what would do."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """From a CQL cell (never null) to the bytes Postgres's binary COPY takes and its `*_send` function returns.

    `same`: where Postgres accepts the cell at all, it takes these very bytes, so a run of such columns is copied whole and
    Postgres's own input functions check them; `encode` is then used only to find the row and column that were refused.
    (Except for a boolean byte beyond 1, which the fast path checks.)
    `prefix`: if a cell has `width` bytes, the target's cell is these bytes and then the cell; Postgres checks it likewise.
    `empty_is_null`: a cell of length zero, which Cassandra accepts for most types, is read as null, as the driver reads it.
    """

    cql: CqlType
    pg: PgType
    encode: Encode
    same: bool = False
    width: int | None = None
    prefix: bytes | None = None
    empty_is_null: bool = True


def with_length(cell: bytes) -> bytes:
    """The cell after its int32 length, as both wire formats have it."""
    return INT32.pack(len(cell)) + cell


def join_cells(cells: Iterable[bytes | None]) -> bytes:
    """Cells one after the other, each after its length, as in a row."""
    return b"".join([NULL if cell is None else with_length(cell) for cell in cells])


def read_cells(data: bytes, at: int, count: int) -> tuple[list[bytes | None], int]:
    """`count` cells from `at`, and where they end."""
    cells: list[bytes | None] = []
    for _ in range(count):
        (length,) = INT32.unpack_from(data, at)
        at += 4
        cells.append(data[at : at + length] if length >= 0 else None)
        at += max(length, 0)
    return cells, at


def elements(cell: bytes) -> list[bytes | None]:
    """The elements of a list or set cell: int32 count, then length and bytes each.

    Source: the native protocol's specification, v3 and later, section 6.
    """
    (count,) = INT32.unpack_from(cell, 0)
    return _read_cells(cell, 4, count)


def map_elements(cell: bytes) -> list[bytes | None]:
    """Keys and values of a map cell in turn."""
    (count,) = INT32.unpack_from(cell, 0)
    return _read_cells(cell, 4, 2 * count)


def fields(cell: bytes, count: int) -> list[bytes | None]:
    """The fields of a tuple or UDT cell; fields added to the type after the cell was written read as null. Raises Reject."""
    found = elements_of_tuple(cell)
    if any(field is not None for field in found[count:]):
        raise Reject(f"a user type with more than the {count} fields it had at the start")
    return found[:count] + [None] * (count - len(found))


def _read_cells(cell: bytes, at: int, count: int) -> list[bytes | None]:
    found: list[bytes | None] = []
    unpack = INT32.unpack_from
    for _ in range(count):
        (length,) = unpack(cell, at)
        at += 4
        if length < 0:
            found.append(None)
        else:
            found.append(cell[at : at + length])
            at += length
    return found


def elements_of_tuple(cell: bytes) -> list[bytes | None]:
    """The elements of a tuple cell, as many as there are."""
    found: list[bytes | None] = []
    at = 0
    while at < len(cell):
        found += _read_cells(cell, at, 1)
        at += 4 + len(found[-1] or b"")
    return found
