"""The store interface over a Data API, Astra's or a self-hosted one, with astrapy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from sync.adapters.astra.api import open_api
from sync.adapters.astra.catalogue import read_api
from sync.adapters.astra.documents import ApiDocuments
from sync.adapters.astra.queries import ApiQueries
from sync.adapters.astra.rows import ApiRows
from sync.core.reads.cursor import from_cursor
from sync.core.reads.query import nearest_limit
from sync.core.rows import SourceTable
from sync.errors import NotSupported, QueryNotSupported, SyncError, WriteRefused
from sync.ports import Primary
from sync.settings import Settings
from sync.stores.one_side.live_tables import with_live_table
from sync.stores.one_side.page_reads import Begin, PageReads, rows_after
from sync.stores.process import Process
from sync.stores.rows import Rows, reads
from sync.stores.schema_refresh import SchemaRefresh
from sync.stores.transaction import NO_TRANSACTION, Transaction

NO_DOCUMENTS = "{} is a collection: its documents are read one by one, or by a search without conditions"
_NO_TTL = "{}: the Data API takes no TTL: use CQL (unset ASTRA_DB_API_ENDPOINT), or leave ttl out"
NO_INSERT = "{}: the Data API cannot write a row only if there is none: use CQL (unset ASTRA_DB_API_ENDPOINT), or put"
NO_DELETE_MANY = (
    "{}: over the Data API a partition is not deleted with one call: use CQL (unset ASTRA_DB_API_ENDPOINT), or delete"
)
NO_COUNTERS = "{}: the Data API has no counters: use CQL (unset ASTRA_DB_API_ENDPOINT)"


def refuse_ttl(table: str, ttl: int | None) -> None:
    """Raise NotSupported for a write with a TTL."""
    if ttl is not None:
        raise NotSupported(_NO_TTL.format(table))


class AstraStore(PageReads):
    """Rows of a keyspace's tables, and documents of its collections, as dictionaries. Safe to use from many threads."""

    primary: Primary = "astra"

    def __init__(self, settings: Settings, timeout: float = 10.0) -> None:
        self._process = Process()
        self._api = open_api(settings, timeout)
        self._sources = read_api(self._api)
        self._opened: dict[str, ApiRows | ApiDocuments] = {}
        self._schema = SchemaRefresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the store; idle connections stay open until the process ends."""
        self._process.close()

    def put(self, table: str, row: Mapping[str, Any], ttl: int | None = None) -> bool:
        """Write a whole row or document: a column left out becomes null, a field left out is absent.

        Raises NotSupported for a TTL.
        """
        refuse_ttl(table, ttl)
        with_live_table(self, table, lambda: self.checked_put(table, row)())
        return True

    def checked_put(self, table: str, row: Mapping[str, Any]) -> Callable[[], bool]:
        """Check a row; a function that puts it, and returns whether an earlier attempt of that may still arrive."""
        rows = self._of(table)
        checked = rows.checked_put(row)
        return lambda: rows.write(checked)

    def put_many(self, table: str, rows: Iterable[Mapping[str, Any]]) -> bool:
        """Write whole rows, each on its own, after all of them were checked."""
        given = list(rows)
        with_live_table(self, table, lambda: [self.checked_put(table, row) for row in given])
        return all(self.put(table, row) for row in given)

    def insert(self, table: str, row: Mapping[str, Any]) -> bool:
        """Always raises NotSupported: the Data API's insert replaces a table's row, and cannot be repeated for a document."""
        self.source(table)
        raise NotSupported(NO_INSERT.format(table))

    def announce(self, table: str, key: Mapping[str, Any]) -> None:
        """Nothing: there is no other side."""
        self._process.check()

    def increment(self, table: str, key: Mapping[str, Any], amounts: Mapping[str, int]) -> bool:
        """Always raises NotSupported: the Data API has no counters."""
        self.source(table)
        raise NotSupported(NO_COUNTERS.format(table))

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Always raises NotSupported: the Data API has no such transactions."""
        self._process.check()
        raise NotSupported(NO_TRANSACTION)

    def update(self, table: str, key: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
        """Write some columns or fields; a missing row is created."""
        with_live_table(self, table, lambda: self.checked_update(table, key, changes)())
        return True

    def checked_update(self, table: str, key: Mapping[str, Any], changes: Mapping[str, Any]) -> Callable[[], bool]:
        """Check changes; a function that makes them, like that of `checked_put`."""
        rows = self._of(table)
        checked = rows.checked_update(key, changes)
        return lambda: rows.write(checked)

    def delete(self, table: str, key: Mapping[str, Any]) -> bool:
        """Delete a row, if there is one."""
        with_live_table(self, table, lambda: self.checked_delete(table, key)())
        return True

    def delete_many(self, table: str, where: Mapping[str, Any]) -> bool:
        """Always raises NotSupported: a delete of many rows through the Data API takes no timestamp."""
        self.source(table)
        raise NotSupported(NO_DELETE_MANY.format(table))

    def checked_delete(self, table: str, key: Mapping[str, Any]) -> Callable[[], bool]:
        """Check a key; a function that deletes its row, like that of `checked_put`."""
        rows = self._of(table)
        rows.check_key(key)
        return lambda: rows.delete(key)

    def get(self, table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The row, or None. Raises SourceUnavailable."""
        return with_live_table(self, table, lambda: self._of(table).get(key))

    def get_many(self, table: str, keys: Iterable[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
        """The rows of these keys, in their order, None for one that does not exist: a request each. Raises as `get`."""
        with reads():
            self.source(table)  # also where no key is asked for
            return [self.get(table, key) for key in keys]

    def _begin(self, table: str, begin: Begin, after: str | None) -> Rows:
        place = from_cursor(after) if after is not None else None

        def read() -> Rows:
            return rows_after(place, begin, self._queries(table), [c.name for c in self.source(table).primary_key], after)

        with reads():
            return with_live_table(self, table, read)

    def _queries(self, table: str) -> ApiQueries:
        rows = self._of(table)
        if isinstance(rows, ApiDocuments):
            raise QueryNotSupported(
                f"{table} is a collection: its documents are read one by one, or searched without conditions"
            )
        return ApiQueries(self._api, self.source(table), rows)

    def search(
        self, table: str, column: str, vector: Sequence[float], limit: int = 10, where: Mapping[str, Any] | None = None
    ) -> list[tuple[dict[str, Any], float]]:
        """The nearest rows, of those that meet the conditions, with their similarity, nearest first.

        The server limits their number. Raises QueryNotSupported for conditions on columns without indexes, or on documents.
        """

        def search() -> list[tuple[dict[str, Any], float]]:
            rows = self._of(table)
            asked, count = self._queries(table).search_filter(where) if where else {}, nearest_limit(table, limit)
            if isinstance(rows, ApiDocuments):
                return rows.search(column, vector, count)
            return rows.search(column, vector, count, asked)

        return with_live_table(self, table, search)

    def count(self, table: str) -> int:
        """How many rows there are: if the API does not count them, their keys are read."""
        return with_live_table(self, table, lambda: self._of(table).count())

    @property
    def tables(self) -> Mapping[str, SourceTable]:
        """Its tables and collections, by name."""
        self._process.check()
        return self._sources

    def described(self, table: str) -> SourceTable:
        """The table's description, as a comparison of both sides needs it."""
        return self.source(table)

    @property
    def version(self) -> int:
        """A number that changes when a table changes."""
        self._process.check()
        return self._schema.version

    def refresh(self, table: str, since: int) -> bool:
        """Read the API's tables again; whether any has changed since that version."""
        self._process.check()
        return self._schema.refresh(since, self._ask)

    def _ask(self) -> bool:
        try:
            found = read_api(self._api)
        except SyncError:
            return False  # it is unreachable: what was refused stays refused
        changed, self._sources = found != self._sources, found
        if changed:
            self._opened = {}
        return changed

    def source(self, table: str) -> SourceTable:
        """The table's description. Raises WriteRefused if there is no such table, ForkedStore in a forked process."""
        self._process.check()
        if table not in self._sources:
            raise WriteRefused(f"there is no table or collection {table!r}; there are: {', '.join(sorted(self._sources))}")
        return self._sources[table]

    def _of(self, table: str) -> ApiRows | ApiDocuments:
        source = self.source(table)
        if table not in self._opened:
            self._opened[table] = (ApiDocuments if source.is_collection else ApiRows)(self._api, source)
        return self._opened[table]
