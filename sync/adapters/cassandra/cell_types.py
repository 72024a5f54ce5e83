"""The driver's own types for CQL types, made from the catalogue: values become cells with or without a connection."""

from __future__ import annotations

from typing import Any

from cassandra import cqltypes

from sync.core.cql import CqlType

PROTOCOL = 5
"""Cells are written alike from the third version of the native protocol on."""
_SIMPLE: dict[str, Any] = {
    "ascii": cqltypes.AsciiType,
    "bigint": cqltypes.LongType,
    "blob": cqltypes.BytesType,
    "boolean": cqltypes.BooleanType,
    "counter": cqltypes.CounterColumnType,
    "date": cqltypes.SimpleDateType,
    "decimal": cqltypes.DecimalType,
    "double": cqltypes.DoubleType,
    "duration": cqltypes.DurationType,
    "float": cqltypes.FloatType,
    "inet": cqltypes.InetAddressType,
    "int": cqltypes.Int32Type,
    "smallint": cqltypes.ShortType,
    "text": cqltypes.UTF8Type,
    "time": cqltypes.TimeType,
    "timestamp": cqltypes.DateType,
    "timeuuid": cqltypes.TimeUUIDType,
    "tinyint": cqltypes.ByteType,
    "uuid": cqltypes.UUIDType,
    "varint": cqltypes.IntegerType,
}
_PARAMETRIC: dict[str, Any] = {
    "list": cqltypes.ListType,
    "map": cqltypes.MapType,
    "set": cqltypes.SetType,
    "tuple": cqltypes.TupleType,
}


def cell_type(cql: CqlType) -> Any:
    """The driver's type. A custom type's cells are its bytes."""
    inner = [cell_type(arg) for arg in cql.args]
    if cql.name == "udt":
        # Its values are named tuples, so the name must be an identifier.
        return cqltypes.UserType.make_udt_class("", "udt", cql.fields, inner)
    if cql.name == "vector":
        return cqltypes.VectorType.apply_parameters([inner[0], cql.dimension], None)
    if cql.name in _PARAMETRIC:
        return _PARAMETRIC[cql.name].apply_parameters(inner)
    return _SIMPLE.get(cql.name, cqltypes.BytesType)
