"""Reads from the primary; those of many rows go on from the other side if it becomes the primary meanwhile."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from sync.adapters.store_metrics import store_metrics
from sync.core.reads.query import OrderBy
from sync.core.reads.shapes import shape_of
from sync.errors import SourceUnavailable, TargetUnavailable
from sync.stores.both_sides.first_look import ShadowRead, if_there, rows_found, those_there
from sync.stores.both_sides.read_shapes import ReadShapes
from sync.stores.both_sides.shadow_reads import MAX_ROWS, ShadowReads
from sync.stores.one_side.cql import CqlStore
from sync.stores.one_side.postgres import PostgresStore
from sync.stores.one_side.renamed import RenamedStore
from sync.stores.process import Process
from sync.stores.rows import PAGE_ROWS, Page, Rows, cursor_after

if TYPE_CHECKING:
    from sync.stores.one_side.astra import AstraStore

S = TypeVar("S")
T = TypeVar("T")
Side: TypeAlias = "CqlStore | AstraStore | PostgresStore | RenamedStore"
Begin = Callable[[S, str | None, int | None], Rows]


class PrimaryReads:
    """What a store of both sides reads, all of it from the primary; a share is asked of the other side, too."""

    _process: Process
    _shadow: ShadowReads
    _shapes: ReadShapes

    @abstractmethod
    def _primary_of(self, table: str) -> Side:
        """The store that is primary now."""

    def get(self, table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The primary's row, or None."""
        asked: ShadowRead[dict[str, Any] | None] = ShadowRead(table, lambda store: store.get(table, key), if_there, [key])
        return self._read(asked)

    def get_many(self, table: str, keys: Iterable[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
        """The primary's rows of these keys, in their order, None for one that does not exist."""
        given = list(keys)
        return self._read(ShadowRead(table, lambda store: store.get_many(table, given), those_there, given))

    def find(
        self,
        table: str,
        where: Mapping[str, Any],
        order_by: OrderBy | None = None,
        limit: int | None = None,
        after: str | None = None,
        page_rows: int = PAGE_ROWS,
    ) -> Rows:
        """The primary's rows of a partition, or those that an index finds."""

        def begin(store: Side, after: str | None, left: int | None) -> Rows:
            return store.find(table, where, order_by, left, after, page_rows)

        store = self._primary_of(table)
        rows = from_primary(lambda: self._primary_of(table), begin, after, limit)
        self._shapes.note(table, shape_of("find", where, order_by))
        if not self._shadow.is_chosen():
            return rows
        asked: ShadowRead[list[dict[str, Any]]] = ShadowRead(table, lambda side: list(begin(side, after, limit)), list)
        return Rows(self._compared(asked, store, rows.pages), rows.keys, after)

    def _compared(self, asked: ShadowRead[Any], store: Side, pages: Iterator[Page]) -> Iterator[Page]:
        """The pages; once all have been read, and if they are not many, they are compared with the other side's."""
        found: list[dict[str, Any]] = []
        for page in pages:
            if len(found) <= MAX_ROWS:
                found += [dict(row) for _, row in page]
            yield page
        if self._primary_of(asked.table) is store:
            self._shadow.compare(asked, store, found)

    def scan(self, table: str, after: str | None = None, page_rows: int = PAGE_ROWS) -> Rows:
        """All rows of the primary; a cut-over meanwhile changes nothing for the caller."""
        rows: Rows = from_primary(
            lambda: self._primary_of(table), lambda store, after, _: store.scan(table, after, page_rows), after, None
        )
        self._shapes.note(table, shape_of("scan"))
        return rows

    def search(
        self, table: str, column: str, vector: Sequence[float], limit: int = 10, where: Mapping[str, Any] | None = None
    ) -> list[tuple[dict[str, Any], float]]:
        """The primary's nearest rows, of those that meet the conditions, with their similarity, nearest first."""
        asked: ShadowRead[list[tuple[dict[str, Any], float]]] = ShadowRead(
            table, lambda store: store.search(table, column, vector, limit, where), rows_found, whole=False
        )
        found = self._read(asked)
        self._shapes.note(table, shape_of("search", where))
        return found

    def count(self, table: str) -> int:
        """The number of rows in the primary."""
        return self._primary_of(table).count(table)

    def _read(self, asked: ShadowRead[T]) -> T:
        """The primary's answer; a share of the answers is compared with the other side's afterwards."""
        store, begun, outcome = self._primary_of(asked.table), time.monotonic(), "failed"
        try:
            answer = self._shadow.ask(asked, store)
            outcome = "answered"
            return answer
        except (SourceUnavailable, TargetUnavailable):
            self._process.check()  # what its end has cut off is no fault of a server
            raise
        finally:
            side = "target" if isinstance(store, PostgresStore | RenamedStore) else "source"
            store_metrics().read(side, outcome, time.monotonic() - begun)


def from_primary(primary: Callable[[], S], begin: Begin[S], after: str | None, limit: int | None) -> Rows:
    """The rows that `begin` reads of a store, from after a cursor, at most `limit`; `primary` is the store to read."""
    store = primary()
    rows = begin(store, after, limit)
    return Rows(_followed(primary, begin, store, rows, limit), rows.keys, after)


def _followed(primary: Callable[[], S], begin: Begin[S], store: S, rows: Rows, limit: int | None) -> Iterator[Page]:
    seen, cursor = 0, rows.cursor
    while True:
        try:
            for page in rows.pages:
                yield page
                seen, cursor = seen + len(page), cursor_after(page[-1], rows.keys)
                if primary() is not store:
                    break
            else:
                return
        except (SourceUnavailable, TargetUnavailable):
            if primary() is store:
                raise
        if limit is not None and seen >= limit:
            return
        store = primary()
        rows = begin(store, cursor, None if limit is None else limit - seen)
