"""The Data API with CQL beside it: what one writes, the other reads back."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from sync.adapters.cassandra.connection.connect import Cassandra, open_cassandra
from sync.core.rows import SourceTable
from sync.errors import WriteRefused
from sync.settings import Config, Settings
from sync.stores.one_side.astra import AstraStore
from sync.stores.one_side.live_tables import LiveTables


class ReadBackStore(AstraStore):
    """The Data API's store, and a CQL session if there are settings for one."""

    def __init__(self, settings: Settings, timeout: float, config: Config) -> None:
        super().__init__(settings, timeout)
        self._cql = ExitStack()
        self.cassandra: Cassandra | None = None
        if settings.has_cql:
            self.cassandra = self._cql.enter_context(open_cassandra(settings, timeout))
            self._live = LiveTables(self.cassandra.session, settings.astra_db_keyspace or "", config.kinds)

    @property
    def tables(self) -> Mapping[str, SourceTable]:
        """Its tables and collections: as CQL shows them, with columns that the API does not know; without CQL the API's."""
        return self._live.all() if self.cassandra else super().tables

    def described(self, table: str) -> SourceTable:
        """A table as CQL shows it, or without CQL as the API does. Raises WriteRefused if there is no such table."""
        if not self.cassandra:
            return super().described(table)
        self._process.check()
        found = self._live.get(table)
        if found is None:
            raise WriteRefused(f"there is no table or collection {table!r}; there are: {', '.join(sorted(self.tables))}")
        return found

    @property
    def version(self) -> int:
        """A number that changes when a table changes, in CQL or in the API."""
        return super().version + (self._live.version if self.cassandra else 0)

    def refresh(self, table: str, since: int) -> bool:
        """Read the table again from both; whether any table has changed since that version."""
        if self.cassandra:
            self._live.refresh(table, self._live.version)
        super().refresh(table, super().version)
        return self.version != since

    def close(self) -> None:
        """Close the connections."""
        super().close()
        self._cql.close()
