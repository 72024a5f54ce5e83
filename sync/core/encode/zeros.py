"""How many zeros the numbers of one value take in jsonb, which has no exponents: counted before they are written.

`1e131000` is 8 bytes of a document and 131,001 of jsonb; many of them in one row would exhaust a worker's memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

from sync.core.cql import CqlType
from sync.core.encode.base import INT32, Reject, elements, elements_of_tuple, map_elements

MAX_ZEROS = 1 << 20
"""The most zeros that the numbers of one value may take. (A double has at most 324: those are not counted.)"""
_Count = Callable[[bytes], int]


class Budget:
    """Counts the zeros of one value."""

    def __init__(self) -> None:
        self._used = 0

    def spend(self, value: Decimal) -> Decimal:
        """The number, after its zeros are counted. Raises Reject if there are too many."""
        exponent = value.as_tuple().exponent
        if isinstance(exponent, int):
            self._used += _padding(value.adjusted(), exponent)
            check(self._used)
        return value


def check(zeros: int) -> None:
    """Raise Reject for too many zeros."""
    if zeros > MAX_ZEROS:
        raise Reject(f"numbers in JSON that would be more than {MAX_ZEROS:,} bytes longer without their exponents")


def checking(cql: CqlType) -> Callable[[bytes], None] | None:
    """The function that raises Reject for a cell of this type with too many; None if its values cannot have any."""
    count = _counting(cql)
    return None if count is None else lambda cell: check(count(cell))


def _padding(adjusted: int, exponent: int) -> int:
    return max(exponent, 0) + max(-1 - adjusted, 0)


def _counting(cql: CqlType) -> _Count | None:
    if cql.name == "decimal":
        return _decimal
    parts = [_counting(arg) for arg in cql.args]
    if not any(parts):
        return None
    if cql.name in ("list", "set"):
        return lambda cell: _sum(parts, elements(cell))
    return lambda cell: _sum(parts, map_elements(cell) if cql.name == "map" else elements_of_tuple(cell))


def _sum(parts: Sequence[_Count | None], cells: Sequence[bytes | None]) -> int:
    """The zeros of cells whose types repeat in this order."""
    found = 0
    for i, cell in enumerate(cells):
        count = parts[i % len(parts)]
        if cell and count is not None:
            found += count(cell)
            check(found)
    return found


def _decimal(cell: bytes) -> int:
    scale: int = INT32.unpack_from(cell, 0)[0]
    digits = int((len(cell) - 4) * 8 * 0.30103)  # at most; a few of them more or less are nothing here
    return max(-scale, 0) + max(scale - digits, 0) if any(cell[4:]) else max(scale, 0)
