"""Converts between Python values, in the form that the store over CQL gives, and the Data API's JSON, by CQL type."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from astrapy.data_types import (
    DataAPIDate,
    DataAPIDuration,
    DataAPIMap,
    DataAPISet,
    DataAPITime,
    DataAPITimestamp,
    DataAPIVector,
)
from cassandra.util import Duration

from sync.core.cql import COLLECTIONS, CqlType

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TEXTS = frozenset({"text", "ascii"})


def to_api(kind: CqlType, value: Any) -> Any:
    """A value accepted by `Cells`, in the form for astrapy's tables. Raises ValueError for what astrapy cannot send."""
    if value is None:
        return None
    if kind.name in ("list", "set"):
        return [to_api(kind.args[0], v) for v in value]
    if kind.name == "map":
        pairs = [(to_api(kind.args[0], k), to_api(kind.args[1], v)) for k, v in value.items()]
        # A JSON object has texts for keys; other keys go as pairs.
        return dict(pairs) if kind.args[0].name in _TEXTS else [list(pair) for pair in pairs]
    if kind.name == "vector":
        return DataAPIVector([float(v) for v in value])
    convert = _TO_API.get(kind.name)
    return convert(value) if convert else value


def from_api(kind: CqlType, value: Any) -> Any:
    """A value that astrapy has read from a table, as plain Python."""
    if value is None or (kind.name in COLLECTIONS and not kind.frozen and not len(value)):
        return None  # astrapy fills columns without a value; an empty collection that is not frozen is null
    if kind.name in ("list", "set"):
        return [from_api(kind.args[0], v) for v in value]
    if kind.name == "map":
        return {from_api(kind.args[0], k): from_api(kind.args[1], v) for k, v in value.items()}
    if kind.name == "vector":
        return list(array("f", [float(v) for v in value]))
    convert = _FROM_API.get(kind.name)
    return convert(value) if convert else value


def plain_document(value: Any) -> Any:
    """What astrapy has read from a collection, as plain Python; ObjectIds stay as they are."""
    if isinstance(value, Mapping | DataAPIMap):
        return {k: plain_document(v) for k, v in value.items()}
    if isinstance(value, list | DataAPISet):
        return [plain_document(v) for v in value]
    if isinstance(value, DataAPIVector):
        return list(value.data)
    return _moment(value) if isinstance(value, DataAPITimestamp) else value


def _decimal(value: Decimal) -> Any:
    """A decimal as astrapy can send it.

    astrapy (2.3) can write digits and points only; with a sign or an exponent it would send a string of its own markers. A
    whole number goes as int; any other as float, if that has exactly the same digits.
    """
    text = str(value)
    if set(text) <= set("0123456789.") or not value.is_finite():
        return value
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent >= 0:
        return int(value)
    near = float(value)
    if Decimal(repr(near)) != value:
        raise ValueError("astrapy cannot send a negative or very small decimal of so many digits")
    return near


def _instant(value: datetime) -> str:
    moment = value.astimezone(UTC)
    # The year is formatted by hand: strftime gives three digits for the year 900, and Java takes only four.
    return f"{moment.year:04}-{moment:%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


def _moment(value: Any) -> Any:
    if isinstance(value, datetime):
        return value
    try:
        return _EPOCH + timedelta(milliseconds=value.timestamp_ms)
    except OverflowError:
        return value  # a year that Python does not know


def _standard(value: Any) -> Any:
    try:
        if isinstance(value, DataAPIDate):
            return value.to_date()
        return value.to_time() if isinstance(value, DataAPITime) else value
    except ValueError:
        return value


def _duration(value: Duration) -> Any:
    parts = (value.months, value.days, value.nanoseconds)
    return DataAPIDuration(-1 if min(parts) < 0 else 1, *(abs(p) for p in parts))


def _driver_duration(value: Any) -> Any:
    parts = (value.months, value.days, value.nanoseconds)
    return Duration(*(value.signum * p for p in parts))


_TO_API: dict[str, Callable[[Any], Any]] = {
    "timestamp": _instant,
    "date": lambda v: v.isoformat() if isinstance(v, date) else str(v),
    "time": lambda v: v.isoformat("microseconds") if isinstance(v, time) else str(v),
    "decimal": _decimal,
    "uuid": str,
    "timeuuid": str,
    "inet": str,
    "blob": bytes,
    "duration": _duration,
}
_FROM_API: dict[str, Callable[[Any], Any]] = {
    "timestamp": _moment,
    "date": _standard,
    "time": _standard,
    "inet": str,
    "float": lambda v: array("f", [float(v)])[0],
    "duration": _driver_duration,
}
