"""Keys that SQL has changed become rechecks (rule 50).

A statement of somebody's leaves a row of `sync.sql_change` for each, which costs it little; a recheck has several indexes,
which are paid for here.
"""

from __future__ import annotations

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.epoch_lock import one_transaction
from sync.adapters.postgres.connection.queries import queries
from sync.core.ring import UNKNOWN_TOKEN
from sync.core.versions import MAX_STAMPED
from sync.ports import CHANGES_AT_ONCE

_EXPAND = queries("dual_write/sql_changes")["expand"].encode()
_IN_ORDER = queries("dual_write/journal")["in_order"].encode()


def expand(connection: Connection, most: int | None = None) -> int:
    """Make rechecks of the oldest changes of any table: `most`, else CHANGES_AT_ONCE; how many. Raises psycopg's errors.

    In one round trip: a process that is suspended in between would hold the changes, and others pass over what is locked.
    """
    with one_transaction(connection):
        connection.execute(_IN_ORDER)
        found = connection.execute(
            _EXPAND, {"most": most or CHANGES_AT_ONCE, "unknown": UNKNOWN_TOKEN, "latest": MAX_STAMPED}
        )
    row = found.fetchone()
    return int(row[0]) if row else 0
