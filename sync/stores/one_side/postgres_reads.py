"""What the store over Postgres alone reads, and the tables as it knows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from types import TracebackType
from typing import Any, Self, TypeVar

import psycopg
from psycopg import errors, sql
from psycopg.rows import dict_row
from psycopg_pool import PoolTimeout

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.held import HeldTransaction
from sync.adapters.postgres.connection.pool import open_pool
from sync.adapters.postgres.connection.refusals import error_text
from sync.adapters.postgres.drift.search import search_widely, similarity_sql
from sync.adapters.postgres.dual_write.statements import column as named
from sync.adapters.postgres.schema.catalogue import identifier, read_target
from sync.adapters.postgres.schema.expiry import is_live
from sync.adapters.postgres.schema.key_order import ReadFacts, read_facts
from sync.core.reads.cursor import from_cursor
from sync.core.reads.query import nearest_limit
from sync.core.rows import TargetColumn, TargetTable
from sync.core.schema.static_rows import base_of, default_target
from sync.errors import QueryNotSupported, SyncError, TargetRefused, TargetUnavailable, ValueUnreadable, WriteRefused
from sync.ports import Primary
from sync.settings import Settings
from sync.stores.one_side.page_reads import Begin, PageReads, rows_after
from sync.stores.one_side.postgres_queries import TableReads
from sync.stores.one_side.unreadable import tolerate, unreadable_in
from sync.stores.one_side.values import VECTORS, adapted_key, converters, plain, searched
from sync.stores.process import Process
from sync.stores.rows import Rows, reads
from sync.stores.schema_refresh import SchemaRefresh, retry_on_change

T = TypeVar("T")
_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout)


class PostgresReads(PageReads):
    """Rows of the target's tables as dictionaries, to read."""

    primary: Primary = "postgres"

    def __init__(self, settings: Settings, size: int = 8, timeout: float = 30.0) -> None:
        self._process = Process()
        self.pool = open_pool(settings, size, timeout)
        self._held: HeldTransaction | None = None
        self._tables: dict[str, TargetTable] = {}
        self._facts: dict[str, tuple[TargetTable, ReadFacts]] = {}
        self._schema = SchemaRefresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; in a forked process do nothing, as they are the parent's."""
        if not self._process.is_own:
            return
        self._process.close()
        self.pool.close()

    def aside(self) -> Self:
        """The same store over one connection of its own, for what must not take one of the callers'. Close its pool alone."""
        self._process.check()
        other = copy(self)
        other.pool = self.pool.single()
        return other

    def within(self, held: HeldTransaction) -> Self:
        """The same store within a transaction, which it neither begins nor ends. It is not to be closed."""
        self._process.check()
        other = copy(self)
        other._held = held
        return other

    def _connection(self) -> AbstractContextManager[Connection]:
        """A connection for the application's rows; what the catalogue says is read on another one, which no error fails."""
        return self._held.connection() if self._held else self.pool.connection()

    @property
    def _is_failed(self) -> bool:
        """Whether no statement can follow in the transaction that this store is within."""
        return self._held is not None and self._held.is_failed

    def get(self, table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The row, or None. Raises TargetUnavailable; ValueUnreadable if Python cannot represent a value."""

        def read(found: TargetTable) -> dict[str, Any] | None:
            where, values = self._where(found, key)
            select = sql.SQL("SELECT {} FROM {} AS t WHERE {} AND {}").format(
                _columns(found), identifier(found), where, is_live(found.expiry)
            )
            rows = self._query(select, values)
            return _plain(found, rows[0]) if rows else None

        return self._retry_on_change(table, read)

    def get_many(self, table: str, keys: Iterable[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
        """The rows of these keys, in their order, None for one that does not exist. Raises as `find`."""
        given = list(keys)

        def read(found: TargetTable) -> list[dict[str, Any] | None]:
            checked = [dict(zip(key, self._where(found, key)[1], strict=True)) for key in given]
            return self._with_facts(found, lambda queries: queries.get_many(checked))

        with reads():
            return self._retry_on_change(table, read)

    def _begin(self, table: str, begin: Begin, after: str | None) -> Rows:
        place = from_cursor(after) if after is not None else None

        def read(queries: TableReads) -> Rows:
            return rows_after(place, begin, queries, [c.name for c in queries.key.columns], after)

        with reads():
            return self._retry_on_change(table, lambda found: self._with_facts(found, read))

    def _with_facts(self, table: TargetTable, call: Callable[[TableReads], T]) -> T:
        """Make the call with what reads depend on; repeat it once if it was refused and that has changed."""
        of, known = self._facts.get(table.name, (None, None))
        if of is not table or known is None:
            return call(self._queries(table, self._look_at_facts(table)))
        try:
            return call(self._queries(table, known))
        except (QueryNotSupported, TargetRefused):
            found = self._look_at_facts(table)
            if found == known:
                raise
            return call(self._queries(table, found))

    def _look_at_facts(self, table: TargetTable) -> ReadFacts:
        with self._away(), self.pool.beside.connection() as connection:
            found = read_facts(connection, table)
        self._facts[table.name] = table, found
        return found

    def _queries(self, table: TargetTable, facts: ReadFacts) -> TableReads:
        return TableReads(table, facts, _columns(table), lambda statement, values: self._fetch(table, statement, values))

    def _fetch(self, table: TargetTable, statement: sql.Composed, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows as the store returns them, with less work than `_query` while Python can represent every value."""
        self._process.check()
        try:
            with self._away(), self._connection() as connection:
                rows = self._run(connection, statement, values, is_tolerant=False)
        except (OverflowError, ValueError, TargetRefused):  # of psycopg's own loaders, for one value
            if self._is_failed:
                raise
            rows = self._query(statement, values)
            return [row | _plain(table, row) for row in rows]
        for name, convert in converters(table.columns):
            for row in rows:
                if row[name] is not None:
                    row[name] = convert(row[name])
        return rows

    def search(
        self, table: str, column: str, vector: Sequence[float], limit: int = 10, where: Mapping[str, Any] | None = None
    ) -> list[tuple[dict[str, Any], float]]:
        """The nearest rows by cosine, of those that meet the conditions, with Cassandra's similarity, (1 + cosine) / 2.

        Raises as `find`.
        """
        count = nearest_limit(table, limit)
        return self._retry_on_change(table, lambda found: self._search(found, column, vector, count, where or {}))

    def _search(
        self, found: TargetTable, column: str, vector: Sequence[float], limit: int, where: Mapping[str, Any]
    ) -> list[tuple[dict[str, Any], float]]:
        kind = searched(found, column, vector)
        distance, similarity = similarity_sql(kind, "cosine", vector)
        terms, values = self._with_facts(found, lambda queries: queries.filters(where)) if where else ([], {})
        terms = [sql.SQL("{} IS NOT NULL").format(named(column)), is_live(found.expiry), *terms]
        statement = sql.SQL("SELECT {}, {} AS _similarity FROM {} AS t WHERE {} ORDER BY {} LIMIT {}").format(
            _columns(found), similarity, identifier(found), sql.SQL(" AND ").join(terms), distance, limit
        )
        with self._away(), self._connection() as connection, connection.transaction():
            search_widely(connection, limit)
            rows = self._run(connection, statement, values, is_tolerant=True)
        return [(_plain(found, row), float(row["_similarity"])) for row in rows]

    def count(self, table: str) -> int:
        """How many rows there are."""

        def read(found: TargetTable) -> int:
            count = sql.SQL("SELECT count(*) AS n FROM {} AS t WHERE {}")
            return int(self._query(count.format(identifier(found), is_live(found.expiry)), [])[0]["n"])

        return self._retry_on_change(table, read)

    def _retry_on_change(self, name: str, call: Callable[[TargetTable], T]) -> T:
        """Make the call; repeat it once if it was refused and the table has changed."""

        def has_changed(known: tuple[int, TargetTable], _: SyncError) -> bool:
            changed = self._schema.refresh(known[0], lambda: self._look(name, known[1]))
            return changed and not self._is_failed

        def known() -> tuple[int, TargetTable]:
            return self._schema.version, self._table(name)

        return retry_on_change(known, lambda found: call(found[1]), has_changed, (WriteRefused, TargetRefused))

    def _look(self, name: str, known: TargetTable) -> bool:
        try:
            with self._away(), self.pool.beside.connection() as connection:
                found = _read(connection, name)
        except TargetUnavailable:
            return False  # it is unreachable: what was refused stays refused
        if found != known:
            self._tables.pop(name, None)
        return found != known

    def _table(self, name: str) -> TargetTable:
        self._process.check()
        if name not in self._tables:
            with self._away(), self.pool.beside.connection() as connection:
                found = _read(connection, name)
            if found is None:
                raise WriteRefused(f"there is no table {name!r} in Postgres")
            self._tables[name] = found
        return self._tables[name]

    def _known(self, table: TargetTable, values: Mapping[str, Any]) -> list[TargetColumn]:
        columns = []
        for name in values:
            column = table.column(name)
            if column is None:
                raise WriteRefused(f"{table.name}: {name} is not a column")
            columns.append(column)
        return columns

    def _where(self, table: TargetTable, key: Mapping[str, Any]) -> tuple[sql.Composed, list[Any]]:
        if set(key) != set(table.primary_key):
            raise WriteRefused(f"{table.name}: the key is {', '.join(table.primary_key)}, not {', '.join(key) or 'nothing'}")
        if missing := [name for name in key if key[name] is None]:
            raise WriteRefused(f"{table.name}: the key column {', '.join(missing)} is missing")
        where = sql.SQL(" AND ").join(sql.SQL("{} = %s").format(named(n)) for n in key)
        return where, [adapted_key(table, c, key[c.name]) for c in self._known(table, key)]

    def _query(self, statement: sql.Composed, values: Any) -> list[dict[str, Any]]:
        """The rows as psycopg reads them; `Unreadable` stands for what Python cannot represent."""
        with self._away(), self._connection() as connection:
            return self._run(connection, statement, values, is_tolerant=True)

    def _run(self, connection: Connection, statement: sql.Composed, values: Any, is_tolerant: bool) -> list[dict[str, Any]]:
        with connection.cursor(row_factory=dict_row) as cursor:
            if is_tolerant:
                tolerate(cursor)
            try:
                return cursor.execute(statement, values).fetchall()
            except errors.FeatureNotSupported:  # prepared on this connection before the table changed
                if self._held:
                    raise
                connection.execute("DEALLOCATE ALL")
                return cursor.execute(statement, values).fetchall()

    @contextmanager
    def _away(self) -> Iterator[None]:
        try:
            yield
        except _AWAY as error:
            raise TargetUnavailable(error_text(error)) from None
        except psycopg.Error as error:
            raise TargetRefused(error_text(error)) from None


def _read(connection: Connection, name: str) -> TargetTable | None:
    found = read_target(connection, name)
    if found is None and base_of(name):  # as an application names static columns; sync.toml may be gone
        found = read_target(connection, default_target(name))
    return found and found.without_expiry


def _columns(table: TargetTable) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{0}::text AS {0}").format(named(c.name)) if c.type.name in VECTORS else named(c.name) for c in table.columns
    )


def _plain(table: TargetTable, row: Mapping[str, Any]) -> dict[str, Any]:
    return {c.name: _value(table, c, row) for c in table.columns}


def _value(table: TargetTable, column: TargetColumn, row: Mapping[str, Any]) -> Any:
    found = unreadable_in(row[column.name])
    if found is not None:
        key = ", ".join(f"{name}={getattr(row[name], 'text', row[name])}" for name in table.primary_key)
        raise ValueUnreadable(f"{table.name}: {key}: {column.name}: Python cannot represent {found.text} ({found.why})")
    return plain(column.type, row[column.name])
