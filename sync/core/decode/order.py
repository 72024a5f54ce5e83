"""The order in which Cassandra keeps the elements of a set and the keys of a map: each type compares in its own way.

Source: the classes of `org.apache.cassandra.db.marshal` in Cassandra 5.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from decimal import Decimal
from math import copysign, isnan
from typing import Any

from sync.core.cql import CqlType
from sync.core.encode.base import elements, fields, map_elements
from sync.core.encode.numerics import decimal_digits, decimal_parts
from sync.core.encode.scalars import INT_BYTES

Order = Callable[[bytes | None], Any]
"""From a cell to what sorts like it: a null first, then a cell of length zero."""
_NULL, _EMPTY, _VALUE = range(3)


def order_of(cql: CqlType) -> Order:
    """The order of cells of this type."""
    value = _structured(cql) or _SCALARS.get(cql.name) or (_integer if cql.name in INT_BYTES else bytes)

    def order(cell: bytes | None) -> Any:
        if not cell:
            return (_NULL,) if cell is None else (_EMPTY,)
        return _VALUE, value(cell)

    return order


def _structured(cql: CqlType) -> Callable[[bytes], Any] | None:
    parts = [order_of(arg) for arg in cql.args]
    if cql.name in ("list", "set"):
        return lambda cell: [parts[0](e) for e in elements(cell)]
    if cql.name == "map":
        return lambda cell: [parts[i % 2](e) for i, e in enumerate(map_elements(cell))]
    if cql.name in ("tuple", "udt"):
        return lambda cell: [part(f) for part, f in zip(parts, fields(cell, len(parts)), strict=True)]
    if cql.name == "vector":
        return lambda cell: [parts[0](cell[i : i + 4]) for i in range(0, len(cell), 4)]
    return None


def _integer(cell: bytes) -> int:
    return int.from_bytes(cell, "big", signed=True)


def _decimal(cell: bytes) -> Decimal:
    unscaled, scale = decimal_parts(cell)
    return Decimal(f"{decimal_digits(unscaled)}E{-scale}")


def _floating(layout: struct.Struct) -> Callable[[bytes], Any]:
    """Java's Float.compare: −0.0 before 0.0, NaN last."""

    def order(cell: bytes) -> tuple[bool, float, float]:
        (value,) = layout.unpack(cell)
        return (True, 0.0, 0.0) if isnan(value) else (False, value, copysign(1.0, value))

    return order


def _uuid(cell: bytes) -> tuple[int, bytes, bytes]:
    version = cell[6] >> 4
    return version, _timestamp(cell) if version == 1 else cell[:8], cell[8:]


def _timeuuid(cell: bytes) -> tuple[bytes, bytes]:
    # The last bytes compare as signed ones.
    return _timestamp(cell), bytes(byte ^ 0x80 for byte in cell[8:])


def _timestamp(cell: bytes) -> bytes:
    """The time of a UUID of version 1, its high part first."""
    return cell[6:8] + cell[4:6] + cell[:4]


_SCALARS: dict[str, Callable[[bytes], Any]] = {
    "varint": _integer,
    "timestamp": _integer,
    "decimal": _decimal,
    "float": _floating(struct.Struct(">f")),
    "double": _floating(struct.Struct(">d")),
    "boolean": any,
    "uuid": _uuid,
    "timeuuid": _timeuuid,
}
