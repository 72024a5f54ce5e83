"""Announcements of several keys, of one table or more, in one transaction: all of them or none.

The application's own class is then called once, and writes them all (rule 17).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.epoch_lock import share_epoch
from sync.adapters.postgres.connection.pool import Pool
from sync.adapters.postgres.cutover.epochs import read_epoch
from sync.adapters.postgres.dual_write.breaker import Breaker
from sync.adapters.postgres.dual_write.journal import Writer, answered, refusing, rejecting
from sync.adapters.postgres.dual_write.locks import lock_keys
from sync.adapters.postgres.dual_write.parameters import connection_of
from sync.core.mutations import Key
from sync.errors import EpochChanged
from sync.ports import MAX_LOCKS, Intent, Primary


class TableAnnouncer(Protocol):
    """The journal of one table: how it announces a key; `has_partitions`: of several rows each."""

    @property
    def has_partitions(self) -> bool: ...
    def announcement(self, key: Key) -> tuple[bytes, dict[str, Any]]: ...
    def announced(self, key: Key, answer: tuple[Any, ...] | None) -> Intent: ...


@dataclass(frozen=True, slots=True)
class RowsAndPartitions:
    """How one table announces a key, of `width` columns, or a partition, whose key has fewer."""

    rows: TableAnnouncer
    partitions: TableAnnouncer
    width: int

    @property
    def has_partitions(self) -> bool:
        """Whether a partition of the table may hold several rows."""
        return self.rows.has_partitions

    def announcement(self, key: Key) -> tuple[bytes, dict[str, Any]]:
        """The statement that opens its intent, with its values."""
        return (self.rows if len(key.cells) == self.width else self.partitions).announcement(key)

    def announced(self, key: Key, answer: tuple[Any, ...] | None) -> Intent:
        """The intent that it opened. Raises what the table's journal raises."""
        return self.rows.announced(key, answer)


@dataclass(frozen=True, slots=True)
class Announcements:
    """Announces keys of these tables under one primary."""

    pool: Pool
    breaker: Breaker
    writer: Writer
    tables: Mapping[str, TableAnnouncer]
    primary: Primary

    def announce(self, keys: Sequence[Key]) -> list[Intent]:
        """Commit the intents of MAX_LOCKS keys at most, all or none; without a key, only look whether writes may begin.

        Raises EpochChanged, NotRegistered, WriteRefused, Reject and TargetUnavailable, of which AnswerLost means that the
        intents may be there.
        """
        assert len(keys) <= MAX_LOCKS, f"{len(keys)} keys in one transaction"
        with self._connection(keys) as connection, connection.transaction():
            share_epoch(connection)
            if not keys:
                self._check_epoch(connection)
            if self.primary == "postgres":
                lock_keys(connection, keys, {name for name, one in self.tables.items() if one.has_partitions})  # rule 5
            asked = [(key, *self.tables[key.table].announcement(key)) for key in keys]
            with connection.pipeline():
                found = [(key, connection.execute(statement, values)) for key, statement, values in asked]
            return [self.tables[key.table].announced(key, cursor.fetchone()) for key, cursor in found]

    @contextmanager
    def _connection(self, keys: Sequence[Key]) -> Iterator[Connection]:
        if self.primary == "postgres":
            with connection_of(self.pool) as connection, answered(), rejecting():
                yield connection
            return
        with (
            self.writer.turns.of(keys),
            refusing(", ".join(sorted({key.table for key in keys}))),
            self.breaker.connection(self.pool) as connection,
            answered(),
        ):
            yield connection

    def _check_epoch(self, connection: Connection) -> None:
        found = read_epoch(connection)
        if found.primary != self.primary or found.state != "open":
            raise EpochChanged(found.epoch, found.primary, found.state)
