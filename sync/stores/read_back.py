"""The Data API with CQL beside it: what one writes, the other reads back."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from sync.adapters.cassandra.catalogue import read_tables
from sync.adapters.cassandra.connect import Cassandra, open_cassandra
from sync.core.rows import SourceTable
from sync.settings import Settings
from sync.stores.astra import AstraStore


class ReadBackStore(AstraStore):
    """The Data API's store, and a CQL session where there are settings for one."""

    def __init__(self, settings: Settings, timeout: float) -> None:
        super().__init__(settings, timeout)
        self._cql = ExitStack()
        self.cassandra: Cassandra | None = None
        if settings.has_cql:
            self.cassandra = self._cql.enter_context(open_cassandra(settings, timeout))
            self._read = read_tables(self.cassandra.session, settings.astra_db_keyspace or "")

    @property
    def tables(self) -> Mapping[str, SourceTable]:
        """Its tables and collections: as CQL has them, with columns that the API does not know, where that is there."""
        return self._read if self.cassandra else super().tables

    def close(self) -> None:
        """Close the connections."""
        super().close()
        self._cql.close()
