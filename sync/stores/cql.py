"""The store interface over CQL alone."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any

from cassandra.cluster import Session

from sync.adapters.cassandra.catalogue import read_tables
from sync.adapters.cassandra.cells import Cells, plain
from sync.adapters.cassandra.connect import Cassandra, explain, open_cassandra
from sync.adapters.cassandra.pages import quoted, token_of_partition
from sync.adapters.cassandra.rows import FAILURES, SourceRows
from sync.adapters.cassandra.search import vector_similarity
from sync.core.mutations import Mutation
from sync.core.ring import WHOLE_RING
from sync.core.rows import SourceTable
from sync.errors import SourceUnavailable, WriteRefused, WriteUnsure
from sync.settings import Settings
from sync.stores.process import Process

_COUNT_RANGES = 32


class CqlStore:
    """Rows of a keyspace as dictionaries."""

    def __init__(self, settings: Settings, timeout: float = 10.0) -> None:
        settings.require("astra_db_keyspace")
        self._process = Process()
        self._opened: AbstractContextManager[Cassandra] = open_cassandra(settings, timeout)
        self._timeout = timeout
        self.cassandra = self._opened.__enter__()
        try:
            self._tables = read_tables(self.cassandra.session, settings.astra_db_keyspace or "")
        except BaseException:
            self.close()
            raise
        self._rows: dict[str, tuple[Cells, SourceRows]] = {}

    def __enter__(self) -> CqlStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; in a forked process nothing, they are its parent's."""
        if not self._process.is_own:
            return
        self._process.close()
        self._opened.__exit__(None, None, None)

    def put(self, table: str, row: Mapping[str, Any]) -> bool:
        """Write a whole row: a column left out becomes null."""
        return self._write(self._put(table, row))

    def _put(self, table: str, row: Mapping[str, Any]) -> Mutation:
        cells, _ = self._of(table)
        return Mutation("put", cells.key(row), cells.row(row))

    def put_many(self, table: str, rows: Iterable[Mapping[str, Any]]) -> bool:
        """Write whole rows, each on its own, after all of them were checked."""
        for mutation in [self._put(table, row) for row in rows]:
            self._write(mutation)
        return True

    def update(self, table: str, key: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
        """Write some columns; the row is made where there is none."""
        cells, _ = self._of(table)
        return self._write(Mutation("update", cells.only_key(key), cells.some(changes)))

    def delete(self, table: str, key: Mapping[str, Any]) -> bool:
        """Delete a row, if there is one."""
        cells, _ = self._of(table)
        return self._write(Mutation("delete", cells.only_key(key), {}))

    def get(self, table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The row, or None. Raises SourceUnavailable."""
        cells, rows = self._of(table)
        read = rows.read(cells.only_key(key))
        return None if read.cells is None else cells.values(read.cells)

    def search(self, table: str, column: str, vector: Sequence[float], limit: int = 10) -> list[tuple[dict[str, Any], float]]:
        """The nearest rows with their similarity, nearest first, by the column's vector index."""
        source = self.source(table)
        _check_vector(source, column, vector)
        similarity = vector_similarity(self._session, source, column) or "cosine"
        names = [c.name for c in source.columns]
        text = (
            f"SELECT {', '.join(map(quoted, names))}, similarity_{similarity}({quoted(column)}, ?) FROM "
            f"{quoted(source.keyspace)}.{quoted(table)} ORDER BY {quoted(column)} ANN OF ? LIMIT {int(limit)}"
        )
        with _reads():
            found = self._session.execute(self._session.prepare(text), (list(vector), list(vector)), timeout=self._timeout)
            return [({n: plain(v) for n, v in zip(names, row, strict=False)}, float(row[-1])) for row in found]

    def count(self, table: str) -> int:
        """How many rows there are, counted range by range."""
        source = self.source(table)
        token = token_of_partition(source)
        name = f"{quoted(source.keyspace)}.{quoted(table)}"
        query = f"SELECT count(*) FROM {name} WHERE {token} >= %s AND {token} <= %s"
        with _reads():
            spans = [(r.start + (i > 0), r.end) for i, r in enumerate(WHOLE_RING.split(_COUNT_RANGES))]
            return sum(self._session.execute(query, span, timeout=60).one()[0] for span in spans)

    def source(self, table: str) -> SourceTable:
        """The table's description. Raises WriteRefused for one that is not there, ForkedStore in a forked process."""
        self._process.check()
        if table not in self._tables:
            raise WriteRefused(f"there is no table {table!r}; there are: {', '.join(sorted(self._tables))}")
        return self._tables[table]

    @property
    def tables(self) -> Mapping[str, SourceTable]:
        """The keyspace's tables, by name."""
        return self._tables

    @property
    def _session(self) -> Session:
        return self.cassandra.session

    def _of(self, table: str) -> tuple[Cells, SourceRows]:
        self._process.check()
        if table not in self._rows:
            source = self.source(table)
            self._rows[table] = (Cells(source, None), SourceRows(self.cassandra, source, self._timeout))
        return self._rows[table]

    def _write(self, mutation: Mutation) -> bool:
        outcome, error = self._of(mutation.key.table)[1].write(mutation, time.time_ns() // 1000)
        if outcome == "refused":
            raise WriteRefused(f"{mutation.key.table}: {error}")
        if outcome == "unsure":
            raise WriteUnsure(f"{mutation.key.table}: {error}")
        return True


def _check_vector(source: SourceTable, column: str, vector: Sequence[float]) -> None:
    dimension = next((c.type.dimension for c in source.columns if c.name == column), None)
    if dimension is None:
        raise WriteRefused(f"{source.name}: {column} is no vector column")
    if len(vector) != dimension:
        raise WriteRefused(f"{source.name}: {column} takes {dimension} numbers, not {len(vector)}")


@contextmanager
def _reads() -> Iterator[None]:
    try:
        yield
    except FAILURES as error:
        raise SourceUnavailable(explain(error)) from None
