"""The writers as an operator sees them."""

from __future__ import annotations

from typing import Any

from psycopg.rows import dict_row

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.epoch_lock import changing_epoch
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import target_errors
from sync.adapters.postgres.cutover.epochs import audit
from sync.errors import PreflightError

_SQL = {name: text.encode() for name, text in queries("dual_write/writers").items()}


def list_writers(connection: Connection) -> list[dict[str, Any]]:
    """The writers that have not signed off."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_SQL["list"]).fetchall()


def fence(connection: Connection, writer: str) -> None:
    """Declare a silent writer unclean (rule 30): its open intents are free, and a drift pass must look for the rest.

    The same goes for one that has signed off, if its open intents were written in a data centre that is lost.
    """
    with target_errors(), changing_epoch(connection):
        if not connection.execute(_SQL["fence"], {"id": writer}).fetchone():
            raise PreflightError(f"there is no active writer {writer!r}; `sync writers` lists them")
        connection.execute(_SQL["risen"], {"id": writer})
        audit(connection, "writer fenced", {"writer": writer})
