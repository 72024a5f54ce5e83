"""Single rows of one table by key, many at once, at quorum: the source's side of a drift report's second look."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from cassandra.cluster import ResponseFuture
from cassandra.query import BoundStatement, PreparedStatement

from sync.adapters.cassandra.connection.connect import SERIAL_PROFILE, Cassandra, explain
from sync.adapters.cassandra.connection.faults import is_away
from sync.adapters.cassandra.connection.pages import RAW_PROFILE, quoted, token_of_partition
from sync.adapters.cassandra.connection.routing import send_to
from sync.adapters.cassandra.rows.cell_times import times_of
from sync.adapters.cassandra.rows.cells import token_of
from sync.adapters.cassandra.rows.rows import FAILURES, ask_source, prepared
from sync.adapters.cassandra.rows.timestamped_rows import ABSENT, TimestampedRows
from sync.core.encode.base import INT64
from sync.core.mutations import Key
from sync.core.ring import MIN_TOKEN
from sync.core.rows import Page, SourceTable
from sync.errors import SourceAway, SourceUnavailable
from sync.ports import Read

log = logging.getLogger(__name__)
_MANY = 50
"""This many keys at once may be so close together that reading pages is worth a try."""
_WORTH = 4
"""After a page of which fewer than one row in this many was wanted, no more pages are read."""


class KeyRows:
    """Reads rows of one table."""

    def __init__(
        self, cassandra: Cassandra, table: SourceTable, columns: tuple[str, ...], timeout: float, serial: bool = False
    ) -> None:
        self._raw, self._timeout = cassandra.raw, timeout
        self._profile = SERIAL_PROFILE if serial else RAW_PROFILE
        self._keys = [c.name for c in table.primary_key]
        self._rows = TimestampedRows(table, columns, ask_source(lambda: times_of(self._raw, table)))
        self._select = prepared(self._raw, self._rows.select(" AND ".join(f"{quoted(k)} = ?" for k in self._keys)))
        self._keyspace, self._partition = table.keyspace, len(table.partition_key)
        self._token = token_of_partition(table)

    @cached_property
    def _between(self) -> PreparedStatement:
        """The rows from one token to another; used only for many keys at once."""
        return prepared(self._raw, self._rows.select(f"{self._token} >= ? AND {self._token} <= ?"))

    def read_each(self, keys: Sequence[Key], raises_away: bool = False) -> list[Read | str]:
        """The rows, with their newest timestamps; in place of one that could not be read, the reason.

        Raises SourceAway, if `raises_away`, while the source is temporarily unavailable.
        """
        # A partition's row without a clustering key cannot be asked for; reading the range showed that it is there.
        found: dict[Key, Read | str] = {k: Read(dict(zip(self._keys, k.cells, strict=True)), 0) for k in keys if _is_null(k)}
        found |= self._scan([key for key in keys if key not in found])
        asked = {key: self._ask(key) for key in keys if key not in found}
        for key, future in asked.items():
            try:
                found[key] = next(self._rows.reads(future.result().current_rows[0]), ABSENT)
            except FAILURES as error:
                if raises_away and is_away(error):
                    raise SourceAway(f"{type(error).__name__}: {explain(error)}") from None
                found[key] = explain(error)
        return [found[key] for key in keys]

    def _scan(self, keys: Sequence[Key]) -> dict[Key, Read]:
        """What the ring's pages between these keys show of them; ends when too few rows of a page are wanted.

        If keys are close together, as in a range that differs as a whole, that costs a fraction of asking for each.
        A page has no more rows than there are keys: a useless scan costs little, and no more memory than the keys' own rows.
        """
        found: dict[Key, Read] = {}
        if len(keys) < _MANY or self._profile == SERIAL_PROFILE:  # a serial read takes one partition
            return found
        left = {key.cells: key for key in keys}
        try:
            for page, is_last in self._pages(min(k.token for k in keys), max(k.token for k in keys), len(keys)):
                reads = {self._cells_of(read): read for read in self._rows.reads(page)}
                hits = {left.pop(cells): read for cells, read in reads.items() if cells in left}
                found |= hits | {left.pop(cells): ABSENT for cells in self._passed(left, reads, is_last)}
                if not left or len(hits) * _WORTH < page.count:
                    break
        except (*FAILURES, SourceUnavailable) as error:
            log.info("%s: keys are read one by one: %s", keys[0].table, explain(error))
        return found

    def _pages(self, first: int, last: int, rows: int) -> Iterator[tuple[Page, bool]]:
        """The pages of the rows from one token to another, and whether each is the last."""
        bound = BoundStatement(self._between)
        bound.values, bound.fetch_size = [INT64.pack(first), INT64.pack(last)], rows
        send_to(bound, self._keyspace, first)
        state = None
        while True:
            result = self._request(bound, state).result()
            state = result.paging_state
            yield result.current_rows[0], state is None
            if state is None:
                return

    def _cells_of(self, read: Read) -> tuple[bytes, ...]:
        return tuple((read.cells or {})[name] or b"" for name in self._keys)

    def _passed(
        self, left: Mapping[tuple[bytes, ...], Key], reads: Iterable[tuple[bytes, ...]], is_last: bool
    ) -> list[tuple[bytes, ...]]:
        """The keys that a page would have shown if they existed."""
        if len(self._keys) > self._partition:
            return []  # 1.0 and 1.00 are one clustering key with different bytes: each key is read by itself
        reached = max((token_of(cells) for cells in reads), default=MIN_TOKEN)
        return [cells for cells, key in left.items() if is_last or key.token < reached]

    def read(self, key: Key) -> Read:
        """One row. Raises SourceUnavailable."""
        (found,) = self.read_each([key])
        if isinstance(found, str):
            raise SourceUnavailable(found)
        return found

    def read_many(self, keys: Sequence[Key]) -> list[Read]:
        """The rows, in their order. Raises SourceUnavailable where one could not be read."""
        return [self.read(key) for key in keys]

    def _ask(self, key: Key) -> ResponseFuture:
        bound = BoundStatement(self._select)
        bound.values = list(key.cells)
        return self._request(bound)

    def _request(self, bound: BoundStatement, state: bytes | None = None) -> ResponseFuture:
        return self._raw.execute_async(bound, paging_state=state, timeout=self._timeout, execution_profile=self._profile)


def _is_null(key: Key) -> bool:
    return not key.canonical and b"" in key.cells
