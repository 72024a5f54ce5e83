"""The keys that the source holds in a partition, page by page, at quorum: for the recheck of a partition (rule 46)."""

from __future__ import annotations

from collections.abc import Iterator

from cassandra.query import BoundStatement

from sync.adapters.cassandra.connection.connect import SERIAL_PROFILE, Cassandra
from sync.adapters.cassandra.connection.faults import source_errors
from sync.adapters.cassandra.connection.pages import RAW_PROFILE, quoted
from sync.adapters.cassandra.rows.rows import prepared
from sync.core.encode.base import read_cells
from sync.core.rows import SourceTable

_PAGE_ROWS = 2000


class PartitionKeys:
    """Reads keys of one table; `serial`: its rows are written by lightweight transactions."""

    def __init__(self, cassandra: Cassandra, table: SourceTable, timeout: float, serial: bool) -> None:
        self._raw, self._timeout, self._table = cassandra.raw, timeout, table
        self._profile = SERIAL_PROFILE if serial else RAW_PROFILE

    def pages(self, partition: tuple[bytes, ...]) -> Iterator[list[tuple[bytes, ...]]]:
        """The raw key cells of a partition's rows. Raises SourceUnavailable and SourceTimeout."""
        keys, table = self._table.primary_key, self._table
        where = " AND ".join(f"{quoted(column.name)} = ?" for column in table.partition_key)
        names = ", ".join(quoted(column.name) for column in keys)
        text = f"SELECT {names} FROM {quoted(table.keyspace)}.{quoted(table.name)} WHERE {where}"
        bound = BoundStatement(prepared(self._raw, text))
        bound.values, bound.fetch_size, state = list(partition), _PAGE_ROWS, None
        while True:
            with source_errors():
                result = self._raw.execute_async(
                    bound, paging_state=state, timeout=self._timeout, execution_profile=self._profile
                ).result()
            page, state = result.current_rows[0], result.paging_state
            found, at = [], page.offset
            for _ in range(page.count):
                cells, at = read_cells(page.data, at, len(keys))
                if None not in cells:  # a partition that has nothing but static columns
                    found.append(tuple(cell or b"" for cell in cells))
            yield found
            if state is None:
                return
