"""When a row that an application writes is to expire: the cell of that moment, which goes to Cassandra as a TTL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sync.adapters.cassandra.rows.cells import Cells
from sync.core.encode.base import INT64
from sync.core.expiry import EXPIRY_NAME, expires, moment_after, seconds_of
from sync.core.rows import SourceTable
from sync.errors import WriteRefused


def row_until(table: SourceTable, cells: Cells, values: Mapping[str, Any], ttl: int | None) -> dict[str, bytes | None]:
    """A row's cells, with the moment `ttl` seconds from now: by default the table's own TTL, 0 for never.

    Raises WriteRefused if the target could not let the row expire at the same moment.
    """
    row = cells.row(values)
    if not expires(table):
        if ttl is not None:
            raise WriteRefused(
                f'{table.name}: rows do not expire in Postgres: set ttl = "expire" under {table.section} in sync.toml, '
                "for writers, workers and commands, to write with a TTL"
            )
        return row
    cell = moment_cell(table.name, table.default_ttl if ttl is None else ttl)
    if not any(value is not None for value in row.values()):
        raise WriteRefused(
            f"{table.name}: a row needs a value besides its key: Cassandra does not report when other rows expire"
        )
    return {**row, EXPIRY_NAME: cell}


def moment_cell(table: str, ttl: Any) -> bytes | None:
    """The moment that is so many seconds from now; None for 0, which is never. Raises WriteRefused for what is not a TTL."""
    seconds = seconds_of(table, ttl)
    return INT64.pack(moment_after(seconds)) if seconds else None
