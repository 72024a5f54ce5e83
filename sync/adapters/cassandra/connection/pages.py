"""Pages of rows as the bytes that came over the wire: the driver's own decoding is what makes reading slow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

from cassandra.cluster import ResponseFuture, ResultSet, Session
from cassandra.protocol import ProtocolHandler, ResultMessage, read_int
from cassandra.query import BoundStatement, PreparedStatement

from sync.adapters.cassandra.connection.faults import source_errors
from sync.adapters.cassandra.connection.routing import send_elsewhere, send_to
from sync.core.cell_ttls import ExpiryReader
from sync.core.documents.collections import FieldExtractor
from sync.core.encode.base import read_cells
from sync.core.keys.json_form import key_json
from sync.core.ring import MIN_TOKEN, TokenRange
from sync.core.rows import Page, SourceTable
from sync.core.schema.static_rows import RowFilter
from sync.core.visible import key_text
from sync.errors import PlaceUnknown, SourceAway, SourceTimeout, SourceUnavailable

RAW_PROFILE = "raw"
_FIRST_PAGE_ROWS, _MAX_PAGE_ROWS = 200, 10_000
_FEWER, _WELL = 8, 8  # after a page that was too much, an eighth of its rows is asked for; after eight good pages, more


class _RawResult(ResultMessage):  # type: ignore[misc]
    def recv_results_rows(self, f: Any, *_decoding: Any) -> None:
        # Column names are those of the prepared statement; a page need not repeat them (native protocol, NO_METADATA).
        self.recv_results_metadata(f, {})
        count = read_int(f)
        self.column_names = self.column_types = ()
        self.parsed_rows = [Page(f.getvalue(), f.tell(), count)]


class RawProtocolHandler(ProtocolHandler):  # type: ignore[misc]
    """Returns a page of rows as one `Page`; for a session of its own."""

    message_types_by_opcode: ClassVar = {**ProtocolHandler.message_types_by_opcode, _RawResult.opcode: _RawResult}


def raw_row_factory(_names: Any, pages: list[Page]) -> list[Page]:
    """The row factory of a raw session: leaves pages as they are."""
    return pages


class PageSize:
    """How many rows to ask for in a page: by their bytes, and fewer for a while after one was too much for the source."""

    def __init__(self, rows: int, most: int) -> None:
        self._rows, self._most, self._cap, self._well = rows, most, most, 0

    def rows(self, most: int | None = None) -> int:
        """The number of rows for the next page."""
        return max(1, min(self._rows, self._cap, most or self._most))

    def enough(self, page: Page, wanted_bytes: int) -> None:
        """Size the next pages by the bytes of this one: 5,000 rows are 1 MB of songs, or 31 MB of 1,536-d vectors."""
        if page.count:
            self._rows = min(int(wanted_bytes * page.count / max(page.size, 1)), self._most)
        self._well += 1
        if self._well >= _WELL and self._cap < self._most:
            self._cap, self._well = min(2 * self._cap, self._most), 0

    def too_much(self, rows: int) -> bool:
        """Ask for fewer rows, since a page of `rows` was too much; returns whether fewer are possible."""
        self._cap, self._well = max(1, rows // _FEWER), 0
        return rows > 1


class RangeReader:
    """Reads one table by token range, page by page; the next page is requested while the caller works on one.

    `between` are terms that are selected between the token and the columns of a table whose pages are passed on as they come.
    `on_page` is called with each page that has rows, as it came over the wire.
    """

    def __init__(
        self,
        raw_session: Session,
        table: SourceTable,
        columns: tuple[str, ...],
        page_bytes: int,
        between: Sequence[str] = (),
        on_page: Callable[[Page], object] | None = None,
    ) -> None:
        self._session, self._table, self._page_bytes = raw_session, table, page_bytes
        token = token_of_partition(table)
        self._extractor = FieldExtractor(table, columns)
        self._expiry = ExpiryReader(table, self._extractor.selected)
        self._filter = RowFilter(table, self._extractor.selected)
        self._select = f"{select(table, [token, *between, *self._expiry.terms(quoted)])} WHERE {token}"
        self._until = f"? AND {token} <= ?"
        self._size = PageSize(_FIRST_PAGE_ROWS, _MAX_PAGE_ROWS)
        self._on_page = on_page

    @cached_property
    def _first(self) -> PreparedStatement:
        """For the one range that begins at the start of the ring; prepared on first use, like `_rest`."""
        with source_errors():
            return self._session.prepare(f"{self._select} >= {self._until}")

    @cached_property
    def _rest(self) -> PreparedStatement:
        with source_errors():
            return self._session.prepare(f"{self._select} > {self._until}")

    def pages(self, tokens: TokenRange, page_rows: int | None = None, position: bytes | None = None) -> Iterator[Page]:
        """The pages of a range, rows in token order, at most `page_rows` in each, from after `position` if there is one.

        An empty page stands for one that was too much for the source and is asked for again with fewer rows.
        Raises SourceTimeout, which names the partition if the range has only one token, PlaceUnknown and SourceUnavailable.
        """
        query = (self._first if tokens.start == MIN_TOKEN else self._rest).bind((tokens.start, tokens.end))
        send_to(query, self._table.keyspace, tokens.start + 1)
        state, asked = position, self._request(query, position, page_rows)
        while asked is not None:
            try:
                result = _result(asked)
            except SourceTimeout as error:
                if not self._size.too_much(query.fetch_size):
                    raise naming_partition(self._session, self._table, tokens, error) from None
                send_elsewhere(query)
                yield Page(b"", 0, 0)
                asked = self._request(query, state, page_rows)
                continue
            except SourceAway:
                raise
            except SourceUnavailable as error:
                raise (error if position is None else PlaceUnknown(str(error))) from None
            page, state, position = result.current_rows[0], result.paging_state, None
            self._size.enough(page, self._page_bytes)
            if page.count:
                send_to(query, self._table.keyspace, page.first_token)
                if self._on_page:
                    self._on_page(page)
            asked = self._request(query, state, page_rows) if state else None
            yield replace(self._extractor.page(self._filter.page(self._expiry.page(page))), after=state)

    def try_out(self) -> None:
        """Ask for the largest page of a practically empty range. Raises SourceTimeout and SourceUnavailable."""
        self._size = PageSize(_MAX_PAGE_ROWS, _MAX_PAGE_ROWS)
        for _ in self.pages(TokenRange(MIN_TOKEN, MIN_TOKEN + 1)):
            pass

    def _request(self, query: BoundStatement, paging_state: bytes | None, most: int | None) -> ResponseFuture:
        query.fetch_size = self._size.rows(most)
        return self._session.execute_async(query, paging_state=paging_state, execution_profile=RAW_PROFILE)


def naming_partition(raw_session: Session, table: SourceTable, tokens: TokenRange, error: SourceTimeout) -> SourceTimeout:
    """The error, which names its partition if the range has only one token."""
    if tokens.end - tokens.start > 1:
        return error
    return SourceTimeout(f"the partition {_partition_at(raw_session, table, tokens.end)} cannot be read: {error}")


def _partition_at(raw_session: Session, table: SourceTable, token: int) -> str:
    """The key of the partition with this token, for people; the token itself if the key cannot be read either."""
    keys = ", ".join(quoted(c.name) for c in table.partition_key)
    asked = f"SELECT DISTINCT {keys} FROM {named(table)} WHERE {token_of_partition(table)} = {token}"
    try:
        with source_errors():
            page = raw_session.execute(asked, execution_profile=RAW_PROFILE).current_rows[0]
    except (SourceTimeout, SourceUnavailable):
        return f"of token {token}"
    cells = tuple(read_cells(page.data, page.offset, len(table.partition_key))[0]) if page.count else ()
    return key_text(key_json(table.partition_key, cells)) if cells else f"of token {token}"


def _result(future: ResponseFuture) -> ResultSet:
    with source_errors():
        return future.result()


def named(table: SourceTable) -> str:
    """A table's name in CQL; for one of static columns that of the table that has them."""
    return f"{quoted(table.keyspace)}.{quoted(table.base or table.name)}"


def select(table: SourceTable, terms: Iterable[str]) -> str:
    """SELECT of these terms; of static columns once a partition, for which the partition key must be among the terms."""
    return f"SELECT {'DISTINCT ' if table.base else ''}{', '.join(terms)} FROM {named(table)}"


def delete(table: SourceTable) -> str:
    """DELETE of a row; of static columns by their names, since their partition has other rows."""
    static = ", ".join(quoted(c.name) for c in table.columns if c.kind == "regular") if table.base else ""
    return f"DELETE {static} FROM {named(table)}" if static else f"DELETE FROM {named(table)}"


def token_of_partition(table: SourceTable) -> str:
    """CQL for the token of a row of this table."""
    return f"token({', '.join(quoted(c.name) for c in table.partition_key)})"


def quoted(name: str) -> str:
    """A CQL identifier, quoted whatever its case."""
    return '"' + name.replace('"', '""') + '"'
