"""CQL that selects the newest write time of a column, which servers before Cassandra 5 do not report for every column."""

from __future__ import annotations

from collections.abc import Sequence

from cassandra import InvalidRequest
from cassandra.cluster import Session
from cassandra.protocol import SyntaxException

from sync.adapters.cassandra.connection.pages import named, quoted
from sync.core.rows import SourceColumn, SourceTable


def times_of(raw: Session, table: SourceTable) -> list[str]:
    """What to select for the write times of a table's columns, as far as this server reports them (decision 0022).

    Raises the driver's errors.
    """
    silent = columns_without_write_time(raw, table)
    stamped = [c for c in table.columns if c.kind == "regular" and c.type.name != "counter" and not c.path]
    return [_time_of(c) for c in stamped if c.name not in silent]


def columns_without_write_time(raw: Session, table: SourceTable) -> list[str]:
    """The columns whose write times this server does not report. Raises the driver's errors."""
    many = [c for c in table.columns if c.kind == "regular" and not c.path and c.has_many_cells]
    return [c.name for c in many] if many and not _supports(raw, table, many) else []


def _supports(raw: Session, table: SourceTable, many: Sequence[SourceColumn]) -> bool:
    """Whether this server reports the write times of these columns of many cells: this is tried, not judged by version."""
    times = ", ".join(map(_time_of, many))
    try:
        raw.prepare(f"SELECT {times} FROM {named(table)} LIMIT 1")
    except (InvalidRequest, SyntaxException):
        return False
    return True


def _time_of(column: SourceColumn) -> str:
    # WRITETIME is as old as CQL and refuses collections; MAXWRITETIME came with Cassandra 5 (CASSANDRA-17425).
    return f"{'MAX' if column.has_many_cells else ''}WRITETIME({quoted(column.name)})"
