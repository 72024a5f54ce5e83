"""The store over Postgres for an application whose names of tables and columns differ from Postgres's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from sync.core.reads.names import Names, other_names
from sync.core.reads.query import OrderBy
from sync.ports import Primary
from sync.settings import Config, Settings
from sync.stores.one_side.postgres import PostgresStore
from sync.stores.rows import PAGE_ROWS, Rows
from sync.stores.transaction import Transaction


class RenamedStore:
    """Rows of the target's tables by the application's names; every method as PostgresStore's."""

    def __init__(self, store: PostgresStore, config: Config) -> None:
        self.store, self._config = store, config

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.store.close()

    @property
    def primary(self) -> Primary:
        """Postgres: a store of one side has no other."""
        return self.store.primary

    def _names(self, table: str) -> Names:
        return other_names(table, self._config.options(table)) or Names(table, {})

    def put(self, table: str, row: Mapping[str, Any], ttl: int | None = None) -> bool:
        """Write a whole row, which expires after `ttl` seconds: a column left out becomes null."""
        names = self._names(table)
        return self.store.put(names.table, names.to_target(row), ttl)

    def put_many(self, table: str, rows: Iterable[Mapping[str, Any]]) -> bool:
        """Write whole rows, each on its own, after all of them were checked."""
        names = self._names(table)
        return self.store.put_many(names.table, [names.to_target(row) for row in rows])

    def insert(self, table: str, row: Mapping[str, Any]) -> bool:
        """Write a whole row if there is none with its key; False, and nothing is changed, if there is one."""
        names = self._names(table)
        return self.store.insert(names.table, names.to_target(row))

    def announce(self, table: str, key: Mapping[str, Any]) -> None:
        """Nothing: there is no other side."""

    def increment(self, table: str, key: Mapping[str, Any], amounts: Mapping[str, int]) -> bool:
        """Add to columns of type bigint or numeric; null, and a missing row, begin at 0. True."""
        names = self._names(table)
        return self.store.increment(names.table, names.to_target(key), names.to_target(amounts))

    def update(self, table: str, key: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
        """Write some columns; False, and nothing is written, if there is no such row."""
        names = self._names(table)
        return self.store.update(names.table, names.to_target(key), names.to_target(changes))

    def delete(self, table: str, key: Mapping[str, Any]) -> bool:
        """Delete a row, if there is one."""
        names = self._names(table)
        return self.store.delete(names.table, names.to_target(key))

    def delete_many(self, table: str, where: Mapping[str, Any]) -> bool:
        """Delete the rows of a partition, or of a range of it."""
        names = self._names(table)
        return self.store.delete_many(names.table, names.to_target(where))

    def get(self, table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The row, or None."""
        names = self._names(table)
        found = self.store.get(names.table, names.to_target(key))
        return None if found is None else names.from_target(found)

    def get_many(self, table: str, keys: Iterable[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
        """The rows of these keys, in their order, None for one that does not exist."""
        names = self._names(table)
        found = self.store.get_many(names.table, [names.to_target(key) for key in keys])
        return [None if row is None else names.from_target(row) for row in found]

    def find(
        self,
        table: str,
        where: Mapping[str, Any],
        order_by: OrderBy | None = None,
        limit: int | None = None,
        after: str | None = None,
        page_rows: int = PAGE_ROWS,
    ) -> Rows:
        """The rows of a partition, or those that an index finds, in Cassandra's order."""
        names = self._names(table)
        order = [(names.column(name), direction) for name, direction in order_by] if order_by else None
        return _renamed(names, self.store.find(names.table, names.to_target(where), order, limit, after, page_rows), after)

    def scan(self, table: str, after: str | None = None, page_rows: int = PAGE_ROWS) -> Rows:
        """All rows of a table."""
        names = self._names(table)
        return _renamed(names, self.store.scan(names.table, after, page_rows), after)

    def search(
        self, table: str, column: str, vector: Sequence[float], limit: int = 10, where: Mapping[str, Any] | None = None
    ) -> list[tuple[dict[str, Any], float]]:
        """The nearest rows by cosine, of those that meet the conditions."""
        names = self._names(table)
        found = self.store.search(names.table, names.column(column), vector, limit, where and names.to_target(where))
        return [(names.from_target(row), score) for row, score in found]

    def count(self, table: str) -> int:
        """How many rows there are."""
        return self.store.count(self._names(table).table)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Own SQL and writes of this store in one transaction; the SQL names tables and columns as Postgres does."""
        with self.store.transaction() as tx:
            within = RenamedStore(self.store.within(tx.held), self._config)
            yield Transaction(tx.held, lambda _: within, within)


def named_store(settings: Settings, config: Config) -> PostgresStore | RenamedStore:
    """The store over Postgres alone, which knows the application's names if sync.toml has others for any table."""
    has_others = any(other_names(table, config.options(table)) for table in config.tables)
    store = PostgresStore(settings)
    return RenamedStore(store, config) if has_others else store


class ApplicationNames:
    """Chooses, by table, whether a store over Postgres is asked by the application's names."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._made: RenamedStore | None = None

    def of(self, store: PostgresStore, table: str) -> PostgresStore | RenamedStore:
        """The store to ask for this table; the same object for the same store."""
        if other_names(table, self._config.options(table)) is None:
            return store
        if self._made is None or self._made.store is not store:
            self._made = RenamedStore(store, self._config)
        return self._made


def _renamed(names: Names, rows: Rows, after: str | None) -> Rows:
    keys = list(names.from_target(dict.fromkeys(rows.keys)))
    return Rows(([(token, names.from_target(row)) for token, row in page] for page in rows.pages), keys, after)
