"""Keys that SQL has changed become rechecks (rule 50).

A statement of somebody's leaves a row of `sync.sql_change` for each, which costs it little; a recheck has several indexes,
which are paid for here.
"""

from __future__ import annotations

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.queries import queries
from sync.core.ring import UNKNOWN_TOKEN

_EXPAND = queries("dual_write/sql_changes")["expand"].encode()
_MOST = 5000


def expand(connection: Connection) -> int:
    """Make rechecks of some changed keys of any table, in one statement; how many changes. Raises psycopg's errors."""
    row = connection.execute(_EXPAND, {"most": _MOST, "unknown": UNKNOWN_TOKEN}).fetchone()
    return int(row[0]) if row else 0
