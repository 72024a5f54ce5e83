"""Deletes of a partition, or of a range of one: one intent, one tombstone and one lock each (rules 33 to 38)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from psycopg import sql

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.epoch_lock import NOT_OWN, SHARE, share_epoch
from sync.adapters.postgres.connection.pool import Pool
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import target_errors
from sync.adapters.postgres.dual_write.breaker import Breaker
from sync.adapters.postgres.dual_write.journal import Journal, Writer, answered, refusing, rejecting, stamping
from sync.adapters.postgres.dual_write.locks import lock_partition
from sync.adapters.postgres.dual_write.parameters import Parameters, connection_of
from sync.adapters.postgres.dual_write.reverse import ReverseJournal
from sync.adapters.postgres.dual_write.statements import Statements, column
from sync.adapters.postgres.schema.key_order import comparison
from sync.adapters.postgres.schema.row_digest_sql import with_parameters
from sync.core.encode.base import Reject
from sync.core.encode.rows import RowEncoder
from sync.core.mutations import Key, Mutation, PendingDelete, pack_cells, unpack_cells, unpack_key
from sync.core.reads.key_order import target_key_order
from sync.core.rows import TableMap
from sync.core.versions import MAX_STAMPED, UNREPEATABLE_WINDOW_SECONDS
from sync.errors import WriteRefused
from sync.failpoints import failpoint
from sync.ports import Intent

_SQL, _JOURNAL, _REVERSE = (queries(f"dual_write/{name}") for name in ("partitions", "journal", "reverse"))
_OLDER = queries("dual_write/writers")["older"].encode()
_SHARE_RANGE = _JOURNAL["share_range"].encode()
DUE_DELETES = sql.SQL(_SQL["due"]).format(is_due=sql.SQL(_JOURNAL["is_due"])).as_bytes()
_REJECTED, _RECHECK = _SQL["rejected"].encode(), _SQL["recheck"].encode()
_END = "\x00"  # stands for a placeholder in a statement whose percent signs are written twice


class PartitionStatements:
    """The statements for one table's deletes, made for each shape: how many columns are equal, and the ends of the range."""

    def __init__(self, table: TableMap, encoder: RowEncoder) -> None:
        self._table, self._statements = table, Statements(table, encoder)
        self.parameters = Parameters(self._statements, encoder)
        self._made: dict[tuple[str, int, tuple[str, ...]], bytes] = {}

    def covered(self, mutation: Mutation) -> sql.SQL:
        """Whether a row is deleted. Raises QueryNotSupported if Postgres does not order the column as Cassandra does."""
        count = len(mutation.key.cells)
        terms = [
            f"t.{column(p.target.name).as_string()} = %({self._statements.parameter(p)})s"
            for p in self._statements.keys[:count]
        ]
        for at, operator in enumerate(mutation.cells):
            ranged = target_key_order(self._table).columns[count]
            term = comparison(self._table.target, ranged, operator, sql.SQL(_END)).as_string()
            terms.append(term.replace("%", "%%").replace(_END, f"%(b_{at})s"))
        return sql.SQL(" AND ".join(terms))

    def named(self, name: str, mutation: Mutation) -> bytes:
        """A statement for writes of this one's shape: `open`, `half`, `delete` or `announce`."""
        shape = name, len(mutation.key.cells), tuple(mutation.cells)
        if shape not in self._made:
            self._made[shape] = self._make(name, self.covered(mutation))
        return self._made[shape]

    def _make(self, name: str, covered: sql.SQL) -> bytes:
        most = sql.Literal(MAX_STAMPED)
        stamped = sql.SQL(self._statements.made(_SQL["stamped"], covered=covered).decode())
        allowed, made = (sql.SQL(_REVERSE[part]).format(most=most) for part in ("allowed", "made"))
        parts = {"stamped": stamped, "covered": covered, "allowed": allowed, "made": made}
        key = with_parameters(self._statements.keys)
        texts = {**_SQL, "open": _JOURNAL["open"], "announce": _REVERSE["announce"]}
        return self._statements.made(texts[name], key=key, **parts)


