"""Pages of rows as the bytes that came over the wire: the driver's own decoding is what makes reading slow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from cassandra import DriverException, ReadFailure, ReadTimeout
from cassandra.cluster import NoHostAvailable, OperationTimedOut, ResponseFuture, ResultSet, Session
from cassandra.protocol import ProtocolHandler, ResultMessage, read_int
from cassandra.query import BoundStatement

from sync.core.documents import Unfolded
from sync.core.ring import MIN_TOKEN, TokenRange
from sync.core.rows import Page, SourceTable
from sync.core.static_rows import OnlyRows
from sync.errors import SourceTimeout, SourceUnavailable

RAW_PROFILE = "raw"
_FIRST_PAGE_ROWS, _MAX_PAGE_ROWS = 200, 10_000


class _RawResult(ResultMessage):  # type: ignore[misc]
    def recv_results_rows(self, f: Any, *_decoding: Any) -> None:
        # Column names are those of the prepared statement; a page need not repeat them (native protocol, NO_METADATA).
        self.recv_results_metadata(f, {})
        count = read_int(f)
        self.column_names = self.column_types = ()
        self.parsed_rows = [Page(f.getvalue(), f.tell(), count)]


class RawProtocolHandler(ProtocolHandler):  # type: ignore[misc]
    """Hands a page of rows over as one `Page`; for a session of its own."""

    message_types_by_opcode: ClassVar = {**ProtocolHandler.message_types_by_opcode, _RawResult.opcode: _RawResult}


def raw_row_factory(_names: Any, pages: list[Page]) -> list[Page]:
    """The row factory of a raw session: leaves pages as they are."""
    return pages


class RangeReader:
    """Reads one table by token range, page after page, with the next page under way while one is worked on.

    To make one raises SourceTimeout and SourceUnavailable, too.
    """

    def __init__(self, raw_session: Session, table: SourceTable, columns: tuple[str, ...], page_bytes: int) -> None:
        self._session, self._page_bytes = raw_session, page_bytes
        token = token_of_partition(table)
        self._unfolded = Unfolded(table, columns)
        self._only = OnlyRows(table, self._unfolded.selected)
        selected = ", ".join([token, *map(quoted, self._unfolded.selected)])
        select = f"SELECT {selected} FROM {quoted(table.keyspace)}.{quoted(table.name)}"
        with source_errors():
            self._first = raw_session.prepare(f"{select} WHERE {token} >= ? AND {token} <= ?")
            self._rest = raw_session.prepare(f"{select} WHERE {token} > ? AND {token} <= ?")
        self._rows = _FIRST_PAGE_ROWS

    def pages(self, tokens: TokenRange, page_rows: int | None = None) -> Iterator[Page]:
        """The pages of a range, rows in token order, at most so many in each. Raises SourceTimeout and SourceUnavailable."""
        query = (self._first if tokens.start == MIN_TOKEN else self._rest).bind((tokens.start, tokens.end))
        most = page_rows or _MAX_PAGE_ROWS
        future = self._request(query, None, most)
        while future is not None:
            result = _result(future)
            page, state = result.current_rows[0], result.paging_state
            self._adapt(page)
            future = self._request(query, state, most) if state else None
            yield self._unfolded.page(self._only.page(page))

    def try_out(self) -> None:
        """Ask for the largest page, of a range that is as good as empty. Raises SourceTimeout and SourceUnavailable."""
        self._rows = _MAX_PAGE_ROWS
        for _ in self.pages(TokenRange(MIN_TOKEN, MIN_TOKEN + 1)):
            pass

    def _request(self, query: BoundStatement, paging_state: bytes | None, most: int) -> ResponseFuture:
        query.fetch_size = min(self._rows, most)
        return self._session.execute_async(query, paging_state=paging_state, execution_profile=RAW_PROFILE)

    def _adapt(self, page: Page) -> None:
        """Size pages by bytes: 5,000 rows are 1 MB of songs, or 31 MB of 1,536-d vectors."""
        if page.count:
            wanted = int(self._page_bytes * page.count / max(page.size, 1))
            self._rows = max(1, min(wanted, _MAX_PAGE_ROWS))


def _result(future: ResponseFuture) -> ResultSet:
    with source_errors():
        return future.result()


@contextmanager
def source_errors() -> Iterator[None]:
    """What the driver raises as SourceTimeout or SourceUnavailable."""
    try:
        yield
    except (ReadTimeout, OperationTimedOut, ReadFailure) as error:
        # ReadFailure: a replica gave up, most often on tombstones or on a page too large for it.
        raise SourceTimeout(f"{type(error).__name__}: {_line(error)}") from None
    except (NoHostAvailable, DriverException) as error:
        raise SourceUnavailable(f"{type(error).__name__}: {_line(error)}") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def token_of_partition(table: SourceTable) -> str:
    """CQL for the token of a row of this table."""
    return f"token({', '.join(quoted(c.name) for c in table.partition_key)})"


def quoted(name: str) -> str:
    """A CQL identifier, quoted whatever its case."""
    return '"' + name.replace('"', '""') + '"'
