"""A cell as Cassandra keeps it: it sorts what is bound as a set or map, and removes duplicates.

Observed on Cassandra 5.0.6: of elements or keys that compare as equal (1.0 and 1.00) the first stays, with the last one's
value. Within another collection only equal bytes are duplicates. What is within a tuple or user type stays as it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any, NamedTuple

from sync.core.cql import CqlType
from sync.core.decode.order import order_of
from sync.core.encode.base import INT32, elements, join_cells, map_elements

Normalize = Callable[[bytes], bytes]
"""From a cell as it is bound to the cell that is kept."""


class _Pair(NamedTuple):
    """A key and its value, or an element, with its place in the order."""

    place: Any
    key: bytes | None
    value: bytes | None = None


def normalizer(cql: CqlType, within: bool = False) -> Normalize | None:
    """What Cassandra makes of cells of this type, `within` a collection or not; None if it keeps them as they come."""
    if cql.name == "set":
        return _set(cql, within)
    if cql.name == "map":
        return _map(cql, within)
    inner = normalizer(cql.args[0], within=True) if cql.name == "list" else None
    return inner and (lambda cell: cell[:4] + join_cells(map(_or_null(inner), elements(cell))))


def _set(cql: CqlType, within: bool) -> Normalize:
    element, order = _or_null(normalizer(cql.args[0], within=True)), order_of(cql.args[0])

    def keep(cell: bytes) -> bytes:
        kept = list(_deduplicated([_Pair(order(e), e) for e in map(element, elements(cell))], within))
        return INT32.pack(len(kept)) + join_cells(pair.key for pair in kept)

    return keep


def _map(cql: CqlType, within: bool) -> Normalize:
    key, value = (_or_null(normalizer(arg, within=True)) for arg in cql.args)
    order = order_of(cql.args[0])

    def keep(cell: bytes) -> bytes:
        flat = map_elements(cell)
        pairs = zip(map(key, flat[::2]), map(value, flat[1::2]), strict=True)
        kept = list(_deduplicated([_Pair(order(k), k, v) for k, v in pairs], within))
        return INT32.pack(len(kept)) + join_cells(c for pair in kept for c in pair[1:])

    return keep


def _deduplicated(found: list[_Pair], within: bool) -> Iterator[_Pair]:
    """The pairs in order; of equal ones the first, with the last one's value."""
    for _, equal in groupby(sorted(found, key=lambda pair: pair.place), lambda pair: pair.place):
        groups: dict[bytes | None, list[_Pair]] = {}
        for pair in equal:
            groups.setdefault(pair.key if within else b"", []).append(pair)
        yield from (group[0]._replace(value=group[-1].value) for group in groups.values())


def _or_null(keep: Normalize | None) -> Callable[[bytes | None], bytes | None]:
    return lambda cell: keep(cell) if keep and cell else cell
