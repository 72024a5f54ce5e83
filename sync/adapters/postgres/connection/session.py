"""Settings that we cannot make ourselves: those for a statement that cannot run in a transaction, through a pooler."""

from __future__ import annotations

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.pooled import Pooled
from sync.adapters.postgres.connection.queries import queries

_ENDS_BUILDS = queries("connection/session")["ends_builds"]


def ends_builds(connection: Connection) -> str:
    """Which settings end the build of an index through a transaction pooler, and what to do; empty if none does."""
    if not isinstance(connection, Pooled):
        return ""
    with connection.bare():
        found = [str(row[0]) for row in connection.execute(_ENDS_BUILDS).fetchall()]
    if not found:
        return ""
    return (
        f"its sessions have {', '.join(found)}, which would end the build; set DATABASE_URL_UNPOOLED to the direct endpoint, "
        f"or ALTER ROLE {connection.info.user} … RESET for the duration of the migration"
    )
