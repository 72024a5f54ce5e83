"""What `find` is asked for: which rows, in which order. What Cassandra cannot answer is refused on either side.

Either the whole partition key is given, and then clustering columns from the first on: by `=`, and a range on the last; or
columns that have indexes. Nothing here would need ALLOW FILTERING.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sync.core.reads.key_order import KeyColumn, KeyOrder
from sync.errors import QueryNotSupported

OPERATORS = ("=", "<", "<=", ">", ">=")
Direction = Literal["asc", "desc"]
OrderBy = Sequence[tuple[str, Direction]]
_RANGED = frozenset({
    "tinyint", "smallint", "int", "bigint", "varint", "decimal", "float", "double", "timestamp", "date", "time",
})  # fmt: skip
"""CQL types that an index of Cassandra finds by range."""


MAX_NEAREST = 1000
"""The rows that a vector search of Cassandra finds at most."""


def nearest_limit(table: str, limit: int) -> int:
    """The number of rows that a search asks for. Raises QueryNotSupported for one that Cassandra refuses."""
    if not 1 <= limit <= MAX_NEAREST:
        raise QueryNotSupported(f"{table}: a search finds 1 to {MAX_NEAREST:,} rows, not {limit:,}")
    return int(limit)


@dataclass(frozen=True, slots=True)
class Condition:
    """A column compared with a value."""

    column: str
    operator: str
    value: Any


@dataclass(frozen=True, slots=True)
class Index:
    """An index that answers equality, and ranges if `ranges`.

    `alone`: not together with other conditions; `unlike`: why it finds other rows than those with the value.
    """

    ranges: bool
    alone: bool = False
    unlike: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    """Rows that meet all conditions. In one partition they come in its order, or `reversed`; else in the table's order."""

    conditions: tuple[Condition, ...]
    in_partition: bool
    reversed: bool = False
    limit: int | None = None


def query(
    table: str,
    key: KeyOrder,
    indexes: Mapping[str, Index],
    where: Mapping[str, Any],
    order_by: OrderBy | None,
    limit: int | None,
) -> Query:
    """The checked query. Raises QueryNotSupported, which names the column, key or index that is missing."""
    if limit is not None and limit < 1:
        raise QueryNotSupported(f"{table}: limit is {limit}, and must be at least 1")
    if not where:
        raise QueryNotSupported(f"{table}: find takes conditions; scan reads the whole table")
    conditions = tuple(c for name, value in where.items() for c in _conditions(table, name, value))
    given = {c.column for c in conditions}
    in_partition = all(c.name in given for c in key.partition)
    rest = _restricted(table, key, conditions) if in_partition else given
    _check_indexes(table, key, indexes, [c for c in conditions if c.column in rest], in_partition)
    return Query(conditions, in_partition, _is_reversed(table, key, conditions, in_partition, order_by), limit)


def filters(table: str, indexes: Mapping[str, Index], where: Mapping[str, Any]) -> tuple[Condition, ...]:
    """The conditions of a search: columns with indexes. Raises QueryNotSupported."""
    conditions = [c for name, value in where.items() for c in _conditions(table, name, value)]
    for condition in conditions:
        _check_index(table, indexes, condition, "a search filters by columns with indexes")
    return tuple(conditions)


def rows_of_partition(table: str, key: KeyOrder, where: Mapping[str, Any]) -> tuple[Condition, ...]:
    """The conditions of a delete: the partition key, more columns of the key by their values, a range of the next.

    Raises QueryNotSupported for anything else.
    """
    by_column = {name: _conditions(table, name, value) for name, value in where.items()}
    for name in by_column:
        if name not in {c.name for c in key.columns}:
            raise QueryNotSupported(
                f"{table}: {name} is not part of the key: delete_many takes the partition key, and a range"
            )
    for column in key.partition:
        if column.name not in by_column:
            partition = ", ".join(c.name for c in key.partition)
            raise QueryNotSupported(f"{table}: delete_many takes the whole partition key ({partition})")
    conditions = tuple(c for column in key.columns for c in by_column.get(column.name, ()))
    _restricted(table, key, conditions)
    return conditions


