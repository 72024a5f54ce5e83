"""Rows of the source that were written ahead of the clock, as recorded in Postgres (`sync.ahead`)."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.types.json import Json

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.epoch_lock import SHARE
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import target_errors
from sync.core.cutover.gates import AheadFact
from sync.core.keys.json_form import show_key
from sync.core.mutations import Key, pack_key
from sync.core.rows import TableMap
from sync.core.versions import MAX_STAMPED
from sync.core.visible import key_text

_SQL = {name: text.encode() for name, text in queries("backfill/ahead").items()}


def note(connection: Connection, table: TableMap, found: Sequence[tuple[Key, int]]) -> None:
    """Remember these keys with their newest write times. Raises TargetUnavailable."""
    values = {
        "table": table.name,
        "keys": [key.canonical for key, _ in found],
        "source_keys": [pack_key(key.cells) for key, _ in found],
        "tokens": [key.token for key, _ in found],
        "versions": [version for _, version in found],
        "shown": [Json(show_key(table.keys, key.cells)) for key, _ in found],
    }
    with target_errors():
        connection.execute(_SQL["note"], values)


def recheck(connection: Connection, tables: Sequence[str]) -> int:
    """Leave a recheck intent for each key of these tables that has had none; returns how many. Raises TargetUnavailable."""
    with target_errors(), connection.transaction():
        connection.execute(SHARE)  # in an earlier statement: the next one sees the outcome of a switch
        return connection.execute(_SQL["recheck"], {"tables": list(tables)}).rowcount


def unseen(connection: Connection, tables: Sequence[str]) -> list[str]:
    """Those of these tables whose newest backfill did not look at write times. Raises TargetUnavailable."""
    with target_errors():
        return [str(row[0]) for row in connection.execute(_SQL["unseen"], {"tables": list(tables)}).fetchall()]


def facts(connection: Connection, tables: Sequence[str]) -> list[AheadFact]:
    """What is known of these tables' rows that lie ahead of Postgres's clock. Raises TargetUnavailable."""
    values = {"tables": list(tables), "most": MAX_STAMPED}
    with target_errors():
        found = connection.execute(_SQL["facts"], values).fetchall()
    return [
        AheadFact(table, rows, waiting, beyond, tuple(map(key_text, keys))) for table, rows, waiting, beyond, keys in found
    ]
