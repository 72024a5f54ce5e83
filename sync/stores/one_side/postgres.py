"""The store interface over Postgres alone: what the application runs on after the migration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg_pool import PoolTimeout

from sync.adapters.postgres.connection.held import held_transaction
from sync.adapters.postgres.connection.refusals import error_text, refuses_row
from sync.adapters.postgres.dual_write.statements import column as named
from sync.adapters.postgres.schema.catalogue import identifier
from sync.adapters.postgres.schema.expiry import is_live
from sync.core.counters import bigints
from sync.core.expiry import seconds_of
from sync.core.rows import TargetColumn, TargetTable
from sync.core.schema.static_rows import check_insert, check_update
from sync.errors import TargetUnavailable, WriteRefused, WriteUnsure
from sync.stores.one_side.postgres_reads import PostgresReads
from sync.stores.one_side.values import VECTORS, adapted, adapted_key
from sync.stores.transaction import Transaction

_TOLD_NOTHING = ("08", "57P")
"""Prefixes of the SQLSTATEs with which a server breaks off: they do not say what became of the statement."""


class PostgresStore(PostgresReads):
    """Rows of the target's tables as dictionaries."""

    def put(self, table: str, row: Mapping[str, Any], ttl: int | None = None) -> bool:
        """Write a whole row, which expires after `ttl` seconds: a column left out becomes null."""
        return self._retry_on_change(table, lambda found: self._execute(*self._put(found, row, ttl)) >= 0)

    def _put(
        self, found: TargetTable, row: Mapping[str, Any], ttl: int | None = None, replace: bool = True
    ) -> tuple[sql.Composed, list[Any]]:
        columns = [c for c in found.columns if not c.generated]
        self._known(found, row)
        self._where(found, {n: row.get(n) for n in found.primary_key})
        names = [named(c.name) for c in columns]
        rest = [n for c, n in zip(columns, names, strict=True) if c.name not in found.primary_key]
        marks, until = [_placeholder(c) for c in columns], _until(found, ttl)
        if found.expiry:
            names, rest = [*names, named(found.expiry)], [*rest, named(found.expiry)]
            marks.append(sql.SQL("clock_timestamp() + make_interval(secs => %s)"))
        changes = sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(n) for n in rest)
        if rest and (replace or found.expiry):  # a row that has expired is there for no one
            action = sql.SQL("UPDATE SET {} WHERE {}").format(
                changes, sql.SQL("true") if replace else sql.SQL("NOT {}").format(is_live(found.expiry))
            )
        else:
            action = sql.SQL("NOTHING").format()
        statement = sql.SQL("INSERT INTO {} AS t ({}) VALUES ({}) ON CONFLICT ({}) DO {}").format(
            identifier(found),
            sql.SQL(", ").join(names),
            sql.SQL(", ").join(marks),
            sql.SQL(", ").join(map(named, found.primary_key)),
            action,
        )
        return statement, [*(adapted_key(found, c, row.get(c.name)) for c in columns), *until]

    def put_many(self, table: str, rows: Iterable[Mapping[str, Any]]) -> bool:
        """Write whole rows, each on its own, after all of them were checked."""
        given = list(rows)
        self._retry_on_change(table, lambda found: [self._put(found, row) for row in given])
        return all(self.put(table, row) for row in given)

    def insert(self, table: str, row: Mapping[str, Any]) -> bool:
        """Write a whole row if there is none with its key; False, and nothing is changed, if there is one."""
        check_insert(table)
        return self._retry_on_change(table, lambda found: self._execute(*self._put(found, row, replace=False)) > 0)

    def update(self, table: str, key: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
        """Write some columns; False, and nothing is written, if there is no such row."""
        check_update(table, changes)
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
        statement = sql.SQL("UPDATE {} AS t SET {} WHERE {} AND {}").format(
            identifier(found), sets, where, is_live(found.expiry)
        )
        return self._execute(statement, [*(adapted(found.name, c, changes[c.name]) for c in given), *values]) > 0

    def announce(self, table: str, key: Mapping[str, Any]) -> None:
        """Nothing: there is no other side."""
        self._process.check()

    def increment(self, table: str, key: Mapping[str, Any], amounts: Mapping[str, int]) -> bool:
        """Add to columns of type bigint or numeric, which counters become; null, and a missing row, begin at 0. True."""
        return self._retry_on_change(table, lambda found: self._execute(*self._increment(found, key, amounts)) > 0)

    def _increment(
        self, found: TargetTable, key: Mapping[str, Any], amounts: Mapping[str, int]
    ) -> tuple[sql.Composed, list[Any]]:
        if found.expiry:
            raise WriteRefused(f"{found.name}: its rows expire as a whole: read the row, and put it with its ttl")
        given = self._known(found, bigints(found.name, amounts))
        for column in given:
            if column.name in found.primary_key or column.type.name not in ("int8", "numeric"):
                raise WriteRefused(
                    f"{found.name}: {column.name} is no counter, which is bigint or numeric, and not of the key"
                )
        self._where(found, key)
        columns = [*(c for c in found.columns if c.name in found.primary_key), *given]
        add = sql.SQL("{0} = (coalesce(t.{0}, 0) + excluded.{0})::bigint")  # no more than Cassandra can count
        statement = sql.SQL("INSERT INTO {} AS t ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {}").format(
            identifier(found),
            sql.SQL(", ").join(named(c.name) for c in columns),
            sql.SQL(", ").join(map(_placeholder, columns)),
            sql.SQL(", ").join(map(named, found.primary_key)),
            sql.SQL(", ").join(add.format(named(c.name)) for c in given),
        )
        return statement, [adapted_key(found, c, {**key, **amounts}[c.name]) for c in columns]

    def delete(self, table: str, key: Mapping[str, Any]) -> bool:
        """Delete a row, if there is one."""

        def delete(found: TargetTable) -> bool:
            where, values = self._where(found, key)
            return self._execute(sql.SQL("DELETE FROM {} WHERE {}").format(identifier(found), where), values) >= 0

        return self._retry_on_change(table, delete)

    def delete_many(self, table: str, where: Mapping[str, Any]) -> bool:
        """Delete the rows of a partition, or of a range of it. Raises QueryNotSupported for any other rows."""

        def delete(found: TargetTable) -> bool:
            terms, values = self._with_facts(found, lambda queries: queries.rows_of_partition(where))
            statement = sql.SQL("DELETE FROM {} WHERE {}").format(identifier(found), sql.SQL(" AND ").join(terms))
            return self._execute(statement, values) >= 0

        return self._retry_on_change(table, delete)

    def transaction(self) -> AbstractContextManager[Transaction]:
        """The application's own SQL and writes of this store in one transaction: `with store.transaction() as tx:`."""
        self._process.check()
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        with held_transaction(self.pool) as held:
            within = self.within(held)
            yield Transaction(held, lambda _: within, within)

    def _execute(self, statement: sql.Composed, values: list[Any] | dict[str, Any]) -> int:
        self._process.check()
        try:
            with self._connection() as connection:
                return connection.execute(statement, values).rowcount
        except PoolTimeout as error:
            raise TargetUnavailable(str(error)) from None
        except psycopg.Error as error:
            if isinstance(error, psycopg.DataError) or refuses_row(error) or _is_told(error):
                raise WriteRefused(error_text(error)) from None
            raise WriteUnsure(error_text(error)) from None


def _until(table: TargetTable, ttl: int | None) -> list[float | None]:
    """In how many seconds a row expires, None for never, if the table has a column for it. Raises WriteRefused."""
    if table.expiry:
        return [seconds_of(table.name, table.default_ttl if ttl is None else ttl) or None]
    if ttl is not None:
        raise WriteRefused(
            f'{table.name} has no column that says when a row expires: with ttl = "expire" in sync.toml `sync schema apply` '
            "makes one, while the source is there"
        )
    return []


def _is_told(error: psycopg.Error) -> bool:
    """Whether Postgres itself reports the failure: it has then rolled the statement back."""
    return error.sqlstate is not None and not error.sqlstate.startswith(_TOLD_NOTHING)


def _placeholder(column: TargetColumn) -> sql.Composable:
    return sql.SQL("%s::{}").format(sql.SQL(column.type.name)) if column.type.name in VECTORS else sql.SQL("%s")
