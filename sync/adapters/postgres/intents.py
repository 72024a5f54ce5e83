"""Intents as an operator sees them."""

from __future__ import annotations

from typing import Any

from psycopg.rows import dict_row

from sync.adapters.postgres.connect import Connection
from sync.adapters.postgres.digests import shown_values
from sync.core.mutations import unpack_key
from sync.core.rows import TargetTable

_LIST = """
SELECT id, table_name AS table, key, kind, state, owner, attempts, error,
       extract(epoch FROM clock_timestamp() - created_at)::float8 AS age_seconds
FROM sync.intent WHERE %(table)s::text IS NULL OR table_name = %(table)s
ORDER BY attempts DESC, id LIMIT %(limit)s
"""
_RETRY = """
UPDATE sync.intent SET lease_until = NULL, lease_owner = NULL
WHERE lease_until IS NOT NULL AND (%(table)s::text IS NULL OR table_name = %(table)s)
"""


def list_intents(connection: Connection, table: str | None, limit: int) -> list[dict[str, Any]]:
    """Intents, those that failed most first; `key` are the canonical bytes."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_LIST, {"table": table, "limit": limit}).fetchall()


def shown_key(target: TargetTable | None, canonical: bytes) -> list[str]:
    """A key's values for people, in the order of the source's key; its hexadecimal digits where they cannot be told."""
    found = [target.column(name) for name in target.primary_key] if target else []
    types = [c.type.oid for c in found if c]
    # Another table than that of the intent has another key.
    return shown_values(types, canonical) if len(types) == len(unpack_key(canonical)) else [canonical.hex()]


def retry(connection: Connection, table: str | None) -> int:
    """Let intents that wait for their next try be due at once; how many."""
    return connection.execute(_RETRY, {"table": table}).rowcount
