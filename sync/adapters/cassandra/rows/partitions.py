"""The delete of a partition, or of a range of it, as an application asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sync.adapters.cassandra.rows.cells import Cells
from sync.core.mutations import Mutation
from sync.core.reads.key_order import source_key_order
from sync.core.reads.query import rows_of_partition
from sync.core.rows import SourceTable
from sync.errors import QueryNotSupported


def delete_of(cells: Cells, table: SourceTable, where: Mapping[str, Any]) -> Mutation:
    """The delete of these rows: of one row, if the whole key is given. Raises QueryNotSupported and WriteRefused."""
    if table.is_collection:
        raise QueryNotSupported(f"{table.name} is a collection of the Data API: its documents are deleted one by one")
    conditions = rows_of_partition(table.name, source_key_order(table), where)
    equal = {c.column: c.value for c in conditions if c.operator == "="}
    if len(equal) == len(table.primary_key):
        return Mutation("delete", cells.only_key(equal), {})
    ends = {c.operator: cells.cell(c.column, c.value) for c in conditions if c.operator != "="}
    return Mutation("delete_partition", cells.first_columns(equal), ends)
