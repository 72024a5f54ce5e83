"""The source's tables as they are now: the driver learns of changes within seconds, and is asked again when a call fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock
from types import MappingProxyType
from typing import Protocol, TypeVar

from cassandra import DriverException, InvalidRequest
from cassandra.cluster import NoHostAvailable, Session
from cassandra.metadata import TableMetadata, UserType

from sync.adapters.cassandra.schema.catalogue import keyspace_of, read_tables
from sync.core.rows import SourceTable
from sync.core.schema.static_rows import base_of
from sync.errors import PreflightError, SourceUnavailable, SyncError, WriteRefused
from sync.stores.schema_refresh import SchemaRefresh, retry_on_change

T = TypeVar("T")


class RefreshableSchema(Protocol):
    """Knows tables, and can read them again."""

    @property
    def version(self) -> int: ...
    def refresh(self, table: str, since: int) -> bool: ...


def with_live_table(tables: RefreshableSchema, table: str, call: Callable[[], T]) -> T:
    """Make a call that depends on this table; repeat it once if it was refused and the table has changed."""

    def has_changed(since: int, refusal: SyncError) -> bool:
        is_schema = isinstance(refusal, WriteRefused) or isinstance(refusal.__context__, InvalidRequest)
        return is_schema and tables.refresh(table, since)

    return retry_on_change(lambda: tables.version, lambda _: call(), has_changed, (WriteRefused, SourceUnavailable))


class LiveTables:
    """A keyspace's tables by name; one that has not changed is the same object as before."""

    def __init__(self, session: Session, keyspace: str, kinds: Mapping[str, bool]) -> None:
        self._session, self._keyspace, self._kinds = session, keyspace, kinds
        self._schema, self._reading = SchemaRefresh(), Lock()
        self._seen: dict[str, TableMetadata] = {}
        self._types: dict[str, UserType] = {}
        self._tables: Mapping[str, SourceTable] = {}
        self._read()

    def _read(self) -> bool:
        with self._reading:
            keyspace = keyspace_of(self._session, self._keyspace)
            seen, types = dict(keyspace.tables), dict(keyspace.user_types)
            found, before = read_tables(self._session, self._keyspace, self._kinds), self._tables
            kept = {name: old for name, old in before.items() if found.get(name) == old}
            self._tables, self._seen = MappingProxyType({**found, **kept}), seen
            self._types = types
            return self._tables != before

    def all(self) -> Mapping[str, SourceTable]:
        """All tables."""
        return self._tables

    def get(self, name: str) -> SourceTable | None:
        """One table, as the driver knows it now."""
        keyspace = self._session.cluster.metadata.keyspaces.get(self._keyspace)
        # The driver replaces the object of a table that has changed.
        own = base_of(name) or name
        if keyspace is not None and (
            keyspace.tables.get(own) is not self._seen.get(own) or keyspace.user_types != self._types
        ):
            self._schema.version += self._read()
        return self._tables.get(name)

    @property
    def version(self) -> int:
        """A number that changes when a table changes."""
        return self._schema.version

    def refresh(self, table: str, since: int) -> bool:
        """Read this table and the types again; whether anything has changed since that version."""
        return self._schema.refresh(since, lambda: self._ask(table))

    def _ask(self, table: str) -> bool:
        cluster = self._session.cluster
        try:
            for name in list(keyspace_of(self._session, self._keyspace).user_types):
                cluster.refresh_user_type_metadata(self._keyspace, name)
            cluster.refresh_table_metadata(self._keyspace, base_of(table) or table)
            return self._read()
        except (DriverException, NoHostAvailable, PreflightError):
            return False  # it is unreachable, or being changed: what was refused stays refused
