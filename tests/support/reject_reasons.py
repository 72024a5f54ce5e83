"""Whether the reason of a reject is true of the value, judged from the value alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from math import isfinite
from typing import Any

from support.literals import json_text
from support.oracle import DAY_MS, DAY_NS
from sync.core.cql import CqlType
from sync.core.rows import PgType

Leaf = tuple[str, Any]


def leaves(cql: CqlType, value: Any) -> Iterator[Leaf]:
    """Every scalar within a value with its CQL type's name; nulls too."""
    if value is None or not cql.args:
        yield cql.name, value
    elif cql.name in ("list", "set", "vector"):
        for element in value:
            yield from leaves(cql.args[0], element)
    else:
        for element in value if cql.name == "map" else [value]:
            for arg, part in zip(cql.args, element, strict=True):
                yield from leaves(arg, part)


def is_true(reason: str, cql: CqlType, pg: PgType, value: Any) -> bool:
    """True where the reason names something that is wrong with this value for this target."""
    for pattern, test in _REASONS.items():
        if re.search(pattern, reason):
            return test(cql, pg, value)
    return False


def _any(test: Callable[[str, Any], bool]) -> Callable[[CqlType, PgType, Any], bool]:
    return lambda cql, _pg, value: any(leaf is not None and test(name, leaf) for name, leaf in leaves(cql, value))


def _finer(cql: CqlType, pg: PgType, value: Any) -> bool:
    unit = {"timestamp": 10**6, "time": 1, "duration": 1}  # in ns
    step = 10 ** (9 - pg.typmod) if pg.typmod >= 0 else 1000
    found = ((name, leaf[2] if name == "duration" else leaf) for name, leaf in leaves(cql, value) if leaf is not None)
    return any(leaf * unit[name] % step for name, leaf in found)


def _outside(name: str, leaf: Any) -> bool:
    if name == "time":
        return not 0 <= leaf < DAY_NS
    days, end = (leaf // DAY_MS, 106_762_824) if name == "timestamp" else (leaf, 2_145_042_906)  # 294277 and 5874898 AD
    return not -2_440_588 <= days < end


def _too_long(cql: CqlType, pg: PgType, value: Any) -> bool:
    return any(leaf is not None and len(leaf) > pg.typmod - 4 for _, leaf in leaves(cql, value))


def _precision(pg: PgType) -> tuple[int, int]:
    """numeric's modifier: ((precision << 16) | (scale & 0x7ff)) + 4."""
    packed = pg.typmod - 4
    scale = packed & 0x7FF
    return packed >> 16, scale - 2048 if scale >= 1024 else scale


def _many_decimals(cql: CqlType, pg: PgType, value: Any) -> bool:
    numbers = [Decimal(leaf) for _, leaf in leaves(cql, value) if isinstance(leaf, Decimal | int)]
    if pg.typmod < 4:
        return any(-int(n.as_tuple().exponent) > 16_383 for n in numbers)
    scale = _precision(pg)[1]
    return any(_places(n) > scale for n in numbers)


def _zeros(cql: CqlType, _: PgType, value: Any) -> bool:
    found = (leaf.as_tuple() for _, leaf in leaves(cql, value) if isinstance(leaf, Decimal))
    return sum(max(int(n.exponent), -int(n.exponent) - len(n.digits), 0) for n in found) > 1 << 20


def _places(number: Decimal) -> int:
    """Decimal places without trailing zeros; negative where the number ends in zeros before the point."""
    _, digits, exponent = number.as_tuple()
    kept = len("".join(map(str, digits)).rstrip("0"))
    return -int(exponent) - (len(digits) - kept) if number else -(10**9)


def _too_large(cql: CqlType, pg: PgType, value: Any) -> bool:
    numbers = [Decimal(leaf) for _, leaf in leaves(cql, value) if isinstance(leaf, Decimal | int)]
    limit = 131_072 if pg.typmod < 4 else _precision(pg)[0] - _precision(pg)[1]
    return any(n and n.adjusted() >= limit for n in numbers)


def _keys_meet(cql: CqlType, _pg: PgType, value: Any) -> bool:
    maps = list(_maps(cql, value))
    return any(len({json_text(t, k) for k, _ in pairs}) < len(pairs) for t, pairs in maps)


def _maps(cql: CqlType, value: Any) -> Iterator[tuple[CqlType, list[Any]]]:
    if value is None or not cql.args:
        return
    if cql.name == "map":
        yield cql.args[0], value
        for pair in value:
            for arg, part in zip(cql.args, pair, strict=True):
                yield from _maps(arg, part)
    elif cql.name in ("tuple", "udt"):
        for arg, part in zip(cql.args, value, strict=True):
            yield from _maps(arg, part)
    else:
        for part in value:
            yield from _maps(cql.args[0], part)


def _null_key(cql: CqlType, _pg: PgType, value: Any) -> bool:
    return any(key is None for _, pairs in _maps(cql, value) for key, _ in pairs)


_REASONS: dict[str, Callable[[CqlType, PgType, Any], bool]] = {
    "numbers in JSON that would be more than": _zeros,
    "NUL character": _any(lambda _n, leaf: isinstance(leaf, str) and "\0" in leaf),
    "NaN or Infinity": _any(lambda _n, leaf: isinstance(leaf, float) and not isfinite(leaf)),
    "finer than": _finer,
    "outside": _any(_outside),
    "longer than": _too_long,
    "decimals": _many_decimals,
    "too large|digits before the point|beyond numeric": lambda *a: _too_large(*a) or _many_decimals(*a),
    "two keys": _keys_meet,
    "65,504": _any(lambda _n, leaf: abs(leaf) >= 65_520),
    "key .*null|null key|no key": _null_key,
}
