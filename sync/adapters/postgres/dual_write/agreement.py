"""The settings that writers and the commands of runs were started with: other settings make other rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from psycopg.types.json import Jsonb

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import target_errors
from sync.core.cutover.agreement import differences
from sync.errors import SettingsError

_SQL = {name: text.encode() for name, text in queries("dual_write/agreement").items()}
_ADVICE = "give all of them the same sync.toml"


def writers_settings(connection: Connection) -> dict[str, dict[str, Any] | None]:
    """The settings that each active writer was started with; None: it recorded none."""
    with target_errors():
        return dict(connection.execute(_SQL["writers"]).fetchall())


def started_with(connection: Connection) -> list[tuple[bool, dict[str, Any] | None]]:
    """The settings that writers were started with, each once: whether an active writer has them, and the settings."""
    with target_errors():
        return connection.execute(_SQL["started"]).fetchall()


def note_runs(connection: Connection, runs: Sequence[int], mine: Mapping[str, Any]) -> None:
    """Record the settings of these runs' command for their tables."""
    with target_errors():
        connection.execute(_SQL["note_runs"], {"runs": list(runs), "tables": Jsonb(mine["tables"])})


def check_runs(connection: Connection, runs: Sequence[int], mine: Mapping[str, Any]) -> None:
    """Raise SettingsError if the command of these runs has other settings for their tables than this process."""
    with target_errors():
        rows = connection.execute(_SQL["runs"], {"runs": list(runs)}).fetchall()
    for kind, table, settings in rows:
        if other := differences(mine, {"tables": {table: settings}}, [table]):
            raise SettingsError(f"the {kind} of {table} was started with a different {', '.join(other)} than here: {_ADVICE}")


def check_writers(connection: Connection, tables: Sequence[str], mine: Mapping[str, Any]) -> None:
    """Raise SettingsError if a writer writes these tables with other settings than this process."""
    for writer, settings in writers_settings(connection).items():
        if other := differences(mine, settings, tables):
            raise SettingsError(f"writer {writer} was started with a different {', '.join(other)} than here: {_ADVICE}")


def carrying(connection: Connection, names: Collection[str]) -> set[str]:
    """Those of these tables, as SQL names them, that have a migration's columns: somebody writes them, or did."""
    with target_errors():
        return {str(row[0]) for row in connection.execute(_SQL["carrying"], {"names": list(names)}).fetchall()}
