"""The source in a store of both sides: connected or, while Postgres is primary, temporarily unreachable (invariant 8)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from threading import Event, Thread
from typing import TYPE_CHECKING

from sync.adapters.cassandra.rows.search import index_checks
from sync.adapters.postgres.connection.pool import Pool
from sync.adapters.postgres.dual_write.parameters import connection_of
from sync.adapters.postgres.schema.source_schema import recall
from sync.core.mutations import Key, Mutation
from sync.core.rows import SourceTable, TableMap
from sync.errors import SourceUnavailable, SyncError, Unreachable, WriteRefused
from sync.ports import AnyRows, Outcome, Read, Replay
from sync.settings import Config, Settings
from sync.stores.one_side.cql import CqlStore
from sync.wiring.backfill.worker import rows_by_key
from sync.wiring.visibility import check_source

if TYPE_CHECKING:
    from sync.stores.both_sides.read_back import ReadBackStore

log = logging.getLogger(__name__)
_AGAIN_SECONDS = 5.0
_AWAY = "the source was unreachable when this process started; it is retried every few seconds"


class SourceSide:
    """The source. Raises Unreachable if it is unreachable and primary; if it is not primary, it is retried until it answers.

    `pool` is that of Postgres if Postgres is primary, else None.
    """

    def __init__(self, settings: Settings, config: Config, pool: Pool | None) -> None:
        self._settings, self._config = settings, config
        self._timeout = config.dual_write.primary_timeout_seconds
        self._ended = Event()
        self._store: CqlStore | ReadBackStore | None = None
        self._thread: Thread | None = None
        self._known: Mapping[str, SourceTable] = {}
        try:
            self._store = self._connect()
        except Unreachable as away:
            if pool is None:
                raise
            with connection_of(pool) as connection:
                self._known = recall(connection)
            log.warning("%s; writes to Postgres go on, and are sent when it is back", away)

    def _connect(self) -> CqlStore | ReadBackStore:
        """Open its store. Raises Unreachable."""
        return CqlStore(self._settings, self._timeout, self._config)

    @property
    def data_center(self) -> str:
        """The data centre that this process reads and writes; empty if it is not known."""
        cassandra = self._store.cassandra if self._store else None
        return cassandra.data_center if cassandra else ""

    def reconnect_later(self, then: Callable[[], None]) -> None:
        """If the source is unreachable: retry from now on, and call `then` once it is connected.

        If `then` raises, or the source is not as it must be, this logs an error and keeps retrying.
        """
        if self._store is None:
            self._thread = Thread(target=self._reconnect, args=(then,), name="sync-source", daemon=True)
            self._thread.start()

    def _reconnect(self, then: Callable[[], None]) -> None:
        told = ""
        while not self._ended.wait(_AGAIN_SECONDS):
            store = None
            try:
                store = self._store = self._connect()
                then()
            except SyncError as error:
                self._store = None
                if store:
                    store.close()
                if not isinstance(error, Unreachable) and told != (told := str(error)):
                    log.error("%s; until then nothing is sent to the source", error)
                continue
            log.warning("the source is back")
            return

    @property
    def store(self) -> CqlStore | ReadBackStore:
        """The store over the source alone. Raises SourceUnavailable while it is unreachable."""
        if self._store is None:
            raise SourceUnavailable(_AWAY)
        return self._store

    @property
    def tables(self) -> Mapping[str, SourceTable]:
        """Its tables: as they are, or as they were at the last switch."""
        return self._store.tables if self._store else self._known

    def check_visibility(self, table: TableMap) -> None:
        """Raise PreflightError if this process would read masks as values. While the source is unreachable, workers check."""
        cassandra = self._store.cassandra if self._store else None
        if cassandra is not None:
            try:
                check_source(cassandra, [table])
            except SourceUnavailable as away:
                log.warning("%s: %s", table.name, away)

    def table(self, name: str) -> SourceTable:
        """One of its tables, as it is now. Raises WriteRefused if there is no such table."""
        if self._store:
            return self._store.described(name)
        if name not in self._known:
            raise WriteRefused(f"there is no table {name!r}; there are: {', '.join(sorted(self._known))}")
        return self._known[name]

    def refresh(self, table: str) -> None:
        """Read a table's schema again, if the source is connected."""
        if self._store:
            self._store.refresh(table, self._store.version)

    def rows(self, table: SourceTable) -> AnyRows:
        """Single rows of one of its tables."""
        cassandra = self._store.cassandra if self._store else None
        return rows_by_key(cassandra, table, self._config) if cassandra else UnavailableRows()

    def checks(self, table: SourceTable) -> Mapping[str, Callable[[bytes], str]]:
        """By column, a check that says why an index of the source refuses a cell; none while the source is unreachable."""
        cassandra = self._store.cassandra if self._store else None
        return index_checks(cassandra.session, table) if cassandra else {}

    def close(self) -> None:
        """Close the connections."""
        self._ended.set()
        if self._thread:
            self._thread.join()
        if self._store:
            self._store.close()


class UnavailableRows:
    """Rows of a source that is unreachable: nothing is written, so nothing is unsure."""

    def write(self, mutation: Mutation, version: int) -> tuple[Outcome, str]:
        """Write nothing, and refuse."""
        return "refused", _AWAY

    def write_many(self, writes: Sequence[tuple[Mutation, int]]) -> list[tuple[Outcome, str, float]]:
        """Write nothing, and refuse."""
        return [("refused", _AWAY, 0.0) for _ in writes]

    def increment(self, key: Key, amounts: Mapping[str, int]) -> tuple[Outcome, str]:
        """Add nothing, and refuse."""
        return "refused", _AWAY

    def write_again(self, replay: Replay) -> tuple[Outcome, str]:
        """Write nothing; the outcome of the first attempt stays unknown."""
        return "unsure", _AWAY

    def send(self, mutation: Mutation, version: int, done: Callable[[Outcome, str], None]) -> bool:
        """Leave it to workers."""
        return False

    def read(self, key: Key) -> Read:
        """Raises SourceUnavailable."""
        raise SourceUnavailable(_AWAY)

    def read_many(self, keys: Sequence[Key]) -> list[Read]:
        """Raises SourceUnavailable."""
        raise SourceUnavailable(_AWAY)
