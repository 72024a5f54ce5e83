"""`find` and `scan`, the same for a store over CQL and one over Postgres."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from sync.core.reads.cursor import Place, check_place
from sync.core.reads.query import OrderBy, Query
from sync.stores.rows import PAGE_ROWS, Page, Rows


class Queries(Protocol):
    """One table's queries on one side."""

    def query(self, where: Mapping[str, Any], order_by: OrderBy | None, limit: int | None) -> Query: ...
    def find(self, query: Query, after: Place | None, page_rows: int) -> Iterator[Page]: ...
    def scan(self, after: Place | None, page_rows: int) -> Iterator[Page]: ...


Begin = Callable[[Queries, Place | None], Iterator[Page]]
"""Reads by a table's queries, from after a place."""


def rows_after(place: Place | None, begin: Begin, queries: Queries, key: Sequence[str], after: str | None) -> Rows:
    """The rows that `begin` reads, from after the cursor's place. Raises QueryNotSupported for one in another table."""
    check_place(place, key)
    return Rows(begin(queries, place), key, after)


class PageReads:
    """Reads many rows, page by page."""

    @abstractmethod
    def _begin(self, table: str, begin: Begin, after: str | None) -> Rows:
        """The rows that `begin` reads by the table's queries, from after a cursor."""

    def find(
        self,
        table: str,
        where: Mapping[str, Any],
        order_by: OrderBy | None = None,
        limit: int | None = None,
        after: str | None = None,
        page_rows: int = PAGE_ROWS,
    ) -> Rows:
        """The rows of a partition, or those that an index finds, in Cassandra's order.

        Raises QueryNotSupported, SourceUnavailable, TargetUnavailable; ValueUnreadable if Python cannot represent a value.
        """

        def begin(queries: Queries, place: Place | None) -> Iterator[Page]:
            return queries.find(queries.query(where, order_by, limit), place, page_rows)

        return self._begin(table, begin, after)

    def scan(self, table: str, after: str | None = None, page_rows: int = PAGE_ROWS) -> Rows:
        """All rows of a table in the order of tokens; by key after `sync finish`. Raises as `find`."""
        return self._begin(table, lambda queries, place: queries.scan(place, page_rows), after)
