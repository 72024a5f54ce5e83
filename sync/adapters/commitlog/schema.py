"""The tables of a node by their ids, as its log names them: read from `system_schema` of that node."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cassandra import DriverException
from cassandra.cluster import NoHostAvailable, Session
from cassandra.pool import Host

from sync.adapters.cassandra.connection.connect import explain
from sync.core.capture.commitlog.tables import ColumnRow, LogTable, log_table
from sync.errors import Unreachable

_TABLES = "SELECT keyspace_name, table_name, id, cdc FROM system_schema.tables"
_VIEWS = "SELECT keyspace_name, view_name, id FROM system_schema.views"
_COLUMNS = "SELECT keyspace_name, table_name, column_name, kind, position, type FROM system_schema.columns"
_DROPPED = "SELECT keyspace_name, table_name, column_name, kind, type FROM system_schema.dropped_columns"
_KEYSPACES = "SELECT keyspace_name, durable_writes FROM system_schema.keyspaces"
_TYPES = "SELECT keyspace_name, type_name FROM system_schema.types"


class NodeSchema:
    """All tables of a node. `keyspace` and `names`: those that are followed. `memory`: a file that remembers their ids: a
    table that was dropped and made again has another one, and its old rows are gone without a mutation of their own."""

    def __init__(self, session: Session, host: Host, keyspace: str, names: Iterable[str], memory: Path) -> None:
        self._session, self._host, self._memory = session, host, memory
        self.keyspace, self._names = keyspace, frozenset(names)
        self.tables: dict[bytes, LogTable] = {}
        self.watched: frozenset[bytes] = frozenset()
        self._written: dict[str, str] = {}
        self._without_cdc: frozenset[str] = frozenset()
        self._durable = True

    def refresh(self) -> list[tuple[str, str]]:
        """Read the schema again; returns the followed tables of which changes are lost, with why: they were dropped, dropped
        and made again since `remember`, or the log does not have all of their changes any more.

        Raises Unreachable if the node does not answer.
        """
        found = {table.id: table for table in self._read()}
        self.tables = found
        ids = {table.name: identity for identity, table in found.items() if self._follows(table)}
        self.watched = frozenset(ids.values())
        known = self._remembered()
        lost = [(name, f"{name} was dropped") for name in known if name not in ids]
        lost += [(name, f"{name} was dropped and made again") for name, was in known.items() if ids.get(name, was) != was]
        if ids.keys() - known.keys():  # at once: it may be made again before anything is recorded
            self._write({name: identity.hex() for name, identity in (ids | known).items()})
        lost += [(name, f"{name} has no cdc = true") for name in sorted(ids.keys() & self._without_cdc)]
        if not self._durable:
            lost += [(name, f"the keyspace {self.keyspace} has durable_writes = false") for name in sorted(ids)]
        return [(name, why) for name, why in lost if name in self._names]

    def remember(self) -> None:
        """Write down the ids of the followed tables, now that what `refresh` returned is recorded."""
        self._write({table.name: table.id.hex() for table in self.tables.values() if self._follows(table)})

    def _write(self, ids: dict[str, str]) -> None:
        if ids == self._written:
            return
        new = self._memory.with_suffix(".new")
        new.write_text(json.dumps(ids, sort_keys=True))
        new.replace(self._memory)
        self._written = ids

    def _follows(self, table: LogTable) -> bool:
        return table.keyspace == self.keyspace and table.name in self._names

    def _remembered(self) -> dict[str, bytes]:
        with suppress(FileNotFoundError):
            return {name: bytes.fromhex(identity) for name, identity in json.loads(self._memory.read_text()).items()}
        return {}

    def _read(self) -> list[LogTable]:
        try:
            ids = [
                (ks, name, identity.bytes) for select in (_TABLES, _VIEWS) for ks, name, identity, *_ in self._rows(select)
            ]
            cdc = [name for ks, name, _, cdc in self._rows(_TABLES) if ks == self.keyspace and not cdc]
            self._durable = all(durable for ks, durable in self._rows(_KEYSPACES) if ks == self.keyspace)
            self._without_cdc = frozenset(cdc)
            columns, dropped, udts = self._columns(_COLUMNS), self._columns(_DROPPED), self._types()
        except (DriverException, NoHostAvailable) as error:
            raise Unreachable(f"the schema of the node {self._host.address}: {explain(error)}") from None
        none: frozenset[str] = frozenset()
        return [
            log_table(identity, ks, name, columns.get((ks, name), ()), dropped.get((ks, name), ()), udts.get(ks, none))
            for ks, name, identity in ids
        ]

    def _columns(self, select: str) -> Mapping[tuple[str, str], list[ColumnRow]]:
        found: dict[tuple[str, str], list[ColumnRow]] = {}
        for ks, table, name, kind, *position, cql in self._rows(select):
            found.setdefault((ks, table), []).append(ColumnRow(name, kind, position[0] if position else 0, cql))
        return found

    def _types(self) -> dict[str, frozenset[str]]:
        found: dict[str, set[str]] = {}
        for ks, name in self._rows(_TYPES):
            found.setdefault(ks, set()).add(name)
        return {ks: frozenset(names) for ks, names in found.items()}

    def _rows(self, select: str) -> Iterable[Any]:
        rows: Iterable[Any] = self._session.execute(select, host=self._host)
        return rows
