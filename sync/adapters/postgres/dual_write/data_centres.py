"""Which processes use which data centre of the source: what one data centre acknowledged may not have arrived in another.

A process that reads the other one takes an old row for the newest, writes it into the target, and finds both sides equal.
"" stands for an unknown data centre.
"""

from __future__ import annotations

from collections.abc import Sequence

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.queries import queries
from sync.errors import SettingsError

_SQL = {name: text.encode() for name, text in queries("dual_write/data_centres").items()}


def writes_in(connection: Connection, writer: str, data_center: str) -> None:
    """Record a writer's data centre. Raises SettingsError if another writer has another one."""
    # First recorded, then checked, each committed: of two that begin at once, one sees the other.
    connection.execute(_SQL["writer"], {"id": writer, "data_center": data_center})
    check_data_center(connection, data_center)


def elsewhere(connection: Connection, data_center: str) -> str:
    """Who writes in another data centre than this process reads, and what to do about it; empty if nobody does."""
    found = connection.execute(_SQL["elsewhere"], {"data_center": data_center}).fetchone() if data_center else None
    if not found:
        return ""
    text = _text(f"writer {found[0]} writes in", found[1], data_center)
    return f"{text}; or, where {found[1]} is lost, `sync writers --fence {found[0]}`, which gives up what only it has"


def check_data_center(connection: Connection, data_center: str, runs: Sequence[int] = ()) -> None:
    """Raise SettingsError if somebody writes in another data centre, or the command of these runs reads another one."""
    text = elsewhere(connection, data_center)
    if not text and runs and data_center:
        found = connection.execute(_SQL["runs_elsewhere"], {"runs": list(runs), "data_center": data_center}).fetchone()
        text = _text(f"the {found[0]} of {found[1]} reads", found[2], data_center) if found else ""
    if text:
        raise SettingsError(text)


def place_runs(connection: Connection, runs: Sequence[int], data_center: str) -> None:
    """Record the data centre that the command of these runs reads: their workers must read it, too."""
    connection.execute(_SQL["place_runs"], {"runs": list(runs), "data_center": data_center})


def _text(who: str, there: str, here: str) -> str:
    return f"{who} {there}, this process reads {here}: set CASSANDRA_LOCAL_DC={there}, or use its bundle"
