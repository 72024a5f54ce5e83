"""Rechecks of partitions, expanded to rechecks of keys: each method is one transaction (rule 46)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from psycopg import sql

from sync.adapters.postgres.backfill import rejects
from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.epoch_lock import share_epoch
from sync.adapters.postgres.connection.pool import Pool
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.dual_write.locks import has_partitions, lock_partition
from sync.adapters.postgres.dual_write.partitions import PartitionStatements
from sync.adapters.postgres.dual_write.reconcile import connection_for_keys
from sync.adapters.postgres.dual_write.statements import Statements, column
from sync.adapters.postgres.schema.row_digest_sql import with_parameters
from sync.core.encode.base import Reject
from sync.core.encode.rows import CheckedRow, Issue, RowEncoder
from sync.core.mutations import Key, Mutation, PendingRecheck, pack_key, unpack_key
from sync.core.rows import TableMap
from sync.core.versions import MAX_STAMPED, UNREPEATABLE_WINDOW_SECONDS
from sync.errors import LeaseLost, TargetBusy
from sync.failpoints import failpoint

_TEXTS = queries("capture/partitions")
_SQL = {name: text.encode() for name, text in _TEXTS.items()}
_JOURNAL = queries("dual_write/journal")
_DUE = sql.SQL(_TEXTS["due"]).format(is_due=sql.SQL(_JOURNAL["is_due"]), most=sql.Literal(MAX_STAMPED)).as_bytes()
_REMOVE = sql.SQL(_TEXTS["remove"]).format(late=sql.SQL(_JOURNAL["late"])).as_bytes()
_OLDER = queries("dual_write/writers")["older"].encode()
_SHARE_RANGE = _JOURNAL["share_range"].encode()
_PAGE_ROWS = 2000


class PartitionRechecks:
    """Those of one table, as worker `owner`. Every method raises TargetUnavailable, and EpochChanged during a switch."""

    def __init__(self, pool: Pool, table: TableMap, encoder: RowEncoder, lease: float, epoch: int) -> None:
        self._pool, self._table, self._encoder, self._lease, self._epoch = pool, table, encoder, lease, epoch
        self._statements = Statements(table, encoder)
        self._partitions = PartitionStatements(table, encoder)
        self._width = len(table.source.partition_key)
        self._pages: dict[bool, bytes] = {}

    @property
    def has_partitions(self) -> bool:
        """Whether a partition of the table may hold several rows; else there are no such rechecks."""
        return has_partitions(self._table)

    def due(self, owner: str) -> list[PendingRecheck]:
        """What is to be rechecked now, leased to this owner: each partition once, with what all its events tell at most."""
        values = {
            "table": self._table.name, "epoch": self._epoch, "owner": owner, "lease": self._lease,
            "writer_lease": self._lease, "window": UNREPEATABLE_WINDOW_SECONDS,
        }  # fmt: skip
        with connection_for_keys(self._pool) as connection:
            rows = connection.execute(_DUE, values).fetchall()
        found: dict[bytes, list[tuple[Any, ...]]] = {}
        for row in rows:
            found.setdefault(bytes(row[1]), []).append(row)
        return [
            PendingRecheck(
                Key(self._table.name, unpack_key(bytes(some[0][2])), canonical, some[0][3]),
                tuple(row[0] for row in some), max(row[4] for row in some), owner, some[0][5], tuple(row[6] for row in some),
            )
            for canonical, some in found.items()
        ]  # fmt: skip

    def bury(self, due: PendingRecheck) -> None:
        """Leave the partition's tombstone, with its lock alone, and the range's (rules 9, 33 and 34)."""
        with self._held(due) as connection:
            row = connection.execute(_OLDER).fetchone()
            if row and row[0]:
                raise TargetBusy(f"{row[0]} writers are of an older version, which knows no partitions: end them first")
            connection.execute(_SHARE_RANGE, {"table": self._table.name, "token": due.key.token})
            lock_partition(connection, due.key)
            connection.execute(_SQL["bury"], self._values(due))
            failpoint("partition_recheck.before_commit")

    def leave(self, due: PendingRecheck, keys: Sequence[tuple[bytes, ...]]) -> None:
        """Leave rechecks of these keys of the source; one that the target cannot hold is a reject."""
        made: dict[bytes, bytes] = {}
        refused: list[CheckedRow] = []
        for cells in keys:
            try:
                made[self._encoder.canonical_key(cells)] = pack_key(cells)
            except Reject as reject:
                issue = Issue("", f"a key that Postgres cannot hold: {reject}", "reject")
                refused.append(CheckedRow(due.key.token, cells, None, (issue,)))
        with self._held(due) as connection:
            if made:
                more = {"keys": list(made), "source_keys": list(made.values())}
                connection.execute(_SQL["leave"], {**self._values(due), **more})
            for row in refused:
                rejects.record(connection, self._table, 0, row)

    def leave_target(self, due: PendingRecheck, after: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """Leave rechecks of the target's next rows, behind `after`; the last one's place, None: there are no more."""
        places = {f"after_{i}": text for i, text in enumerate(after or ())}
        parameters = self._partitions.parameters.partition(self._mutation(due))
        values = {**parameters, **self._values(due), **places, "most": _PAGE_ROWS}
        with self._held(due) as connection:
            row = connection.execute(self._page(after is None), values).fetchone()
        return None if row is None else tuple(row)

    def remove(self, due: PendingRecheck) -> None:
        """All keys have rechecks of their own. What could not be repeated invalidates the proof (rule 17)."""
        with connection_for_keys(self._pool) as connection:
            connection.execute(_REMOVE, self._values(due))

    def failed(self, due: PendingRecheck, error: str) -> None:
        """Record that it could not be expanded; it is tried again, later each time."""
        with connection_for_keys(self._pool) as connection:
            connection.execute(_SQL["failed"], {**self._values(due), "error": error[:1000]})

    def _values(self, due: PendingRecheck) -> dict[str, Any]:
        return {
            "table": self._table.name, "token": due.key.token, "version": due.version, "owner": due.told_by,
            "intents": list(due.intents), "states": list(due.states), "worker": due.worker, "lease": self._lease,
        }  # fmt: skip

    @contextmanager
    def _held(self, due: PendingRecheck) -> Iterator[Connection]:
        """A transaction that holds the epoch (rule 20). Raises LeaseLost if it is not as it was picked."""
        with connection_for_keys(self._pool) as connection, connection.transaction():
            share_epoch(connection)
            if connection.execute(_SQL["renew"], self._values(due)).rowcount != len(due.intents):
                raise LeaseLost(
                    f"{self._table.name}: another worker rechecks this partition, or a call that writes it has ended"
                )
            yield connection

    def _mutation(self, due: PendingRecheck) -> Mutation:
        return Mutation("recheck_partition", due.key, {})

    def _page(self, is_first: bool) -> bytes:
        if is_first not in self._pages:
            pairs = self._statements.keys[self._width :]
            names = [column(pair.target.name).as_string() for pair in pairs]
            ends = ", ".join(f"%(after_{i})s::{pair.target.type}" for i, pair in enumerate(pairs))
            after = "true" if is_first else f"({', '.join(f't.{name}' for name in names)}) > ({ends})"
            whole = Mutation("recheck_partition", Key("", (b"",) * self._width, b"", 0), {})
            parts = {
                "key": with_parameters(self._statements.keys),
                "covered": self._partitions.covered(whole),
                "places": sql.SQL(", ".join(f"t.{name} AS place_{i}" for i, name in enumerate(names))),
                "order": sql.SQL(", ".join(f"t.{name}" for name in names)),
                "texts": sql.SQL(", ".join(f"place_{i}::text" for i in range(len(names)))),
                "reverse_order": sql.SQL(", ".join(f"place_{i} DESC" for i in range(len(names)))),
                "after": sql.SQL(after),
            }
            self._pages[is_first] = self._statements.made(_TEXTS["leave_target"], **parts)
        return self._pages[is_first]
