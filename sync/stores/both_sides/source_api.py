"""The source in a store of both sides whose writes go through the Data API."""

from __future__ import annotations

from sync.errors import SourceUnavailable, Unreachable
from sync.stores.both_sides.read_back import ReadBackStore
from sync.stores.both_sides.source import SourceSide


class ApiSide(SourceSide):
    """The Data API, and CQL to read back with if there are settings for it; otherwise workers read back."""

    def _connect(self) -> ReadBackStore:
        try:
            return ReadBackStore(self._settings, self._timeout, self._config)
        except SourceUnavailable as away:
            raise Unreachable(str(away)) from None

    @property
    def store(self) -> ReadBackStore:
        """The store over the source alone. Raises SourceUnavailable while it is unreachable."""
        found = super().store
        assert isinstance(found, ReadBackStore)
        return found

    @property
    def has_cql(self) -> bool:
        """Whether this process reads back itself."""
        return self._settings.has_cql
