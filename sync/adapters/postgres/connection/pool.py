"""A pool of connections that survives a restart, a suspended compute and a fork."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock, get_ident
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg import IsolationLevel
from psycopg_pool import ConnectionPool, PoolTimeout

from sync.adapters.postgres.connection.cell import register
from sync.adapters.postgres.connection.connect import (
    Connection,
    configure_session,
    connect,
    connection_class,
    connection_string,
    known_pooler,
)
from sync.settings import Settings

_CHECK_AFTER_SECONDS = 1.0
_TRANSACTION_TIMEOUT_SINCE = 170000


@dataclass(frozen=True, slots=True)
class ConnectionFactory:
    """How a pool's connections are made, and how many seconds callers wait for one."""

    dsn: str
    kind: type[Connection]
    kwargs: Mapping[str, Any]
    configure: Callable[[Connection], None]
    timeout: float


class Pool(ConnectionPool[Connection]):
    """Up to `size` connections, each made as `make` says."""

    def __init__(self, size: int, make: ConnectionFactory) -> None:
        self.make = make
        self.in_transaction = set[int]()
        """The threads that are within a transaction of the application's."""
        self._spare: Pool | None = None
        self._opening = Lock()
        self._last_used: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()
        super().__init__(
            make.dsn,
            min_size=1,
            max_size=size,
            num_workers=min(size, 3),
            timeout=make.timeout,
            connection_class=make.kind,
            kwargs=dict(make.kwargs),
            configure=make.configure,
            open=True,
        )

    def getconn(self, timeout: float | None = None) -> Connection:
        """A live connection. Raises PoolTimeout if there is none within `timeout` seconds (the pool's own if None).

        The pool's own `check` waits 1, 2, 4 … seconds between connections that it finds dead, as between attempts to connect:
        the connections that died in an outage would use up the time of later writes, long after the server is back.
        """
        limit = self.timeout if timeout is None else timeout
        deadline = time.monotonic() + limit
        while True:
            try:
                connection = super().getconn(deadline - time.monotonic())
            except PoolTimeout:
                raise PoolTimeout(f"couldn't get a connection after {limit:.2f} sec") from None
            lives = False
            try:
                lives = self._lives(connection)
            finally:  # an interruption of the check must not cost the pool a connection
                if not lives:
                    connection.close()
                    self.putconn(connection)  # the pool makes another one for it
            if lives:
                return connection

    def _lives(self, connection: Connection) -> bool:
        """Whether the connection is alive.

        A check costs a round trip for every write. A connection that was in use a moment ago is not checked unless there is
        something to read from its socket: a server that ends or goes away says so there.
        """
        now = time.monotonic()
        idle = now - self._last_used.get(connection, 0.0)
        self._last_used[connection] = now
        if idle > _CHECK_AFTER_SECONDS or _has_word(connection):
            try:
                self.check_connection(connection)
            except psycopg.Error:
                return False
        return True

    @property
    def beside(self) -> Pool:
        """This pool; for a thread within a transaction another one: who holds a connection must not wait for a second one."""
        if get_ident() not in self.in_transaction:
            return self
        with self._opening:
            self._spare = self._spare or self.single()
            return self._spare

    def close(self, timeout: float = 5.0) -> None:
        """Close all connections."""
        if self._spare:
            self._spare.close(timeout)
        super().close(timeout)

    def single(self) -> Pool:
        """A pool of one connection of the same kind, for what must not wait for one of these. The caller closes it."""
        return Pool(1, self.make)


def _has_word(connection: Connection) -> bool:
    socket = select.poll()
    socket.register(connection.fileno(), select.POLLIN)
    return bool(socket.poll(0))


def open_pool(settings: Settings, size: int, timeout: float = 30.0) -> Pool:
    """A pool of up to `size` autocommit connections; no wait for one, and no statement, takes longer than `timeout` seconds.

    Raises Unreachable if no connection can be made.
    """
    connect(settings, direct=False).close()  # one clear line now, rather than a pool that waits
    dsn = connection_string(settings, direct=False)
    kind, kwargs = connection_class(known_pooler(settings, direct=False))
    # Not as start-up options, which a transaction pooler refuses.
    # The lock timeout is half as long, so that a locked row can be told from a slow server.
    limits = {"statement_timeout": str(int(timeout * 1000)), "lock_timeout": str(int(timeout * 500))}

    def configure(connection: Connection) -> None:
        register(connection)
        connection.isolation_level = IsolationLevel.READ_COMMITTED
        # A process that is suspended within a pipeline holds the key and the epoch, and no other limit ends that.
        has_longest = connection.info.server_version >= _TRANSACTION_TIMEOUT_SINCE
        longest = {"transaction_timeout": str(int(timeout * 2000))} if has_longest else {}
        configure_session(connection, {**limits, **longest})

    return Pool(size, ConnectionFactory(dsn, kind, {**kwargs, "tcp_user_timeout": int(timeout * 1000)}, configure, timeout))
