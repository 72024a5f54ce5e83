"""What `transaction()` of a store gives: the application's own SQL, and reads and writes of the store, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, LiteralString, Protocol, TypeAlias

import psycopg
from psycopg import sql
from psycopg.abc import Params

from sync.adapters.postgres.connection.held import HeldTransaction
from sync.core.reads.query import OrderBy
from sync.stores.rows import PAGE_ROWS, Rows

Statement: TypeAlias = "LiteralString | bytes | sql.SQL | sql.Composed"
NO_TRANSACTION = (
    "a transaction of the store is one in Postgres, together with the application's own tables: it is possible once Postgres "
    "is primary, after the cut-over"
)
"""Why a store raises NotSupported."""


class TransactionReads(Protocol):
    """A store's reads, within a transaction."""

    def get(self, table: str, key: Mapping[str, Any]) -> dict[str, Any] | None: ...
    def get_many(self, table: str, keys: Iterable[Mapping[str, Any]]) -> list[dict[str, Any] | None]: ...
    def find(
        self,
        table: str,
        where: Mapping[str, Any],
        order_by: OrderBy | None = None,
        limit: int | None = None,
        after: str | None = None,
        page_rows: int = PAGE_ROWS,
    ) -> Rows: ...
    def scan(self, table: str, after: str | None = None, page_rows: int = PAGE_ROWS) -> Rows: ...
    def search(
        self, table: str, column: str, vector: Sequence[float], limit: int = 10, where: Mapping[str, Any] | None = None
    ) -> list[tuple[dict[str, Any], float]]: ...
    def count(self, table: str) -> int: ...


class TransactionWrites(Protocol):
    """A store's writes, within a transaction."""

    def put(self, table: str, row: Mapping[str, Any], ttl: int | None = None) -> bool: ...
    def put_many(self, table: str, rows: Iterable[Mapping[str, Any]]) -> bool: ...
    def insert(self, table: str, row: Mapping[str, Any]) -> bool: ...
    def update(self, table: str, key: Mapping[str, Any], changes: Mapping[str, Any]) -> bool: ...
    def delete(self, table: str, key: Mapping[str, Any]) -> bool: ...
    def delete_many(self, table: str, where: Mapping[str, Any]) -> bool: ...
    def increment(self, table: str, key: Mapping[str, Any], amounts: Mapping[str, int]) -> bool: ...


class Transaction:
    """A transaction of a store, in a `with` block: all of it is committed at the end, or nothing if the block raises.

    Its methods are the store's, and see what it has written. An error of Postgres fails the whole transaction, also if it is
    caught: for a part that may fail alone, use a savepoint (`with tx.connection.transaction():`). Use it in one thread at a
    time. Every method may raise StoreClosed after the end of the block, and WriteRefused once a statement has failed.
    """

    def __init__(self, held: HeldTransaction, reads: Callable[[str], TransactionReads], writes: TransactionWrites) -> None:
        self.held, self._reads, self._writes = held, reads, writes

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """The connection, for cursors, COPY and savepoints; it must not be closed, committed or kept."""
        with self.held.connection() as connection:
            return connection

    def execute(self, query: Statement, params: Params | None = None) -> psycopg.Cursor[Any]:
        """Run a statement of the application's own, as psycopg does; what it writes in the store's tables, workers send.

        Raises psycopg's errors.
        """
        with self.held.connection() as connection:
            return connection.execute(query, params)

    def put(self, table: str, row: Mapping[str, Any], ttl: int | None = None) -> bool:
        """As Store.put."""
        return self._writes.put(table, row, ttl)

    def put_many(self, table: str, rows: Iterable[Mapping[str, Any]]) -> bool:
        """As Store.put_many, all of them or none."""
        return self._writes.put_many(table, rows)

    def insert(self, table: str, row: Mapping[str, Any]) -> bool:
        """As Store.insert."""
        return self._writes.insert(table, row)

    def update(self, table: str, key: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
        """As Store.update: False, and nothing is written, if there is no such row."""
        return self._writes.update(table, key, changes)

    def delete(self, table: str, key: Mapping[str, Any]) -> bool:
        """As Store.delete."""
        return self._writes.delete(table, key)

    def delete_many(self, table: str, where: Mapping[str, Any]) -> bool:
        """As Store.delete_many: until the end, nobody else writes to the partition."""
        return self._writes.delete_many(table, where)

    def increment(self, table: str, key: Mapping[str, Any], amounts: Mapping[str, int]) -> bool:
        """As Store.increment; until the end, nobody else adds to these counters."""
        return self._writes.increment(table, key, amounts)

    def get(self, table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """As Store.get."""
        return self._reads(table).get(table, key)

    def get_many(self, table: str, keys: Iterable[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
        """As Store.get_many."""
        return self._reads(table).get_many(table, keys)

    def find(
        self,
        table: str,
        where: Mapping[str, Any],
        order_by: OrderBy | None = None,
        limit: int | None = None,
        after: str | None = None,
        page_rows: int = PAGE_ROWS,
    ) -> Rows:
        """As Store.find, to be iterated over before the end."""
        return self._reads(table).find(table, where, order_by, limit, after, page_rows)

    def scan(self, table: str, after: str | None = None, page_rows: int = PAGE_ROWS) -> Rows:
        """As Store.scan, to be iterated over before the end: a switch waits for it."""
        return self._reads(table).scan(table, after, page_rows)

    def search(
        self, table: str, column: str, vector: Sequence[float], limit: int = 10, where: Mapping[str, Any] | None = None
    ) -> list[tuple[dict[str, Any], float]]:
        """As Store.search."""
        return self._reads(table).search(table, column, vector, limit, where)

    def count(self, table: str) -> int:
        """As Store.count."""
        return self._reads(table).count(table)
