"""Static columns: one value a partition. They are a table of their own, named `albums.static`, with one row a partition.

No table of Cassandra's has a dot in its name. Such a row is there if any of its static columns has a value: Cassandra keeps
no marker for it. Where a table has static columns, CQL shows a partition without rows as a row without its clustering key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sync.core.encode.base import join_cells, read_cells
from sync.core.rows import Page, SourceTable, TableOptions
from sync.errors import WriteRefused

SUFFIX = ".static"
CONSTRAINT = "some_static"
"""The target's check that no row of static columns is all null."""


def base_of(name: str) -> str:
    """The table whose static columns a table of this name holds; empty for any other table."""
    return name.removesuffix(SUFFIX) if name.endswith(SUFFIX) else ""


def static_name(table: str) -> str:
    """The name of the table that holds a table's static columns."""
    return f"{table}{SUFFIX}"


def named(table: str, names: Collection[str]) -> bool:
    """Whether a table is among these names, or the one whose static columns it holds."""
    return table in names or (base_of(table) or table) in names


def default_target(name: str) -> str:
    """The target of a table of static columns."""
    return f"{base_of(name)}_static"


def static_options(table: str, options: TableOptions, base_ignore: frozenset[str]) -> TableOptions:
    """A table's options; for one of static columns with its default target, and with what is ignored of the other table."""
    if not base_of(table):
        return options
    return replace(options, target=options.target or default_target(table), base_ignore=base_ignore)


def with_static_tables(tables: Iterable[SourceTable]) -> dict[str, SourceTable]:
    """The tables by name, each followed by that of its static columns, if it has any."""
    return {made.name: made for table in tables for made in (table, _static_table(table)) if made is not None}


def _static_table(table: SourceTable) -> SourceTable | None:
    static = tuple(replace(c, kind="regular") for c in table.columns if c.kind == "static")
    if not static or table.is_collection:
        return None
    return replace(table, name=static_name(table.name), base=table.name, columns=(*table.partition_key, *static))


def without_ignored(table: SourceTable, options: TableOptions) -> SourceTable:
    """A table of static columns whose ignored ones do not count: a partition that has a value in these alone has no row."""
    ignored = options.ignore | options.base_ignore
    if not table.base or not any(c.name in ignored for c in table.columns if not c.is_key):
        return table
    columns = (replace(c, kind="static") if c.name in ignored and not c.is_key else c for c in table.columns)
    return replace(table, columns=tuple(columns))


def has_rows(table: SourceTable) -> bool:
    """False for a table of static columns that are all ignored."""
    return not table.base or any(c.kind == "regular" for c in table.columns)


def deciding(table: SourceTable) -> tuple[str, ...]:
    """The columns one of which has a value in every row that is there; empty if all that is read are rows."""
    if table.base:
        return tuple(c.name for c in table.columns if c.kind == "regular")
    has_static = any(c.kind == "static" for c in table.columns)
    return tuple(c.name for c in table.columns if c.kind == "clustering")[:1] if has_static else ()


class RowFilter:
    """Leaves out what is read and is no row; `selected` are the columns that are read."""

    def __init__(self, table: SourceTable, selected: Sequence[str]) -> None:
        self._at = [selected.index(name) for name in deciding(table) if name in selected]
        self._width = 1 + len(selected)

    def keeps(self, cells: Sequence[bytes | None]) -> bool:
        """Whether these cells, of the selected columns, are a row."""
        return not self._at or any(cells[at] is not None for at in self._at)

    def page(self, page: Page) -> Page:
        """The page, whose rows begin with their tokens, without the others; the same page if it has none."""
        if not self._at:
            return page
        rows, at = [], page.offset
        for _ in range(page.count):
            cells, at = read_cells(page.data, at, self._width)
            if self.keeps(cells[1:]):
                rows.append(join_cells(cells))
        return page if len(rows) == page.count else Page(b"".join(rows), 0, len(rows))


def check_put(table: str, values: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Raise WriteRefused for a row of static columns without any value: Cassandra has no such row."""
    if base_of(table) and all(value is None for name, value in values.items() if name not in keys):
        raise WriteRefused(f"{table}: a row needs a value in one of its static columns; to have none, delete it")


def check_update(table: str, values: Mapping[str, Any]) -> None:
    """Raise WriteRefused for an update that could leave a row of static columns without any value."""
    null = [name for name, value in values.items() if value is None] if base_of(table) else []
    if null:
        raise WriteRefused(
            f"{table}: {', '.join(null)} cannot be updated to null, which might leave no value in the row: put the row "
            "without it, or delete the row"
        )


def check_insert(table: str) -> None:
    """Raise WriteRefused for a table of static columns: a partition's row comes and goes with its last value."""
    if base_of(table):
        raise WriteRefused(f"{table}: static columns are not inserted only if there are none: use put")
