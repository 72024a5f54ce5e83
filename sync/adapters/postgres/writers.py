"""The writers as an operator sees them."""

from __future__ import annotations

from typing import Any

from psycopg.rows import dict_row

from sync.adapters.postgres.connect import Connection
from sync.adapters.postgres.epoch_lock import changing_epoch
from sync.adapters.postgres.epochs import audit
from sync.adapters.postgres.ledger import target_errors
from sync.adapters.postgres.queries import queries
from sync.errors import PreflightError, SettingsError

_SQL = {name: text.encode() for name, text in queries("writers").items()}


def list_writers(connection: Connection) -> list[dict[str, Any]]:
    """The writers that have not signed off."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_SQL["list"]).fetchall()


def elsewhere(connection: Connection, data_center: str) -> str:
    """Who writes in another data centre of the source than this one, and what to do about it; empty where nobody does.

    What is acknowledged there may not have arrived here: who reads it here takes an old row for the newest one.
    """
    found = connection.execute(_SQL["elsewhere"], {"data_center": data_center}).fetchone() if data_center else None
    if found is None:
        return ""
    advice = f"set CASSANDRA_LOCAL_DC={found[1]}, or take its bundle"
    return f"writer {found[0]} writes in {found[1]}, this process reads {data_center}: {advice}"


def check_data_center(connection: Connection, data_center: str) -> None:
    """Raise SettingsError where somebody writes in another data centre of the source."""
    text = elsewhere(connection, data_center)
    if text:
        raise SettingsError(text)


def fence(connection: Connection, writer: str) -> None:
    """Declare a silent writer unclean (rule 30): its open intents are free, and a drift pass must look for the rest."""
    with target_errors(), changing_epoch(connection):
        if not connection.execute(_SQL["fence"], {"id": writer}).fetchone():
            raise PreflightError(f"no active writer {writer!r}; `sync writers` lists them")
        connection.execute(_SQL["risen"], {"id": writer})
        audit(connection, "writer fenced", {"writer": writer})
