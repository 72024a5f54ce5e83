"""Two answers to one read, compared as an application sees them. What differs here is only suspected to differ.

Some types have another Python type on the other side (docs/types.md), and a write may have come between the two reads: a
suspect is read again, by its stored bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from sync.core.rows import TableMap

K = TypeVar("K")
Row = Mapping[str, Any]


def suspects(ours: Mapping[K, Row], theirs: Mapping[K, Row], whole: bool) -> list[K]:
    """The keys in which two answers differ; if both are `whole`, also those of rows that only one of them has."""
    found = [key for key in ours if key in theirs and not are_equal(ours[key], theirs[key])]
    return found + [key for key in (*ours, *theirs) if (key in ours) is not (key in theirs)] if whole else found


def are_equal(one: Any, other: Any) -> bool:
    """Whether two values are equal to an application: NaN equals NaN, and a tuple the list of its elements."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(are_equal(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(are_equal, one, other))
    if isinstance(one, float) and isinstance(other, float) and one != one:
        return other != other
    return bool(one == other)


def on_both_sides(table: TableMap, row: Row) -> Row:
    """A row's columns that both sides have."""
    if table.source.is_collection:
        return row
    return {pair.source.name: row[pair.source.name] for pair in table.pairs if pair.source.name in row}
