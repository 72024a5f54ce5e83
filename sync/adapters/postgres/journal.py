"""Intents and guarded writes of one table in Postgres: each method is one transaction (rules 1 to 15)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import psycopg
from psycopg.adapt import Transformer
from psycopg.pq import Format
from psycopg_pool import PoolTimeout

from sync.adapters.postgres import rejects
from sync.adapters.postgres.cell import Cell
from sync.adapters.postgres.connect import Connection
from sync.adapters.postgres.pool import Pool
from sync.adapters.postgres.queries import queries
from sync.adapters.postgres.statements import Statements
from sync.core.encode.base import Encoder, Reject
from sync.core.encode.rows import CheckedRow, Issue, RowEncoder, encode_cell
from sync.core.mutations import Key, Mutation, pack_cells, unpack_cells
from sync.core.rows import TableMap
from sync.core.versions import reconciled
from sync.errors import EpochChanged, TargetUnavailable
from sync.ports import Intent, Picked

_SQL = queries("journal")


@dataclass(frozen=True, slots=True)
class Writer:
    """Who stamps: its id, its slot in the versions' low digits, and how far ahead of Postgres's clock it may stamp."""

    id: str
    slot: int
    skew_us: int
    lease_seconds: float


class Journal:
    """The journal of one table. Every method raises TargetUnavailable where Postgres cannot be reached in time."""

    def __init__(self, pool: Pool, table: TableMap, encoder: RowEncoder, writer: Writer) -> None:
        self._pool, self._table, self._writer = pool, table, writer
        self._statements = Statements(table, encoder)
        self._encoders: dict[str, Encoder] = {p.source.name: e for p, e in zip(encoder.pairs, encoder.encoders, strict=True)}

    @property
    def table(self) -> str:
        """The table's name."""
        return self._table.name

    def open(self, mutation: Mutation) -> Intent:
        """Stamp a write and commit its intent. Raises EpochChanged where the source is not primary, or is closing."""
        values = {
            **self._key(mutation.key),
            "kind": mutation.kind,
            "clock": time.time_ns() // 1000,
            "slot": self._writer.slot,
            "skew": self._writer.skew_us,
            "owner": self._writer.id,
            "mutation": pack_cells(mutation.key.cells, mutation.cells),
        }
        with self._connection() as connection:
            row = connection.execute(self._statements.open, values).fetchone()
        assert row is not None, "sync.epoch is empty"
        made, version, epoch, primary, state, ahead = row
        if made is None:
            if primary == "astra" and state == "open":
                raise TargetUnavailable(f"this host's clock is {ahead / 1e6:.1f} s ahead of Postgres's; correct it")
            raise EpochChanged(f"epoch {epoch}: {primary} is primary, {state}")
        return Intent(made, version, epoch)

    def write(self, mutation: Mutation, intent: Intent) -> bool:
        """The target's half of a write, guarded, together with the end of its intent; whether it was accepted.

        Raises Reject for a value that the target cannot hold.
        """
        statement, cells = self._guarded(mutation)
        values = {**self._key(mutation.key), **cells, "intent": intent.id, "version": intent.version}
        with self._connection() as connection, _rejecting(), connection.transaction():
            with connection.pipeline():
                connection.execute(_SQL["lock_key"].encode(), {"lock": lock_of(mutation.key)})
                if mutation.kind == "delete":
                    connection.execute(_SQL["share_range"].encode(), self._key(mutation.key))
                found = connection.execute(statement, values)
            return found.fetchone() == (True,)

    def _guarded(self, mutation: Mutation) -> tuple[Any, dict[str, Any]]:
        if mutation.kind == "put":
            return self._statements.put, self._row(mutation.key, mutation.cells)
        if mutation.kind == "delete":
            return self._statements.delete, {}
        given = [p for p in self._statements.others if p.source.name in mutation.cells]
        return self._statements.update(given), self._row(mutation.key, mutation.cells)

    def mark(self, intent: Intent, state: Literal["finished", "unsure"], error: str) -> None:
        """Record that the second half of a write is left to reconciliation."""
        with self._connection() as connection:
            connection.execute(_SQL["mark"].encode(), {"intent": intent.id, "state": state, "error": error[:1000]})

    def withdraw(self, intent: Intent) -> bool:
        """Take back the intent of a write that the primary refused; False where a reconcile has claimed it meanwhile."""
        with self._connection() as connection:
            found = connection.execute(_SQL["withdraw"].encode(), {"intent": intent.id})
            return found.rowcount == 1

    def pick(self, key: Key) -> Picked | None:
        """Claim the key's intents and remember what the target knows (rule 15a); None where there is nothing to do."""
        with self._connection() as connection, connection.transaction():
            connection.execute(_SQL["lock_key"].encode(), {"lock": lock_of(key)})
            rows = connection.execute(
                _SQL["pick"].encode(), {**self._key(key), "writer_lease": self._writer.lease_seconds}
            ).fetchall()
            if not rows:
                return None
            ids = [row[0] for row in rows]
            connection.execute(_SQL["claim"].encode(), {"intents": ids})
            row_version, tombstone = self._known(connection, key)
        replay = tuple((self._mutation(row, key), row[2]) for row in rows if row[1] != "finished" and row[4] is not None)
        return Picked(tuple(ids), replay, max(row[2] for row in rows), row_version, tombstone)

    def settle(self, key: Key, picked: Picked, cells: dict[str, bytes | None] | None, read_version: int) -> bool:
        """Make the target equal to what was read and remove the intents (rule 15d); False where the key has changed."""
        with self._connection() as connection, connection.transaction():
            connection.execute(_SQL["lock_key"].encode(), {"lock": lock_of(key)})
            connection.execute(_SQL["share_range"].encode(), self._key(key))
            if self._known(connection, key) != (picked.row_version, picked.tombstone):
                return False
            bound = max(picked.row_version or 0, picked.tombstone or 0)
            version = reconciled(read_version, picked.newest, bound)
            self._apply(connection, key, cells, version)
            connection.execute(_SQL["remove"].encode(), {"intents": list(picked.intents)})
        return True

    def due(self, owner: str, limit: int, lease_seconds: float) -> list[tuple[bytes, bytes | None]]:
        """Keys with intents to work on, now leased to this owner: canonical bytes, and a mutation that holds the raw key."""
        values = {
            "table": self._table.name,
            "owner": owner,
            "limit": limit,
            "lease": lease_seconds,
            "writer_lease": self._writer.lease_seconds,
        }
        with self._connection() as connection:
            rows = connection.execute(_SQL["due"].encode(), values).fetchall()
        keys: dict[bytes, bytes | None] = {}
        for key, _token, mutation, _kind in rows:
            keys[bytes(key)] = keys.get(bytes(key)) or (bytes(mutation) if mutation is not None else None)
        return list(keys.items())

    def failed(self, key: bytes, error: str) -> None:
        """Record that a key could not be reconciled; it is tried again, later each time."""
        with self._connection() as connection:
            connection.execute(_SQL["failed"].encode(), {"table": self._table.name, "key": key, "error": error[:1000]})

    def key_values(self, canonical: bytes) -> list[Any]:
        """The key's values as Python objects, from its canonical bytes."""
        values, at = [], 0
        transformer = Transformer()
        for pair in self._statements.keys:
            length = int.from_bytes(canonical[at : at + 4], "big")
            cell = canonical[at + 4 : at + 4 + length]
            values.append(transformer.get_loader(pair.target.type.oid, Format.BINARY).load(cell))
            at += 4 + length
        return values

    def _apply(self, connection: Connection, key: Key, cells: dict[str, bytes | None] | None, version: int) -> None:
        values = {**self._key(key), "version": version}
        if cells is not None:
            try:
                with connection.transaction():
                    connection.execute(self._statements.set_row, {**values, **self._row(key, cells)})
                return
            except (Reject, psycopg.DataError, psycopg.IntegrityError) as error:
                self._record(connection, key, error)
        connection.execute(self._statements.set_absent, values)

    def _record(self, connection: Connection, key: Key, error: Reject | psycopg.Error) -> None:
        """What the primary has and the target cannot hold is a reject; the target keeps no older row in its place."""
        reason = str(error) if isinstance(error, Reject) else error.diag.message_primary
        issue = Issue("", reason or type(error).__name__, "reject")
        row = CheckedRow(key.token, key.cells, None, (issue,))
        rejects.record(connection, self._table, 0, row)

    def _known(self, connection: Connection, key: Key) -> tuple[int | None, int | None]:
        row = connection.execute(self._statements.known, self._key(key)).fetchone()
        return (row[0], row[1]) if row else (None, None)

    def _mutation(self, row: tuple[Any, ...], key: Key) -> Mutation:
        _, cells = unpack_cells(bytes(row[4]))
        return Mutation(row[3], key, cells)

    def _key(self, key: Key) -> dict[str, Any]:
        values: dict[str, Any] = {"table": key.table, "key": key.canonical, "token": key.token}
        for pair, cell in zip(self._statements.keys, key.cells, strict=True):
            values[self._statements.parameter(pair)] = self._cell(pair.source.name, cell, pair.target.type.oid)
        return values

    def _row(self, key: Key, cells: Any) -> dict[str, Any]:
        named = self._key(key)
        for pair in self._statements.others:
            name = pair.source.name
            named[self._statements.parameter(pair)] = self._cell(name, cells.get(name), pair.target.type.oid)
        return named

    def _cell(self, name: str, cell: bytes | None, oid: int) -> Cell | None:
        encoder = self._encoders[name]
        if cell is None or (not cell and encoder.empty_is_null):
            return None
        return Cell(encode_cell(encoder, cell), oid)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        try:
            with self._pool.connection() as connection:
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise TargetUnavailable(" ".join(str(error).split())) from None


@contextmanager
def _rejecting() -> Iterator[None]:
    try:
        yield
    except (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProtocolViolation) as error:
        raise Reject(f"Postgres refuses it: {error.diag.message_primary}") from None


def lock_of(key: Key) -> int:
    """The number of the key's advisory lock; two keys may share one, which costs a wait and no more."""
    digest = blake2b(key.table.encode() + b"\x00" + key.canonical, digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
