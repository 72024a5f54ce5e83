"""Rows that will expire: Cassandra's schema does not show a TTL given with a write, so a sample of rows is read."""

from __future__ import annotations

from collections.abc import Iterator

from cassandra import InvalidRequest
from cassandra.cluster import Session

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.connection.pages import RAW_PROFILE, quoted, select
from sync.core.encode.base import elements, read_cells
from sync.core.rows import SourceColumn, SourceTable

SAMPLE = 1000


def expiring_columns(cassandra: Cassandra, table: SourceTable, sample: int = SAMPLE) -> list[str]:
    """Columns that have a TTL in some of the first `sample` rows."""
    asked = [c for c in table.columns if c.kind == "regular" and c.type.name != "counter" and not c.path]
    many = [c for c in asked if c.has_many_cells]
    one = [c for c in asked if c not in many]
    found = _of_one_cell(cassandra.raw, table, one, sample) | _of_many_cells(cassandra.raw, table, many, sample)
    return [c.name for c in asked if c.name in found]


def columns_without_ttl(cassandra: Cassandra, table: SourceTable) -> list[str]:
    """Columns for which this server does not report whether cells expire: those of many cells, before Cassandra 5.

    Raises the driver's errors.
    """
    many = [c for c in table.columns if c.kind == "regular" and not c.path and c.has_many_cells]
    try:
        if many:
            cassandra.raw.prepare(_select(table, many, 1))
    except InvalidRequest:
        return [c.name for c in many]
    return []


def _select(table: SourceTable, columns: list[SourceColumn], sample: int) -> str:
    keys = [quoted(c.name) for c in table.partition_key]
    return f"{select(table, [*keys, *(f'TTL({quoted(c.name)})' for c in columns)])} LIMIT {sample}"


def _of_one_cell(raw: Session, table: SourceTable, columns: list[SourceColumn], sample: int) -> set[str]:
    rows = _rows(raw, table, columns, sample) if columns else ()
    return {c.name for cells in rows for c, cell in zip(columns, cells, strict=True) if cell is not None}


def _of_many_cells(raw: Session, table: SourceTable, columns: list[SourceColumn], sample: int) -> set[str]:
    """Each element has its TTL. Cassandra before 5 reports none."""
    try:
        rows = list(_rows(raw, table, columns, sample)) if columns else []
    except InvalidRequest:
        return set()
    return {c.name for cells in rows for c, cell in zip(columns, cells, strict=True) if cell and set(elements(cell)) - {None}}


def _rows(raw: Session, table: SourceTable, columns: list[SourceColumn], sample: int) -> Iterator[list[bytes | None]]:
    """The sample as bytes: nulls among the elements break the driver's decoding, which is not worth its cost here."""
    page = raw.execute(_select(table, columns, sample), execution_profile=RAW_PROFILE).current_rows[0]
    at, keys = page.offset, len(table.partition_key)
    for _ in range(page.count):
        cells, at = read_cells(page.data, at, keys + len(columns))
        yield cells[keys:]
