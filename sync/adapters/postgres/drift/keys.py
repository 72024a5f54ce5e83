"""Single keys of one table in the target: read, marked for a reconcile, given their token, shown."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import psycopg
from psycopg import sql

from sync.adapters.postgres.backfill import rejects
from sync.adapters.postgres.connection.cell import register
from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.epoch_lock import SHARE
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import error_text, is_lock_conflict, refuses_row, target_errors
from sync.adapters.postgres.dual_write.locks import HARDLY_WAIT, has_partitions, lock_keys
from sync.adapters.postgres.dual_write.parameters import Parameters
from sync.adapters.postgres.dual_write.statements import Statements, column
from sync.adapters.postgres.schema.expiry import expiry_column, moment
from sync.adapters.postgres.schema.row_digest_sql import with_parameters
from sync.core.drift.verdicts import TargetRow
from sync.core.encode.rows import RowEncoder
from sync.core.mutations import Key
from sync.core.rows import TableMap
from sync.ports import MAX_LOCKS

_SQL = queries("drift/drift")
log = logging.getLogger(__name__)


class TargetKeys:
    """Keys of one table over one connection. Every method raises TargetUnavailable if that breaks."""

    def __init__(self, connection: Connection, table: TableMap, encoder: RowEncoder) -> None:
        register(connection)
        self._connection, self._table = connection, table
        statements = Statements(table, encoder)
        self._keys, self._parameters = statements.keys, Parameters(statements, encoder)
        self._statements = statements
        self._row, self._key = with_parameters(encoder.compared), with_parameters(self._keys)
        self._moment = moment(expiry_column(encoder))
        self._names = ("key", "source_key", "token", *map(statements.parameter, self._keys))
        self._looks: dict[int, bytes] = {}

    @cached_property
    def _on_record(self) -> bytes:
        return _refused("%(source_key)s").as_bytes()

    @cached_property
    def _stamp(self) -> bytes:
        return self._statements.made(_SQL["stamp"])

    @cached_property
    def _show(self) -> bytes:
        return self._statements.made(_SQL["show"])

    @cached_property
    def _sample(self) -> bytes:
        return self._statements.made(_SQL["sample"], key=self._key, row=self._row)

    @cached_property
    def _without(self) -> bytes:
        return self._statements.made(_SQL["without_token"], key=self._key)

    @cached_property
    def _strays(self) -> bytes:
        return self._statements.made(_SQL["strays"], key=self._key)

    def look(self, keys: Sequence[Key]) -> list[TargetRow]:
        """What the target holds of each of these keys: row, version, tombstone and intents of all of them in one snapshot."""
        able = list(dict.fromkeys(key for key in keys if key.canonical))
        with target_errors():
            found = self._held(able) if able else {}
            # A key that the target cannot hold may be a recorded reject.
            return [found[key.canonical] if key.canonical else self._refused(key) for key in keys]

    def _held(self, keys: Sequence[Key]) -> dict[bytes, TargetRow]:
        values: dict[str, Any] = {"table": self._table.name}
        for i, key in enumerate(keys):
            own = self._parameters.key(key)
            values |= {f"{name}_{i}": own[name] for name in self._names}
        rows = self._connection.execute(self._look(len(keys)), values, binary=True).fetchall()
        return {bytes(key): _target_row(*held) for key, *held in rows}

    def _look(self, count: int) -> bytes:
        """The statement that reads `count` keys."""
        if count not in self._looks:
            keys = (f"({', '.join(f'%({name}_{i})s' for name in self._names)})" for i in range(count))
            same = (
                sql.SQL("t.{} = k.{}").format(column(pair.target.name), sql.SQL(self._statements.parameter(pair)))
                for pair in self._keys
            )
            self._looks[count] = self._statements.made(
                _SQL["look"],
                keys=sql.SQL(", ".join(keys)),
                names=sql.SQL(", ".join(self._names)),
                row=self._row,
                moment=self._moment,
                refused=_refused("k.source_key"),
                is_key=sql.SQL(" AND ").join(same),
            )
        return self._looks[count]

    def _refused(self, key: Key) -> TargetRow:
        packed = {"table": self._table.name, "source_key": rejects.packed(key.cells)}
        (refused,) = self._connection.execute(self._on_record, packed).fetchone() or (None,)
        return TargetRow(refused=refused)

    def request_recheck(self, keys: Sequence[Key]) -> None:
        """Leave a finished intent for each key, so that it is reconciled whatever happens to this process."""
        values = {
            "table": self._table.name,
            "keys": [k.canonical for k in keys],
            "tokens": [k.token for k in keys],
            "source_keys": [rejects.packed(k.cells) for k in keys],
        }
        with target_errors(), self._connection.transaction():
            self._connection.execute(SHARE)
            self._connection.execute(_SQL["recheck"].encode(), values)

    def without_token(self, limit: int, offset: int) -> list[bytes]:
        """Canonical keys of rows that have no token."""
        with target_errors():
            found = self._connection.execute(self._without, {"limit": limit, "offset": offset}, binary=True)
            return [bytes(row[0]) for row in found.fetchall()]

    def strays(self, limit: int) -> dict[bytes, bool]:
        """Canonical keys of rows that have no token, and whether they have intents, in one snapshot."""
        with target_errors():
            found = self._connection.execute(self._strays, {"table": self._table.name, "limit": limit}, binary=True)
            return {bytes(key): announced for key, announced in found.fetchall()}

    def sample(self, token: int, limit: int) -> dict[bytes, bytes | None]:
        """Some rows after a token, and, if there are too few, from the beginning of the ring on: canonical key to row.

        A row of which there are intents, which may be changing, is None.
        """
        values = {"table": self._table.name, "after": token, "limit": limit}
        with target_errors():
            found = self._connection.execute(self._sample, values, binary=True)
            return {bytes(key): None if intents else bytes(row) for key, row, intents in found.fetchall()}

    def stamp(self, keys: Sequence[Key]) -> int:
        """Give rows the token of their key; returns how many changed. A row that Postgres refuses stays as it is."""
        parts = (keys[at : at + MAX_LOCKS] for at in range(0, len(keys), MAX_LOCKS))
        with target_errors():
            return sum(self._stamped(part) for part in parts)

    def _stamped(self, keys: Sequence[Key]) -> int:
        try:
            with self._connection.transaction():
                self._connection.execute(HARDLY_WAIT)
                lock_keys(self._connection, keys, {self._table.name} if has_partitions(self._table) else ())
                return sum(self._connection.execute(self._stamp, self._parameters.key(key)).rowcount for key in keys)
        except psycopg.Error as error:
            if not (refuses_row(error) or is_lock_conflict(error)):  # a trigger refuses, for one
                raise
            if len(keys) > 1:
                return sum(self._stamped([key]) for key in keys)
            why = "another session holds it" if is_lock_conflict(error) else "Postgres refuses to change it"
            log.warning("%s: a row keeps its token, or has none: %s: %s", self._table.name, why, error_text(error))
            return 0

    def show(self, key: Key) -> dict[str, Any] | None:
        """The target's row as JSON, None if there is none."""
        with target_errors():
            row = self._connection.execute(self._show, self._parameters.key(key)).fetchone()
        return dict(row[0]) if row else None


def _refused(source_key: str) -> sql.Composed:
    """SQL for what is recorded of this key: whether Postgres itself refused its row."""
    return sql.SQL(_SQL["refused"]).format(source_key=sql.SQL(source_key))


def _target_row(
    data: bytes | None, version: int | None, tombstone: int | None, intents: bool, refused: bool | None, expiry: int | None
) -> TargetRow:
    return TargetRow(None if data is None else bytes(data), version, tombstone, intents, refused, expiry)
