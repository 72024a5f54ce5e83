"""Which reads of a table Postgres answers, and in which order: by its key's recorded order and its indexes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sync.adapters.postgres.schema.key_order import ANY_ORDER, ReadFacts, order_terms
from sync.core.reads.key_order import KeyColumn, KeyOrder
from sync.core.reads.query import Condition, OrderBy, Query, filters, query, rows_of_partition
from sync.core.rows import TargetColumn, TargetTable
from sync.errors import QueryNotSupported


class ReadPlans:
    """Of one table; every method raises QueryNotSupported for what Postgres cannot answer."""

    def __init__(self, table: TargetTable, facts: ReadFacts) -> None:
        self._table, self._facts = table, facts

    @property
    def key(self) -> KeyOrder:
        """The table's key."""
        if self._facts.order is None:
            raise QueryNotSupported(
                f"{self._table.name}: its primary key does not say how Cassandra orders the rows: `sync schema "
                "apply` records that, run by the table's owner while the source is there"
            )
        return self._facts.order

    def order(self, with_partition: bool) -> list[KeyColumn]:
        """The columns to order by; partitions have no order in Cassandra but that of tokens."""
        partition = [replace(c, type=ANY_ORDER) for c in self.key.partition] if with_partition else []
        ordered = [*partition, *self.key.clustering]
        for column in ordered:
            order_terms(self._table, column)
        return ordered

    def query(self, where: Mapping[str, Any], order_by: OrderBy | None, limit: int | None) -> Query:
        """The checked query of a find."""
        found = query(self._table.name, self.key, self._facts.indexes, where, order_by, limit)
        self._check(found.conditions)
        self.order(with_partition=not found.in_partition)
        return found

    def filters(self, where: Mapping[str, Any]) -> Sequence[Condition]:
        """The conditions of a search."""
        found = filters(self._table.name, self._facts.indexes, where)
        self._check(found)
        return found

    def rows_of_partition(self, where: Mapping[str, Any]) -> Sequence[Condition]:
        """The conditions of a delete."""
        found = rows_of_partition(self._table.name, self.key, where)
        self._check(found)
        return found

    def _check(self, conditions: Sequence[Condition]) -> None:
        for condition in conditions:
            by = self.compared(condition)
            if isinstance(by, KeyColumn):
                order_terms(self._table, by)

    def compared(self, condition: Condition) -> KeyColumn | TargetColumn:
        """What a condition compares: a range of a key's column follows Cassandra's order."""
        target = self.column(condition.column)
        key = {c.name: c for c in self.key.columns}
        return key[target.name] if condition.operator != "=" and target.name in key else target

    def column(self, name: str) -> TargetColumn:
        """A column by its name."""
        found = self._table.column(name)
        if found is None:
            raise QueryNotSupported(f"{self._table.name}: {name} is not a column in Postgres")
        return found
