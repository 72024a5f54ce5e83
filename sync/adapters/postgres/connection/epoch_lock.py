"""The epoch's lock (rule 20): whoever acts by the epoch shares it until commit, whoever changes the epoch has it alone.

It is an advisory lock, not a lock of the epoch's row: Postgres queues the requests for one in order, so writers do not starve
a switch; nothing of it is written to disk; and the row is read in a later statement, which sees the outcome of a switch that
the lock waited for. (`SELECT … ORDER BY epoch DESC LIMIT 1 FOR SHARE` continues with the row that it found before it waited:
"The Locking Clause" of SELECT in Postgres's documentation.)

Take it before any key's lock: a writer that holds a key and asks for the epoch would wait behind a switch, which waits for a
writer that asks for the key.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from psycopg.errors import LockNotAvailable
from psycopg.pq import TransactionStatus

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.pooled import Pooled
from sync.errors import EpochChanged, TargetBusy

_LOCK = 0x73796E63  # "sync"
SHARE = f"SELECT pg_advisory_xact_lock_shared({_LOCK}, 0)".encode()
SHARE_AS_OWN = SHARE + b", set_config('sync.own', 'on', true)"
"""The same, and no trigger for SQL writers fires until the transaction ends (rule 44): for one that locks no key."""
NOT_OWN = b"SELECT set_config('sync.own', 'off', true)"
"""From here on the triggers fire again."""
ALONE = f"SELECT pg_advisory_xact_lock({_LOCK}, 0)".encode()
_TRY_MS = 1000
_PATIENCE = "SELECT current_setting('lock_timeout'), set_config('lock_timeout', %s, true)"
_RESTORE = "SELECT set_config('lock_timeout', %s, true)"
CHANGE_SECONDS = 10.0
"""How long a change of the epoch waits for a writer that holds it, in seconds."""


def share_epoch(connection: Connection) -> None:
    """Hold the epoch until the caller's transaction ends.

    Raises EpochChanged if a switch holds it beyond the lock timeout: Postgres is not sick then, and the write waits.
    """
    try:
        connection.execute(SHARE)
    except LockNotAvailable:
        raise _switching() from None


@contextmanager
def sharing_epoch(connection: Connection) -> Iterator[None]:
    """The same in a pipeline, where an error appears only at its end; the block's statements are sent after the lock."""
    asked: psycopg.Cursor[tuple[object, ...]] | None = None
    try:
        with one_transaction(connection):
            asked = connection.execute(SHARE)
            yield
    except LockNotAvailable:
        if asked is not None and asked.pgresult is None:  # the lock itself had no answer
            raise _switching() from None
        raise


def _switching() -> EpochChanged:
    return EpochChanged(0, "astra", "closing")


@contextmanager
def changing_epoch(connection: Connection, wait_seconds: float | None = None) -> Iterator[None]:
    """A transaction that has the epoch alone; it waits `wait_seconds` for that, CHANGE_SECONDS by default.

    Raises TargetBusy, with nothing changed, if a writer holds the epoch for longer. It asks for a second at a time: a writer
    that hangs must not hold up all others behind one that waits for it.
    """
    wait_seconds = CHANGE_SECONDS if wait_seconds is None else wait_seconds
    until = time.monotonic() + wait_seconds
    with connection.transaction():
        while not _alone(connection, min(wait_seconds, _TRY_MS / 1000)):
            if time.monotonic() > until:
                raise TargetBusy(f"a writer has held the epoch for more than {wait_seconds:g} s: nothing has changed")
        yield


def _alone(connection: Connection, seconds: float) -> bool:
    try:
        with connection.transaction():
            row = connection.execute(_PATIENCE, (f"{max(1, int(seconds * 1000))}ms",)).fetchone()
            connection.execute(ALONE)
            connection.execute(_RESTORE, (row[0] if row else "0",))
    except LockNotAvailable:
        return False
    return True


@contextmanager
def one_transaction(connection: Connection) -> Iterator[None]:
    """What is executed here goes in one round trip, and is one transaction.

    Between two Syncs it is one without BEGIN and COMMIT (libpq, "Pipeline Mode"), each of which costs as much as a small
    statement. Through a transaction pooler there is a BEGIN with the isolation level, and the settings come with it.
    """
    if isinstance(connection, Pooled):
        with connection.one_round_trip():
            yield
        return
    try:
        with connection.pipeline():
            yield
    except psycopg.Error:
        if connection.info.transaction_status == TransactionStatus.IDLE:
            # What was to be prepared behind the failure was not, but the driver takes it for prepared from now on.
            # Only a rollback of its own makes it forget that.
            with suppress(psycopg.Error), connection.transaction(force_rollback=True):
                pass
        raise
