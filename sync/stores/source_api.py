"""The source as a store of both sides has it, where its writes go through the Data API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack

from sync.adapters.cassandra.catalogue import read_tables
from sync.adapters.cassandra.connect import Cassandra, open_cassandra
from sync.core.rows import SourceTable
from sync.ports import AnyRows
from sync.settings import Config, Settings
from sync.stores.astra import AstraStore
from sync.stores.source import AwayRows
from sync.wiring.copying import rows_by_key


class ApiSide:
    """The Data API, and CQL to read back with where there are settings for it; else workers do."""

    def __init__(self, settings: Settings, config: Config) -> None:
        self._config, self._cql = config, ExitStack()
        timeout = config.dual_write.primary_timeout_seconds
        self.store = AstraStore(settings, timeout)
        self._cassandra: Cassandra | None = None
        if settings.has_cql:
            self._cassandra = self._cql.enter_context(open_cassandra(settings, timeout))
        self.tables: Mapping[str, SourceTable] = (
            read_tables(self._cassandra.session, settings.astra_db_keyspace or "") if self._cassandra else self.store.tables
        )

    @property
    def has_cql(self) -> bool:
        """Whether this process reads back itself."""
        return self._cassandra is not None

    def come_back(self, then: Callable[[], None]) -> None:
        """It is there."""

    def rows(self, table: SourceTable) -> AnyRows:
        """Single rows of one of its tables: read, and sent to, over CQL."""
        return rows_by_key(self._cassandra, table, self._config) if self._cassandra else AwayRows()

    def close(self) -> None:
        """Close the connections."""
        self._cql.close()
