"""A transaction within which the application's own code runs, statement by statement, on one connection of a pool."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident

import psycopg
from psycopg.errors import InFailedSqlTransaction
from psycopg.pq import TransactionStatus
from psycopg_pool import PoolTimeout

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.pool import Pool
from sync.adapters.postgres.connection.refusals import error_text, is_lock_conflict, is_server_wide
from sync.errors import EpochChanged, StoreClosed, SyncError, WriteRefused, WriteRefusedNow, WriteUnsure

_IDLE_LIMIT = b"SELECT pg_catalog.set_config('idle_in_transaction_session_timeout', %s, true)"
_NOT_TOLD = ("08", "25P", "57P")
"""Prefixes of the SQLSTATEs with which a server breaks off: at a COMMIT they do not say what became of it."""
_NOTHING = "nothing was written"
ENDED = "this transaction has ended: nothing was sent; begin another one"
NESTED = (
    "a transaction within a transaction of the same store: for a part that may fail alone, use a savepoint, "
    "`tx.connection.transaction()`"
)
"""Why a second transaction is refused: it would not be a part of the first, and may wait for its locks."""


class HeldTransaction:
    """A transaction under way, of `seconds` at most; for one thread at a time."""

    def __init__(self, connection: Connection, seconds: float) -> None:
        self._connection, self._seconds, self._until = connection, seconds, time.monotonic() + seconds
        self._has_ended = False

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """The connection, for a statement or a few. Raises StoreClosed after the end, WriteRefused if nothing can follow."""
        self.check()
        yield self._connection

    @property
    def is_failed(self) -> bool:
        """Whether no statement can follow."""
        return self._connection.info.transaction_status != TransactionStatus.INTRANS

    def check(self) -> None:
        """Raise what `connection` raises."""
        if self._has_ended:
            raise StoreClosed(ENDED)
        status = self._connection.info.transaction_status
        if status == TransactionStatus.INERROR:
            raise WriteRefused(f"a statement of this transaction has failed before: {_NOTHING}")
        if status == TransactionStatus.IDLE:
            raise WriteUnsure(
                "a COMMIT or ROLLBACK in the SQL has ended this transaction: leave both to `with`; what came before it may "
                "have been written"
            )
        if status == TransactionStatus.UNKNOWN:
            raise WriteRefusedNow(f"the connection has broken, which rolls this transaction back: {_NOTHING}")
        if time.monotonic() > self._until:
            raise WriteRefusedNow(f"this transaction has taken more than {self._seconds:g} s: {_NOTHING}")

    def end(self) -> None:
        """Nothing follows: the connection is about to be another caller's."""
        self._has_ended = True


def _nothing(_: Connection) -> None:
    pass


@contextmanager
def held_transaction(
    pool: Pool, begin: Callable[[Connection], None] = _nothing, end: Callable[[Connection], None] = _nothing
) -> Iterator[HeldTransaction]:
    """A transaction on one of the pool's connections; `begin` and `end` are run within it, first and last.

    The block's own errors roll it back and pass. Raises WriteRefusedNow if nothing was written and a retry may succeed (no
    connection, two transactions that wait for each other, a limit of time), WriteRefused if Postgres refuses to commit, or
    the block has caught the error of a statement, WriteUnsure if the answer to the COMMIT is lost; what `begin` raises.
    """
    caller = get_ident()
    if caller in pool.in_transaction:
        raise WriteRefused(NESTED)
    pool.in_transaction.add(caller)
    is_commit = False
    try:
        with pool.connection() as connection:
            seconds = 2 * pool.timeout
            held = HeldTransaction(connection, seconds)
            try:
                with connection.transaction():
                    # A process that hangs here holds locks. Before version 17 Postgres has no limit for a whole transaction.
                    connection.execute(_IDLE_LIMIT, (f"{int(seconds * 1000)}ms",))
                    begin(connection)
                    yield held
                    held.check()
                    end(connection)
                    held.end()
                    is_commit = True
            except (psycopg.Error, SyncError) as error:
                outcome = _outcome(error, connection, is_commit)
                if outcome is error:
                    raise
                raise outcome from None
            finally:
                held.end()
    except PoolTimeout as error:
        raise WriteRefusedNow(f"no connection to Postgres: {error_text(error)}; {_NOTHING}") from None
    finally:
        pool.in_transaction.discard(caller)


def _outcome(error: psycopg.Error | SyncError, connection: Connection, is_commit: bool) -> Exception:
    """What became of the transaction in which this was raised; the error itself if that says it."""
    cause = error if isinstance(error, psycopg.Error) else error.__context__
    if not isinstance(cause, psycopg.Error) or isinstance(error, WriteRefusedNow | EpochChanged):
        return error
    text = error_text(cause)
    if is_commit and (cause.sqlstate is None or cause.sqlstate.startswith(_NOT_TOLD)):
        return WriteUnsure(f"the answer to the COMMIT is lost: {text}; the transaction may have been written")
    if (
        connection.broken
        or is_lock_conflict(cause)
        or (is_server_wide(cause) and not isinstance(cause, InFailedSqlTransaction))
    ):
        return WriteRefusedNow(f"the transaction was rolled back: {text}; {_NOTHING}: begin it again")
    return WriteRefused(f"Postgres refuses to commit: {text}; {_NOTHING}") if is_commit else error
