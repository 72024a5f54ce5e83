"""Sessions that prepare each statement once: independent checks of a table use the same texts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cassandra.cluster import Session
from cassandra.query import PreparedStatement

from sync.adapters.cassandra.connection.connect import Cassandra


class _CachingSession:
    """A session whose `prepare` sends no text twice. For one thread."""

    def __init__(self, session: Session) -> None:
        self._session, self._known = session, dict[str, PreparedStatement]()

    def prepare(self, query: str) -> PreparedStatement:
        """As the driver's `prepare`, with the same errors."""
        if query not in self._known:
            self._known[query] = self._session.prepare(query)
        return self._known[query]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def with_statement_cache(cassandra: Cassandra) -> Cassandra:
    """The same cluster, with sessions that prepare each statement once."""
    return replace(cassandra, session=_CachingSession(cassandra.session), raw=_CachingSession(cassandra.raw))
