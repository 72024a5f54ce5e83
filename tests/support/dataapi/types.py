"""Values of table columns between JSON and the driver, refused as the server refuses them."""

from __future__ import annotations

import base64
import ipaddress
import struct
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from cassandra.util import Duration

from support.dataapi.errors import ApiError
from sync.core.cql import CqlType

SCALARS = frozenset(
    [
        "ascii",
        "text",
        "int",
        "bigint",
        "smallint",
        "tinyint",
        "varint",
        "counter",
        "float",
        "double",
        "decimal",
        "boolean",
        "uuid",
        "timeuuid",
        "timestamp",
        "date",
        "time",
        "duration",
        "inet",
        "blob",
    ]
)
_BITS = {"int": 31, "bigint": 63, "smallint": 15, "tinyint": 7}
_WORDS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def is_supported(kind: CqlType) -> bool:
    if kind.name in SCALARS:
        return True
    if kind.name == "vector":
        return True
    return kind.name in ("list", "set", "map") and not kind.frozen and all(a.name in SCALARS for a in kind.args)


def describe(kind: CqlType) -> dict[str, Any]:
    """A column's definition, as listTables and projectionSchema give it."""
    if not is_supported(kind):
        support = {"createTable": False, "insert": False, "read": False, "filter": False, "cqlDefinition": str(kind)}
        return {"type": "UNSUPPORTED", "apiSupport": support}
    if kind.name == "vector":
        return {"type": "vector", "dimension": kind.dimension}
    if kind.name == "map":
        return {"type": "map", "keyType": kind.args[0].name, "valueType": kind.args[1].name}
    if kind.name in ("list", "set"):
        return {"type": kind.name, "valueType": kind.args[0].name}
    return {"type": kind.name}


def cql_of(definition: Any) -> str:
    """The CQL of a column's definition in createTable."""
    if isinstance(definition, str):
        return definition
    if definition["type"] == "vector":
        return f"vector<float, {definition['dimension']}>"
    if definition["type"] == "map":
        return f"map<{cql_of(definition['keyType'])}, {cql_of(definition['valueType'])}>"
    if definition["type"] in ("list", "set"):
        return f"{definition['type']}<{cql_of(definition['valueType'])}>"
    return str(definition["type"])


def from_json(name: str, kind: CqlType, value: Any) -> Any:
    """The driver's value. Raises ApiError."""
    if value is None:
        return None
    try:
        return _from(kind, value)
    except (ValueError, TypeError, KeyError, ArithmeticError) as error:
        raise ApiError("INVALID_COLUMN_VALUES", f"Only values that are supported: {name}: {error}", "DOCUMENT") from None


def _from(kind: CqlType, value: Any) -> Any:
    if kind.name in ("list", "set"):
        if not isinstance(value, list) or None in value:
            raise ValueError("a JSON array without nulls is needed")
        return [_from(kind.args[0], v) for v in value]
    if kind.name == "map":
        pairs = value.items() if isinstance(value, dict) else value
        return {_from(kind.args[0], k): _from(kind.args[1], v) for k, v in pairs}
    if kind.name == "vector":
        return _vector(kind, value)
    return _scalar(kind.name, value)


def _vector(kind: CqlType, value: Any) -> Any:
    if isinstance(value, dict):
        data = base64.b64decode(value["$binary"])
        value = list(struct.unpack(f">{len(data) // 4}f", data))
    numbers = [float(v) for v in value]
    if len(numbers) != kind.dimension:
        raise ValueError(f"a vector of {kind.dimension}")
    return numbers


def _scalar(name: str, value: Any) -> Any:
    if name in ("text", "ascii"):
        if not isinstance(value, str) or (name == "ascii" and not value.isascii()):
            raise ValueError("a JSON string is needed")
        return value
    if name == "boolean":
        if not isinstance(value, bool):
            raise ValueError("a JSON boolean is needed")
        return value
    if name in ("float", "double", "decimal", "varint", *_BITS):
        return _number(name, value)
    if name == "blob":
        return base64.b64decode(value["$binary"], validate=True)
    if not isinstance(value, str):
        raise ValueError("a JSON string is needed")
    return _from_text(name, value)


def _number(name: str, value: Any) -> Any:
    if isinstance(value, str) and name in ("float", "double"):
        return _WORDS[value]
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("a JSON number is needed")
    if name in ("float", "double"):
        return float(value)
    if name == "decimal":
        return Decimal(value)
    if value != int(value) or not -(1 << _BITS.get(name, 10_000)) <= value < 1 << _BITS.get(name, 10_000):
        raise ValueError(f"out of the range of {name}")
    return int(value)


def _from_text(name: str, value: str) -> Any:
    if name in ("uuid", "timeuuid"):
        return UUID(value)
    if name == "timestamp":
        if len(value.split("-")[0]) != 4 or value[-1] not in "Z0123456789":
            raise ValueError("an instant of ISO 8601 is needed")
        return (datetime.fromisoformat(value).astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)
    if name == "date":
        return date.fromisoformat(value)
    if name == "time":
        return time.fromisoformat(value)
    if name == "inet":
        return str(ipaddress.ip_address(value))
    raise ValueError(f"{name} is not supported by this double")


def to_json(kind: CqlType, value: Any) -> Any:
    """The JSON of a driver's value."""
    if kind.name in ("list", "set"):
        return [to_json(kind.args[0], v) for v in value]
    if kind.name == "map":
        if kind.args[0].name in ("text", "ascii"):
            return {k: to_json(kind.args[1], v) for k, v in value.items()}
        return [[to_json(kind.args[0], k), to_json(kind.args[1], v)] for k, v in value.items()]
    if kind.name == "vector":
        return {"$binary": base64.b64encode(struct.pack(f">{len(value)}f", *value)).decode()}
    return _scalar_json(kind.name, value)


def _scalar_json(name: str, value: Any) -> Any:
    if name == "blob":
        return {"$binary": base64.b64encode(value).decode()}
    if name in ("float", "double"):
        if value != value or value in (float("inf"), float("-inf")):
            return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
        return float(f"{value:.9g}") if name == "float" else value
    if name == "timestamp":
        moment = value.replace(tzinfo=UTC) + timedelta(microseconds=500)  # the driver's decoding is slightly too low
        text = f"{moment.year:04}-{moment:%m-%dT%H:%M:%S}"
        milliseconds = moment.microsecond // 1000
        return f"{text}.{milliseconds:03}Z" if milliseconds else f"{text}Z"
    if name == "date":
        return value.date().isoformat()
    if isinstance(value, Duration):
        return f"P{value.months}M{value.days}DT{value.nanoseconds // 10**9}S"
    return value if isinstance(value, str | int | bool | Decimal) else str(value)
