"""What an application reads of a table over the Data API besides single rows: a partition, or by an index, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from astrapy.info import TableIndexDefinition, TableIndexDescriptor, TableTextIndexDefinition

from sync.adapters.astra.api import Api
from sync.adapters.astra.rows import ApiRows
from sync.adapters.cassandra.rows.cells import Cells
from sync.adapters.cassandra.rows.resume import Resume, limited
from sync.core.reads.cursor import Place, Row
from sync.core.reads.key_order import source_key_order
from sync.core.reads.query import Condition, Index, OrderBy, Query, filters, has_ranges, query
from sync.core.rows import SourceTable
from sync.errors import QueryNotSupported

NEEDS_CQL = "set CASSANDRA_CONTACT_POINTS or ASTRA_DB_SECURE_BUNDLE_PATH too, and it is read over CQL"
_OPERATORS = {"=": "$eq", "<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}
_DEFAULTS = {"ascii": False, "case_sensitive": True, "normalize": False}
"""Options of an index; with others it finds texts that are not equal to the one asked for."""


class ApiQueries:
    """Queries of one table. Every method may raise SourceUnavailable."""

    def __init__(self, api: Api, source: SourceTable, rows: ApiRows) -> None:
        self._api, self._source, self._rows = api, source, rows
        self._cells, self._key = Cells(source, None), source_key_order(source)
        self._keys = [c.name for c in source.primary_key]
        self._resume = Resume(source, self._cells)
        self._binary = {c.name for c in source.columns if c.type.name == "blob"}

    def query(self, where: Mapping[str, Any], order_by: OrderBy | None, limit: int | None) -> Query:
        """The checked query. Raises QueryNotSupported."""
        is_key = set(where) <= set(self._keys) and set(where) >= {c.name for c in self._key.partition}
        # Each time: where an index is gone, the API reads the whole table instead of refusing.
        indexes = {} if is_key else self._indexes()
        found = query(self._source.name, self._key, indexes, where, order_by, limit)
        for condition in found.conditions:
            if condition.column in self._binary and condition.operator != "=":
                raise QueryNotSupported(
                    f"{self._source.name}: the Data API has no ranges of binary values ({condition.column}): {NEEDS_CQL}"
                )
        return found

    def search_filter(self, where: Mapping[str, Any]) -> dict[str, Any]:
        """The filter of a search. Raises QueryNotSupported, WriteRefused."""
        return self._filter(filters(self._source.name, self._indexes(), where)) if where else {}

    def find(self, query: Query, after: Place | None, page_rows: int) -> Iterator[list[Row]]:
        """The pages of a query, from after a place. The API says how many rows they have.

        Raises WriteRefused for a value that its column does not take.
        """
        conditions = query.conditions if after is None else self._resume.conditions(query, after)
        # Without the end that the place replaces, if it is binary: more is read, and left out here.
        asked = self._filter([c for c in conditions if c.column not in self._binary or c.operator == "="])
        pages = self._pages(asked, self._sort(query), None if after else query.limit)
        if after is not None:
            pages = self._resume.after(self._from_token(pages, query, after), after, query.reversed)
        return limited(pages, query.limit)

    def scan(self, after: Place | None, page_rows: int) -> NoReturn:
        """Always raises QueryNotSupported: the API has no tokens, so a scan could not go on after a row."""
        raise QueryNotSupported(f"{self._source.name}: the Data API cannot scan a table from a place on: {NEEDS_CQL}")

    def _indexes(self) -> dict[str, Index]:
        """By column, the index on its values; none of vectors and collections."""
        types = {c.name: c.type for c in self._source.columns if not c.type.args}
        found = self._api.calls.read("listIndexes", self._rows.table.list_indexes)
        return {
            str(each.definition.column): _index(each, types[str(each.definition.column)].name)
            for each in found
            if isinstance(each.definition, TableIndexDefinition | TableTextIndexDefinition)
            and str(each.definition.column) in types
        }

    def _filter(self, conditions: Sequence[Condition]) -> dict[str, Any]:
        asked: dict[str, dict[str, Any]] = {}
        for c in conditions:
            value = self._rows.sent({}, {c.column: self._cells.cell(c.column, c.value)})[c.column]
            asked.setdefault(c.column, {})[_OPERATORS[c.operator]] = value
        return asked

    def _sort(self, query: Query) -> dict[str, int] | None:
        """Only the reverse has to be asked for. All columns, from the first: otherwise the API sorts by itself, one page."""
        return {c.name: 1 if c.descending else -1 for c in self._key.clustering} if query.reversed else None

    def _pages(self, asked: dict[str, Any], sort: dict[str, int] | None, limit: int | None) -> Iterator[list[Row]]:
        cursor = self._rows.table.find(asked, sort=sort, limit=limit)
        state: str | None = ""
        while state is not None:
            start = cursor.initial_page_state(state) if state else cursor
            page = self._api.calls.read(self._source.name, lambda start=start: start.clone().fetch_next_page())  # type: ignore[misc]
            rows = map(self._rows.plain, page.results)
            # A partition that has nothing but static columns is a row without the rest of its key.
            yield [(self._cells.key(row).token, row) for row in rows if all(row[name] is not None for name in self._keys)]
            state = page.next_page_state

    def _from_token(self, pages: Iterator[list[Row]], query: Query, after: Place) -> Iterator[list[Row]]:
        """Without the partitions before the place's, which the API cannot leave out."""
        token = None if query.in_partition else after.token
        for page in pages:
            yield page if token is None else [row for row in page if row[0] is not None and row[0] >= token]


def _index(descriptor: TableIndexDescriptor, kind: str) -> Index:
    definition = descriptor.definition
    if isinstance(definition, TableTextIndexDefinition):
        return Index(ranges=False, unlike="it analyzes texts")
    options = getattr(definition, "options", None)
    own = [name for name, default in _DEFAULTS.items() if getattr(options, name, default) is (not default)]
    return Index(has_ranges(kind), unlike=f"it compares texts in its own way ({', '.join(own)})" if own else "")