def _conditions(table: str, name: str, value: Any) -> list[Condition]:
    if isinstance(value, Mapping) and value and all(operator in OPERATORS for operator in value):
        found = [Condition(name, operator, each) for operator, each in value.items()]
        if len(found) > 2 or len({c.operator[0] for c in found}) < len(found) or (len(found) == 2 and "=" in value):
            raise QueryNotSupported(f"{table}: {name}: a range has one lower and one upper end, not {', '.join(value)}")
    else:
        found = [Condition(name, "=", value)]
    if any(c.value is None for c in found):
        raise QueryNotSupported(f"{table}: {name}: nothing is found by null, which Cassandra does not index")
    return found


def _restricted(table: str, key: KeyOrder, conditions: Sequence[Condition]) -> set[str]:
    """The columns outside the key. Raises QueryNotSupported for keys that leave a gap."""
    by_column = {c.column: c.operator for c in conditions}
    for column in key.partition:
        if by_column[column.name] != "=":
            raise QueryNotSupported(f"{table}: the partition key column {column.name} is found by its value, not by a range")
    ended = ""
    for column in key.clustering:
        operator = by_column.get(column.name)
        if operator is not None and ended:
            raise QueryNotSupported(
                f"{table}: {column.name} follows {ended} in the key, which is not given by its value: give it too"
            )
        if operator != "=":
            ended = ended or column.name
    return set(by_column) - {c.name for c in key.columns}


def _check_indexes(
    table: str, key: KeyOrder, indexes: Mapping[str, Index], conditions: Sequence[Condition], in_partition: bool
) -> None:
    partition = ", ".join(c.name for c in key.partition)
    advice = "find takes the whole partition key" + (f" ({partition})" if not in_partition else " and clustering columns")
    for condition in conditions:
        _check_index(table, indexes, condition, f"{advice}, or columns with indexes")
    columns = {c.column for c in conditions}
    alone = sorted(name for name in columns if indexes[name].alone)
    if alone and (len(columns) > 1 or in_partition):
        raise QueryNotSupported(
            f"{table}: the index of {alone[0]} answers no other condition: make it a StorageAttachedIndex"
        )


def _check_index(table: str, indexes: Mapping[str, Index], condition: Condition, advice: str) -> None:
    index = indexes.get(condition.column)
    if index is None:
        raise QueryNotSupported(f"{table}: {condition.column} has no index: {advice}")
    if index.unlike:
        raise QueryNotSupported(f"{table}: the index of {condition.column} finds more than equal values: {index.unlike}")
    if condition.operator != "=" and not index.ranges:
        raise QueryNotSupported(f"{table}: the index of {condition.column} finds values, not ranges")


def has_ranges(cql_type: str) -> bool:
    """Whether an index of Cassandra on this type finds ranges."""
    return cql_type in _RANGED


def _is_reversed(
    table: str, key: KeyOrder, conditions: Sequence[Condition], in_partition: bool, order_by: OrderBy | None
) -> bool:
    if not order_by:
        return False
    if {c.column for c in conditions} - {c.name for c in key.columns}:
        raise QueryNotSupported(f"{table}: order_by takes no conditions on other columns than the key's")
    if not in_partition:
        raise QueryNotSupported(
            f"{table}: order_by needs the whole partition key: rows of several partitions have no common order"
        )
    equal = {c.column for c in conditions if c.operator == "="}
    free = [c for c in key.clustering if c.name not in equal]
    wanted = [(name, direction) for name, direction in order_by if name not in equal]
    if [name for name, _ in wanted] != [c.name for c in free[: len(wanted)]]:
        order = ", ".join(c.name for c in free) or "no column"
        raise QueryNotSupported(f"{table}: the rows of a partition are ordered by {order}, not by {_names(order_by)}")
    turned = {_is_turned(table, column, direction) for column, (_, direction) in zip(free, wanted, strict=False)}
    if len(turned) > 1:
        raise QueryNotSupported(f"{table}: order_by is the table's order or its reverse, not {_names(order_by)} as given")
    return turned == {True}


def _is_turned(table: str, column: KeyColumn, direction: str) -> bool:
    if direction not in ("asc", "desc"):
        raise QueryNotSupported(f"{table}: order_by: {column.name} is 'asc' or 'desc', not {direction!r}")
    return column.descending != (direction == "desc")


def _names(order_by: OrderBy) -> str:
    return ", ".join(f"{name} {direction}" for name, direction in order_by)
