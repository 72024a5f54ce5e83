"""The store interface over CQL alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from cassandra.cluster import Session

from sync.adapters.cassandra.connection.connect import Cassandra, explain, open_cassandra
from sync.adapters.cassandra.rows.cells import Cells
from sync.adapters.cassandra.rows.inserts import Inserts
from sync.adapters.cassandra.rows.moments import moment_cell
from sync.adapters.cassandra.rows.partitions import delete_of
from sync.adapters.cassandra.rows.queries import TableQueries, count_between, search_terms
from sync.adapters.cassandra.rows.rows import FAILURES, SourceRows
from sync.adapters.cassandra.rows.search import index_checks, nearest_rows, vector_similarity
from sync.adapters.cassandra.schema.read_indexes import read_indexes
from sync.core.counters import checked_amounts, refuse_counters
from sync.core.expiry import EXPIRY_NAME
from sync.core.mutations import InsertOutcome, Mutation
from sync.core.reads.cursor import from_cursor
from sync.core.reads.query import filters, nearest_limit
from sync.core.ring import WHOLE_RING
from sync.core.rows import SourceTable
from sync.core.schema.static_rows import base_of, check_insert
from sync.core.schema.vector_index import check_vector
from sync.errors import NotSupported, QueryNotSupported, SourceUnavailable, WriteRefused, WriteUnsure
from sync.ports import Primary
from sync.settings import Config, Settings
from sync.stores.one_side.live_tables import LiveTables, with_live_table
from sync.stores.one_side.page_reads import Begin, PageReads, rows_after
from sync.stores.process import Process
from sync.stores.rows import Rows, reads
from sync.stores.transaction import NO_TRANSACTION, Transaction

T = TypeVar("T")
_COUNT_RANGES = 32


class CqlStore(PageReads):
    """Rows of a keyspace as dictionaries."""

    primary: Primary = "astra"

    def __init__(self, settings: Settings, timeout: float = 10.0, config: Config | None = None) -> None:
        settings.require("source")
        self._process = Process()
        self._opened: AbstractContextManager[Cassandra] = open_cassandra(settings, timeout)
        self._timeout = timeout
        self.cassandra = self._opened.__enter__()
        try:
            kinds = config.kinds if config else {}
            self._live = LiveTables(self.cassandra.session, settings.astra_db_keyspace or "", kinds)
        except BaseException:
            self.close()
            raise
        self._rows: dict[str, tuple[SourceTable, Cells, SourceRows]] = {}
        self._reads: dict[str, tuple[SourceTable, TableQueries]] = {}
        self._inserts: dict[str, tuple[SourceTable, Inserts]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; in a forked process do nothing, as they are the parent's."""
        if not self._process.is_own:
            return
        self._process.close()
        self._opened.__exit__(None, None, None)

    def put(self, table: str, row: Mapping[str, Any], ttl: int | None = None) -> bool:
        """Write a whole row, which expires after `ttl` seconds: a column left out becomes null."""
        return self._retry_on_change(table, lambda: self._write(self._put(table, row, ttl)))

    def _put(self, table: str, row: Mapping[str, Any], ttl: int | None = None) -> Mutation:
        refuse_counters(self.source(table))
        cells, _ = self._of(table)
        until = {} if ttl is None else {EXPIRY_NAME: moment_cell(table, ttl)}
        return Mutation("put", cells.key(row), {**cells.row(row), **until})

    def put_many(self, table: str, rows: Iterable[Mapping[str, Any]]) -> bool:
        """Write whole rows, each on its own, after all of them were checked."""
        given = list(rows)
        self._retry_on_change(table, lambda: [self._put(table, row) for row in given])
        return all(self.put(table, row) for row in given)

    def insert(self, table: str, row: Mapping[str, Any]) -> bool:
        """Write a whole row if there is none with its key; False, and nothing is changed, if there is one."""

        def write() -> bool:
            check_insert(table)
            put = self._put(table, row)
            outcome, error = self.inserts(table).insert(put, time.time_ns() // 1000)
            return _answer(table, outcome, error) == "written"

        return self._retry_on_change(table, write)

    def inserts(self, table: str) -> Inserts:
        """Inserts into this table. Raises WriteRefused and ForkedStore as `source`."""
        source = self.source(table)
        made, inserts = self._inserts.get(table) or (None, None)
        if inserts is None or made is not source:
            _, inserts = self._inserts[table] = (source, Inserts(self.cassandra, source, self._timeout))
        return inserts

    def announce(self, table: str, key: Mapping[str, Any]) -> None:
        """Nothing: there is no other side."""
        self._process.check()

    def increment(self, table: str, key: Mapping[str, Any], amounts: Mapping[str, int]) -> bool:
        """Add to counters; a row that does not exist begins at 0. True."""

        def write() -> bool:
            cells, rows = self._of(table)
            added = checked_amounts(self.source(table), amounts)
            return _answer(table, *rows.increment(cells.only_key(key), added)) == "written"

        return self._retry_on_change(table, write)

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Always raises NotSupported: Cassandra has no such transactions."""
        self._process.check()
        raise NotSupported(NO_TRANSACTION)

    def update(self, table: str, key: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
        """Write some columns; a missing row is created."""
        return self._retry_on_change(
            table, lambda: self._write(Mutation("update", self._of(table)[0].only_key(key), self._of(table)[0].some(changes)))
        )

    def delete(self, table: str, key: Mapping[str, Any]) -> bool:
        """Delete a row, if there is one."""
        return self._retry_on_change(table, lambda: self._write(Mutation("delete", self._of(table)[0].only_key(key), {})))

    def delete_many(self, table: str, where: Mapping[str, Any]) -> bool:
        """Delete the rows of a partition, or of a range of it. Raises QueryNotSupported for any other rows."""
        return self._retry_on_change(table, lambda: self._write(delete_of(self._of(table)[0], self.source(table), where)))

    def get(self, table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The row, or None. Raises SourceUnavailable."""

        def read() -> dict[str, Any] | None:
            cells, rows = self._of(table)
            found = rows.read(cells.only_key(key))
            return None if found.cells is None else cells.values(found.cells)

        return self._retry_on_change(table, read)

    def get_many(self, table: str, keys: Iterable[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
        """The rows of these keys, in their order, None for one that does not exist. Raises SourceUnavailable."""
        given = list(keys)

        def read() -> list[dict[str, Any] | None]:
            cells, _ = self._of(table)
            return self._queries(table).get_many([cells.only_key(key).cells for key in given])

        with reads():
            return self._retry_on_change(table, read)

    def _begin(self, table: str, begin: Begin, after: str | None) -> Rows:
        place = from_cursor(after) if after is not None else None

        def read() -> Rows:
            return rows_after(place, begin, self._queries(table), [c.name for c in self.source(table).primary_key], after)

        with reads():
            return self._retry_on_change(table, lambda: self._planned(table, read))

    def _queries(self, table: str) -> TableQueries:
        source, (cells, _) = self.source(table), self._of(table)
        if source.is_collection:
            raise QueryNotSupported(f"{table} is a collection of the Data API: over CQL its documents are read one by one")
        made, queries = self._reads.get(table) or (None, None)
        if queries is None or made is not source:
            queries = TableQueries(self.cassandra, source, cells)
            self._reads[table] = source, queries
        return queries

    def _planned(self, table: str, plan: Callable[[], T]) -> T:
        """What `plan` returns; it looks again if an index is missing, which may just have been created."""
        try:
            return plan()
        except QueryNotSupported:
            self._live.refresh(table, self._live.version)
            return plan()

    def _retry_on_change(self, table: str, call: Callable[[], T]) -> T:
        return with_live_table(self, table, call)

    def search(
        self,
        table: str,
        column: str,
        vector: Sequence[float],
        limit: int = 10,
        where: Mapping[str, Any] | None = None,
    ) -> list[tuple[dict[str, Any], float]]:
        """The nearest rows, of those that meet the conditions, with their similarity, by the column's vector index."""
        return self._retry_on_change(table, lambda: self._search(table, column, vector, limit, where or {}))

    def _search(
        self, table: str, column: str, vector: Sequence[float], limit: int, where: Mapping[str, Any]
    ) -> list[tuple[dict[str, Any], float]]:
        if base_of(table):
            raise QueryNotSupported(f"{table}: static columns are not searched by vector")
        cells, _ = self._of(table)
        conditions = self._planned(table, lambda: filters(table, read_indexes(self._session, self.source(table)), where))
        source, rows = self.source(table), nearest_limit(table, limit)
        check_vector(source, column, vector)
        similarity = vector_similarity(self._session, source, column) or "cosine"
        try:
            asked = cells.some({column: list(vector)})[column] or b""
        except WriteRefused as error:
            raise QueryNotSupported(str(error)) from None
        with _reads():
            terms = search_terms(cells, conditions)
            found = nearest_rows(self.cassandra.raw, source, column, asked, rows, similarity, terms)
        return [(cells.values(row), score) for row, score in found]

    def count(self, table: str) -> int:
        """How many rows there are, counted range by range."""
        return self._retry_on_change(table, lambda: self._count(self.source(table)))

    def _count(self, source: SourceTable) -> int:
        with _reads():
            if source.base:  # CQL does not count them: a partition without static columns has none
                return sum(1 for _ in self.scan(source.name))
            spans = [(r.start + (i > 0), r.end) for i, r in enumerate(WHOLE_RING.split(_COUNT_RANGES))]
            return sum(self._session.execute(count_between(source), span, timeout=60).one()[0] for span in spans)

    def source(self, table: str) -> SourceTable:
        """The table's description. Raises WriteRefused if there is no such table, ForkedStore in a forked process."""
        self._process.check()
        found = self._live.get(table)
        if found is None:
            raise WriteRefused(f"there is no table {table!r}; there are: {', '.join(sorted(self._live.all()))}")
        return found

    described = source

    @property
    def tables(self) -> Mapping[str, SourceTable]:
        """The keyspace's tables, by name."""
        self._process.check()
        return self._live.all()

    @property
    def version(self) -> int:
        """A number that changes when a table changes."""
        self._process.check()
        return self._live.version

    def refresh(self, table: str, since: int) -> bool:
        """Read this table's schema again; whether any table has changed since that version."""
        self._process.check()
        return self._live.refresh(table, since)

    @property
    def _session(self) -> Session:
        return self.cassandra.session

    def _of(self, table: str) -> tuple[Cells, SourceRows]:
        source = self.source(table)
        made, cells, rows = self._rows.get(table) or (None, None, None)
        if cells is None or rows is None or made is not source:
            cells = Cells(source, None)
            cells.checks = index_checks(self._session, source)
            rows = SourceRows(self.cassandra, source, self._timeout)
            self._rows[table] = (source, cells, rows)
        return cells, rows

    def _write(self, mutation: Mutation) -> bool:
        refuse_counters(self.source(mutation.key.table))
        outcome, error = self._of(mutation.key.table)[1].write(mutation, time.time_ns() // 1000)
        return _answer(mutation.key.table, outcome, error) == "written"


def _answer(table: str, outcome: InsertOutcome, error: str) -> InsertOutcome:
    """The outcome, if it is one to return. Raises WriteRefused and WriteUnsure."""
    if outcome == "refused":
        raise WriteRefused(f"{table}: {error}")
    if outcome == "unsure":
        raise WriteUnsure(f"{table}: {error}")
    return outcome


@contextmanager
def _reads() -> Iterator[None]:
    try:
        yield
    except FAILURES as error:
        raise SourceUnavailable(explain(error)) from None
