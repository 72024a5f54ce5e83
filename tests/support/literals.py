"""Values as SQL text: the question "could Postgres hold it?" is asked of Postgres itself."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

from support.oracle import DAY_MS, DAY_NS, Unholdable, iso_date
from sync.core.cql import CqlType
from sync.core.rows import PgType


def literal(cql: CqlType, pg: PgType, value: Any) -> str:
    """The value as text that the type's input function takes. Raises Unholdable."""
    if pg.element:
        return "{" + ",".join(_array_element(cql.args[0], pg.element, v) for v in value) + "}"
    if pg.name == "jsonb":
        return json_text(cql, value)
    if pg.name in ("vector", "halfvec"):
        return "[" + ",".join(map(repr, value)) + "]"
    if pg.name in ("timestamptz", "timestamp"):
        return _date(value // DAY_MS, f" {_clock(value % DAY_MS * 1_000_000)}")
    if pg.name == "date":
        return _date(value, "")
    if pg.name == "time":
        return _clock(value)
    if pg.name == "interval":
        months, days, nanoseconds = value
        return f"{months} mons {days} days {_thousandths(nanoseconds)} microseconds"
    if pg.name == "bytea":
        return "\\x" + value.hex()
    return str(value)


def _array_element(cql: CqlType, pg: PgType, value: Any) -> str:
    if value is None:
        return "NULL"
    return '"' + literal(cql, pg, value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _thousandths(value: int) -> str:
    return f"{'-' if value < 0 else ''}{abs(value) // 1000}.{abs(value) % 1000:03}"


def _date(days: int, rest: str) -> str:
    text = iso_date(days)
    if not text.startswith("-") and not text.startswith("0000"):
        return text.removeprefix("+") + rest
    year, month, day = text.removeprefix("-").split("-")
    return f"{int(year) + 1:04}-{month}-{day}{rest} BC"  # the year 0 is 1 BC


def _clock(nanoseconds: int) -> str:
    if not 0 <= nanoseconds < DAY_NS:
        raise Unholdable("not a time of day")
    seconds, fraction = divmod(nanoseconds, 10**9)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{fraction:09}"


def json_text(cql: CqlType, value: Any) -> str:
    """JSON in the forms that the project promises (Cassandra's SELECT JSON)."""
    if value is None:
        return "null"
    if cql.name in ("list", "set", "vector"):
        return "[" + ", ".join(json_text(cql.args[0], v) for v in value) + "]"
    if cql.name == "tuple":
        return "[" + ", ".join(json_text(a, v) for a, v in zip(cql.args, value, strict=True)) + "]"
    if cql.name == "udt":
        fields = zip(cql.fields, cql.args, value, strict=True)
        return "{" + ", ".join(f"{json.dumps(name)}: {json_text(a, v)}" for name, a, v in fields) + "}"
    if cql.name == "map":
        return "{" + ", ".join(f"{_key(cql.args[0], k)}: {json_text(cql.args[1], v)}" for k, v in value) + "}"
    if cql.name == "boolean":
        return "true" if value else "false"
    if cql.name in ("float", "double"):
        return repr(value)
    return str(value) if isinstance(value, int | Decimal) and cql.name not in _STRINGS else json.dumps(_string(cql, value))


_STRINGS = {"timestamp", "date", "time"}


def _key(cql: CqlType, value: Any) -> str:
    if value is None:
        raise Unholdable("JSON has no null key")
    text = json_text(cql, value)
    if text.startswith('"'):
        return text
    # The text of a key that is not a text must itself be JSON that Postgres can read.
    if "\\u0000" in text or re.search("nan|inf", text) or (cql.name in ("varint", "decimal") and _beyond_numeric(value)):
        raise Unholdable("a key whose text is no JSON in Postgres")
    return json.dumps(text)


def _beyond_numeric(value: Any) -> bool:
    number = Decimal(value)
    return number.adjusted() >= 131_072 or -int(number.as_tuple().exponent) > 16_383


def _string(cql: CqlType, value: Any) -> str:
    if cql.name == "blob":
        return "0x" + value.hex()
    if cql.name == "duration":
        sign = "-" if min(value) < 0 else ""
        return sign + "{}mo{}d{}ns".format(*map(abs, value))
    if cql.name == "time":
        return _clock(value)
    if cql.name == "date":
        return iso_date(value)
    if cql.name == "timestamp":
        return f"{iso_date(value // DAY_MS)} {_clock(value % DAY_MS * 1_000_000)[:12]}Z"
    return str(value)
