"""Values that the target cannot hold: recorded with key, column and reason, never dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Json

from sync.adapters.postgres.connection.connect import Connection
from sync.core.encode.rows import CheckedRow
from sync.core.keys.json_form import show_key
from sync.core.mutations import pack_key
from sync.core.rows import TableMap

_RECORD = """
INSERT INTO sync.reject (table_name, source_key, column_name, run_id, token, key, reason, action)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (table_name, sha256(source_key), column_name) DO UPDATE
SET run_id = excluded.run_id, reason = excluded.reason, action = excluded.action, found_at = clock_timestamp()
"""


def record(connection: Connection, table: TableMap, run_id: int, row: CheckedRow) -> None:
    """Record what is wrong with a row, in the caller's transaction; run 0 stands for a reconcile."""
    if not row.issues:
        return
    key = packed(row.key)
    shown = Json(show_key(table.keys, row.key))
    for issue in row.issues:
        values = (table.name, key, issue.column, run_id, row.token, shown, issue.reason, issue.action)
        connection.execute(_RECORD, values)


def packed(key: tuple[bytes | None, ...]) -> bytes:
    """A key's raw cells as `source_key` holds them."""
    return pack_key(key)


@dataclass(frozen=True, slots=True)
class RejectEntry:
    """One recorded reject, as `sync rejects` lists it."""

    table: str
    key: dict[str, Any]
    column: str
    reason: str
    action: str


def list_rejects(connection: Connection, table: str | None, limit: int | None) -> list[RejectEntry]:
    """The recorded rejects in the order of tables and tokens."""
    rows = connection.execute(
        "SELECT table_name, key, column_name, reason, action FROM sync.reject "
        "WHERE %(table)s::text IS NULL OR table_name = %(table)s ORDER BY table_name, token, column_name LIMIT %(limit)s",
        {"table": table, "limit": limit},
    ).fetchall()
    return [RejectEntry(*row) for row in rows]


def count_rejects(connection: Connection) -> dict[str, int]:
    """Rejected rows by table; values that were changed by a rule of sync.toml are not counted."""
    found = connection.execute(
        "SELECT table_name, count(DISTINCT source_key) FROM sync.reject WHERE action = 'reject' GROUP BY table_name"
    ).fetchall()
    return {str(name): int(count) for name, count in found}
