"""The slow, obvious oracle: what a value that the Cassandra driver decoded must be in Postgres.

Written from the two databases' documentation, not from the encoders. Values have the plain form of `cells`, but a decimal
is a Decimal and an inet an ip_address. `held` says what Postgres must show, `seen` reads what it shows, `comparable` makes
the two comparable; `literals` writes a value as SQL: what Postgres takes and shows unchanged must not be rejected.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address
from typing import Any
from uuid import UUID

import numpy as np

from sync.core.cql import CqlType
from sync.core.rows import PgType

DAY_MS, DAY_NS = 86_400_000, 86_400_000_000_000
_JSON_STRINGS = {"text", "ascii", "uuid", "timeuuid", "blob", "inet", "timestamp", "date", "time", "duration"}


class Unholdable(Exception):
    """There is no SQL literal for this value."""


@contextmanager
def any_digits() -> Iterator[None]:
    """Lifts Python's limit on digits, for the oracle and the driver only: the encoders must do without."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(limit)


def plain(cql: CqlType, value: Any) -> Any:
    """A value of the driver in plain form."""
    if value is None:
        return None
    if cql.name in ("list", "set", "vector"):
        return [plain(cql.args[0], v) for v in value]
    if cql.name == "map":
        # items() looks keys up, which fails for a key of length zero, because the driver reads it as null.
        return [(plain(cql.args[0], k), plain(cql.args[1], v)) for k, v in value._items]
    if cql.name in ("tuple", "udt"):
        return [plain(a, v) for a, v in zip(cql.args, value, strict=True)]
    if cql.name == "timestamp":
        return round((value - datetime(1970, 1, 1)) / timedelta(milliseconds=1)) if isinstance(value, datetime) else value
    convert = {
        "date": lambda v: v.days_from_epoch,
        "time": lambda v: v.nanosecond_time,
        "duration": lambda v: (v.months, v.days, v.nanoseconds),
        "inet": ip_address,
    }
    return convert.get(cql.name, lambda v: v)(value)


def without_nul(value: Any) -> Any:
    """The value with U+0000 taken out of every text within it."""
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, list | tuple):
        return type(value)(without_nul(v) for v in value)
    return value


def held(pg: PgType, value: Any) -> Any:
    """What Postgres must hold of a value: the value itself, but in half precision for halfvec."""
    if value is not None and pg.element:
        return [held(pg.element, v) for v in value]
    if value is not None and pg.name == "halfvec":
        return [float(np.float16(np.float32(v))) for v in value]
    return value


def comparable(cql: CqlType, pg: PgType, value: Any) -> Any:
    """A value such that `==` means equal: order in sets and maps does not count, NaN is itself, −0.0 is not 0.0."""
    if value is None:
        return None
    if cql.name == "set":
        return sorted(repr(comparable(cql.args[0], _element(pg), v)) for v in value)
    if cql.name == "map":
        return sorted(repr([_comparable_key(cql.args[0], pg, k), comparable(cql.args[1], pg, v)]) for k, v in value)
    if cql.name in ("tuple", "udt"):
        return [comparable(a, pg, v) for a, v in zip(cql.args, value, strict=True)]
    if cql.name in ("list", "vector"):
        return [comparable(cql.args[0], _element(pg), v) for v in value]
    if cql.name in ("float", "double"):
        return _comparable_float(pg, float(value))
    if cql.name in ("decimal", "varint") or pg.name == "numeric":
        return _comparable_number(pg, value)
    return value


def _comparable_key(cql: CqlType, pg: PgType, key: Any) -> Any:
    """A key that is a number is text in JSON, and keeps its sign."""
    return repr(key) if isinstance(key, float) else comparable(cql, pg, key)


def _element(pg: PgType) -> PgType:
    return replace(pg.element, typmod=pg.typmod) if pg.element else pg


def _comparable_float(pg: PgType, value: float) -> Any:
    if value != value:
        return "NaN"
    # JSON's numbers are numeric in Postgres, which has no negative zero.
    return struct.pack(">d", value + 0.0 if pg.name == "jsonb" else value)


def _comparable_number(pg: PgType, value: Any) -> str:
    number = Decimal(value)
    places = max(0, -int(number.as_tuple().exponent))
    if number == 0 and pg.typmod != -1:
        return "0"
    if places > 20_000 or (number and number.adjusted() > 200_000):
        return str(number)  # Postgres has nothing like it
    text = f"{number:f}" if number else f"{Decimal(0):.{places}f}"
    if pg.typmod == -1 or "." not in text:
        return text
    return text.rstrip("0").rstrip(".")  # numeric(p, s) shows s decimals whatever the value had


