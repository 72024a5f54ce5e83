"""JSON as the server reads and writes it: exact numbers, without trailing zeros, in Java's form."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any


def loads(text: str | bytes) -> Any:
    return json.loads(text, parse_float=Decimal, parse_constant=_refuse)


def _refuse(text: str) -> Any:
    raise ValueError(text)


def dumps(value: Any) -> str:
    """Compact, in the order that is given."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{dumps(str(k))}:{dumps(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(dumps, value)) + "]"
    if isinstance(value, Decimal):
        return number(value)
    return json.dumps(value, ensure_ascii=False)


def number(value: Decimal) -> str:
    """BigDecimal.stripTrailingZeros().toString(); there is no negative zero."""
    if value == 0:
        return "0"
    sign, digits, exponent = value.normalize().as_tuple()
    assert isinstance(exponent, int)
    text, adjusted = "".join(map(str, digits)), exponent + len(digits) - 1
    if exponent <= 0 and adjusted >= -6:
        text = text.rjust(1 - exponent, "0")
        text = f"{text[:exponent]}.{text[exponent:]}" if exponent else text
    else:
        text = f"{text[0]}{'.' if len(text) > 1 else ''}{text[1:]}E{adjusted:+d}"
    return "-" * sign + text
