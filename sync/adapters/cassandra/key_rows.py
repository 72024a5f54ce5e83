"""Single rows of one table by key, many at once, at quorum: the source's side of a drift report's second look."""

from __future__ import annotations

from collections.abc import Sequence

from cassandra.cluster import ResponseFuture
from cassandra.query import BoundStatement

from sync.adapters.cassandra.connect import SERIAL_PROFILE, Cassandra, explain
from sync.adapters.cassandra.pages import RAW_PROFILE, quoted
from sync.adapters.cassandra.rows import FAILURES, prepared
from sync.adapters.cassandra.stamped import ABSENT, StampedRows
from sync.core.mutations import Key, Mutation
from sync.core.rows import SourceTable
from sync.errors import SourceUnavailable
from sync.ports import Outcome, Read, Replay


class KeyRows:
    """Reads rows of one table, counters too, which `SourceRows` cannot."""

    def __init__(
        self, cassandra: Cassandra, table: SourceTable, columns: tuple[str, ...], timeout: float, serial: bool = False
    ) -> None:
        self._raw, self._timeout = cassandra.raw, timeout
        self._profile = SERIAL_PROFILE if serial else RAW_PROFILE
        self._keys = [c.name for c in table.primary_key]
        stamped = [c.name for c in table.columns if c.kind == "regular" and c.type.name != "counter"]
        self._rows = StampedRows(table, columns, stamped)
        self._select = prepared(self._raw, self._rows.select(" AND ".join(f"{quoted(k)} = ?" for k in self._keys)))

    def read_each(self, keys: Sequence[Key]) -> list[Read | str]:
        """The rows, with their newest timestamps; in place of one that could not be read, why."""
        futures = [None if _is_null(key) else self._ask(key) for key in keys]
        found: list[Read | str] = []
        for key, future in zip(keys, futures, strict=True):
            try:
                if (
                    future is None
                ):  # a partition's row without clustering cannot be asked for; the range showed that it is there
                    found.append(Read(dict(zip(self._keys, key.cells, strict=True)), 0))
                else:
                    found.append(next(self._rows.reads(future.result().current_rows[0]), ABSENT))
            except FAILURES as error:
                found.append(explain(error))
        return found

    def read(self, key: Key) -> Read:
        """One row. Raises SourceUnavailable."""
        (found,) = self.read_each([key])
        if isinstance(found, str):
            raise SourceUnavailable(found)
        return found

    def read_many(self, keys: Sequence[Key]) -> list[Read]:
        """The rows, in their order. Raises SourceUnavailable where one could not be read."""
        return [self.read(key) for key in keys]

    def write(self, mutation: Mutation, version: int) -> tuple[Outcome, str]:
        """Nothing: an increment cannot be sent again."""
        return "unsure", f"{mutation.key.table}: a write of version {version} to a table of counters cannot be repeated"

    def write_again(self, replay: Replay) -> tuple[Outcome, str]:
        """The same."""
        return self.write(replay.mutation, replay.version)

    def _ask(self, key: Key) -> ResponseFuture:
        bound = BoundStatement(self._select)
        bound.values = list(key.cells)
        return self._raw.execute_async(bound, timeout=self._timeout, execution_profile=self._profile)


def _is_null(key: Key) -> bool:
    return not key.canonical and b"" in key.cells
