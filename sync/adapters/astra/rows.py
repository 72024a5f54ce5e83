"""The store interface over one Data API table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from astrapy import Table
from astrapy.data_types import DataAPIVector

from sync.adapters.astra.api import Api
from sync.adapters.astra.values import from_api, to_api
from sync.adapters.cassandra.rows.cells import Cells
from sync.core.rows import SourceTable
from sync.core.schema.vector_index import check_vector
from sync.errors import WriteRefused

SIMILARITY = "$similarity"


class ApiRows:
    """Rows of one table."""

    def __init__(self, api: Api, source: SourceTable) -> None:
        self._api, self._source = api, source
        self._cells = Cells(source, None)
        self._kinds = {c.name: c.type for c in source.columns}
        self.table: Table[dict[str, Any]] = api.database.get_table(source.name)

    def checked_put(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The whole row to send: a column left out is null. Raises WriteRefused."""
        return self.sent(self._key(row), self._cells.row(row))

    def checked_update(self, key: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        """The columns to send."""
        self._cells.only_key(key)
        return self.sent(self._key(key), self._cells.some(changes))

    def write(self, checked: Mapping[str, Any]) -> bool:
        """Insert, which sets only the given columns and creates the row if needed; returns whether it may arrive twice."""
        # An update would not do: it sets no row marker, so a row of nulls would not exist.
        return self._api.calls.write(self._source.name, lambda: self.table.insert_one(dict(checked)))

    def check_key(self, key: Mapping[str, Any]) -> None:
        """Raise WriteRefused unless this is the key."""
        self._where(key)

    def delete(self, key: Mapping[str, Any]) -> bool:
        """Delete the row, if there is one; returns whether the delete may arrive twice."""
        where = self._where(key)
        return self._api.calls.write(self._source.name, lambda: self.table.delete_one(where))

    def get(self, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The row, or None."""
        where = self._where(key)
        found = self._api.calls.read(self._source.name, lambda: self.table.find_one(where))
        return None if found is None else self.plain(found)

    def search(
        self, column: str, vector: Sequence[float], limit: int, where: dict[str, Any]
    ) -> list[tuple[dict[str, Any], float]]:
        """The nearest rows, of those that the API's filter finds, with their similarity, nearest first."""
        check_vector(self._source, column, vector)
        sort = {column: DataAPIVector([float(v) for v in vector])}
        cursor = self.table.find(where, sort=sort, limit=limit, include_similarity=True)
        found = self._api.calls.read(self._source.name, lambda: cursor.clone().to_list())
        return [(self.plain(row), float(row[SIMILARITY])) for row in found]

    def count(self) -> int:
        """The number of rows: the API cannot count rows, so their keys are read page by page."""
        count, state = self._count_page(None)
        while state is not None:
            more, state = self._count_page(state)
            count += more
        return count

    def _count_page(self, state: str | None) -> tuple[int, str | None]:
        cursor = self.table.find({}, projection=[c.name for c in self._source.primary_key])
        start = cursor.initial_page_state(state) if state else cursor
        page = self._api.calls.read(self._source.name, lambda: start.clone().fetch_next_page())
        return len(page.results), page.next_page_state

    def _key(self, values: Mapping[str, Any]) -> dict[str, bytes | None]:
        return dict(zip(self._cells.key_names, self._cells.key(values).cells, strict=True))

    def _where(self, key: Mapping[str, Any]) -> dict[str, Any]:
        self._cells.only_key(key)
        return self.sent(self._key(key), {})

    def sent(self, key: Mapping[str, bytes | None], cells: Mapping[str, bytes | None]) -> dict[str, Any]:
        """Raw cells as the API takes them. Raises WriteRefused for one that it does not."""
        sent = {}
        for name, value in self._cells.values({**key, **cells}).items():
            try:
                sent[name] = to_api(self._kinds[name], value)
            except ValueError as error:
                raise WriteRefused(f"{self._source.name}: {name}: {error}") from None
        return sent

    def plain(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row that the API returned, as plain Python."""
        return {n: from_api(kind, row.get(n)) for n, kind in self._kinds.items()}
