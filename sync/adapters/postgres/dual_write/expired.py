"""Rows that have expired are deleted while a migration runs, a few at a time, each under its key's lock."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.epoch_lock import SHARE
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import error_text, is_lock_conflict, refuses_row
from sync.adapters.postgres.dual_write.locks import HARDLY_WAIT, lock_keys
from sync.adapters.postgres.schema.catalogue import identifier
from sync.adapters.postgres.schema.row_digest_sql import with_parameters
from sync.core.cql import CqlType
from sync.core.encode.rows import TOKEN_COLUMN, VERSION_COLUMN
from sync.core.mutations import Key
from sync.core.reads.key_order import KeyOrder
from sync.core.rows import ColumnPair, SourceColumn, TargetTable
from sync.failpoints import failpoint
from sync.ports import MAX_LOCKS

log = logging.getLogger(__name__)
_SQL = queries("dual_write/expired")
_SHARE_RANGES = queries("dual_write/reconcile")["share_ranges"].encode()
MARGIN_SECONDS = 60
"""A row is deleted this long after it has expired: what a source whose clock is behind still shows must not be missing."""
_MAX_REFUSED = 1000


class ExpiredRows:
    """Deletes the expired rows of one table, `name` in the source; `order` is its key. Raises psycopg's errors.

    A row that Postgres refuses to delete, for a foreign key of the user's, is left for good.
    """

    def __init__(self, name: str, table: TargetTable, order: KeyOrder) -> None:
        self.table, self._name = table, name
        self._partitioned = {name} if order.clustering else set[str]()  # rule 33
        found = [(key, table.column(key.name)) for key in order.columns]
        keys = tuple(ColumnPair(SourceColumn(k.name, CqlType(k.type), "clustering"), c) for k, c in found if c)
        parts: dict[str, sql.Composable] = {
            "key": with_parameters(keys),
            "target": identifier(table),
            "expiry": sql.Identifier(table.expiry),
            "token": sql.Identifier(TOKEN_COLUMN),
            "version": sql.Identifier(VERSION_COLUMN),
            "margin": sql.Literal(MARGIN_SECONDS),
            "name": sql.Literal(name),
        }
        self._candidates, self._delete = (sql.SQL(_SQL[part]).format(**parts) for part in ("candidates", "delete"))
        self._refused: set[bytes] = set()

    def delete(self, connection: Connection) -> bool:
        """Delete some expired rows; whether there may be more."""
        limit = MAX_LOCKS + len(self._refused)
        found = connection.execute(self._candidates, {"limit": limit}).fetchall()
        rows = [(bytes(key), token, place) for key, token, place in found if bytes(key) not in self._refused]
        failpoint("expired.found")
        self._delete_all(connection, rows[:MAX_LOCKS])
        return len(found) == limit and len(self._refused) < _MAX_REFUSED

    def _delete_all(self, connection: Connection, rows: Sequence[tuple[bytes, int, str]]) -> None:
        try:
            self._delete_some(connection, rows)
        except psycopg.Error as error:
            if not (refuses_row(error) or is_lock_conflict(error)):
                raise
            if len(rows) > 1:
                for row in rows:
                    self._delete_all(connection, [row])
                return
            if is_lock_conflict(error):  # by whoever holds what the row's delete needs, too: a later sweep takes it
                return
            self._refused.add(rows[0][0])
            log.warning("%s: a row that has expired stays: Postgres refuses to delete it: %s", self._name, error_text(error))

    def _delete_some(self, connection: Connection, rows: Sequence[tuple[bytes, int, str]]) -> None:
        if not rows:
            return
        keys, tokens, places = zip(*rows, strict=True)
        values: dict[str, Any] = {"keys": list(keys), "places": list(places)}
        with connection.transaction():
            connection.execute(SHARE)  # before the keys' locks
            connection.execute(HARDLY_WAIT)
            lock_keys(connection, [Key(self._name, (), key, token) for key, token, _ in rows], self._partitioned)
            connection.execute(_SHARE_RANGES, {"table": self._name, "tokens": list(tokens)})
            failpoint("expired.locked")
            connection.execute(self._delete, values)
