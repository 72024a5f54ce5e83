"""Documents of a collection by key: read over CQL, written through the Data API, so that its filters stay correct."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.rows.rows import SourceRows
from sync.core.documents.collections import document_from_cells, plain_extended
from sync.core.encode.document_ids import identifier_of
from sync.core.mutations import Key, Mutation
from sync.core.rows import SourceTable
from sync.errors import SyncError, WriteRefused
from sync.ports import Outcome, Replay

if TYPE_CHECKING:
    from sync.adapters.astra.documents import ApiDocuments

_AT_ONCE = 16


class CollectionRows(SourceRows):
    """Reads and writes documents; a read sees the API's lightweight transactions in progress (rule 17)."""

    def __init__(self, cassandra: Cassandra, table: SourceTable, timeout: float) -> None:
        super().__init__(cassandra, table, timeout, serial=True)
        self._documents: ApiDocuments | None = None

    def write(self, mutation: Mutation, version: int) -> tuple[Outcome, str]:
        """Replace or delete the document; returns the outcome, and the error's text.

        The API takes no version, so a key must never be sent twice at the same time (`OrderedResends`).
        """
        try:
            return self._outcome(self._write(self._opened(), mutation))
        except (WriteRefused, ValueError) as error:
            return "refused", str(error)
        except SyncError as error:
            return "unsure", str(error)

    def write_many(self, writes: Sequence[tuple[Mutation, int]]) -> list[tuple[Outcome, str, float]]:
        """As `write`, several at once, each in a thread, with its seconds: the API's client has no futures."""

        def write(given: tuple[Mutation, int]) -> tuple[Outcome, str, float]:
            begun = time.monotonic()
            return *self.write(*given), time.monotonic() - begun

        with ThreadPoolExecutor(_AT_ONCE) as executor:
            return list(executor.map(write, writes))

    def try_write(self, put: Mutation) -> tuple[Outcome, str]:
        """Delete a document that is not there: the API takes no timestamp, so a put would be visible at once."""
        return self.write(Mutation("delete", put.key, {}), 0)

    def _write(self, documents: ApiDocuments, mutation: Mutation) -> bool:
        if mutation.kind == "delete":
            return documents.delete({"_id": identifier_of(mutation.key.cells[0])})
        if mutation.kind != "put":
            raise ValueError("a part of a document cannot be sent")
        return documents.write(documents.checked_put(_named(mutation.key, document_from_cells(self._table, mutation.cells))))

    @staticmethod
    def _outcome(may_come_late: bool) -> tuple[Outcome, str]:
        # A lost attempt could land after what is sent next, so the key is sent once more, later.
        return ("unsure", "an earlier attempt got no answer") if may_come_late else ("written", "")

    def write_again(self, replay: Replay) -> tuple[Outcome, str]:
        """As `write`."""
        return self.write(replay.mutation, replay.version)

    def send(self, mutation: Mutation, version: int, done: Callable[[Outcome, str], None]) -> bool:
        """False: nothing is sent in the background, because order matters."""
        return False

    def _opened(self) -> ApiDocuments:
        """The collection through the API. Raises SyncError if no API is configured."""
        if self._documents is None:
            settings = self._cassandra.settings
            if settings.astra_db_api_endpoint is None:
                raise WriteRefused(
                    f"{self._table.name}: a collection is written through the Data API; set ASTRA_DB_API_ENDPOINT"
                )
            # Not at the top: importing the Data API's client is a third of a command's start, and only writes need it.
            from sync.adapters.astra.api import open_api
            from sync.adapters.astra.documents import ApiDocuments

            self._documents = ApiDocuments(open_api(settings, self._timeout), self._table)
        return self._documents


def _named(key: Key, document: dict[str, Any]) -> dict[str, Any]:
    """The document with the key's own `_id`: jsonb writes 1E+2 as 100, which is another key. Raises ValueError."""
    known: Any = identifier_of(key.cells[0])
    given = document.get("_id", known)
    same = known == plain_extended(given) and isinstance(known, bool) == isinstance(given, bool)
    if isinstance(known, str) and isinstance(given, dict) and len(given) == 1:
        same = known == str(*given.values()).lower()  # a uuid or an objectId, whose key is its text
        known = given
    if not same:
        raise ValueError("the _id in the document is not its key")
    return {**document, "_id": known}
