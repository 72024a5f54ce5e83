"""The store interface over both sides: every write goes to both, and what one side missed is reconciled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from sync.adapters.cassandra.cells import Cells
from sync.adapters.postgres import indexes
from sync.adapters.postgres.catalogue import regclass
from sync.adapters.postgres.journal import Journal
from sync.adapters.postgres.migrations import state_exists
from sync.adapters.postgres.parameters import connection_of
from sync.adapters.postgres.settling import Settling
from sync.adapters.postgres.writers import Registration
from sync.adapters.queue import Doorbell, redis_connection
from sync.core.encode.rows import RowEncoder
from sync.core.mutations import Key, Mutation
from sync.core.rows import TableMap
from sync.errors import PreflightError, SourceUnavailable, SyncError, TargetUnavailable, WriteRefused
from sync.flows.dual_write import ForwardWrite
from sync.flows.reconcile import Reconcile
from sync.flows.wrapped_write import WrappedWrite
from sync.settings import Config, Settings, load_config, load_settings
from sync.stores.cql import CqlStore
from sync.stores.postgres import PostgresStore
from sync.stores.process import Process
from sync.stores.wrapped import Describe, WrappedStore
from sync.wiring.copying import map_tables, rows_by_key

log = logging.getLogger(__name__)
_MANY_AT_ONCE = 8
_SYNC_COLUMNS = "SELECT FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = '_sync_version' AND NOT attisdropped"


class DualWriteStore:
    """Writes go to both sides, reads to the primary. Safe to use from many threads."""

    def __init__(self, settings: Settings, config: Config) -> None:
        self._settings, self._config, self._process = settings, config, Process()
        tuning = config.dual_write
        with ExitStack() as undo:  # what is open when something fails is closed
            self._source = undo.enter_context(CqlStore(settings, tuning.primary_timeout_seconds))
            self._target = undo.enter_context(PostgresStore(settings, tuning.connections, tuning.secondary_timeout_seconds))
            with connection_of(self._target.pool) as connection:
                if not state_exists(connection):
                    raise PreflightError("Postgres has no state of a migration yet: run `sync schema apply`")
            self._registration = Registration(self._target.pool, tuning, bell(settings))
            undo.pop_all()
        self._tables: dict[str, tuple[Cells, ForwardWrite]] = {}
        self._mapped: dict[str, TableMap] = {}
        self._reconciles: dict[str, Reconcile] = {}
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="sync-reconcile")
        self._many = ThreadPoolExecutor(min(_MANY_AT_ONCE, tuning.connections), thread_name_prefix="sync-put-many")

    def __enter__(self) -> DualWriteStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Sign off and close the connections; in a forked process nothing, they are its parent's."""
        if not self._process.is_own:
            return
        self._registration.sign_off()
        self._executor.shutdown()
        self._many.shutdown()
        self._target.close()
        self._source.close()

    def put(self, table: str, row: Mapping[str, Any]) -> bool:
        """Write a whole row: a column left out becomes null on both sides."""
        cells, flow = self._of(table)
        return flow.write(Mutation("put", cells.key(row), cells.row(row)))

    def put_many(self, table: str, rows: Iterable[Mapping[str, Any]]) -> bool:
        """Write whole rows, each on its own and several at once, after all of them were checked; those of a key in order.

        Raises the first row's error when all have been tried.
        """
        cells, flow = self._of(table)
        by_key: dict[bytes, list[Mutation]] = {}
        for row in rows:
            key = cells.key(row)
            by_key.setdefault(key.canonical, []).append(Mutation("put", key, cells.row(row)))

        def write(mutations: list[Mutation]) -> None:
            for mutation in mutations:
                flow.write(mutation)

        written = [self._many.submit(write, mutations) for mutations in by_key.values()]
        wait(written)
        for each in written:
            each.result()
        return True

    def update(self, table: str, key: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
        """Write some columns; the row is made where there is none."""
        cells, flow = self._of(table)
        return flow.write(Mutation("update", cells.only_key(key), cells.some(changes)))

    def delete(self, table: str, key: Mapping[str, Any]) -> bool:
        """Delete a row, if there is one."""
        cells, flow = self._of(table)
        return flow.write(Mutation("delete", cells.only_key(key), {}))

    def get(self, table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The primary's row, or None."""
        return self._source.get(table, key)

    def search(self, table: str, column: str, vector: Sequence[float], limit: int = 10) -> list[tuple[dict[str, Any], float]]:
        """The primary's nearest rows with their similarity, nearest first."""
        return self._source.search(table, column, vector, limit)

    def count(self, table: str) -> int:
        """How many rows the primary has."""
        return self._source.count(table)

    @classmethod
    def wrap(cls, old: Any, new: Any, writes: Mapping[str, Describe]) -> WrappedStore:
        """An application's own store `old`, with Postgres kept equal; settings come from the environment.

        `writes` names its writing methods, each with a function from the method's arguments to the table and the key that
        it writes: `{"save_song": lambda song: ("songs", {"id": song.id})}`. `new` takes its place after the cut-over.
        """
        settings = load_settings()
        store = cls(settings, load_config(settings.sync_config))
        return WrappedStore(old, new, writes, store._wrapped, store.close)

    def _wrapped(self, table: str, key: Mapping[str, Any]) -> tuple[Key, WrappedWrite]:
        cells, flow = self._of(table)
        if table not in self._reconciles:
            mapped, tuning = self._mapped[table], self._config.dual_write
            settling = Settling(self._target.pool, mapped, RowEncoder(mapped, 0), tuning.writer_lease_seconds)
            self._reconciles[table] = Reconcile(settling, flow.primary, self._executor)
        return cells.only_key(key), WrappedWrite(flow.journal, self._reconciles[table], self._registration, flow.mode)

    def _of(self, table: str) -> tuple[Cells, ForwardWrite]:
        self._process.check()
        if table not in self._tables:
            try:
                self._tables[table] = self._make(table)
            except (SourceUnavailable, TargetUnavailable) as away:
                raise WriteRefused(f"{table}: {away}; nothing was written") from None
        return self._tables[table]

    def _make(self, table: str) -> tuple[Cells, ForwardWrite]:
        source = self._source.source(table)
        if any(c.type.name == "counter" for c in source.columns):
            raise PreflightError(f"{table}: a counter cannot be written on both sides: an increment is not repeatable")
        with connection_of(self._target.pool) as connection:
            mapped = map_tables(self._source.cassandra, connection, self._settings, self._config, [table])[table]
            if connection.execute(_SYNC_COLUMNS, (regclass(self._config.options(table).target or table),)).fetchone() is None:
                indexes.add_sync_columns(connection, mapped)  # writers come before the first backfill (rule 3)
        self._mapped[table] = mapped
        encoder = RowEncoder(mapped, 0)
        cassandra = self._source.cassandra
        cells = Cells(cassandra.session, source, encoder)
        journal = Journal(self._target.pool, mapped, encoder, self._registration.writer, self._registration.breaker)
        rows = rows_by_key(cassandra, source, self._config)
        return cells, ForwardWrite(journal, rows, self._registration, self._config.mode(table))


def bell(settings: Settings) -> Callable[[str], object]:
    """Rings for a table's intents. Without Redis it stays silent: the sweeper of `sync worker` finds them all the same."""
    try:
        return Doorbell(redis_connection(settings)).ring_reconcile
    except SyncError as error:
        log.warning("%s; intents wait for `sync worker`", error)
        return lambda table: False
