"""A limit for how long a server may say nothing, for what is worth less than the wait.

A limit of the server (`statement_timeout`) ends nothing if the server has gone without a word, and that of TCP ends nothing
if a proxy in between still answers. So this side hangs up.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Timer

import psycopg

from sync.adapters.postgres.connection.connect import Connection
from sync.errors import SyncError, TargetUnavailable

IMPATIENT = {
    "connect_timeout": 3, "tcp_user_timeout": 10_000, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 2,
}  # fmt: skip
"""libpq's parameters for a connection of that kind: a host that is gone is noticed within some ten seconds."""


@contextmanager
def hung_up_after(connection: Connection, seconds: float) -> Iterator[None]:
    """Hang up if the block takes longer. Raises TargetUnavailable then; the connection is of no use afterwards."""
    line, late = socket.socket(fileno=os.dup(connection.fileno())), Event()

    def hang_up() -> None:
        late.set()
        with suppress(OSError):  # the other end was quicker
            line.shutdown(socket.SHUT_RDWR)

    timer = Timer(seconds, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (psycopg.Error, SyncError):
        if late.is_set():
            raise TargetUnavailable(f"no answer within {seconds:g} s") from None
        raise
    finally:
        timer.cancel()
        timer.join()  # nothing of it is left in a process that forks next
        line.close()
