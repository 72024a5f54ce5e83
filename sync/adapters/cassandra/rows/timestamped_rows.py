"""SELECT of rows with their newest timestamps, and its pages as `Read`s."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sync.adapters.cassandra.connection.pages import quoted, select
from sync.core.cell_ttls import ExpiryReader
from sync.core.documents.collections import FieldExtractor
from sync.core.encode.base import INT64, read_cells
from sync.core.rows import Page, SourceTable
from sync.core.schema.static_rows import RowFilter
from sync.ports import Read

ABSENT = Read(None, 0)


class TimestampedRows:
    """Rows of these columns; `times` is what to select for their timestamps (`cell_times`)."""

    def __init__(self, table: SourceTable, columns: Sequence[str], times: Sequence[str]) -> None:
        self._extractor = FieldExtractor(table, tuple(columns))
        self._columns = self._extractor.selected
        self._expiry = ExpiryReader(table, self._columns)
        self._width, self._stamps = self._expiry.width, len(times)
        self._filter = RowFilter(table, self._columns)
        self._select = select(table, [*self._expiry.terms(quoted), *times])

    def select(self, where: str) -> str:
        """The query."""
        return f"{self._select} WHERE {where}"

    def reads(self, page: Page) -> Iterator[Read]:
        """The rows of a page of its answer."""
        at = page.offset
        for _ in range(page.count):
            cells, at = read_cells(page.data, at, self._width + self._stamps)
            stamps = [INT64.unpack(c)[0] for c in cells[self._width :] if c is not None]
            there = self._expiry.cells(cells[: self._width])
            if not self._filter.keeps(there):
                continue
            row = dict(zip(self._columns, there, strict=True))
            yield Read(self._extractor.cells(row), max(stamps, default=0))
