"""Signs off writers that ended without doing so themselves and provably have nothing unrecorded (rule 29).

Their slots are free then. It is done by a writer that starts, `sync worker`'s sweeper, and commands that look at writers.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from sync.adapters import witness
from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.epoch_lock import changing_epoch
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import target_errors
from sync.adapters.postgres.cutover.epochs import audit
from sync.core.versions import SLOTS, STEP
from sync.errors import PreflightError, TargetBusy

log = logging.getLogger(__name__)
_SQL = {name: text.encode() for name, text in queries("dual_write/writers").items()}
_WAIT_SECONDS = 1.0
_MANY = 1000


def sign_off_dead(connection: Connection, stated: Path | None) -> list[str]:
    """Sign off dead writers with nothing unrecorded; returns their ids. `stated` is the files' folder, None the usual one.

    Raises TargetUnavailable. While a writer holds the epoch nothing is done: a later call will do it.
    """
    folder = witness.folder_of(stated)
    with target_errors():
        found = connection.execute(_SQL["dead"], {"witnesses": witness.tokens(folder)}).fetchall()
    proved = witness.accepted_nothing(folder, [token for _, token in found if token]) if folder else []
    values = {"ids": [name for name, _ in found], "witnesses": proved}
    if not found:
        return []
    try:
        # Alone: what dead writers had sent is committed, or comes later and is refused, before another one gets the slot.
        with target_errors(), changing_epoch(connection, _WAIT_SECONDS):
            ended = [str(row[0]) for row in connection.execute(_SQL["sign_off_dead"], values).fetchall()]
            if ended:
                audit(connection, "writers ended", {"writers": ended})
    except TargetBusy:
        return []
    if folder:
        witness.forget(folder, [token for name, token in found if token in proved and name in ended])
    for name in ended:
        log.info("%s ended without signing off, with nothing unrecorded: it is signed off", name)
    return ended


def free_slot(connection: Connection) -> str | None:
    """Free the slot of the writer that has been silent the longest, beyond its lease; returns its id, None if there is none.

    It stays registered: a cut-over waits for it as before. If it is alive, it gets another slot when it is back, and what it
    stamps before that is refused. Raises TargetUnavailable.
    """
    with target_errors(), changing_epoch(connection, _WAIT_SECONDS):
        row = connection.execute(_SQL["free_slot"]).fetchone()
        if row:
            audit(connection, "slot taken", {"writer": row[0]})
    return str(row[0]) if row else None


def register_with_slot(connection: Connection, values: dict[str, Any]) -> tuple[Any, ...]:
    """Register with a free slot, or with that of a silent writer. Raises PreflightError if there is neither."""
    while True:
        with connection.transaction():
            # One at a time: two writers must never share a slot.
            connection.execute("LOCK TABLE sync.writer IN SHARE ROW EXCLUSIVE MODE")
            row = connection.execute(_SQL["register"], values).fetchone()
        if row:
            return row
        if free_slot(connection) is None:
            raise PreflightError(f"all {SLOTS // STEP} writer slots are taken: `sync writers` shows by whom")


def delete_signed_off(connection: Connection) -> None:
    """Remove the rows of writers that signed off over a day ago, once there are many of them. Raises TargetUnavailable."""
    with target_errors():
        if connection.execute(_SQL["gone"], {"many": _MANY}).fetchone() == (_MANY,):
            connection.execute(_SQL["forget"])
