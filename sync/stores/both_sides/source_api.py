"""The source as a store of both sides has it, where its writes go through the Data API."""

from __future__ import annotations

from sync.errors import SourceUnavailable, Unreachable
from sync.stores.both_sides.read_back import ReadBackStore
from sync.stores.both_sides.source import SourceSide


class ApiSide(SourceSide):
    """The Data API, and CQL to read back with where there are settings for it; else workers do."""

    def _connect(self) -> ReadBackStore:
        try:
            return ReadBackStore(self._settings, self._timeout, self._config)
        except SourceUnavailable as away:
            raise Unreachable(str(away)) from None

    @property
    def store(self) -> ReadBackStore:
        """Its own store. Raises SourceUnavailable while it is unreachable."""
        found = super().store
        assert isinstance(found, ReadBackStore)
        return found

    @property
    def has_cql(self) -> bool:
        """Whether this process reads back itself."""
        return self._settings.has_cql
