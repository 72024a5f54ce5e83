"""The store interface over Postgres alone: what the application runs on after the migration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from decimal import Decimal
from types import TracebackType
from typing import Any, Self, TypeVar

import psycopg
from psycopg import errors, sql
from psycopg.rows import dict_row
from psycopg_pool import PoolTimeout

from sync.adapters.postgres.connection.pool import open_pool
from sync.adapters.postgres.connection.refusals import error_text, refuses_row
from sync.adapters.postgres.drift.search import similarity_sql
from sync.adapters.postgres.dual_write.statements import column as named
from sync.adapters.postgres.schema.catalogue import identifier, read_target
from sync.core.rows import TargetColumn, TargetTable
from sync.errors import SyncError, TargetRefused, TargetUnavailable, ValueUnreadable, WriteRefused, WriteUnsure
from sync.settings import Settings
from sync.stores.one_side.unreadable import tolerate, unreadable_in
from sync.stores.one_side.values import VECTORS, adapted, plain
from sync.stores.process import Process
from sync.stores.schema_refresh import SchemaRefresh, retry_on_change

T = TypeVar("T")
_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout)
_TOLD_NOTHING = ("08", "57P")
"""Prefixes of the SQLSTATEs with which a server breaks off: they do not say what became of the statement."""


class PostgresStore:
    """Rows of the target's tables as dictionaries."""

    def __init__(self, settings: Settings, size: int = 8, timeout: float = 30.0) -> None:
        self._process = Process()
        self.pool = open_pool(settings, size, timeout)
        self._tables: dict[str, TargetTable] = {}
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

    def put(self, table: str, row: Mapping[str, Any]) -> bool:
        """Write a whole row: a column left out becomes null."""
        return self._retry_on_change(table, lambda found: self._execute(*self._put(found, row)) >= 0)

    def _put(self, found: TargetTable, row: Mapping[str, Any]) -> tuple[sql.Composed, list[Any]]:
        columns = [c for c in found.columns if not c.generated]
        self._known(found, row)
        self._where(found, {n: row.get(n) for n in found.primary_key})
        names = [named(c.name) for c in columns]
        rest = [n for c, n in zip(columns, names, strict=True) if c.name not in found.primary_key]
        changes = sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(n) for n in rest)
        action = sql.SQL("UPDATE SET {}").format(changes) if rest else sql.SQL("NOTHING")
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO {}").format(
            identifier(found),
            sql.SQL(", ").join(names),
            sql.SQL(", ").join(map(_placeholder, columns)),
            sql.SQL(", ").join(map(named, found.primary_key)),
            action,
        )
        return statement, [_adapted(found, c, row.get(c.name)) for c in columns]

    def put_many(self, table: str, rows: Iterable[Mapping[str, Any]]) -> bool:
        """Write whole rows, each on its own, after all of them were checked."""
        given = list(rows)
        self._retry_on_change(table, lambda found: [self._put(found, row) for row in given])
        return all(self.put(table, row) for row in given)

    def update(self, table: str, key: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
        """Write some columns; False, and nothing is written, if there is no such row."""
        return self._retry_on_change(table, lambda found: self._update(found, key, changes))

    def _update(self, found: TargetTable, key: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
        given = self._known(found, changes)
        if not given:
            raise WriteRefused(f"{found.name}: an update without columns")
        for name in found.primary_key:
            if name in changes:
                raise WriteRefused(f"{found.name}: {name} is part of the key and cannot be updated")
        sets = sql.SQL(", ").join(sql.SQL("{} = {}").format(named(c.name), _placeholder(c)) for c in given)
        where, values = self._where(found, key)
        statement = sql.SQL("UPDATE {} SET {} WHERE {}").format(identifier(found), sets, where)
        return self._execute(statement, [*(adapted(found.name, c, changes[c.name]) for c in given), *values]) > 0

    def delete(self, table: str, key: Mapping[str, Any]) -> bool:
        """Delete a row, if there is one."""

        def delete(found: TargetTable) -> bool:
            where, values = self._where(found, key)
            return self._execute(sql.SQL("DELETE FROM {} WHERE {}").format(identifier(found), where), values) >= 0

        return self._retry_on_change(table, delete)

    def get(self, table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The row, or None. Raises TargetUnavailable; ValueUnreadable if Python cannot represent a value."""

        def read(found: TargetTable) -> dict[str, Any] | None:
            where, values = self._where(found, key)
            select = sql.SQL("SELECT {} FROM {} WHERE {}").format(_columns(found), identifier(found), where)
            rows = self._query(select, values)
            return _plain(found, rows[0]) if rows else None

        return self._retry_on_change(table, read)

    def search(self, table: str, column: str, vector: Sequence[float], limit: int = 10) -> list[tuple[dict[str, Any], float]]:
        """The nearest rows by cosine, nearest first, with Cassandra's similarity, (1 + cosine) / 2. Raises as `get`."""
        return self._retry_on_change(table, lambda found: self._search(found, column, vector, int(limit)))

    def _search(
        self, found: TargetTable, column: str, vector: Sequence[float], limit: int
    ) -> list[tuple[dict[str, Any], float]]:
        kind = found.column(column)
        if kind is None or kind.type.name not in VECTORS:
            raise WriteRefused(f"{found.name}: {column} is not a vector column")
        adapted(found.name, kind, vector)
        distance, similarity = similarity_sql(kind, "cosine", vector)
        statement = sql.SQL("SELECT {}, {} AS _similarity FROM {} WHERE {} IS NOT NULL ORDER BY {} LIMIT {}").format(
            _columns(found), similarity, identifier(found), named(column), distance, limit
        )
        rows = self._query(statement, [])
        return [(_plain(found, row), float(row["_similarity"])) for row in rows]

    def count(self, table: str) -> int:
        """How many rows there are."""
        count = sql.SQL("SELECT count(*) AS n FROM {}")
        return self._retry_on_change(table, lambda found: int(self._query(count.format(identifier(found)), [])[0]["n"]))

    def _retry_on_change(self, name: str, call: Callable[[TargetTable], T]) -> T:
        """Make the call; repeat it once if it was refused and the table has changed."""

        def has_changed(known: tuple[int, TargetTable], _: SyncError) -> bool:
            return self._schema.refresh(known[0], lambda: self._look(name, known[1]))

        def known() -> tuple[int, TargetTable]:
            return self._schema.version, self._table(name)

        return retry_on_change(known, lambda found: call(found[1]), has_changed, (WriteRefused, TargetRefused))

    def _look(self, name: str, known: TargetTable) -> bool:
        try:
            with self._away(), self.pool.connection() as connection:
                found = read_target(connection, name)
        except TargetUnavailable:
            return False  # it is unreachable: what was refused stays refused
        if found != known:
            self._tables.pop(name, None)
        return found != known

    def _table(self, name: str) -> TargetTable:
        self._process.check()
        if name not in self._tables:
            with self._away(), self.pool.connection() as connection:
                found = read_target(connection, name)
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
        for name in key:
            if key[name] is None:
                raise WriteRefused(f"{table.name}: the key column {name} is missing")
        where = sql.SQL(" AND ").join(sql.SQL("{} = %s").format(named(n)) for n in key)
        return where, [_adapted(table, c, key[c.name]) for c in self._known(table, key)]

    def _execute(self, statement: sql.Composed, values: list[Any]) -> int:
        self._process.check()
        try:
            with self.pool.connection() as connection:
                return connection.execute(statement, values).rowcount
        except PoolTimeout as error:
            raise TargetUnavailable(str(error)) from None
        except psycopg.Error as error:
            if isinstance(error, psycopg.DataError) or refuses_row(error) or _is_told(error):
                raise WriteRefused(error_text(error)) from None
            raise WriteUnsure(error_text(error)) from None

    def _query(self, statement: sql.Composed, values: list[Any]) -> list[dict[str, Any]]:
        with self._away(), self.pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            tolerate(cursor)
            try:
                return cursor.execute(statement, values).fetchall()
            except errors.FeatureNotSupported:  # prepared on this connection before the table changed
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


def _is_told(error: psycopg.Error) -> bool:
    """Whether Postgres itself reports the failure: it has then rolled the statement back."""
    return error.sqlstate is not None and not error.sqlstate.startswith(_TOLD_NOTHING)


def _adapted(table: TargetTable, column: TargetColumn, value: Any) -> Any:
    if column.name in table.primary_key and isinstance(value, Decimal) and column.type.name in ("text", "varchar"):
        value = str(value or abs(value))  # digit for digit, as the migration writes it (docs/types.md, "Keys")
    return adapted(table.name, column, value)


def _placeholder(column: TargetColumn) -> sql.Composable:
    return sql.SQL("%s::{}").format(sql.SQL(column.type.name)) if column.type.name in VECTORS else sql.SQL("%s")


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
