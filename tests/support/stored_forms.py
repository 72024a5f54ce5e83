"""What Cassandra holds of a plain value, and what it holds after the value went through Postgres and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from support.cells import Raw, cell
from sync.core.cql import COLLECTIONS, CqlType
from sync.core.decode.order import order_of
from sync.core.rows import PgType

Change = Callable[[CqlType, Any], Any]


def held(cql: CqlType, value: Any, change: Change = lambda _cql, value: value, kept: bool = False) -> Any:
    """The value with sets and maps in Cassandra's order, and `change` applied to their scalars.

    Sets within tuples and user types are `kept` as they come.
    """
    if value is None or isinstance(value, Raw):
        return value
    if cql.name in ("list", "vector", "set"):
        found = [held(cql.args[0], v, change, kept) for v in value]
        return _ordered(cql.args[0], found, lambda v: v) if cql.name == "set" and not kept else found
    if cql.name == "map":
        # A key is text in JSON, and loses nothing but the digits that no number shows.
        pairs = [(held(cql.args[0], k, _number_only(change), kept), held(cql.args[1], v, change, kept)) for k, v in value]
        return _ordered(cql.args[0], pairs, lambda pair: pair[0])
    if cql.name in ("tuple", "udt"):
        return [held(a, v, change, kept=True) for a, v in zip(cql.args, value, strict=True)]
    return change(cql, value)


def _ordered(cql: CqlType, found: list[Any], key: Callable[[Any], Any]) -> list[Any]:
    if len(found) < 2:
        return found
    order = order_of(cql)
    ordered = sorted(((order(cell(cql, key(item))), item) for item in found), key=lambda pair: pair[0])
    return [item for i, (place, item) in enumerate(ordered) if i == 0 or place != ordered[i - 1][0]]


def _number_only(change: Change) -> Change:
    return lambda cql, value: value if cql.name in ("float", "double") else change(cql, value)


def back(cql: CqlType, pg: PgType, value: Any) -> Any:
    """The value after its way through `pg`: everything that is lost on the way is stated here."""
    value = held(cql, value, lambda kind, leaf: _leaf(kind, pg, leaf))
    is_null = (cql.name in COLLECTIONS and value == []) or (cql.name == "udt" and not any(v is not None for v in value))
    return None if is_null and not cql.frozen else value


def _leaf(cql: CqlType, pg: PgType, value: Any) -> Any:
    kind = pg.element.name if pg.element else pg.name
    if kind == "halfvec":
        return float(np.float16(np.float32(value)))
    if cql.name in ("float", "double") and kind == "jsonb":
        return value + 0.0  # numeric has no negative zero
    return _decimal(value[0], value[1], pg) if cql.name == "decimal" else value


def _decimal(unscaled: int, scale: int, pg: PgType) -> tuple[int, int]:
    """The number with the decimals that Postgres shows: the column's, or its own (none if its scale is negative)."""
    shown = max(0, ((pg.typmod - 4 & 0x7FF) ^ 1024) - 1024) if pg.typmod != -1 else max(scale, 0)
    if unscaled == 0:
        return 0, shown
    return (unscaled * 10 ** (shown - scale), shown) if shown >= scale else (unscaled // 10 ** (scale - shown), shown)
