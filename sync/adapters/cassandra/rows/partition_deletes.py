"""The delete of the rows of a partition, or of a range of it, as CQL with our own timestamp."""

from __future__ import annotations

from cassandra.cluster import Session
from cassandra.query import BatchStatement, BatchType, BoundStatement, PreparedStatement

from sync.adapters.cassandra.connection.pages import named, quoted
from sync.core.keys.any_value import any_value
from sync.core.mutations import Mutation
from sync.core.rows import SourceTable


class PartitionDeletes:
    """Statements for one table. Raises the driver's errors."""

    def __init__(self, session: Session, table: SourceTable) -> None:
        self._session, self._table = session, table
        self._keys, self._parts = [c.name for c in table.primary_key], len(table.partition_key)
        self._has_static = any(c.kind == "static" for c in table.columns)
        self._prepared: dict[tuple[str, ...], PreparedStatement] = {}

    def delete(self, mutation: Mutation, stamp: bytes) -> BoundStatement | BatchStatement:
        """The delete of the rows that a mutation names; static columns, rows of a table of their own, stay."""
        if self._has_static and not mutation.cells and len(mutation.key.cells) == self._parts:
            return self._all_rows(mutation, stamp)
        bound = BoundStatement(self._statement(len(mutation.key.cells), tuple(mutation.cells)))
        bound.values = [stamp, *mutation.key.cells, *mutation.cells.values()]
        return bound

    def _all_rows(self, mutation: Mutation, stamp: bytes) -> BatchStatement:
        """All rows of a partition: two ranges, up to some value and from it on, do not reach the static columns."""
        value = any_value(self._table.primary_key[self._parts].type)
        batch = BatchStatement(BatchType.UNLOGGED)  # of one partition: one mutation, applied as a whole
        for operator in ("<=", ">="):
            bound = BoundStatement(self._statement(self._parts, (operator,)))
            bound.values = [stamp, *mutation.key.cells, value]
            batch.add(bound)
        return batch

    def _statement(self, equal: int, operators: tuple[str, ...]) -> PreparedStatement:
        shape = (str(equal), *operators)
        if shape not in self._prepared:
            terms = [f"{quoted(name)} = ?" for name in self._keys[:equal]]
            terms += [f"{quoted(self._keys[equal])} {operator} ?" for operator in operators]
            text = f"DELETE FROM {named(self._table)} USING TIMESTAMP ? WHERE {' AND '.join(terms)}"
            self._prepared[shape] = self._session.prepare(text)
        return self._prepared[shape]
