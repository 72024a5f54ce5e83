"""The end of a migration: its columns and its state are dropped in one transaction."""

from __future__ import annotations

import re
import time

import psycopg

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.epoch_lock import ALONE
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import target_errors
from sync.adapters.postgres.schema.expiry_function import ExpiryFunction, make
from sync.adapters.postgres.schema.migrations import STATE
from sync.errors import GateRefused, TargetBusy
from sync.failpoints import failpoint
from sync.resources import migration

_SQL = queries("schema/finish")
_STATE_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS sync\.(\w+)")
_LOCK_MS, _TRIES, _PAUSE_SECONDS = 500, 40, 0.5


def migrated_tables(connection: Connection) -> list[str]:
    """Tables that have a migration's columns, as SQL names them."""
    with target_errors():
        return [str(row[0]) for row in connection.execute(_SQL["tables"]).fetchall()]


def copied_tables(connection: Connection) -> list[tuple[str, str | None]]:
    """The source's tables that were copied, and the keyspace of each if it was recorded at a switch."""
    with target_errors():
        return connection.execute(_SQL["copied"]).fetchall()


def strangers(connection: Connection) -> list[str]:
    """Tables and views in the state's schema that the migration did not make: they would be dropped with it."""
    with target_errors():
        own = [*_STATE_TABLE.findall(migration(STATE)), "migration"]
        return [str(row[0]) for row in connection.execute(_SQL["strangers"], {"own": own}).fetchall()]


def finish(connection: Connection, epoch: int) -> tuple[list[str], ExpiryFunction | None]:
    """Drop the bookkeeping, all or nothing; returns the tables that had columns of it, and what deletes expired rows.

    Raises GateRefused if the epoch has changed meanwhile, or somebody has a table in the schema; TargetBusy if a table is
    locked for too long.
    """
    for _ in range(_TRIES):
        with target_errors():
            try:
                with connection.transaction():
                    return _finish(connection, epoch)
            except psycopg.errors.LockNotAvailable:
                time.sleep(_PAUSE_SECONDS)
    raise TargetBusy("another session has locked one of the tables; nothing has changed, run it again")


def _finish(connection: Connection, epoch: int) -> tuple[list[str], ExpiryFunction | None]:
    connection.execute(_SQL["patience"], {"ms": str(_LOCK_MS)})
    connection.execute(ALONE)  # no switch and no write of the protocol begins meanwhile
    if connection.execute(_SQL["hold"]).fetchone() != (epoch, "postgres", "open"):
        raise GateRefused("the epoch has changed in the meantime: see `sync status`")
    if others := strangers(connection):
        raise GateRefused(f"the schema sync has tables that are not of the migration: {', '.join(others)}")
    tables, deletes = migrated_tables(connection), make(connection)
    for table in tables:
        connection.execute(_SQL["drop_columns"].format(table=table).encode())
    failpoint("finish.columns_dropped")
    connection.execute(_SQL["drop_state"])
    failpoint("finish.before_commit")
    return tables, deletes
