"""What the source's tables look like, kept in Postgres: a process can start while the source is unreachable."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg.types.json import Jsonb

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.refusals import target_errors
from sync.core.rows import SourceTable
from sync.core.schema.table_json import table_from_json, table_to_json

_REMEMBER = """
INSERT INTO sync.source_table (name, definition) VALUES (%s, %s)
ON CONFLICT (name) DO UPDATE SET definition = excluded.definition
"""


def remember(connection: Connection, tables: Iterable[SourceTable]) -> None:
    """Keep what these tables look like now."""
    with target_errors(), connection.transaction():
        for table in tables:
            connection.execute(_REMEMBER, (table.name, Jsonb(table_to_json(table))))


def recall(connection: Connection) -> dict[str, SourceTable]:
    """The tables as they looked at the last switch, by name."""
    with target_errors():
        rows = connection.execute("SELECT definition FROM sync.source_table").fetchall()
    return {table.name: table for table in (table_from_json(row[0]) for row in rows)}
