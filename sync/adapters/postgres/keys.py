"""Single keys of one table in the target: looked at, marked for a reconcile, stamped with their token, shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from psycopg import sql

from sync.adapters.postgres import rejects
from sync.adapters.postgres.cell import register
from sync.adapters.postgres.connect import Connection
from sync.adapters.postgres.digest import with_parameters
from sync.adapters.postgres.digests import key_values
from sync.adapters.postgres.ledger import target_errors
from sync.adapters.postgres.parameters import Parameters, lock_of
from sync.adapters.postgres.queries import queries
from sync.adapters.postgres.statements import Statements
from sync.core.encode.rows import RowEncoder
from sync.core.mutations import Key
from sync.core.rows import TableMap
from sync.core.verdicts import TargetRow

_SQL = queries("drift")
_LOCK_KEYS = queries("settling")["lock_keys"].encode()


class TargetKeys:
    """Keys of one table over one connection. Every method raises TargetUnavailable where that breaks."""

    def __init__(self, connection: Connection, table: TableMap, encoder: RowEncoder) -> None:
        register(connection)
        self._connection, self._table = connection, table
        statements = Statements(table, encoder)
        self._keys, self._parameters = statements.keys, Parameters(statements, encoder)
        refused = sql.SQL(_SQL["refused"])
        self._look = statements.made(_SQL["look"], row=with_parameters(encoder.pairs), refused=refused)
        self._stamp = statements.made(_SQL["stamp"])
        self._show = statements.made(_SQL["show"])
        self._sample = statements.made(_SQL["sample"], key=with_parameters(self._keys))
        self._without = statements.made(_SQL["without_token"], key=with_parameters(self._keys))

    def look(self, keys: Sequence[Key]) -> list[TargetRow]:
        """What the target holds of each of these keys: row, version, tombstone and intents of a key in one snapshot."""
        with target_errors(), self._connection.pipeline():
            asked = [self._ask(key) for key in keys]
            return [_target_row(cursor.fetchone() or ()) for cursor in asked]

    def _ask(self, key: Key) -> psycopg.Cursor[tuple[Any, ...]]:
        packed = {"table": self._table.name, "source_key": rejects.packed(key.cells)}
        if not key.canonical:  # it cannot be in the target, but may be on record
            return self._connection.execute(_SQL["refused"].encode(), packed)
        return self._connection.execute(self._look, {**self._parameters.key(key), **packed}, binary=True)

    def request_recheck(self, keys: Iterable[Key]) -> None:
        """Leave a finished intent for each key, so that a reconcile takes it up whatever becomes of this process."""
        with target_errors(), self._connection.transaction():
            for key in keys:
                values = {"table": key.table, "key": key.canonical, "token": key.token}
                self._connection.execute(_SQL["recheck"].encode(), values)

    def without_token(self, limit: int, offset: int) -> list[bytes]:
        """Canonical keys of rows that have no token."""
        with target_errors():
            found = self._connection.execute(self._without, {"limit": limit, "offset": offset}, binary=True)
            return [bytes(row[0]) for row in found.fetchall()]

    def sample(self, token: int, limit: int) -> list[bytes]:
        """Canonical keys of rows behind a token."""
        with target_errors():
            found = self._connection.execute(self._sample, {"after": token, "limit": limit}, binary=True)
            return [bytes(row[0]) for row in found.fetchall()]

    def stamp(self, keys: Sequence[Key]) -> int:
        """Give rows the token that their key has; how many had another or none."""
        with target_errors(), self._connection.transaction():
            self._connection.execute(_LOCK_KEYS, {"locks": sorted({lock_of(key) for key in keys})})  # rule 5
            return sum(self._connection.execute(self._stamp, self._parameters.key(key)).rowcount for key in keys)

    def values(self, canonical_key: bytes) -> list[Any]:
        """A key's values as Python objects. Raises ValueError for what Python has no value of."""
        return key_values(self._keys, canonical_key)

    def show(self, key: Key) -> dict[str, Any] | None:
        """The target's row as JSON, None where there is none."""
        with target_errors():
            row = self._connection.execute(self._show, self._parameters.key(key)).fetchone()
        return dict(row[0]) if row else None


def _target_row(row: tuple[Any, ...]) -> TargetRow:
    if len(row) == 1:
        return TargetRow(refused=row[0])
    data, version, tombstone, intents, refused = row
    return TargetRow(None if data is None else bytes(data), version, tombstone, intents, refused)
