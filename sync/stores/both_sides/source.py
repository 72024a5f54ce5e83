"""The source as a store of both sides has it: connected, or, while Postgres is primary, away for now (invariant 8)."""

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
    """Raises Unreachable where the source is unreachable and is primary; else it is retried until it is there.

    `pool` is Postgres where that is primary.
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
        """Its own store. Raises Unreachable."""
        return CqlStore(self._settings, self._timeout, self._config)

    @property
    def data_center(self) -> str:
        """The data centre that this process reads and writes; empty where that is not known."""
        cassandra = self._store.cassandra if self._store else None
        return cassandra.data_center if cassandra else ""

    def reconnect_later(self, then: Callable[[], None]) -> None:
        """Where the source is unreachable: look for it from now on, and call `then` when it is there.

        Where that raises SettingsError, or the source is not as it must be, it stays away, and that is said.
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
        """Its own store. Raises SourceUnavailable while it is unreachable."""
        if self._store is None:
            raise SourceUnavailable(_AWAY)
        return self._store

    @property
    def tables(self) -> Mapping[str, SourceTable]:
        """Its tables: as they are, or as they were at the last switch."""
        return self._store.tables if self._store else self._known

    def check_visibility(self, table: TableMap) -> None:
        """Raise PreflightError where this process would read masks as values. What is unreachable is looked at by workers."""
        cassandra = self._store.cassandra if self._store else None
        if cassandra is not None:
            try:
                check_source(cassandra, [table])
            except SourceUnavailable as away:
                log.warning("%s: %s", table.name, away)

    def table(self, name: str) -> SourceTable:
        """One of its tables, as it is now. Raises WriteRefused for one that is not there."""
        if self._store:
            return self._store.described(name)
        if name not in self._known:
            raise WriteRefused(f"there is no table {name!r}; there are: {', '.join(sorted(self._known))}")
        return self._known[name]

    def refresh(self, table: str) -> None:
        """Ask the source for a table, if it is there."""
        if self._store:
            self._store.refresh(table, self._store.version)

    def rows(self, table: SourceTable) -> AnyRows:
        """Single rows of one of its tables."""
        cassandra = self._store.cassandra if self._store else None
        return rows_by_key(cassandra, table, self._config) if cassandra else UnavailableRows()

    def checks(self, table: SourceTable) -> Mapping[str, Callable[[bytes], str]]:
        """By column, why an index of the source will not take a cell; what is not known while it is unreachable."""
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
        """Nothing."""
        return "refused", _AWAY

    def write_again(self, replay: Replay) -> tuple[Outcome, str]:
        """Nothing; what became of the first attempt is not known."""
        return "unsure", _AWAY

    def send(self, mutation: Mutation, version: int, done: Callable[[Outcome, str], None]) -> bool:
        """It is left to workers."""
        return False

    def read(self, key: Key) -> Read:
        """Raises SourceUnavailable."""
        raise SourceUnavailable(_AWAY)

    def read_many(self, keys: Sequence[Key]) -> list[Read]:
        """Raises SourceUnavailable."""
        raise SourceUnavailable(_AWAY)
