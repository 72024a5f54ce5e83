"""Loads a batch into Postgres: encode, COPY, merge (rules 18 and 19), rejects and checkpoint, in one transaction.

Three paths, tried in this order:
1. direct: COPY into the table itself. Correct if the range holds no tombstone and no intent, and no key is there yet.
2. merged: COPY into a temporary stage, then insert the keys that have no row, no tombstone and no intent.
3. checked: after a value was refused, rows are encoded one by one, refused ones recorded, the others merged.
docs/decisions/0003-direct-copy.md says why path 1 is as safe as path 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import errors, sql

from sync.adapters.postgres.backfill import rejects
from sync.adapters.postgres.backfill.merge import Merge
from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.epoch_lock import SHARE_AS_OWN
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import error_text, refuses_row, target_errors
from sync.adapters.postgres.schema.catalogue import identifier
from sync.core.encode.row_times import AheadRow
from sync.core.encode.rows import COPY_HEADER, COPY_TRAILER, ENCODE_ERRORS, CheckedRow, Issue, RowEncoder
from sync.core.mutations import pack_key, unpack_key
from sync.core.rows import TableMap
from sync.errors import LeaseLost, PreflightError
from sync.failpoints import failpoint
from sync.ports import Batch, Lease

_SQL = queries("backfill/ranges")
_CHUNK = 1 << 17
_FEW = 1000
REFUSALS = (psycopg.DataError, psycopg.IntegrityError, errors.ProgramLimitExceeded, errors.ProtocolViolation)
"""What Postgres raises for a row it cannot hold; ProtocolViolation is a cell too short for its type."""


SourceKeys = Callable[[], Mapping[bytes, bytes]]
NoteAhead = Callable[[Sequence[AheadRow]], None]
"""Records rows that were written ahead of the clock."""


@dataclass(slots=True)
class Counts:
    """What became of a batch's rows; read = written + stale + rejected."""

    written: int = 0
    stale: int = 0
    rejected: int = 0


