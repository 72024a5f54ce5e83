"""Defects to plant in a Postgres column, as SQL, by the type's name; what does not change a value plants nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np

Change = str | Callable[[str], str]
"""An SQL expression of `c`, or a function from its text to another."""


def ulp64(text: str) -> str:
    """The next double."""
    return repr(math.nextafter(float(text), math.inf))


def ulp32(text: str) -> str:
    """The next float."""
    return str(np.nextafter(np.float32(text), np.float32(math.inf)))


def one_ulp(text: str) -> str:
    """The vector with its middle component moved to the next float."""
    return _component(text, np.float32)


def one_ulp16(text: str) -> str:
    """The same for half precision."""
    return _component(text, np.float16)


def _component(text: str, kind: type) -> str:
    found = [kind(x) for x in json.loads(text)]
    at = len(found) // 2
    found[at] = np.nextafter(found[at], kind(math.inf))
    return json.dumps([float(x) for x in found])


def negated(text: str) -> str:
    """The vector with its first component negated."""
    first, *rest = json.loads(text)
    return json.dumps([-first, *rest])


def swapped(text: str) -> str:
    """The vector with its first and last components swapped."""
    first, *rest, last = json.loads(text)
    return json.dumps([last, *rest, first])


_TEXT: dict[str, Change] = {
    "trailing space": "c || ' '",
    "leading space": "' ' || c",
    "case": "CASE WHEN upper(c) <> c THEN upper(c) ELSE lower(c) END",
    "the text null": "'null'",
    "empty": "''",
    "combining mark": "c || U&'\\0301'",
    "last character": "left(c, -1)",
}
_NUMBER: dict[str, Change] = {"plus one": "c + 1", "minus one": "c - 1", "sign": "-c", "zero": "0"}
_FLOAT: dict[str, Change] = {"value": "c + 1", "sign": "-c", "not a number": "'NaN'", "negative zero": "'-0'"}
_STAMP: dict[str, Change] = {
    "1 µs": "c + interval '1 microsecond'",
    "1 ms": "c - interval '1 millisecond'",
    "1 s": "c + interval '1 second'",
    "infinity": "'infinity'",
}
_ARRAY: dict[str, Change] = {
    "an element more": "c || c[1]",
    "an element less": "c[2:]",
    "a null more": "array_append(c, NULL)",
    "empty": "'{}'",
    "order": "c[2:] || c[1:1]",
}
BY_TYPE: dict[str, dict[str, Change]] = {
    "text": _TEXT,
    "varchar": _TEXT,
    "int2": _NUMBER,
    "int4": _NUMBER,
    "int8": _NUMBER,
    "numeric": {**_NUMBER, "scale": "round(c, scale(c) + 1)", "last digit": "c + power(10::numeric, -scale(c))",
                "not a number": "'NaN'"},
    "float4": {**_FLOAT, "last bit": ulp32},
    "float8": {**_FLOAT, "last bit": ulp64},
    "bool": {"inverted": "NOT c"},
    "uuid": {"last digit": "(left(c::text, 35) || translate(right(c::text, 1), '0123456789abcdef', '123456789abcdef0'))::uuid"},
    "timestamptz": _STAMP,
    "timestamp": _STAMP,
    "date": {"a day more": "c + 1", "infinity": "'infinity'"},
    "time": {"1 µs": "c + interval '1 microsecond'", "1 ms": "c + interval '1 millisecond'", "1 s": "c + interval '1 second'"},
    "interval": {"1 µs": "c + interval '1 microsecond'", "a month is no 30 days": "c + interval '1 month' - interval '30 days'",
                 "a day is no 24 hours": "c + interval '1 day' - interval '24 hours'", "sign": "-c"},
    "inet": {"next address": "c + 1", "netmask": "set_masklen(c, 8)", "cidr": "set_masklen(c, 24)"},
    "bytea": {"a byte more": "c || '\\x00'", "last bit": "set_bit(c, 8 * octet_length(c) - 8, 1 - get_bit(c, 8 * octet_length(c) - 8))",
              "empty": "''", "a byte less": "substr(c, 1, octet_length(c) - 1)"},
    "jsonb": {
        "a key more": "CASE jsonb_typeof(c) WHEN 'object' THEN c || '{\"added\": null}' ELSE c || '[null]' END",
        "a key less": "CASE jsonb_typeof(c) WHEN 'object' THEN c - (SELECT min(k) FROM jsonb_object_keys(c) AS k) ELSE c - 0 END",
        "a value": "jsonb_set(c, ARRAY[(SELECT min(k) FROM jsonb_object_keys(CASE jsonb_typeof(c) WHEN 'object' THEN c ELSE '{}' END) AS k)], '\"other\"')",
        "an element": "jsonb_set(c, '{0}', '\"other\"')",
        "a nested value": "jsonb_set(c, '{0,0}', '\"other\"')",
        "json null": "'null'",
        "empty": "CASE jsonb_typeof(c) WHEN 'object' THEN '{}' ELSE '[]' END::jsonb",
        "wrapped": "jsonb_build_array(c)",
        "a text of it": "to_jsonb(c::text)",
    },
    "vector": {"one component by one ulp": one_ulp, "sign": negated, "two components swapped": swapped},
    "halfvec": {"one component by one ulp": one_ulp16, "two components swapped": swapped},
    "array": _ARRAY,
}  # fmt: skip


def changes_of(name: str, is_array: bool) -> dict[str, Change]:
    """The defects of a type, by name."""
    return BY_TYPE["array"] if is_array else BY_TYPE[name]
