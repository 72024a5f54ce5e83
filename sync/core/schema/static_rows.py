"""Partitions without rows: where a table has static columns, CQL shows one as a row without its clustering key."""

from __future__ import annotations

from sync.core.encode.base import join_cells, read_cells
from sync.core.rows import Page, SourceTable


class RowFilter:
    """Leaves such partitions out of pages; `selected` are the columns that are read, behind the token."""

    def __init__(self, table: SourceTable, selected: tuple[str, ...]) -> None:
        clustering = [c.name for c in table.columns if c.kind == "clustering" and c.name in selected]
        has_static = any(c.kind == "static" for c in table.columns)
        self._at = 1 + selected.index(clustering[0]) if has_static and clustering else 0
        self._width = 1 + len(selected)

    def page(self, page: Page) -> Page:
        """The page without them; the same page if the table can have none."""
        if not self._at:
            return page
        rows, at = [], page.offset
        for _ in range(page.count):
            cells, at = read_cells(page.data, at, self._width)
            if cells[self._at] is not None:
                rows.append(join_cells(cells))
        return page if len(rows) == page.count else Page(b"".join(rows), 0, len(rows))
