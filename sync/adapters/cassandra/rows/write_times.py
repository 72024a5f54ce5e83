"""When a table's cells were written: the newest of a token range, and the rows that were written ahead of the clock."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from functools import cached_property

from cassandra.query import PreparedStatement

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.connection.faults import source_errors
from sync.adapters.cassandra.connection.pages import (
    RAW_PROFILE,
    PageSize,
    named,
    naming_partition,
    quoted,
    select,
    token_of_partition,
)
from sync.adapters.cassandra.connection.routing import send_elsewhere, send_to
from sync.adapters.cassandra.rows.cell_times import columns_without_write_time, times_of
from sync.core.encode.base import INT64, read_cells
from sync.core.expiry import expires
from sync.core.ring import MIN_TOKEN, WHOLE_RING, TokenRange
from sync.core.rows import Page, SourceTable
from sync.core.schema.static_rows import deciding
from sync.errors import SourceTimeout

RawKey = tuple[bytes, ...]
_PAGE_ROWS, _PAGE_BYTES = 5000, 1 << 20
_PLACES, _ROWS_A_PLACE = 16, 64
_MOST_TERMS = 32
"""Twelve bytes each in every row that is copied."""


class _AggregateWarnings(logging.Filter):
    """Drops Cassandra's warning about an aggregate over more than one partition, which is intended here."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "Aggregation query used" not in record.getMessage()


class WriteTimes:
    """Write times of one table's cells. CQL does not report those of row markers and of deletions.

    Every method raises SourceTimeout and SourceUnavailable.
    """

    def __init__(self, cassandra: Cassandra, table: SourceTable) -> None:
        logging.getLogger("cassandra.protocol").addFilter(_AggregateWarnings())
        self._raw, self._table, self._keys = cassandra.raw, table, [quoted(c.name) for c in table.primary_key]
        self._token = token_of_partition(table)
        self._size = PageSize(_PAGE_ROWS, _PAGE_ROWS)
        with source_errors():
            self._times = times_of(self._raw, table)
            self.unknown_columns = columns_without_write_time(self._raw, table)

    @cached_property
    def _newest(self) -> PreparedStatement:
        """Prepared on first use, like `_rows`, which a range without rows ahead of the clock does not need."""
        newest = ", ".join(f"max({t})" for t in self._times)
        with source_errors():
            return self._raw.prepare(f"SELECT {newest} FROM {named(self._table)} WHERE {self._within}")

    @cached_property
    def _rows(self) -> PreparedStatement:
        with source_errors():
            return self._raw.prepare(f"{select(self._table, [*self._keys, *self._times])} WHERE {self._within}")

    @property
    def _within(self) -> str:
        return f"{self._token} >= ? AND {self._token} <= ?"

    def newest(self, tokens: TokenRange) -> int:
        """The newest write time in a range, µs since 1970; 0 if there is none. The source sends one row for the range."""
        if not self._times:
            return 0
        if self._table.base:  # an aggregate would read all rows of each partition
            read = (cells for page in self._pages(self._rows, tokens) for cells in self._wide(page))
            return max((max(_times(cells[len(self._keys) :]), default=0) for cells in read), default=0)
        pages = self._pages(self._newest, tokens)
        return max((max(_times(cells), default=0) for page in pages for cells in _rows(page, len(self._times))), default=0)

    def ahead(self, tokens: TokenRange, limit: int) -> Iterator[list[tuple[RawKey, int]]]:
        """Raw keys and newest write times of the rows that were written later than `limit`, page by page, also empty ones."""
        keys = len(self._keys)
        for page in self._pages(self._rows, tokens) if self._times else ():
            found = []
            for cells in self._wide(page):
                newest = max(_times(cells[keys:]), default=0)
                if newest > limit:
                    found.append((_key(cells[:keys]), newest))
            yield found

    def sample(self) -> list[tuple[RawKey, int]]:
        """Raw keys and newest write times of some rows after random places of the ring, or of all rows of a small table."""
        found = self._first(WHOLE_RING) if self._times else {}
        if len(found) >= _ROWS_A_PLACE:
            for part in WHOLE_RING.split(_PLACES):
                found |= self._first(TokenRange(random.randrange(part.start, part.end), part.end))
        return list(found.items())

    def _wide(self, page: Page) -> Iterator[tuple[bytes | None, ...]]:
        """The rows of a page: each its key and its times."""
        return _rows(page, len(self._keys) + len(self._times))

    def _first(self, tokens: TokenRange) -> dict[RawKey, int]:
        """The first rows of a range."""
        keys, page = len(self._keys), next(p for p in self._pages(self._rows, tokens, _ROWS_A_PLACE) if p.data)
        return {_key(cells[:keys]): max(_times(cells[keys:]), default=0) for cells in self._wide(page)}

    def _pages(self, statement: PreparedStatement, tokens: TokenRange, rows: int = _PAGE_ROWS) -> Iterator[Page]:
        """The pages of a range; an empty one stands for one that was too much and is asked for again with fewer rows."""
        bound = statement.bind((tokens.start + (tokens.start > MIN_TOKEN), tokens.end))
        size, state = self._size, None
        send_to(bound, self._table.keyspace, tokens.start + 1)
        while True:
            bound.fetch_size = size.rows(rows)
            try:
                with source_errors():
                    result = self._raw.execute(bound, execution_profile=RAW_PROFILE, paging_state=state)
            except SourceTimeout as error:
                if statement is not self._rows:
                    raise
                if not size.too_much(bound.fetch_size):
                    raise naming_partition(self._raw, self._table, tokens, error) from None
                send_elsewhere(bound)
                yield Page(b"", 0, 0)
                continue
            page, state = result.current_rows[0], result.paging_state
            size.enough(page, _PAGE_BYTES)
            yield page
            if state is None:
                return


def terms_with_rows(cassandra: Cassandra, table: SourceTable) -> list[str]:
    """The write times to select with the rows of a copy; none where its pages are changed, or would be twice as large.

    Raises SourceTimeout and SourceUnavailable.
    """
    if table.is_collection or deciding(table) or expires(table):
        return []
    with source_errors():
        terms = times_of(cassandra.raw, table)
    return terms if len(terms) <= _MOST_TERMS else []


def rows_ahead(times: WriteTimes, tokens: TokenRange, limit: int) -> Iterator[list[tuple[RawKey, int]]]:
    """The rows of a range that were written later than `limit`; if there are none, only the source has to read the range."""
    try:
        if times.newest(tokens) <= limit:
            return
    except SourceTimeout:
        pass  # too much for one request: page by page
    yield from times.ahead(tokens, limit)


def _rows(page: Page, width: int) -> Iterator[tuple[bytes | None, ...]]:
    at = page.offset
    for _ in range(page.count):
        cells, at = read_cells(page.data, at, width)
        yield tuple(cells)


def _times(cells: tuple[bytes | None, ...]) -> Iterator[int]:
    return (INT64.unpack(cell)[0] for cell in cells if cell)


def _key(cells: tuple[bytes | None, ...]) -> RawKey:
    return tuple(cell or b"" for cell in cells)
