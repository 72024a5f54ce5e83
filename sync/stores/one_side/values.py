"""Converts an application's values for Postgres, checked by the column's type, and back for the application."""

from __future__ import annotations

import json
import math
import struct
from array import array
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from ipaddress import ip_address
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from sync.adapters.postgres.drift.search import vector_text
from sync.core.rows import PgType, TargetColumn, TargetTable
from sync.core.schema.vector_index import OF_ZEROS
from sync.errors import QueryNotSupported, WriteRefused

VECTORS = frozenset({"vector", "halfvec"})
_BITS = {"int2": 15, "int4": 31, "int8": 63}


def adapted(table: str, column: TargetColumn, value: Any) -> Any:
    """The value as a parameter. Raises WriteRefused, naming the column, if it does not fit the column's type."""
    if value is None:
        return None
    try:
        return _adapt(column.type, value)
    except (TypeError, ValueError, ArithmeticError) as error:
        kind = type(value).__name__
        raise WriteRefused(f"{table}: {column.name} takes {column.type}, not this {kind} ({error})") from None


def adapted_key(table: TargetTable, column: TargetColumn, value: Any) -> Any:
    """The same, where a decimal of the key that is held as text is written digit for digit (docs/types.md)."""
    if column.name in table.primary_key and isinstance(value, Decimal) and column.type.name in ("text", "varchar"):
        value = str(value or abs(value))
    return adapted(table.name, column, value)


def searched(table: TargetTable, column: str, vector: Sequence[float]) -> TargetColumn:
    """The column, if rows can be near to this vector in it. Raises QueryNotSupported."""
    kind = table.column(column)
    if kind is None or kind.type.name not in VECTORS:
        raise QueryNotSupported(f"{table.name}: {column} is not a vector column")
    try:
        adapted(table.name, kind, vector)
    except WriteRefused as error:
        raise QueryNotSupported(str(error)) from None
    if not any(vector):
        raise QueryNotSupported(f"{table.name}: {column}: {OF_ZEROS}")
    return kind


def _adapt(kind: PgType, value: Any) -> Any:
    if kind.element is not None and isinstance(value, list | tuple | set | frozenset):
        values = value if isinstance(value, list | tuple) else sorted(value)
        return [None if v is None else _adapt(kind.element, v) for v in values]
    if kind.element is not None:
        raise TypeError("a list is needed")
    check = _CHECKS.get(kind.name)
    return check(kind, value) if check else value  # a user's own type: Postgres checks it


def _of(*types: type) -> Callable[[PgType, Any], Any]:
    def check(_: PgType, value: Any) -> Any:
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise TypeError(f"{' or '.join(t.__name__ for t in types)} is needed")
        return value

    return check


def _integer(kind: PgType, value: Any) -> Any:
    _of(int)(kind, value)
    if not -(1 << _BITS[kind.name]) <= value < 1 << _BITS[kind.name]:
        raise ValueError("out of range")
    return value


def _single(kind: PgType, value: Any) -> Any:
    struct.pack("f", _of(float, int)(kind, value))  # raises where it is too large
    return value


def _text(kind: PgType, value: Any) -> Any:
    if "\0" in _of(str)(kind, value):
        raise ValueError("a NUL character, which Postgres cannot hold")
    value.encode()  # raises for a lone surrogate
    return value


def _datetime(kind: PgType, value: Any) -> Any:
    # A value without a time zone is UTC, as in Cassandra; Postgres would take its session's.
    _of(datetime)(kind, value)
    return value.replace(tzinfo=UTC) if value.tzinfo is None and kind.name == "timestamptz" else value


def _date(kind: PgType, value: Any) -> Any:
    if isinstance(value, datetime):
        raise TypeError("date is needed")
    return _of(date)(kind, value)


def _inet(_: PgType, value: Any) -> Any:
    return ip_address(value) if isinstance(value, str) else ip_address(str(value))


def _json(_: PgType, value: Any) -> Any:
    text = json.dumps(value, allow_nan=False, default=_sorted)
    if "\\u0000" in text:
        raise ValueError("a NUL character, which Postgres cannot hold")
    return Jsonb(value, dumps=lambda _: text)


def _sorted(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _vector(kind: PgType, value: Any) -> Any:
    numbers = [] if isinstance(value, str | bytes) else [float(_of(float, int)(kind, v)) for v in value]
    if kind.typmod > 0 and len(numbers) != kind.typmod:
        raise ValueError(f"{kind.typmod} numbers are needed, not {len(numbers)}")
    if not numbers or not all(map(math.isfinite, numbers)):
        raise ValueError("finite numbers are needed")
    return vector_text(numbers)


_CHECKS: dict[str, Callable[[PgType, Any], Any]] = {
    **dict.fromkeys(_BITS, _integer),
    **dict.fromkeys(("text", "varchar", "bpchar"), _text),
    **dict.fromkeys(("timestamptz", "timestamp"), _datetime),
    **dict.fromkeys(("json", "jsonb"), _json),
    **dict.fromkeys(VECTORS, _vector),
    "float4": _single,
    "float8": _of(float, int),
    "numeric": _of(Decimal, int),
    "bool": _of(bool),
    "bytea": _of(bytes, bytearray, memoryview),
    "uuid": _of(UUID),
    "date": _date,
    "time": _of(time),
    "interval": _of(timedelta),
    "inet": _inet,
}


def plain(kind: PgType, value: Any) -> Any:
    """A value that psycopg read, as the stores over CQL return it: single floats widened exactly, addresses as text, UTC."""
    if value is None:
        return None
    if kind.element is not None:
        return [plain(kind.element, v) for v in value]
    convert = _PLAIN.get(kind.name)
    return convert(value) if convert else value


def converters(columns: Iterable[TargetColumn]) -> list[tuple[str, Callable[[Any], Any]]]:
    """By name, the function that `plain` applies to a column's values; none for columns that need none."""
    found = []
    for column in columns:
        convert = partial(plain, column.type) if column.type.element is not None else _PLAIN.get(column.type.name)
        if convert:
            found.append((column.name, convert))
    return found


def _widened(value: float) -> float:
    return array("f", [value])[0]


_PLAIN: dict[str, Callable[[Any], Any]] = {
    "vector": lambda text: list(array("f", map(float, text.strip("[]").split(",")))),
    "halfvec": lambda text: [float(v) for v in text.strip("[]").split(",")],
    "float4": _widened,
    "inet": str,
    "timestamptz": lambda moment: moment.astimezone(UTC),
}