class PartitionJournal(Journal):
    """The journal of a table's deletes of partitions, while the source is primary."""

    def __init__(self, pool: Pool, table: TableMap, encoder: RowEncoder, writer: Writer, breaker: Breaker) -> None:
        super().__init__(pool, table, encoder, writer, breaker)
        self._partitions, self._encoder = PartitionStatements(table, encoder), encoder

    def check(self, mutation: Mutation) -> None:
        """Raise QueryNotSupported for what Postgres cannot delete with one statement."""
        self._partitions.covered(mutation)

    def open(self, mutation: Mutation, above: int = 0) -> Intent:
        """Stamp a delete above all that is known of its partition, and commit its intent. Raises as Journal.open.

        WriteRefused also while a writer is registered that knows no such deletes.
        """
        statement = self._partitions.named("open", mutation)
        values = _values(self._partitions, mutation) | stamping(self._writer, above)
        with (
            refusing(self._table.name),
            self._breaker.connection(self._pool) as connection,
            answered(),
            connection.transaction(),
        ):
            share_epoch(connection)
            _refuse_older(self._table.name, connection.execute(_OLDER).fetchone())
            row = connection.execute(statement, values).fetchone()
        return self.announced(mutation.key, row)

    def announcement(self, key: Key) -> tuple[bytes, dict[str, Any]]:
        """The statement, with its values, that opens the intent of a call that writes this partition (rule 47)."""
        return _announcement(self._partitions, "open", key, self._writer)

    def write(self, mutation: Mutation, intent: Intent) -> bool:
        """The target's half: rows go that are no newer than the delete, the tombstone stays, the intent ends (rule 36).

        Returns True; if the intent is gone, nothing is done. Raises Reject for a value that the target cannot hold.
        """
        values = self._partitions.parameters.partition(mutation) | {"intent": intent.id}
        with self._breaker.connection(self._pool) as connection, rejecting(), connection.transaction():
            connection.execute(SHARE)
            connection.execute(_SHARE_RANGE, values)
            lock_partition(connection, mutation.key)
            if connection.execute(self._partitions.named("half", mutation), values).fetchone() == (True,):
                self._recheck_rejected(connection, mutation.key, intent)
            failpoint("partition.before_commit")
        return True

    def _recheck_rejected(self, connection: Connection, key: Key, intent: Intent) -> None:
        """Leave a recheck of each of the partition's rejects: of a row that is gone, there is none."""
        found = [bytes(row[0]) for row in connection.execute(_REJECTED, {"table": key.table, "token": key.token})]
        keys: dict[bytes, bytes] = {}
        for source_key in found:
            with suppress(Reject):  # a key that the target cannot hold has no reconcile
                keys[self._encoder.canonical_key(unpack_key(source_key))] = source_key
        if keys:
            more = {
                "version": intent.version,
                "owner": self._writer.id,
                "keys": list(keys),
                "source_keys": list(keys.values()),
            }
            connection.execute(_RECHECK, {"table": key.table, "token": key.token, **more})

    def due_deletes(self, epoch: int, owner: str, lease_seconds: float) -> list[PendingDelete]:
        """Deletes of this epoch to work on, now leased to this owner, and claimed (rule 37)."""
        values = {
            "table": self._table.name,
            "epoch": epoch,
            "owner": owner,
            "lease": lease_seconds,
            "writer_lease": self._writer.lease_seconds,
            "window": UNREPEATABLE_WINDOW_SECONDS,
        }
        with self._intents() as connection:
            rows = connection.execute(DUE_DELETES, values).fetchall()
        return [
            PendingDelete(_mutation(self._table.name, key, token, packed), number, version, state == "finished")
            for number, version, state, key, token, packed in rows
        ]


class PartitionReverse(ReverseJournal):
    """Deletes of one table's partitions while Postgres is primary."""

    def __init__(self, pool: Pool, table: TableMap, encoder: RowEncoder, writer: Writer) -> None:
        super().__init__(pool, table, encoder, writer)
        self._partitions = PartitionStatements(table, encoder)

    def write(self, mutation: Mutation) -> Intent | None:
        """Delete the rows, and commit tombstone and intent with them (rule 38). Raises as ReverseJournal.write."""
        with connection_of(self._pool) as connection, answered(), rejecting(), connection.transaction():
            share_epoch(connection)
            found = self._deleted(connection, mutation)
            failpoint("reverse.before_commit")
        return self._intent(mutation.key, found)

    def announcement(self, key: Key) -> tuple[bytes, dict[str, Any]]:
        """The same as PartitionJournal's."""
        return _announcement(self._partitions, "announce", key, self._writer)

    def write_within(self, connection: Connection, mutation: Mutation, only_new: bool = False) -> Intent | None:
        """As `write`, in the caller's transaction, which holds the epoch. Raises as ReverseJournal.write_within."""
        with target_errors(), rejecting():
            connection.execute(SHARE)  # rule 20; held already, unless the application's SQL has ended the first hold
            found = self._deleted(connection, mutation)
            connection.execute(NOT_OWN)  # what follows may be the application's own SQL (rule 44)
            return self._intent(mutation.key, found)

    def _deleted(self, connection: Connection, mutation: Mutation) -> tuple[Any, ...] | None:
        statement = self._partitions.named("delete", mutation)
        values = _values(self._partitions, mutation) | stamping(self._writer)
        _refuse_older(self._table.name, connection.execute(_OLDER).fetchone())
        lock_partition(connection, mutation.key)
        return connection.execute(statement, values).fetchone()


def _values(partitions: PartitionStatements, mutation: Mutation) -> dict[str, Any]:
    packed = pack_cells(mutation.key.cells, mutation.cells)
    return partitions.parameters.partition(mutation) | {"kind": mutation.kind, "mutation": packed}


def _announcement(partitions: PartitionStatements, name: str, key: Key, writer: Writer) -> tuple[bytes, dict[str, Any]]:
    mutation = Mutation("recheck_partition", key, {})
    values = partitions.parameters.partition(mutation) | {"kind": mutation.kind, "mutation": None}
    return partitions.named(name, mutation), values | stamping(writer)


def _mutation(table: str, key: bytes, token: int, packed: bytes) -> Mutation:
    cells, ends = unpack_cells(bytes(packed))
    return Mutation("delete_partition", Key(table, cells, bytes(key), token), ends)


def _refuse_older(table: str, row: Sequence[int] | None) -> None:
    if row and row[0]:
        raise WriteRefused(
            f"{table}: {row[0]} writers are of an older version, which knows no deletes of partitions: end them first "
            "(`sync writers` lists them)"
        )
