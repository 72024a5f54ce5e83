"""Documents made from Postgres's rows, while Postgres is primary and the application still uses documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sync.adapters.cassandra.rows.cells import DocumentCells
from sync.adapters.postgres.drift.keys import TargetKeys
from sync.adapters.postgres.dual_write.parameters import connection_of
from sync.core.decode.rows import RowDecoder
from sync.core.documents.changes import changed
from sync.core.documents.collections import VECTOR_COLUMN, document_from_cells, plain_extended
from sync.core.encode.document_ids import cell_of, identifier_of
from sync.core.mutations import Mutation
from sync.errors import WriteRefused
from sync.stores.both_sides.table_flows import TableFlows
from sync.stores.one_side.postgres import PostgresStore


class TargetDocuments:
    """One collection's documents."""

    def __init__(self, target: PostgresStore, flows: TableFlows) -> None:
        self._target, self._flows = target, flows
        self._table = flows.mapped.target
        self._name = self._table.name if self._table.schema == "public" else f"{self._table.schema}.{self._table.name}"

    def get(self, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The document, or None. Raises TargetUnavailable."""
        flows, wanted = self._flows, self._flows.cells.only_key(key)
        with connection_of(self._target.pool) as connection:
            held = TargetKeys(connection, flows.mapped, flows.encoder).look([wanted])[0]
        if held.row is None:
            return None
        found: dict[str, Any] = plain_extended(self._document(held.row))
        return {"_id": key["_id"], **found}

    def _document(self, row: bytes) -> dict[str, Any]:
        """The document of a row's canonical bytes. Raises ValueError if it cannot be reproduced exactly."""
        flows = self._flows
        return document_from_cells(flows.mapped.source, RowDecoder(flows.mapped, flows.encoder.pairs).cells(row))

    def update(self, key: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
        """Set fields of a document; False if there is none. Raises WriteRefused, WriteUnsure, EpochChanged."""
        cells, wanted = self._flows.cells, self._flows.cells.only_key(key)
        assert isinstance(cells, DocumentCells)

        def change(row: bytes) -> Mutation:
            return Mutation("put", wanted, cells.document(changed(self._document(row), changes)))

        return self._flows.reverse.change(wanted, change)

    def search(self, column: str, vector: Sequence[float], limit: int) -> list[tuple[dict[str, Any], float]]:
        """The nearest documents with their similarity, nearest first."""
        name = next((p.target.name for p in self._flows.mapped.pairs if p.source.name == VECTOR_COLUMN), None)
        if column != "$vector" or name is None:
            raise WriteRefused(f"{self._flows.mapped.name}: {column} is not a vector column")
        (key,) = self._flows.mapped.keys
        found = []
        for row, similarity in self._target.search(self._name, name, vector, limit):
            document = self.get({"_id": identifier_of(cell_of(row[key.target.name]))})
            if document is not None:
                found.append((document, similarity))
        return found

    def count(self) -> int:
        """How many documents there are."""
        return self._target.count(self._name)
