"""The raw cell of some value of a type: where a condition must hold whatever the value is."""

from __future__ import annotations

from sync.core.cql import CqlType
from sync.core.encode.base import INT32, NULL

_BYTES = {
    "tinyint": 1, "boolean": 1, "smallint": 2, "int": 4, "float": 4, "date": 4, "inet": 4, "bigint": 8, "double": 8,
    "timestamp": 8, "time": 8, "uuid": 16, "varint": 1, "decimal": 5,
}  # fmt: skip
_TIMEUUID = bytes(6) + b"\x10\x00\x80" + bytes(7)
_VARIABLE_IN_VECTORS = frozenset(
    {"tinyint", "smallint", "date", "time", "inet", "varint", "decimal", "text", "ascii", "blob"}
)
"""Types whose elements of a vector come with their lengths: also some of fixed length (observed on 5.0.6)."""


def any_value(cql: CqlType) -> bytes:
    """The cell of a value that a clustering column of this type can have."""
    if cql.name == "timeuuid":
        return _TIMEUUID
    if cql.name in ("list", "set", "map"):
        return INT32.pack(0)
    if cql.name in ("tuple", "udt"):
        return NULL * len(cql.args)
    if cql.name == "vector":
        element = any_value(cql.args[0])
        has_length = cql.args[0].name in _VARIABLE_IN_VECTORS or bool(cql.args[0].args)
        return ((bytes([len(element)]) if has_length else b"") + element) * (cql.dimension or 0)
    return bytes(_BYTES.get(cql.name, 0))
