"""Intents and guarded writes of one table in Postgres: each method is one transaction (rules 1 to 15)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from threading import BoundedSemaphore
from typing import Any, Literal

import psycopg
from psycopg import sql

from sync.adapters.postgres.backfill.loader import REFUSALS
from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.epoch_lock import SHARE, one_transaction, sharing_epoch
from sync.adapters.postgres.connection.pool import Pool
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import error_text, is_lock_conflict, is_server_wide, refuses_row, timing_out
from sync.adapters.postgres.dual_write.array_statements import ArrayStatements
from sync.adapters.postgres.dual_write.breaker import Breaker
from sync.adapters.postgres.dual_write.locks import has_partitions, lock_key
from sync.adapters.postgres.dual_write.parameters import Parameters
from sync.adapters.postgres.dual_write.sql_changes import expand
from sync.adapters.postgres.dual_write.statements import Statements
from sync.adapters.postgres.dual_write.turns import Turns
from sync.core.encode.base import Reject
from sync.core.encode.rows import RowEncoder
from sync.core.keys.json_form import show_key
from sync.core.mutations import Key, KnownKey, Mutation, pack_cells, pack_key
from sync.core.rows import TableMap
from sync.core.versions import UNREPEATABLE_WINDOW_SECONDS
from sync.core.visible import key_text
from sync.errors import AnswerLost, EpochChanged, NotRegistered, TargetBusy, WriteRefused
from sync.failpoints import failpoint
from sync.ports import Intent, Written

_SQL = {name: text.encode() for name, text in queries("dual_write/journal").items()}


@cache
def due_statement(limit: int) -> bytes:
    """The statement that takes up to `limit` due intents."""
    parts = {"limit": sql.Literal(limit), "half": sql.Literal((limit + 1) // 2)}
    texts = queries("dual_write/journal")
    return sql.SQL(texts["due"]).format(is_due=sql.SQL(texts["is_due"]), **parts).as_bytes()


_BATCHES = 3


@dataclass(slots=True)
class Writer:
    """The writer that stamps: its id, its slot in the versions' low digits, and how far ahead its clock may be.

    `batches` bounds how many transactions hold the locks of a batch, which has up to 2 * MAX_LOCKS of them.
    """

    id: str
    slot: int
    skew_us: int
    lease_seconds: float
    turns: Turns = field(default_factory=Turns, repr=False, compare=False)
    batches: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(_BATCHES), repr=False, compare=False)


class Journal:
    """The journal of one table. Every method raises TargetUnavailable if Postgres cannot be reached in time."""

    def __init__(self, pool: Pool, table: TableMap, encoder: RowEncoder, writer: Writer, breaker: Breaker) -> None:
        self._pool, self._table, self._writer, self._breaker = pool, table, writer, breaker
        self._statements = Statements(table, encoder)
        self._arrays = ArrayStatements(table, self._statements)
        self._parameters = Parameters(self._statements, encoder)

    @property
    def table(self) -> str:
        """The table's name."""
        return self._table.name

    @property
    def has_partitions(self) -> bool:
        """Whether a partition of the table may hold several rows."""
        return has_partitions(self._table)

    def open(self, mutation: Mutation, above: int = 0) -> Intent:
        """Stamp a write with a version greater than `above`, and commit its intent.

        Raises EpochChanged if the source is not primary, or the epoch is closing; NotRegistered if the slot is no longer
        this writer's, because another one may stamp with it; WriteRefused if the clock is too far ahead;
        AnswerLost if the intent may be there.
        """
        statement, values = self._opening(mutation, above)
        with (
            self._writer.turns.of([mutation.key]),
            refusing(self._table.name),
            self._breaker.connection(self._pool) as connection,
            answered(),
        ):
            with sharing_epoch(connection):
                found = connection.execute(statement, values)
            row = found.fetchone()
        return self.announced(mutation.key, row)

    def announcement(self, key: Key) -> tuple[bytes, dict[str, Any]]:
        """The statement, with its values, that opens the intent of a write of this key by the application's own class."""
        return self._opening(Mutation("recheck", key, {}), 0)

    def _opening(self, mutation: Mutation, above: int) -> tuple[bytes, dict[str, Any]]:
        return self._statements.open, {
            **self._parameters.key(mutation.key),
            **stamping(self._writer, above),
            "kind": mutation.kind,
            "mutation": packed_mutation(mutation),
        }

    def announced(self, key: Key, answer: tuple[Any, ...] | None) -> Intent:
        """The intent that such a statement opened. Raises EpochChanged, NotRegistered and WriteRefused, as `open` does."""
        assert answer is not None, "sync.epoch is empty"
        made, version, epoch, primary, state, beyond, ahead, is_registered = answer
        if made is None:
            if not is_registered:
                raise NotRegistered(epoch, primary, "closing")
            if primary == "astra" and state == "open":
                # Not "unavailable", on which a writer may continue with its own clock (rules 3 and 28).
                raise refused(self._table, key, beyond, ahead)
            raise EpochChanged(epoch, primary, state)
        return Intent(made, version, epoch)

    def record(self, written: Sequence[Written]) -> None:
        """Record writes that were made while Postgres was unreachable, all or none (rule 31). Raises BatchTimedOut."""
        rows = [
            {
                "key": each.mutation.key.canonical,
                "token": each.mutation.key.token,
                "source_key": pack_key(each.mutation.key.cells),
                "kind": each.mutation.kind,
                "state": each.state,
                "version": each.version,
                "mutation": packed_mutation(each.mutation),
            }
            for each in written
        ]
        recording = self._arrays.of("record", ("kind", "state", "version", "mutation"), ())
        with self._intents() as connection, timing_out(len(rows)), one_transaction(connection):
            connection.execute(SHARE)
            connection.execute(_SQL["noted"], {"owner": self._writer.id})
            connection.execute(recording.text, recording.values(rows, owner=self._writer.id))

    def write(self, mutation: Mutation, intent: Intent) -> bool:
        """The target's half of a write, guarded, together with the end of its intent; returns whether it was accepted.

        Raises Reject for a value that the target cannot hold.
        """
        statement, cells = self._guarded(mutation)
        values = {**self._parameters.key(mutation.key), **cells, "intent": intent.id, "version": intent.version}
        with self._breaker.connection(self._pool) as connection, rejecting():
            with one_transaction(connection):
                lock_key(connection, self._table, mutation.key)
                if mutation.kind == "delete":
                    connection.execute(_SQL["share_range"], self._parameters.key(mutation.key))
                found = connection.execute(statement, values)
                failpoint("write.before_commit")
            accepted: bool = found.fetchone() == (True,)
            return accepted

    def _guarded(self, mutation: Mutation) -> tuple[Any, dict[str, Any]]:
        if mutation.kind == "put":
            return self._statements.put, self._parameters.row(mutation.key, mutation.cells)
        if mutation.kind == "delete":
            return self._statements.delete, {}
        given = [p for p in self._statements.others if p.source.name in mutation.cells]
        return self._statements.update(given), self._parameters.given(mutation.key, mutation.cells)

    def mark(self, intents: Sequence[Intent], state: Literal["finished", "unsure"], error: str) -> set[int]:
        """Record that the second half of these writes is left to reconciliation; the ids of the intents that were open."""
        values = {"intents": [i.id for i in intents], "state": state, "error": error[:1000], "clock": time.time_ns() // 1000}
        with self._intents() as connection:
            return {row[0] for row in connection.execute(_SQL["mark"], values).fetchall()}

    def withdraw(self, *intents: Intent) -> bool:
        """Withdraw intents of which nothing was written; False if a reconcile has claimed one meanwhile."""
        return len(self.withdraw_each(intents)) == len(intents)

    def withdraw_each(self, intents: Sequence[Intent]) -> frozenset[int]:
        """The same; the ids of those that were withdrawn."""
        with self._intents() as connection:
            found = connection.execute(_SQL["withdraw"], {"intents": [i.id for i in intents]})
            return frozenset(id for (id,) in found.fetchall())

    def remove(self, intents: Sequence[Intent]) -> None:
        """Remove the intents of these writes: both sides have them."""
        with self._intents() as connection:
            connection.execute(_SQL["remove"], {"intents": [i.id for i in intents]})

    def due(self, epoch: int, owner: str, limit: int, lease_seconds: float) -> list[KnownKey]:
        """Keys with intents of this epoch to work on, now leased to this owner."""
        values = {
            "table": self._table.name,
            "epoch": epoch,
            "owner": owner,
            "lease": lease_seconds,
            "writer_lease": self._writer.lease_seconds,
            "window": UNREPEATABLE_WINDOW_SECONDS,
        }
        with self._intents() as connection:
            with one_transaction(connection):
                connection.execute(_SQL["in_order"])
                found = connection.execute(due_statement(limit), values, binary=True)
            rows = found.fetchall()
        keys: dict[tuple[bytes, int], KnownKey] = {}
        for key, token, source_key, mutation in rows:
            known = KnownKey.on_record(key, source_key, mutation, token)
            if known.source_key is not None or (known.canonical, token) not in keys:
                keys[known.canonical, token] = known
        return list(keys.values())

    def expand(self) -> int:
        """Make rechecks of some keys that SQL has changed, of whatever table (rule 50); how many changes that were."""
        with self._intents() as connection:
            return expand(connection)

    def failed(self, key: bytes, error: str) -> None:
        """Record that a key could not be reconciled; it is retried, later each time."""
        with self._intents() as connection:
            connection.execute(_SQL["failed"], {"table": self._table.name, "key": key, "error": error[:1000]})

    @contextmanager
    def _intents(self) -> Iterator[Connection]:
        """A connection for existing intents. Raises TargetBusy if somebody has locked one: Postgres is not sick then."""
        with self._breaker.connection(self._pool) as connection:
            try:
                yield connection
            except psycopg.Error as error:
                if is_lock_conflict(error):
                    raise TargetBusy(error_text(error)) from None
                raise


def stamping(writer: Writer, above: int = 0) -> dict[str, Any]:
    """The parameters of a stamp greater than `above`."""
    clock = time.time_ns() // 1000
    return {"clock": clock, "above": above + 1, "slot": writer.slot, "skew": writer.skew_us, "owner": writer.id}


def refused(table: TableMap, key: Key, beyond: bool, ahead_us: int) -> WriteRefused:
    """Why a write gets no stamp: the row's newest cell cannot be exceeded, or this host's clock is wrong (rule 3)."""
    if beyond:
        shown = key_text(show_key(table.keys, key.cells))
        return WriteRefused(
            f"{table.name}: {shown}: the row was written in the source with the highest timestamp there is; no write can "
            "follow it"
        )
    return WriteRefused(f"this host's clock is {ahead_us / 1e6:.1f} s ahead of Postgres's; correct it")


@contextmanager
def refusing(tables: str) -> Iterator[None]:
    """Raise WriteRefused for what the journal cannot hold."""
    try:
        yield
    except REFUSALS as error:
        raise WriteRefused(f"{tables}: the journal refuses it: {error_text(error)}; nothing was written") from None


@contextmanager
def answered() -> Iterator[None]:
    """Raise AnswerLost if the connection breaks or is ended: only other errors of Postgres mean that nothing was done."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        if error.sqlstate is None or error.sqlstate.startswith(("57P", "08")):
            raise AnswerLost(error_text(error)) from None
        raise


def packed_mutation(mutation: Mutation) -> bytes | None:
    """What an intent keeps of a write, so that it can be sent again; nothing of somebody else's."""
    return None if mutation.kind in ("recheck", "recheck_partition") else pack_cells(mutation.key.cells, mutation.cells)


@contextmanager
def rejecting() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        if refuses_row(error):
            raise Reject(f"Postgres refuses it: {error_text(error)}") from None
        if is_lock_conflict(error):
            raise TargetBusy(error_text(error)) from None
        if is_server_wide(error):
            raise
        # A column that was renamed, a table that is gone: the primary has the write nevertheless.
        raise Reject(f"Postgres cannot do it: {error_text(error)}") from None