def expression(pg: PgType, column: str) -> str:
    """SQL that shows a column so that psycopg can read all of its range."""
    if pg.element:
        elements = f"ARRAY(SELECT {expression(pg.element, 'e')} FROM unnest({column}) AS e)"
        return f"CASE WHEN {column} IS NULL THEN NULL ELSE {elements} END"
    forms = {
        "float4": "{}::float8",
        "timestamptz": "(extract(epoch FROM {}) * 1000)::numeric",
        "timestamp": "(extract(epoch FROM {}) * 1000)::numeric",
        "date": "{} - date '1970-01-01'",
        "time": "(extract(epoch FROM {}) * 1000000000)::numeric",
        "interval": "concat_ws(',', extract(year FROM {0}) * 12 + extract(month FROM {0}), extract(day FROM {0}), "
        "extract(hour FROM {0}) * 3600000000 + extract(minute FROM {0}) * 60000000 + extract(microseconds FROM {0}))",
        "jsonb": "{}::text",
        "vector": "{}::real[]",
        "halfvec": "{}::vector::real[]",
    }
    return forms.get(pg.name, "{}").format(column)


def seen(cql: CqlType, pg: PgType, value: Any) -> Any:
    """What `expression` gave, in plain form."""
    if value is None or value == "":  # concat_ws makes an empty text of a null interval
        return "" if value == "" and pg.name in ("text", "varchar") else None
    if pg.element:
        return [seen(cql.args[0], pg.element, v) for v in value]
    if pg.name == "jsonb":
        return from_json(cql, json.loads(value, parse_int=Decimal, parse_float=Decimal))
    if pg.name in ("timestamptz", "timestamp", "time"):
        assert value == int(value)
        return int(value)
    if pg.name == "interval":
        months, days, micros = (int(Decimal(part)) for part in value.split(","))
        return months, days, micros * 1000
    return bytes(value) if pg.name == "bytea" else value


def from_json(cql: CqlType, value: Any) -> Any:
    """The value that the JSON says, by the column's type."""
    if value is None:
        return None
    if cql.name in ("list", "set", "vector"):
        return [from_json(cql.args[0], v) for v in value]
    if cql.name == "tuple":
        return [from_json(a, v) for a, v in zip(cql.args, value, strict=True)]
    if cql.name == "udt":
        assert set(value) == set(cql.fields)
        return [from_json(a, value[name]) for a, name in zip(cql.args, cql.fields, strict=True)]
    if cql.name == "map":
        return [(_key_from_json(cql.args[0], k), from_json(cql.args[1], v)) for k, v in value.items()]
    if cql.name in ("float", "double"):
        return float(value)
    if cql.name in ("decimal", "varint"):
        return value
    if isinstance(value, Decimal):
        assert value == int(value)
        return int(value)
    return _from_string(cql, value) if cql.name in _JSON_STRINGS else value


def _key_from_json(cql: CqlType, key: str) -> Any:
    parsed = key if cql.name in _JSON_STRINGS else json.loads(key, parse_int=Decimal, parse_float=Decimal)
    return from_json(cql, parsed)


def _from_string(cql: CqlType, text: str) -> Any:
    if cql.name in ("uuid", "timeuuid"):
        return UUID(text)
    if cql.name == "blob":
        assert text.startswith("0x")
        return bytes.fromhex(text[2:])
    if cql.name == "inet":
        return ip_address(text)
    if cql.name == "date":
        return _days(text)
    if cql.name == "time":
        return _clock(text)
    if cql.name == "timestamp":
        date, clock = text.removesuffix("Z").split(" ")
        return _days(date) * DAY_MS + _clock(clock) // 1_000_000
    if cql.name == "duration":
        found = re.fullmatch(r"(-?)(\d+)mo(\d+)d(\d+)ns", text)
        assert found, text
        return tuple(int(part) * (-1 if found[1] else 1) for part in found.groups()[1:])
    return text


def iso_date(days: int) -> str:
    """A date of any year, as ISO 8601 and Java write it: years beyond four digits with a sign."""
    year, month, day = re.fullmatch(r"(-?\d+)-(\d\d)-(\d\d)", str(np.datetime64(days, "D"))).groups()
    number = int(year)
    shown = f"+{number}" if number > 9999 else f"-{-number:04}" if number < 0 else f"{number:04}"
    return f"{shown}-{month}-{day}"


def _days(text: str) -> int:
    assert re.fullmatch(r"[+-]?\d{4,}-\d\d-\d\d", text), text
    return int(np.datetime64(text.removeprefix("+"), "D").astype(int))


def _clock(text: str) -> int:
    found = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d):([0-5]\d)\.(\d{3}|\d{9})", text)
    assert found, text
    hours, minutes, seconds = (int(part) for part in found.groups()[:3])
    return (hours * 3600 + minutes * 60 + seconds) * 10**9 + int(found[4].ljust(9, "0"))
