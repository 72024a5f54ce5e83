"""The store interface over one Data API collection: a row is a document, its key is `_id`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from astrapy import Collection
from astrapy.exceptions import TooManyDocumentsToCountException

from sync.adapters.astra.api import Api
from sync.adapters.astra.rows import SIMILARITY
from sync.adapters.astra.values import plain_document
from sync.core.documents.collections import VECTOR_COLUMN
from sync.core.rows import SourceTable
from sync.core.schema.vector_index import check_vector
from sync.errors import WriteRefused

ID, VECTOR = "_id", "$vector"
_EVERYTHING = {"*": True}  # $vector too, which is left out unless it is asked for
_NO_LIMIT = 2**31


class ApiDocuments:
    """Documents of one collection. A change is named by a path in the API's notation: `a.b` is the field b within a."""

    def __init__(self, api: Api, source: SourceTable) -> None:
        self._api, self._source = api, source
        self._collection: Collection[dict[str, Any]] = api.database.get_collection(source.name)

    def checked_put(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The document to send. Raises WriteRefused."""
        if ID not in row:
            raise WriteRefused(f"{self._source.name}: the key column {ID} is missing")
        return dict(row)

    def checked_update(self, key: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        """The key, and the changes under `$set`. Raises WriteRefused."""
        if not changes:
            raise WriteRefused(f"{self._source.name}: an update without columns")
        if ID in changes:
            raise WriteRefused(f"{self._source.name}: {ID} is part of the key and cannot be updated")
        return {**self._where(key), "$set": dict(changes)}

    def write(self, checked: Mapping[str, Any]) -> bool:
        """Replace the document or set some of its fields, or create it; returns whether the write may arrive twice."""
        where = {ID: checked[ID]}
        if "$set" in checked:
            changes = {"$set": checked["$set"]}
            return self._write(lambda: self._collection.update_one(where, changes, upsert=True))
        return self._write(lambda: self._collection.replace_one(where, dict(checked), upsert=True))

    def check_key(self, key: Mapping[str, Any]) -> None:
        """Raise WriteRefused unless this is the key."""
        self._where(key)

    def delete(self, key: Mapping[str, Any]) -> bool:
        """Delete the document, if there is one; returns whether the delete may arrive twice."""
        where = self._where(key)
        return self._write(lambda: self._collection.delete_one(where))

    def get(self, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The document, or None."""
        where = self._where(key)
        found = self._read(lambda: self._collection.find_one(where, projection=_EVERYTHING))
        return None if found is None else plain_document(found)

    def search(self, column: str, vector: Sequence[float], limit: int) -> list[tuple[dict[str, Any], float]]:
        """The nearest documents with their similarity, nearest first; the column is `$vector`."""
        check_vector(self._source, VECTOR_COLUMN if column == VECTOR else "", vector)
        sort = {VECTOR: [float(v) for v in vector]}
        cursor = self._collection.find({}, sort=sort, limit=limit, include_similarity=True, projection=_EVERYTHING)
        found = [plain_document(d) for d in self._read(lambda: cursor.clone().to_list())]
        return [({n: v for n, v in d.items() if n != SIMILARITY}, float(d[SIMILARITY])) for d in found]

    def count(self) -> int:
        """The number of documents: the API counts up to its limit; beyond that, the keys are read page by page."""
        counted: int | None = self._read(self._counted)
        if counted is not None:
            return counted
        counted, state = self._count_page(None)
        while state is not None:
            more, state = self._count_page(state)
            counted += more
        return counted

    def _counted(self) -> int | None:
        try:
            return self._collection.count_documents({}, upper_bound=_NO_LIMIT)
        except TooManyDocumentsToCountException:
            return None

    def _count_page(self, state: str | None) -> tuple[int, str | None]:
        cursor = self._collection.find({}, projection={ID: True})
        start = cursor.initial_page_state(state) if state else cursor
        page = self._read(lambda: start.clone().fetch_next_page())
        return len(page.results), page.next_page_state

    def _where(self, key: Mapping[str, Any]) -> dict[str, Any]:
        for name in key:
            if name != ID:
                raise WriteRefused(f"{self._source.name}: {name} is not part of the key")
        if ID not in key:
            raise WriteRefused(f"{self._source.name}: the key column {ID} is missing")
        return {ID: key[ID]}

    def _read(self, call: Any) -> Any:
        return self._api.calls.read(self._source.name, call)

    def _write(self, call: Any) -> bool:
        return self._api.calls.write(self._source.name, call)
