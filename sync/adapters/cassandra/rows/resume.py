"""A read that goes on after a place: less is asked for, and what was returned before is left out."""

from __future__ import annotations

from collections.abc import Iterator

from sync.adapters.cassandra.rows.cells import Cells
from sync.core.decode.order import order_of
from sync.core.reads.cursor import Place, Row
from sync.core.reads.key_order import source_key_order
from sync.core.reads.query import Condition, Query
from sync.core.rows import SourceTable


class Resume:
    """Places in one table."""

    def __init__(self, table: SourceTable, cells: Cells) -> None:
        self._cells, self._key = cells, source_key_order(table)
        self._orders = [(order_of(c.type), c.descending) for c in table.primary_key if c.kind == "clustering"]
        self._parts = len(table.partition_key)

    def conditions(self, query: Query, after: Place) -> tuple[Condition, ...]:
        """The conditions, so that most of what comes before a place is not read; `after` leaves out the rest."""
        equal = {c.column for c in query.conditions if c.operator == "="}
        free = next((c for c in self._key.clustering if c.name not in equal), None)
        if not query.in_partition or free is None:
            return query.conditions
        operator = "<=" if free.descending != query.reversed else ">="
        value = after.key[[c.name for c in self._key.columns].index(free.name)]
        # The place lies within the range that was asked for: its end on this side is replaced.
        kept = [c for c in query.conditions if c.column != free.name or c.operator[0] != operator[0]]
        return (*kept, Condition(free.name, operator, value))

    def after(self, pages: Iterator[list[Row]], after: Place, is_reversed: bool) -> Iterator[list[Row]]:
        """Leave out the rows of the place's partition up to the place; what follows needs no comparison."""
        names = [c.name for c in self._key.columns]
        place = self._cells.key(dict(zip(names, after.key, strict=True))).cells
        for page in pages:
            yield [
                row
                for row in page
                if not self._is_passed(self._cells.key({n: row[1][n] for n in names}).cells, place, is_reversed)
            ]

    def _is_passed(self, key: tuple[bytes, ...], place: tuple[bytes, ...], is_reversed: bool) -> bool:
        if key[: self._parts] != place[: self._parts]:
            return False
        for (order, descending), mine, its in zip(self._orders, key[self._parts :], place[self._parts :], strict=True):
            a, b = order(mine), order(its)
            if a != b:
                return bool(a < b) != (descending != is_reversed)
        return True


def limited(pages: Iterator[list[Row]], limit: int | None) -> Iterator[list[Row]]:
    """The pages, up to so many rows."""
    for page in pages:
        yield page if limit is None else page[:limit]
        limit = None if limit is None else limit - len(page)
        if limit is not None and limit <= 0:
            return
