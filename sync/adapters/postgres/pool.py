"""A pool of connections that survives a restart, a suspended compute and a fork."""

from __future__ import annotations

from psycopg_pool import ConnectionPool

from sync.adapters.postgres.cell import register
from sync.adapters.postgres.connect import Connection, connect, connection_string
from sync.settings import Settings

Pool = ConnectionPool[Connection]


def open_pool(settings: Settings, size: int, timeout: float = 30.0) -> Pool:
    """A pool of up to `size` autocommit connections; no wait for one, and no statement, is longer than `timeout` seconds.

    Raises Unreachable where not even one can be had.
    """
    connect(settings, direct=False).close()  # one clear line now, rather than a pool that waits
    dsn = connection_string(settings, direct=False)
    pooled = "-pooler." in dsn

    def configure(connection: Connection) -> None:
        register(connection)
        # Not as a start-up option, which a transaction pooler refuses.
        connection.execute("SELECT set_config('statement_timeout', %s, false)", (str(int(timeout * 1000)),))
        if pooled:
            connection.prepare_threshold = None

    return ConnectionPool(
        dsn,
        min_size=1,
        max_size=size,
        timeout=timeout,
        kwargs={"autocommit": True, "application_name": "sync", "tcp_user_timeout": int(timeout * 1000)},
        configure=configure,
        check=ConnectionPool.check_connection,
        open=True,
    )
