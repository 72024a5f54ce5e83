"""A connection through a transaction pooler: each transaction may have another server session, which others use as well.

Nothing is set for the session and nothing stays in it. What our statements need is set with each transaction, in the round
trip that begins it; a lone statement becomes a transaction, and is still one round trip.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import psycopg
from psycopg import sql
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

_BEGIN = b"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE NOT DEFERRABLE"
_LIFTED = {"statement_timeout": "0"}


class _Cursor(psycopg.Cursor[Any]):
    """Statements outside of a transaction get one of their own."""

    def execute(self, *given: Any, **more: Any) -> Any:
        with _alone(self.connection):
            return super().execute(*given, **more)


class _Pipeline(psycopg.Pipeline):
    """A pipeline that ends with its Sync.

    psycopg sends a Flush after it. If that comes when the transaction is over, PgBouncer gives it a server connection, which
    the idle client then holds until its next transaction ends: a few clients hold all there are.
    """

    def _exit_gen(self) -> PQGen[None]:
        try:
            self._enqueue_sync()
            yield from self._communicate_gen()
        finally:
            yield from self._fetch_gen(flush=False)  # a Sync makes the server send all of it


class Pooled(psycopg.Connection[TupleRow]):
    """Transactions that bring their settings along: read committed, and those given to `adjust`."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.cursor_factory = _Cursor
        self.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        self.read_only = self.deferrable = False
        self.is_bare = False
        self._settings: dict[str, str] = {}
        self._set = b""
        self.adjust(_LIFTED)

    def adjust(self, settings: Mapping[str, str]) -> None:
        """Give transactions from now on these settings, in addition to the earlier ones."""
        self._settings.update(settings)
        made = [
            sql.SQL("pg_catalog.set_config({}, {}, true)").format(sql.Literal(name), sql.Literal(value))
            for name, value in self._settings.items()
        ]
        self._set = sql.SQL("SELECT {}").format(sql.SQL(", ").join(made)).as_bytes(self)

    @contextmanager
    def pipeline(self) -> Iterator[psycopg.Pipeline]:
        """As for any connection, with nothing sent after the end."""
        if self._pipeline is None and not self.closed:
            self._pipeline = _Pipeline(self)  # the driver's own method takes it, and forgets it at the end
        with super().pipeline() as pipeline:
            yield pipeline

    @property
    def is_idle(self) -> bool:
        """Whether it is outside of any transaction and pipeline."""
        return self.pgconn.transaction_status == TransactionStatus.IDLE

    @contextmanager
    def transaction(self, savepoint_name: str | None = None, force_rollback: bool = False) -> Iterator[psycopg.Transaction]:
        """As for any connection; the outermost one sets what `adjust` was given, in the round trip of its BEGIN."""
        if not self.is_idle:
            with super().transaction(savepoint_name, force_rollback) as inner:
                yield inner
            return
        outer = psycopg.Transaction(self, savepoint_name, force_rollback)
        with ExitStack() as stack:
            with self.pipeline():
                stack.enter_context(outer)
                self.set_up()
            yield outer

    @contextmanager
    def one_round_trip(self) -> Iterator[None]:
        """What is executed here is one transaction, and goes in one round trip."""
        try:
            with self.pipeline():
                self._send(_BEGIN)
                self.set_up()
                yield
                self._send(b"COMMIT")
        except BaseException:
            if not self.closed and not self.is_idle:
                self.rollback()  # the server skipped the COMMIT
            raise

    @contextmanager
    def bare(self) -> Iterator[None]:
        """What is executed here is sent as it is, with the role's settings: for what cannot run in a transaction."""
        self.is_bare = True
        try:
            yield
        finally:
            self.is_bare = False

    def set_up(self) -> None:
        """Give its settings to the transaction that has begun."""
        self._send(self._set)

    def _send(self, statement: bytes) -> None:
        psycopg.Cursor(self).execute(statement, prepare=False)


@contextmanager
def _implicit(connection: Pooled) -> Iterator[None]:
    connection.set_up()  # the driver has sent the BEGIN
    yield


def _alone(connection: Any) -> Any:
    """The context that a single statement needs."""
    if connection.is_bare or not connection.is_idle:
        return nullcontext()
    return connection.one_round_trip() if connection.autocommit else _implicit(connection)


def adjust(connection: psycopg.Connection[Any], settings: Mapping[str, str]) -> None:
    """Apply these settings from now on, to the session or, through a pooler, in each transaction."""
    if isinstance(connection, Pooled):
        connection.adjust(settings)
        return
    statement = "SELECT pg_catalog.set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS s (name, value)"
    connection.execute(statement, (list(settings), list(settings.values())))


def read_only(connection: psycopg.Connection[Any]) -> None:
    """Let Postgres refuse every write over this connection from now on."""
    name = "transaction_read_only" if isinstance(connection, Pooled) else "default_transaction_read_only"
    adjust(connection, {name: "on"})
