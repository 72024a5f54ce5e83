"""A pool of connections that survives a restart, a suspended compute and a fork."""

from __future__ import annotations

from psycopg_pool import ConnectionPool

from sync.adapters.postgres.cell import register
from sync.adapters.postgres.connect import Connection, connect, connection_string
from sync.settings import Settings

Pool = ConnectionPool[Connection]


def open_pool(settings: Settings, size: int, timeout: float = 5.0) -> Pool:
    """A pool of up to `size` autocommit connections. Raises Unreachable where not even one can be had."""
    connect(settings, direct=False).close()  # one clear line now, rather than a pool that waits
    dsn = connection_string(settings, direct=False)
    pooled = "-pooler." in dsn

    def configure(connection: Connection) -> None:
        register(connection)
        if pooled:
            connection.prepare_threshold = None

    return ConnectionPool(
        dsn,
        min_size=1,
        max_size=size,
        timeout=timeout,
        kwargs={"autocommit": True, "application_name": "sync"},
        configure=configure,
        check=ConnectionPool.check_connection,
        open=True,
    )
