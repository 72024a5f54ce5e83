"""The Data API with CQL beside it: what one writes, the other reads back; and CQL reads what the API cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.core.rows import SourceTable
from sync.errors import WriteRefused
from sync.settings import Config, Settings
from sync.stores.one_side.astra import AstraStore
from sync.stores.one_side.cql import CqlStore
from sync.stores.one_side.page_reads import Begin
from sync.stores.rows import Rows


class ReadBackStore(AstraStore):
    """The Data API's store, and one over CQL if there are settings for it."""

    def __init__(self, settings: Settings, timeout: float = 10.0, config: Config | None = None) -> None:
        super().__init__(settings, timeout)
        self._cql = CqlStore(settings, timeout, config) if settings.has_cql else None

    @property
    def cassandra(self) -> Cassandra | None:
        """The CQL session, if there is one."""
        return self._cql.cassandra if self._cql else None

    def _begin(self, table: str, begin: Begin, after: str | None) -> Rows:
        return self._cql._begin(table, begin, after) if self._cql else super()._begin(table, begin, after)

    def search(
        self, table: str, column: str, vector: Sequence[float], limit: int = 10, where: Mapping[str, Any] | None = None
    ) -> list[tuple[dict[str, Any], float]]:
        """As `AstraStore.search`; with conditions over CQL, if there are settings for it."""
        if where and self._cql and not self.source(table).is_collection:
            return self._cql.search(table, column, vector, limit, where)
        return super().search(table, column, vector, limit, where)

    @property
    def tables(self) -> Mapping[str, SourceTable]:
        """Its tables and collections: as CQL shows them, with columns that the API does not know; without CQL the API's."""
        return self._cql.tables if self._cql else super().tables

    def described(self, table: str) -> SourceTable:
        """A table as CQL shows it, or without CQL as the API does. Raises WriteRefused if there is no such table."""
        if not self._cql:
            return super().described(table)
        try:
            return self._cql.source(table)
        except WriteRefused:
            raise WriteRefused(
                f"there is no table or collection {table!r}; there are: {', '.join(sorted(self.tables))}"
            ) from None

    @property
    def version(self) -> int:
        """A number that changes when a table changes, in CQL or in the API."""
        return super().version + (self._cql.version if self._cql else 0)

    def refresh(self, table: str, since: int) -> bool:
        """Read the table again from both; whether any table has changed since that version."""
        if self._cql:
            self._cql.refresh(table, self._cql.version)
        super().refresh(table, super().version)
        return self.version != since

    def close(self) -> None:
        """Close the connections."""
        super().close()
        if self._cql:
            self._cql.close()
