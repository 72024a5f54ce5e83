"""What an application reads besides single rows: rows of a partition, by an index, or all of them, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cassandra.cluster import ResponseFuture
from cassandra.query import BoundStatement, PreparedStatement

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.connection.faults import source_errors
from sync.adapters.cassandra.connection.pages import RAW_PROFILE, RangeReader, named, quoted, select, token_of_partition
from sync.adapters.cassandra.rows.cells import Cells
from sync.adapters.cassandra.rows.resume import Resume, limited
from sync.adapters.cassandra.rows.rows import prepared
from sync.adapters.cassandra.rows.values import RowValues
from sync.adapters.cassandra.schema.read_indexes import read_indexes
from sync.core.encode.base import INT32, INT64, read_cells
from sync.core.reads.cursor import Place, Row
from sync.core.reads.key_order import source_key_order
from sync.core.reads.query import Condition, OrderBy, Query, query
from sync.core.ring import MAX_TOKEN, MIN_TOKEN, TokenRange
from sync.core.rows import Page as RawPage
from sync.core.rows import SourceTable
from sync.core.schema.static_rows import deciding

_PAGE_BYTES = 1 << 20
_KEYS_IN_ONE, _AT_ONCE = 20, 32
"""Managed servers limit the number of values in an IN; so many requests are under way at once."""


class TableQueries:
    """Queries of one table, at quorum. Every method may raise SourceUnavailable and SourceTimeout."""

    def __init__(self, cassandra: Cassandra, table: SourceTable, cells: Cells) -> None:
        self._cassandra, self._table, self._cells = cassandra, table, cells
        self._columns = [c for c in table.columns if c.kind != "static"]
        self._names = [c.name for c in self._columns]
        self._values = RowValues(cells, [(c.name, c.type) for c in self._columns])
        self._key = source_key_order(table)
        self._resume = Resume(table, cells)
        self._width = 1 + len(self._names)
        self._deciding = deciding(table)
        self._select = f"{select(table, [token_of_partition(table), *map(quoted, self._names)])} WHERE "
        self._statements: dict[str, PreparedStatement] = {}

    def query(self, where: Mapping[str, Any], order_by: OrderBy | None, limit: int | None) -> Query:
        """The checked query. Raises QueryNotSupported."""
        indexes = read_indexes(self._cassandra.session, self._table)
        return query(self._table.name, self._key, indexes, where, order_by, limit)

    def find(self, query: Query, after: Place | None, page_rows: int) -> Iterator[list[Row]]:
        """The pages of a query, from after a place. Raises WriteRefused for a value that its column does not take."""
        conditions = query.conditions if after is None else self._resume.conditions(query, after)
        terms, values = _terms(self._cells, conditions)
        if after is not None and after.token is not None and not query.in_partition:
            terms.append(f"{token_of_partition(self._table)} >= ?")
            values.append(INT64.pack(after.token))
        limit = " LIMIT ?" if query.limit and after is None else ""
        if limit:
            values.append(INT32.pack(query.limit or 0))
        bound = BoundStatement(self._prepared(" AND ".join(terms) + self._order(query) + limit))
        # One more than a page has: whoever asks for as many as there are need not ask again.
        bound.values, bound.fetch_size = values, 1 + min(page_rows, query.limit or page_rows)
        pages = self._pages(bound)
        return pages if after is None else limited(self._resume.after(pages, after, query.reversed), query.limit)

    def scan(self, after: Place | None, page_rows: int) -> Iterator[list[Row]]:
        """The pages of all rows, in the order of tokens, from after a place."""
        reader = RangeReader(self._cassandra.raw, self._table, tuple(self._names), _PAGE_BYTES)
        start = MIN_TOKEN if after is None or after.token is None else max(MIN_TOKEN, after.token - 1)
        pages = map(self._rows, reader.pages(TokenRange(start, MAX_TOKEN), page_rows))
        return pages if after is None else self._resume.after(pages, after, False)

    def get_many(self, keys: Sequence[tuple[bytes, ...]]) -> list[dict[str, Any] | None]:
        """The rows of these keys, in their order, None for one that does not exist."""
        distinct = list(dict.fromkeys(keys))
        groups = [distinct[at : at + self._in_one] for at in range(0, len(distinct), self._in_one)]
        found: dict[tuple[bytes | None, ...], dict[str, Any]] = {}
        for at in range(0, len(groups), _AT_ONCE):
            futures = [self._request(self._by_keys(group), None) for group in groups[at : at + _AT_ONCE]]
            for future, group in zip(futures, groups[at : at + _AT_ONCE], strict=True):
                for page in self._all(future):
                    rows = self._values.page(page.data, page.offset, page.count)
                    if len(group) == 1:
                        found.update((group[0], row) for _, row in rows if self._is_row(row))
                        continue
                    at = page.offset
                    for _, row in rows:
                        (_, key, *_), at = read_cells(page.data, at, self._width)
                        if self._is_row(row):
                            found[(key,)] = row
        return [found.get(key) for key in keys]

    @property
    def _in_one(self) -> int:
        """How many keys one request takes: of 1.0 and 1.00 in one IN, Cassandra returns only one."""
        keys = self._table.primary_key
        return _KEYS_IN_ONE if len(keys) == 1 and self._cells.one_form else 1

    def _by_keys(self, keys: Sequence[tuple[bytes, ...]]) -> BoundStatement:
        names = [quoted(c.name) for c in self._key.columns]
        if len(keys) == 1:
            bound = BoundStatement(self._prepared(" AND ".join(f"{n} = ?" for n in names)))
            bound.values = list(keys[0])
        else:
            bound = BoundStatement(self._prepared(f"{names[0]} IN ?"))
            bound.values = [b"".join([INT32.pack(len(keys)), *(INT32.pack(len(k)) + k for (k,) in keys)])]
        bound.fetch_size = len(keys) + 1
        return bound

    def _prepared(self, where: str) -> PreparedStatement:
        if where not in self._statements:
            self._statements[where] = prepared(self._cassandra.raw, self._select + where)
        return self._statements[where]

    def _order(self, query: Query) -> str:
        if not query.reversed:
            return ""
        return " ORDER BY " + ", ".join(f"{quoted(c.name)} {'ASC' if c.descending else 'DESC'}" for c in self._key.clustering)

    def _rows(self, page: RawPage) -> list[Row]:
        rows = self._values.page(page.data, page.offset, page.count)
        return [row for row in rows if self._is_row(row[1])] if self._deciding else rows

    def _is_row(self, row: Mapping[str, Any]) -> bool:
        return not self._deciding or any(row[name] is not None for name in self._deciding)

    def _all(self, future: ResponseFuture) -> Iterator[RawPage]:
        with source_errors():
            result = future.result()
        while True:
            yield result.current_rows[0]
            if not result.has_more_pages:
                return
            with source_errors():
                result.fetch_next_page()

    def _pages(self, bound: BoundStatement) -> Iterator[list[Row]]:
        """The pages of an answer; the next is requested while the caller works on one."""
        asked: ResponseFuture | None = self._request(bound, None)
        while asked is not None:
            with source_errors():
                result = asked.result()
            page, state = result.current_rows[0], result.paging_state
            asked = self._request(bound, state) if state else None
            yield self._rows(page)

    def _request(self, bound: BoundStatement, state: bytes | None) -> ResponseFuture:
        return self._cassandra.raw.execute_async(bound, paging_state=state, execution_profile=RAW_PROFILE)


def count_between(table: SourceTable) -> str:
    """CQL that counts the rows from one token to another; a partition of static columns alone is none."""
    token, rows = token_of_partition(table), "".join(map(quoted, deciding(table))) or "*"
    return f"SELECT count({rows}) FROM {named(table)} WHERE {token} >= %s AND {token} <= %s"


def search_terms(cells: Cells, conditions: Sequence[Condition]) -> tuple[str, list[bytes | None]]:
    """The WHERE of a search, and its values. Raises WriteRefused for a value that its column does not take."""
    terms, values = _terms(cells, conditions)
    return (f" WHERE {' AND '.join(terms)}" if terms else ""), values


def _terms(cells: Cells, conditions: Sequence[Condition]) -> tuple[list[str], list[bytes | None]]:
    return [f"{quoted(c.column)} {c.operator} ?" for c in conditions], [cells.cell(c.column, c.value) for c in conditions]
