"""Reads one row by its key, to see how long that takes: what an application's own reads take at this moment.

The key is one that was just read with a page, so that a row is there, and nothing but a row is read: no tombstones are passed
over, as a read of a token's first row would.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from cassandra.cluster import Session
from cassandra.query import BoundStatement, PreparedStatement

from sync.adapters.cassandra.connection.faults import source_errors
from sync.adapters.cassandra.connection.pages import RAW_PROFILE, quoted, select
from sync.core.documents.collections import FieldExtractor
from sync.core.encode.base import read_cells
from sync.core.expiry import EXPIRY_NAME
from sync.core.rows import Page, SourceTable

LOOK_SECONDS = 2.5
"""A read that takes longer is given up."""


class OneRow:
    """One row of a table, whose key is on the newest page of its reader, which selects `between` and `columns`."""

    def __init__(
        self, raw_session: Session, table: SourceTable, columns: tuple[str, ...], between: Sequence[str] = ()
    ) -> None:
        self._session, self._table = raw_session, table
        self._keys = [column.name for column in table.primary_key]
        own = [name for name in FieldExtractor(table, columns).selected if name != EXPIRY_NAME]
        self._places = [1 + len(between) + own.index(name) for name in self._keys]
        self._cells: list[bytes | None] = []

    @cached_property
    def _query(self) -> PreparedStatement:
        where = " AND ".join(f"{quoted(name)} = ?" for name in self._keys)
        with source_errors():
            return self._session.prepare(f"{select(self._table, map(quoted, self._keys))} WHERE {where}")

    def note(self, page: Page) -> None:
        """Take the key of a page's first row. A row of a partition that has only static columns has none."""
        cells = read_cells(page.data, page.offset, 1 + max(self._places))[0]
        key = [cells[place] for place in self._places]
        self._cells = self._cells if None in key else key

    def read(self) -> bool:
        """Read the row; False if that says nothing: no page has come yet, or the statement had to be prepared.

        Raises SourceTimeout, and SourceUnavailable.
        """
        if not self._cells:
            return False
        is_first = "_query" not in vars(self)
        bound = BoundStatement(self._query)
        bound.values = list(self._cells)
        with source_errors():
            self._session.execute(bound, timeout=LOOK_SECONDS, execution_profile=RAW_PROFILE)
        return not is_first
