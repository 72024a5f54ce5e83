"""Lists, sets and maps as CQL cells, with Cassandra's own rules for nulls and order within them.

Observed on Cassandra 5.0.6: a set or map that is bound as bytes is sorted and loses its duplicates, but one within a tuple or
user type is kept as it comes. Only a frozen list that is a column itself takes a null. In a null's place most types have a
cell of length zero, which reads as null; a list that is not frozen refuses those too, except of tuples and user types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Literal

from sync.core.cql import CqlType
from sync.core.decode.order import order_of
from sync.core.encode.base import INT32, Reject, join_cells

Pack = Callable[[list[bytes | None]], bytes]
"""From elements to the cell that holds them; raises Reject."""
Place = Literal["column", "collection", "fields"]
"""What a value is: a column itself, within collections, or somewhere within a tuple or user type."""
_FIELDS = frozenset({"tuple", "udt"})
_EMPTY_IS_NULL = _FIELDS | {
    "int", "bigint", "varint", "decimal", "float", "double", "boolean", "uuid", "timeuuid", "timestamp", "inet",
}  # fmt: skip


def collection(cql: CqlType, place: Place) -> Pack:
    """The function that makes the cell of a list or set from its elements."""
    fill = _filling(cql, cql.args[0], place)
    if cql.name == "list" or place == "fields":
        return lambda found: _packed([fill(cell) for cell in found])
    order = order_of(cql.args[0])

    def packed(found: list[bytes | None]) -> bytes:
        cells = sorted([fill(cell) for cell in found], key=order)
        if any(a == b for a, b in pairwise(map(order, cells))):
            raise Reject("a duplicate element, where the source has a set")
        return _packed(cells)

    return packed


def mapping(cql: CqlType, place: Place) -> Callable[[Iterable[tuple[bytes, bytes | None]]], bytes]:
    """The function that makes the cell of a map from its pairs."""
    fill, order = _filling(cql, cql.args[1], place), order_of(cql.args[0])

    def packed(found: Iterable[tuple[bytes, bytes | None]]) -> bytes:
        pairs = sorted(found, key=lambda pair: order(pair[0]))
        if any(order(a[0]) == order(b[0]) for a, b in pairwise(pairs)):
            raise Reject("two keys in JSON that are one key of the source's map")
        return INT32.pack(len(pairs)) + join_cells(cell for key, value in pairs for cell in (key, fill(value)))

    return packed


def _filling(cql: CqlType, element: CqlType, place: Place) -> Callable[[bytes | None], bytes | None]:
    """The function that replaces a null by the source's form of it, as an element or value of `cql`."""
    if cql.name == "list" and cql.frozen and place == "column":
        return lambda cell: cell
    has_null = element.name in (_FIELDS if cql.name == "list" and place == "column" else _EMPTY_IS_NULL)

    def fill(cell: bytes | None) -> bytes | None:
        if cell is None and not has_null:
            raise Reject(f"a null within a {cql}, which does not accept null")
        return cell or b""

    return fill


def _packed(cells: list[bytes | None]) -> bytes:
    return INT32.pack(len(cells)) + join_cells(cells)
