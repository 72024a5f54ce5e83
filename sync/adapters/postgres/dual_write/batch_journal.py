"""Intents and guarded writes of many rows of one table at once: each method is one transaction, of MAX_LOCKS keys at most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from sync.adapters.postgres.connection.epoch_lock import one_transaction, sharing_epoch
from sync.adapters.postgres.connection.pool import Pool
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import timing_out
from sync.adapters.postgres.dual_write.array_statements import ArrayStatements
from sync.adapters.postgres.dual_write.breaker import Breaker
from sync.adapters.postgres.dual_write.journal import (
    Journal,
    Writer,
    answered,
    packed_mutation,
    refusing,
    rejecting,
    stamping,
)
from sync.adapters.postgres.dual_write.locks import has_partitions, lock_keys
from sync.adapters.postgres.dual_write.parameters import Parameters
from sync.adapters.postgres.dual_write.statements import Statements
from sync.core.encode.rows import RowEncoder
from sync.core.mutations import Mutation
from sync.core.rows import TableMap
from sync.errors import TargetBusy, WriteRefused
from sync.failpoints import failpoint
from sync.ports import MAX_LOCKS, Intent

_SHARE_RANGES = queries("dual_write/reconcile")["share_ranges"].encode()
_SHORT_WAIT_SECONDS, _SHORT_STATEMENT_SECONDS, _PLACE_SECONDS = 0.1, 1.0, 0.25
_WAIT_SHORTLY = b"SELECT set_config('lock_timeout', %(lock)s, true), set_config('statement_timeout', %(statement)s, true)"
"""Both, since the former holds for each of the locks: there are up to 64 in a statement."""


class RowsJournal:
    """The journal of one table's rows. Each method raises TargetUnavailable if Postgres cannot be reached in time."""

    def __init__(
        self, pool: Pool, table: TableMap, encoder: RowEncoder, writer: Writer, breaker: Breaker, journal: Journal
    ) -> None:
        self._pool, self._table, self._writer, self._breaker, self._one = pool, table, writer, breaker, journal
        statements = Statements(table, encoder)
        self._arrays = ArrayStatements(table, statements)
        self._parameters = Parameters(statements, encoder)
        self._partitioned = {table.name} if has_partitions(table) else set()
        longest = min(_SHORT_STATEMENT_SECONDS, pool.make.timeout)
        self._shortly = {"lock": str(int(_SHORT_WAIT_SECONDS * 1000)), "statement": str(int(longest * 1000))}

    @property
    def takes_rows(self) -> bool:
        """Whether this table's rows can be written together."""
        return self._arrays.takes_rows

    @property
    def is_away(self) -> bool:
        """Whether Postgres is not asked at the moment."""
        return self._breaker.is_open

    def open(self, puts: Sequence[Mutation], above: Sequence[int]) -> list[Intent | WriteRefused]:
        """Stamp writes, each with a version greater than its `above`, and commit their intents; or why one gets no stamp.

        Raises EpochChanged and NotRegistered, as `Journal.open` does, for all; WriteRefused if the journal cannot hold one;
        AnswerLost if the intents may be there, BatchTimedOut if not.
        """
        opening, shared = self._arrays.open, stamping(self._writer)
        del shared["above"]
        rows = [
            {**self._parameters.key(put.key), "kind": put.kind, "mutation": packed_mutation(put), "above": least + 1}
            for put, least in zip(puts, above, strict=True)
        ]
        with (
            self._writer.turns.of([put.key for put in puts]),
            refusing(self._table.name),
            self._breaker.connection(self._pool) as connection,
            answered(),
            timing_out(len(puts)),
        ):
            with sharing_epoch(connection):
                found = connection.execute(opening.text, opening.values(rows, **shared), binary=True)
            answers = found.fetchall()
        return [self._opened(put, answer) for put, answer in zip(puts, answers, strict=True)]

    def _opened(self, put: Mutation, answer: tuple[object, ...]) -> Intent | WriteRefused:
        try:
            return self._one.announced(put.key, answer)
        except WriteRefused as refused:
            return refused

    def write(self, written: Sequence[tuple[Mutation, Intent]], waits: bool = True) -> int:
        """The target's half of writes, guarded, together with the ends of their intents; returns how many were accepted.

        Raises Reject for a value that the target cannot hold, TargetBusy for a lock, and BatchTimedOut: then nothing was
        written. Without `waits` no lock is waited for that others may hold for longer than a write takes: what is slow counts
        as locked.
        """
        putting = self._arrays.put
        rows = [
            {**self._parameters.row(put.key, put.cells), "intent": intent.id, "version": intent.version}
            for put, intent in written
        ]
        tokens = {"table": self._table.name, "tokens": [put.key.token for put, _ in written]}
        with (
            self._place(waits) if len(written) > 1 else nullcontext(),
            self._breaker.connection(self._pool) as connection,
            rejecting(),
            timing_out(len(written) if waits else MAX_LOCKS),
        ):
            with one_transaction(connection):
                if not waits:
                    connection.execute(_WAIT_SHORTLY, self._shortly)
                lock_keys(connection, [put.key for put, _ in written], self._partitioned)
                # A backfill's merge writes many rows, too, in an order of its own, and takes no keys' locks. What waits only
                # shortly needs no order; and if it shared ranges as often as puts come, merges would hardly find theirs free.
                if waits:
                    connection.execute(_SHARE_RANGES, tokens)
                found = connection.execute(putting.text, putting.values(rows), binary=True)
                failpoint("write.before_commit")
            (accepted,) = found.fetchone() or (0,)
            return int(accepted)

    def withdraw(self, intents: Sequence[Intent]) -> frozenset[int]:
        """Withdraw intents of which nothing was written; the ids of those that no reconcile has claimed meanwhile."""
        return self._one.withdraw_each(intents)

    @contextmanager
    def _place(self, waits: bool) -> Iterator[None]:
        """One of the places for transactions that hold a batch's locks. Raises TargetBusy."""
        if not self._writer.batches.acquire(timeout=None if waits else _PLACE_SECONDS):
            raise TargetBusy("other batches hold their keys")
        try:
            yield
        finally:
            self._writer.batches.release()
