"""The driver's own types for CQL types, made from the catalogue: values become cells with or without a connection."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cassandra import cqltypes

from sync.core.cql import CqlType
from sync.core.encode.base import INT64

PROTOCOL = 5
"""Cells have the same format from version 3 of the native protocol on."""
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


class _Timestamp(cqltypes.DateType):  # type: ignore[misc]
    """The driver's own type goes through floats, and is a millisecond off for many values beyond the year 2255."""

    @staticmethod
    def deserialize(cell: bytes, protocol_version: int) -> datetime:
        """UTC without a time zone, as the driver's own. Raises OverflowError beyond the years 1 to 9999."""
        return (_EPOCH + timedelta(milliseconds=INT64.unpack(cell)[0])).replace(tzinfo=None)

    @staticmethod
    def serialize(value: Any, protocol_version: int) -> bytes:
        """Whole milliseconds, towards 1970, as the driver does."""
        if not isinstance(value, datetime):
            cell: bytes = cqltypes.DateType.serialize(value, protocol_version)
            return cell
        us = (value.replace(tzinfo=value.tzinfo or UTC) - _EPOCH) // _MICROSECOND
        return INT64.pack(us // 1000 if us >= 0 else -(-us // 1000))


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
    "timestamp": _Timestamp,
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
    """The driver's type. The cells of a custom type stay bytes."""
    inner = [cell_type(arg) for arg in cql.args]
    if cql.name == "udt":
        # Its values are named tuples, so the name must be an identifier.
        return cqltypes.UserType.make_udt_class("", "udt", cql.fields, inner)
    if cql.name == "vector":
        return cqltypes.VectorType.apply_parameters([inner[0], cql.dimension], None)
    if cql.name in _PARAMETRIC:
        return _PARAMETRIC[cql.name].apply_parameters(inner)
    return _SIMPLE.get(cql.name, cqltypes.BytesType)
