"""What deletes expired rows when the migration is over: a function in SQL, which knows nothing of `sync`."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import errors

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.queries import queries
from sync.core.expiry import expiry_ttl

_SQL = queries("schema/expiry")
NAME = "public.sync_delete_expired"
CRON = f"SELECT cron.schedule('delete expired rows', '* * * * *', 'SELECT {NAME}()');"
"""For pg_cron: once a minute."""


@dataclass(frozen=True, slots=True)
class ExpiryFunction:
    """Its definition, and whether it was made: this role may not be allowed to."""

    definition: str
    is_made: bool = False


def expiry_function(connection: Connection) -> str:
    """The definition of a function that deletes the expired rows of the migration's tables; empty if there are none."""
    found = connection.execute(_SQL["marked"]).fetchall()
    tables = [(str(table), str(column)) for table, column, comment in found if expiry_ttl(comment) is not None]
    if not tables:
        return ""
    parts = [_SQL["delete_of"].format(nth=nth, table=table, column=column) for nth, (table, column) in enumerate(tables, 1)]
    counts = " + ".join(f"(SELECT count(*) FROM deleted{nth})" for nth in range(1, len(tables) + 1))
    return _SQL["function"].format(name=NAME, deletes=",\n".join(parts), counts=counts)


def make(connection: Connection) -> ExpiryFunction | None:
    """Make the function, if there is anything to delete; within the caller's transaction."""
    definition = expiry_function(connection)
    if not definition:
        return None
    try:
        with connection.transaction():
            connection.execute(definition.encode())
    except errors.InsufficientPrivilege:
        return ExpiryFunction(definition)
    return ExpiryFunction(definition, is_made=True)
