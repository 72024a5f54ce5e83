"""Epochs, switches and drift passes so far, in a few figures each; and where the open runs are on the ring."""

from __future__ import annotations

from typing import Any

from psycopg.rows import dict_row

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import target_errors
from sync.core.dashboard.rings import Arc

_SQL = {name: text.encode() for name, text in queries("history/events").items()}
SEGMENTS = 60
"""As many parts of the ring are told apart."""


def read_events(connection: Connection, passes: int) -> dict[str, Any]:
    """The switches, and the last passes, the newest first; times are datetimes. Raises TargetUnavailable."""
    with target_errors(), connection.cursor(row_factory=dict_row) as cursor:
        switches = cursor.execute(_SQL["switches"]).fetchall()
        return {"switches": switches, "passes": cursor.execute(_SQL["passes"], {"limit": passes}).fetchall()}


def read_rings(connection: Connection) -> dict[tuple[str, str], list[Arc]]:
    """By kind and table, how far each part of the ring is in the open run. Raises TargetUnavailable."""
    found: dict[tuple[str, str], list[Arc]] = {}
    with target_errors():
        for kind, table, *arc in connection.execute(_SQL["rings"], {"segments": SEGMENTS}).fetchall():
            found.setdefault((kind, table), []).append(Arc(*arc))
    return found


def read_pass(connection: Connection, number: int) -> dict[str, Any] | None:
    """A recorded pass with its report and runs; None if there is none of this number. Raises TargetUnavailable."""
    with target_errors(), connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_SQL["one_pass"], {"number": number}).fetchone()