class Loader:
    """Loads batches of one table over one connection."""

    def __init__(
        self,
        connection: Connection,
        table: TableMap,
        encoder: RowEncoder,
        lease_seconds: int,
        note_ahead: NoteAhead | None = None,
    ) -> None:
        self._connection, self._table, self._encoder, self._note_ahead = connection, table, encoder, note_ahead
        self._lease_seconds = lease_seconds
        self._merge = Merge(connection, table, encoder)
        self._direct = self._copy_statement(identifier(table.target))
        self._staged = self._copy_statement(sql.Identifier("pg_temp", self._merge.stage))

    def load(self, lease: Lease, batch: Batch) -> bool:
        """Load a batch and its checkpoint; returns whether to go on. Raises LeaseLost, PreflightError, TargetUnavailable."""
        pieces, ahead = self._encode(batch)
        if ahead and self._note_ahead:  # before the checkpoint that says that this batch was looked at
            self._note_ahead(ahead)
        failpoint("backfill.encoded")
        try:
            with self._connection.transaction():
                counts, stop = self._load(lease, batch, pieces)
                failpoint("backfill.before_commit")
        except REFUSALS:
            raise  # some of these count as operational errors
        except psycopg.Error as error:
            with target_errors():
                raise error from None
        failpoint("backfill.after_commit")
        assert counts.written + counts.stale + counts.rejected == batch.rows, "rows of the batch do not add up"
        return not stop

    def _encode(self, batch: Batch) -> tuple[list[bytes] | None, list[AheadRow]]:
        """The batch as COPY data, or None if a value needs a closer look; and the rows that lie ahead of the clock."""
        times, ahead = self._encoder.times, list[AheadRow]()
        try:
            pieces = []
            for page in batch.pages:
                if times:
                    times.begin()
                pieces.append(b"".join(self._encoder.encode_page(page.data, page.offset, page.count)))
                ahead += times.ahead(page.data) if times else []
        except ENCODE_ERRORS:
            width = len(self._encoder.encoders)
            return None, [row for page in batch.pages for row in times.ahead_in(page, width)] if times else []
        return pieces, ahead

    def _load(self, lease: Lease, batch: Batch, pieces: list[bytes] | None) -> tuple[Counts, bool]:
        touched = self._lock_range(lease)
        counts = self._load_fast(lease, batch, pieces, touched) if pieces is not None else None
        if counts is None:
            counts = self._load_checked(lease, batch)
        failpoint("backfill.merged")
        return counts, self._checkpoint(lease, batch, counts)

    def _lock_range(self, lease: Lease) -> bool:
        """Lock the range's row; returns whether the range holds tombstones or intents."""
        self._connection.execute(SHARE_AS_OWN)  # in an earlier statement: the next one sees the outcome of a switch (rule 20)
        row = self._connection.execute(_SQL["hold"], {"range": lease.range_id, "owner": lease.owner}).fetchone()
        if row is None:
            raise LeaseLost(f"range {lease.range_id} of {lease.table} was taken over by another worker")
        if row[0] != "astra":
            raise PreflightError("Postgres is primary: a backfill would overwrite the primary; it stops")
        # In a statement of its own, which must see a tombstone whose writer held the range until now (rules 9 and 18).
        span = {"table": lease.table, "start": lease.whole.start, "end": lease.whole.end}
        return self._connection.execute(_SQL["touched"], span).fetchone() == (True,)

    def _load_fast(self, lease: Lease, batch: Batch, pieces: list[bytes], touched: bool) -> Counts | None:
        """Paths 1 and 2; None if Postgres refuses a value."""
        try:
            if not touched:
                try:
                    with self._connection.transaction():
                        self._copy(self._direct, pieces)
                    failpoint("backfill.staged")
                    return Counts(written=batch.rows)
                except errors.UniqueViolation:
                    pass  # a key is there already (or a unique index of the user's is violated): the merge finds out which
            with self._connection.transaction():
                return self._load_merged(lease, pieces, batch.rows, lambda: self._source_keys(batch))
        except psycopg.Error as error:
            if not refuses_row(error):
                raise
            return None

    def _source_keys(self, batch: Batch) -> dict[bytes, bytes]:
        """The packed raw keys of a batch without errors, by their canonical bytes."""
        found = (self._encoder.hash_page(p.data, p.offset, p.count)[1] for p in batch.pages)
        return {self._encoder.canonical_key(unpack_key(key)): key for keys in found for key in keys}

    def _load_merged(self, lease: Lease, pieces: Iterable[bytes], rows: int, source_keys: SourceKeys) -> Counts:
        self._merge.clear_stage()
        self._copy(self._staged, pieces)
        failpoint("backfill.staged")
        written = self._merge.insert()
        if written < rows:
            self._merge.recheck_skipped(lease, source_keys)
        return Counts(written=written, stale=rows - written)

    def _load_checked(self, lease: Lease, batch: Batch) -> Counts:
        """Path 3: rows that the encoder rejects are recorded singly, the others are merged by the thousand."""
        counts, good = Counts(), []
        for page in batch.pages:
            for row in self._encoder.check_page(page.data, page.offset, page.count):
                rejects.record(self._connection, self._table, lease.run_id, row)
                if row.encoded is None:
                    counts.rejected += 1
                else:
                    good.append(row)
        for at in range(0, len(good), _FEW):
            self._merge_few(lease, good[at : at + _FEW], counts)
        return counts

    def _merge_few(self, lease: Lease, rows: Sequence[CheckedRow], counts: Counts) -> None:
        """Merge rows of which some may be refused: together, or else singly; by halves if COPY itself refuses one."""
        try:
            with self._connection.transaction():
                found = self._load_merged(lease, [row.encoded or b"" for row in rows], len(rows), lambda: self._keys_of(rows))
        except psycopg.Error as error:
            if not refuses_row(error):
                raise
            if len(rows) == 1:
                self._refused(lease, rows[0], error_text(error), error.diag.column_name)
                counts.rejected += 1
            elif not self._merge_singly(lease, rows, counts):
                half = len(rows) // 2
                self._merge_few(lease, rows[:half], counts)
                self._merge_few(lease, rows[half:], counts)
        else:
            counts.written += found.written
            counts.stale += found.stale

    def _merge_singly(self, lease: Lease, rows: Sequence[CheckedRow], counts: Counts) -> bool:
        """Merge each row by itself, within the server; False, with nothing done, if COPY itself refuses one."""
        try:
            with self._connection.transaction():
                self._merge.clear_stage()
                self._copy(self._staged, [row.encoded or b"" for row in rows])
                written, refused = self._merge.insert_singly()
                self._merge.recheck_skipped(lease, lambda: self._keys_of(rows))
        except psycopg.Error as error:
            if not refuses_row(error):
                raise
            return False
        for place, reason, column in refused:
            self._refused(lease, rows[place], reason, column)
        counts.written += written
        counts.rejected += len(refused)
        counts.stale += len(rows) - written - len(refused)
        return True

    def _keys_of(self, rows: Sequence[CheckedRow]) -> dict[bytes, bytes]:
        return {self._encoder.canonical_key(row.key): pack_key(row.key) for row in rows}

    def _refused(self, lease: Lease, row: CheckedRow, reason: str, column: str | None) -> None:
        # Only the primary message: the detail may quote values.
        issue = Issue(column or "", f"Postgres refuses it: {reason}", "reject")
        rejects.record(self._connection, self._table, lease.run_id, CheckedRow(row.token, row.key, None, (issue,)))

    def _checkpoint(self, lease: Lease, batch: Batch, counts: Counts) -> bool:
        """Record how far the range is done; returns whether the workers were asked to stop."""
        asked = self._connection.execute(
            _SQL["checkpoint"],
            {
                "range": lease.range_id,
                "done_to": batch.done_to,
                "position": batch.position,
                "read": batch.rows,
                "written": counts.written,
                "stale": counts.stale,
                "rejected": counts.rejected,
                "bytes": batch.bytes,
                "lease": self._lease_seconds,
                "last": batch.last,
            },
        ).fetchone()
        if batch.last:
            span = {"table": lease.table, "run": lease.run_id, "start": lease.whole.start, "end": lease.whole.end}
            self._connection.execute(_SQL["clear_rejects"], span)
        return asked == (True,)

    def _copy(self, statement: sql.Composed, pieces: Iterable[bytes]) -> None:
        with self._connection.cursor().copy(statement) as copy:
            copy.write(COPY_HEADER)
            for piece in pieces:
                view = memoryview(piece)
                for at in range(0, len(piece), _CHUNK):
                    copy.write(view[at : at + _CHUNK])
            copy.write(COPY_TRAILER)

    def _copy_statement(self, into: sql.Identifier) -> sql.Composed:
        columns = sql.SQL(", ").join(map(sql.Identifier, self._encoder.copy_columns))
        return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(into, columns)
