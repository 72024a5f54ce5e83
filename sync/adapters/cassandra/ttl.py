"""Rows that will expire: Cassandra's schema does not tell of a TTL given at the write, so a sample of rows does."""

from __future__ import annotations

from cassandra import InvalidRequest
from cassandra.cluster import Session

from sync.adapters.cassandra.connect import Cassandra
from sync.adapters.cassandra.pages import RAW_PROFILE, quoted
from sync.core.encode.base import elements, read_cells
from sync.core.rows import SourceColumn, SourceTable

SAMPLE = 1000
_MANY_CELLS = frozenset({"map", "list", "set", "udt"})


def expiring_columns(cassandra: Cassandra, table: SourceTable, sample: int = SAMPLE) -> list[str]:
    """Columns of which some of the first `sample` rows have a TTL."""
    asked = [c for c in table.columns if c.kind == "regular" and c.type.name != "counter" and not c.path]
    many = [c for c in asked if _has_many_cells(c)]
    one = [c for c in asked if c not in many]
    found = _of_one_cell(cassandra.session, table, one, sample) | _of_many_cells(cassandra.raw, table, many, sample)
    return [c.name for c in asked if c.name in found]


def untold(cassandra: Cassandra, table: SourceTable) -> list[str]:
    """Columns of which this server does not tell whether their cells expire: those of many cells before Cassandra 5.

    Raises the driver's errors.
    """
    many = [c for c in table.columns if c.kind == "regular" and not c.path and _has_many_cells(c)]
    try:
        if many:
            cassandra.raw.prepare(_select(table, many, 1))
    except InvalidRequest:
        return [c.name for c in many]
    return []


def _has_many_cells(column: SourceColumn) -> bool:
    return column.type.name in _MANY_CELLS and not column.type.frozen


def _select(table: SourceTable, columns: list[SourceColumn], sample: int) -> str:
    select = ", ".join(f"TTL({quoted(c.name)})" for c in columns)
    return f"SELECT {select} FROM {quoted(table.keyspace)}.{quoted(table.name)} LIMIT {sample}"


def _of_one_cell(session: Session, table: SourceTable, columns: list[SourceColumn], sample: int) -> set[str]:
    if not columns:
        return set()
    rows = session.execute(_select(table, columns, sample))
    return {c.name for row in rows for c, ttl in zip(columns, row, strict=True) if ttl is not None}


def _of_many_cells(raw: Session, table: SourceTable, columns: list[SourceColumn], sample: int) -> set[str]:
    """A TTL an element; read as bytes, since nulls among them break the driver's decoding. Cassandra before 5 tells none."""
    if not columns:
        return set()
    try:
        page = raw.execute(_select(table, columns, sample), execution_profile=RAW_PROFILE).current_rows[0]
    except InvalidRequest:
        return set()
    found, at = set(), page.offset
    for _ in range(page.count):
        cells, at = read_cells(page.data, at, len(columns))
        found |= {c.name for c, cell in zip(columns, cells, strict=True) if cell and set(elements(cell)) - {None}}
    return found
