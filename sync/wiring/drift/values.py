"""Findings as the report shows them, on request with both sides' values."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from sync.adapters.cassandra.connection.connect import Cassandra, open_cassandra
from sync.adapters.postgres.connection.connect import Connection, connect
from sync.adapters.postgres.drift.keys import TargetKeys
from sync.adapters.postgres.drift.pass_ledger import ClosedRun
from sync.core.encode.base import Reject
from sync.core.encode.rows import RowEncoder
from sync.core.keys.json_form import show_key
from sync.core.mutations import Key, unpack_cells
from sync.core.rows import TableMap
from sync.settings import Config, Settings
from sync.wiring.drift.worker import key_rows


def shown_finding(found: dict[str, Any]) -> dict[str, Any]:
    """A recorded finding in the report's form."""
    made = {
        "kind": found["kind"],
        "key": found["shown"],
        "columns": found["columns"],
        "source_version": found["source_version"] or None,
        "target_version": found["target_version"],
        "repaired": found["repaired"],
        "announced": found["announced"],
    }
    return {**made, "error": found["error"]} if found["error"] else made


def add_values(
    settings: Settings, config: Config, tables: dict[str, TableMap], closed: list[ClosedRun], report: dict[str, Any]
) -> None:
    """Add to each finding of the report what both sides hold now; these values are recorded nowhere."""
    with open_cassandra(settings) as cassandra, closing(connect(settings, autocommit=True)) as connection:
        for table, run in zip(report["tables"], closed, strict=True):
            look = _Values(cassandra, connection, tables[run.table], config)
            for shown, found in zip(table["findings"], run.findings, strict=True):
                shown["values"] = look(found)


class _Values:
    """Both sides' values of a table's findings."""

    def __init__(self, cassandra: Cassandra, connection: Connection, table: TableMap, config: Config) -> None:
        self._encoder = RowEncoder(table, 0)
        self._table, self._target = table, TargetKeys(connection, table, self._encoder)
        self._rows = key_rows(cassandra, table, self._encoder, config)

    def __call__(self, found: dict[str, Any]) -> dict[str, Any]:
        if not found["source_key"]:
            return {}
        cells = unpack_cells(bytes(found["source_key"]))[0]
        key = Key(self._table.name, cells, bytes(found["key"]), found["token"])
        (read,) = self._rows.read_each([key])
        source = None if isinstance(read, str) or read.cells is None else self._shown(read.cells)
        return {"source": self._some(source, found["columns"]), "target": self._some(self._held(key), found["columns"])}

    def _shown(self, cells: dict[str, bytes | None]) -> dict[str, Any]:
        names = [p.source.name for p in self._table.pairs]
        there = [p for p in self._table.pairs if cells.get(p.source.name) is not None]
        shown = show_key(tuple(there), tuple(cells[p.source.name] for p in there))
        return {name: shown.get(name) for name in names}

    def _held(self, key: Key) -> dict[str, Any] | None:
        try:
            row = self._target.show(key) if key.canonical else None
        except Reject:
            row = None
        return row and {p.source.name: row.get(p.target.name) for p in self._table.pairs}

    @staticmethod
    def _some(row: dict[str, Any] | None, columns: list[str]) -> dict[str, Any] | None:
        return {n: v for n, v in row.items() if n in columns or not columns} if row else None
