"""A one-dimensional array (Postgres `array_send`) → list<T>, set<T> and vector<float, n>."""

from __future__ import annotations

import struct
from collections.abc import Callable

from sync.core.cql import CqlType
from sync.core.decode.base import Decode
from sync.core.decode.collection_cells import collection
from sync.core.encode.base import Reject, read_cells

_HEADER, _DIMENSION = struct.Struct(">iiI"), struct.Struct(">ii")


def array(cql: CqlType, element: Decode) -> Decode:
    """The decode function of an array whose elements `element` decodes."""
    pack = _components(cql) if cql.name == "vector" else collection(cql, "column")
    return lambda cell: pack([None if e is None else element(e) for e in _elements(cell)])


def _elements(cell: bytes) -> list[bytes | None]:
    dimensions, _, _ = _HEADER.unpack_from(cell)
    if dimensions == 0:
        return []
    count, first = _DIMENSION.unpack_from(cell, _HEADER.size)
    if dimensions > 1:
        raise Reject(f"an array of {dimensions} dimensions")
    if first != 1:
        raise Reject("an array that does not begin at 1")
    found, end = read_cells(cell, _HEADER.size + _DIMENSION.size, count)
    if end != len(cell):
        raise ValueError("bytes after an array")
    return found


def _components(cql: CqlType) -> Callable[[list[bytes | None]], bytes]:
    """The function that makes the cell of a vector from its components."""

    def pack(found: list[bytes | None]) -> bytes:
        cells = [cell for cell in found if cell is not None]
        if not len(cells) == len(found) == cql.dimension:
            raise Reject(f"an array that does not have the {cql.dimension} numbers of the source's vector")
        return b"".join(cells)

    return pack
