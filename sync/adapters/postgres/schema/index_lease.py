"""One command at a time builds a table's indexes: two concurrent builds of one table wait for each other, a deadlock.

A lease, not an advisory lock: a statement that waits for a lock has a snapshot, whose end a concurrent build waits for;
and a session of a pooler belongs to nobody.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from threading import Event, Thread

from sync.adapters.postgres.connection.connect import Connection, connect
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import target_errors
from sync.errors import TargetUnavailable, Unreachable
from sync.settings import Settings

_SQL = queries("schema/index_lease")
_SECONDS, _POLL_SECONDS = 30.0, 0.5
log = logging.getLogger(__name__)


def claim(connection: Connection, table: str, owner: str, seconds: float) -> bool:
    """Take or prolong the lease of a table's indexes for `seconds`; False if somebody else has it."""
    values = {"table": table, "owner": owner, "seconds": seconds}
    with target_errors():
        return connection.execute(_SQL["claim"], values).fetchone() is not None


def release(connection: Connection, table: str, owner: str) -> None:
    """Give the lease back."""
    connection.execute(_SQL["release"], {"table": table, "owner": owner})


@contextmanager
def alone(settings: Settings, connection: Connection, table: str, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lease, renewed by a thread with its own connection; call `waiting` while another command has it."""
    owner, done = secrets.token_hex(8), Event()
    if not claim(connection, table, owner, _SECONDS):
        log.warning("%s: waiting: another command is building an index of this table", table)
        while not claim(connection, table, owner, _SECONDS):
            waiting()
            done.wait(_POLL_SECONDS)
    keeper = Thread(target=_keep, args=(settings, table, owner, done), daemon=True)
    keeper.start()
    try:
        yield
    finally:
        done.set()
        keeper.join()
        if not connection.closed:
            release(connection, table, owner)


def _keep(settings: Settings, table: str, owner: str, done: Event) -> None:
    while not done.wait(_SECONDS / 3):
        try:
            with closing(connect(settings, autocommit=True)) as connection:
                claim(connection, table, owner, _SECONDS)
        except (TargetUnavailable, Unreachable) as error:  # the build itself fails as well
            log.info("%s: the lease of its indexes was not renewed: %s", table, error)
