"""The store of both sides for an application that writes to Astra through the Data API.

The API takes no timestamp, so its writes are announced, and Postgres is made equal by reading the key back over CQL: by this
process if it has CQL settings, otherwise by workers (docs/decisions/0015-a-source-without-timestamps.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sync.adapters.cassandra.rows.cells import DocumentCells
from sync.core.counters import refuse_counters
from sync.core.mutations import Mutation
from sync.core.reads.query import OrderBy
from sync.core.reads.shapes import shape_of
from sync.core.rows import SourceTable, TableOptions
from sync.core.schema.limits import migrated_columns
from sync.core.schema.static_rows import SUFFIX, base_of, without_ignored
from sync.errors import NotSupported, QueryNotSupported, TargetUnavailable, WriteRefused
from sync.ports import Written
from sync.settings import Config, Settings
from sync.stores.both_sides.dual import DualWriteStore
from sync.stores.both_sides.first_look import ShadowRead, if_there, rows_found, those_there
from sync.stores.both_sides.source_api import ApiSide
from sync.stores.both_sides.table_flows import TableFlows
from sync.stores.both_sides.target_documents import TargetDocuments
from sync.stores.one_side.astra import NO_COUNTERS, NO_DELETE_MANY, NO_DOCUMENTS, NO_INSERT, refuse_ttl
from sync.stores.one_side.postgres import PostgresStore
from sync.stores.rows import PAGE_ROWS, Rows, reads
from sync.wiring.tracing import tracing

Write = Callable[[], bool]
ToPostgres = Callable[[TableFlows], bool]


class _ComesLate(Exception):
    """The write is done, but an earlier attempt of it may still arrive, and only its own intent can record that."""


class ApiDualWriteStore(DualWriteStore):
    """Writes go to the Data API and to Postgres, reads to the primary. Safe to use from many threads."""

    _shares_puts = False
    _source: ApiSide

    def _open_source(self, settings: Settings, config: Config, is_primary: bool) -> ApiSide:
        return ApiSide(settings, config, None if is_primary else self._target.pool)

    def _flow_config(self, config: Config) -> Config:
        """The config for the flows: without CQL the second half of every write is left to workers."""
        if self._source.has_cql:
            return config
        queued = config.dual_write.model_copy(update={"async_secondary": frozenset(self._source.tables)})
        return config.model_copy(update={"dual_write": queued})

    def put(self, table: str, row: Mapping[str, Any], ttl: int | None = None) -> bool:
        """Write a whole row or document: a column left out becomes null, a field left out is absent.

        Raises NotSupported for a TTL.
        """
        refuse_ttl(table, ttl)
        return self._traced("put", table, lambda _: self._checked_put(table, row)())

    def _checked_put(self, table: str, row: Mapping[str, Any]) -> Write:
        self._refuse_static(table, row)
        key = self._key(table, row)
        astra = self._checked(lambda: self._source.store.checked_put(table, row))

        def to_postgres(flows: TableFlows) -> bool:
            cells = flows.cells
            made = cells.document(row) if isinstance(cells, DocumentCells) else cells.row(row)
            return flows.reverse.write(Mutation("put", cells.key(row), made))

        return lambda: self._announced(table, key, astra, to_postgres)

    def put_many(self, table: str, rows: Iterable[Mapping[str, Any]]) -> bool:
        """Write whole rows, several at once, after checking all of them; rows with the same key are written in order.

        Raises the first row's error when all have been tried.
        """
        given = list(rows)
        by_key: dict[bytes, list[Mapping[str, Any]]] = {}
        keys = self._retry_on_change(table, lambda flows: self._checked_keys(flows, table, given))
        for row, key in zip(given, keys, strict=True):
            by_key.setdefault(key, []).append(row)

        def write_all() -> bool:
            with self._calls:
                self._write_all(by_key.values(), lambda row: self._again(table, lambda _: self._checked_put(table, row)()))
            return True

        return tracing().write("put_many", table, write_all, len(given))

    def _checked_keys(self, flows: TableFlows, table: str, rows: Sequence[Mapping[str, Any]]) -> list[bytes]:
        for row in rows:
            self._checked_put(table, row)
        return [flows.cells.only_key(self._key(table, row)).canonical for row in rows]

    def insert(self, table: str, row: Mapping[str, Any]) -> bool:
        """Always raises NotSupported, whichever store is primary: the Data API has no such write."""
        self._table(table)
        raise NotSupported(NO_INSERT.format(table))

    def delete_many(self, table: str, where: Mapping[str, Any]) -> bool:
        """Always raises NotSupported, whichever store is primary: what the Data API deletes has no timestamp."""
        self._table(table)
        raise NotSupported(NO_DELETE_MANY.format(table))

    def increment(self, table: str, key: Mapping[str, Any], amounts: Mapping[str, int]) -> bool:
        """Always raises NotSupported, whichever store is primary: the Data API has no counters."""
        self._table(table)
        raise NotSupported(NO_COUNTERS.format(table))

    def update(self, table: str, key: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
        """Write some columns or fields. A row that does not exist is created; with Postgres as primary it is not (False)."""

        def to_postgres(flows: TableFlows) -> bool:
            if flows.mapped.source.is_collection:
                return TargetDocuments(self._target, flows).update(key, changes)
            return flows.reverse.write(Mutation("update", flows.cells.only_key(key), flows.cells.some(changes)))

        def write(_: TableFlows) -> bool:
            self._refuse_static(table, changes)
            astra = self._checked(lambda: self._source.store.checked_update(table, key, changes))
            return self._announced(table, key, astra, to_postgres)

        return self._traced("update", table, write)

    def delete(self, table: str, key: Mapping[str, Any]) -> bool:
        """Delete a row, if there is one."""

        def to_postgres(flows: TableFlows) -> bool:
            return flows.reverse.write(Mutation("delete", flows.cells.only_key(key), {}))

        def write(_: TableFlows) -> bool:
            astra = self._checked(lambda: self._source.store.checked_delete(table, key))
            return self._announced(table, key, astra, to_postgres)

        return self._traced("delete", table, write)

    def get(self, table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The primary's row or document, or None."""

        def get(store: Any) -> dict[str, Any] | None:
            return self._documents(store, table).get(key) if self._holds_rows(store, table) else store.get(table, key)

        return self._read(ShadowRead(table, get, if_there, [key]))

    def get_many(self, table: str, keys: Iterable[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
        """The primary's rows or documents of these keys, in their order, None for one that does not exist."""
        given = list(keys)

        def get_many(store: Any) -> list[dict[str, Any] | None]:
            if not self._holds_rows(store, table):
                found: list[dict[str, Any] | None] = store.get_many(table, given)
                return found
            documents = self._documents(store, table)
            return [documents.get(key) for key in given]

        return self._read(ShadowRead(table, get_many, those_there, given))

    def find(
        self,
        table: str,
        where: Mapping[str, Any],
        order_by: OrderBy | None = None,
        limit: int | None = None,
        after: str | None = None,
        page_rows: int = PAGE_ROWS,
    ) -> Rows:
        """As DualWriteStore.find. Raises QueryNotSupported for documents, whichever store is primary."""
        self._refuse_documents(table)
        return super().find(table, where, order_by, limit, after, page_rows)

    def scan(self, table: str, after: str | None = None, page_rows: int = PAGE_ROWS) -> Rows:
        """As DualWriteStore.scan. Raises QueryNotSupported for documents, whichever store is primary."""
        self._refuse_documents(table)
        return super().scan(table, after, page_rows)

    def _refuse_documents(self, table: str) -> None:
        """Raise QueryNotSupported for a collection: in Postgres its rows are not what the application has put."""
        with reads():
            if self._table(table).is_collection:
                raise QueryNotSupported(NO_DOCUMENTS.format(table))

    def search(
        self, table: str, column: str, vector: Sequence[float], limit: int = 10, where: Mapping[str, Any] | None = None
    ) -> list[tuple[dict[str, Any], float]]:
        """The primary's nearest rows or documents with their similarity, nearest first."""

        def search(store: Any) -> list[tuple[dict[str, Any], float]]:
            if not self._holds_rows(store, table):
                found: list[tuple[dict[str, Any], float]] = store.search(table, column, vector, limit, where)
                return found
            if where:
                raise QueryNotSupported(NO_DOCUMENTS.format(table))
            return self._documents(store, table).search(column, vector, limit)

        answer = self._read(ShadowRead(table, search, rows_found, whole=False))
        self._shapes.note(table, shape_of("search", where))
        return answer

    def count(self, table: str) -> int:
        """The number of rows or documents in the primary."""
        read = self._primary_of(table)
        return self._documents(read, table).count() if self._holds_rows(read, table) else read.count(table)

    def _of(self, table: str) -> TableFlows:
        flows = super()._of(table)
        if flows.encoder.expires:
            raise WriteRefused(f'{table}: ttl = "expire" needs writers over CQL: the Data API takes no TTL')
        if static := self._static(table):
            raise WriteRefused(
                f"{table}: static columns ({', '.join(static)}) need writers over CQL (unset ASTRA_DB_API_ENDPOINT), or "
                f"ignore under {flows.mapped.source.section} in sync.toml"
            )
        return flows

    def _static(self, table: str) -> list[str]:
        """The static columns, of this table or another, that are migrated and that no key of this table's rows announces."""
        static = self._source.tables.get(table if base_of(table) else f"{table}{SUFFIX}")
        if static is None or self._config.left_out_by(static.name):
            return []
        carried = migrated_columns(without_ignored(static, self._config.options(static.name)), TableOptions())
        return [c.name for c in carried if not c.is_key]

    def _refuse_static(self, table: str, values: Mapping[str, Any]) -> None:
        """Raise WriteRefused for static columns that are ignored: Postgres would not have them."""
        for name in (c.name for c in self._table(table).columns if c.kind == "static" and c.name in values):
            raise WriteRefused(f"{table}: {name} is a static column and not migrated: write it through your own client")

    def _holds_rows(self, read: object, table: str) -> bool:
        """Whether this store holds rows where the application uses documents."""
        return isinstance(read, PostgresStore) and self._table(table).is_collection

    def _documents(self, store: Any, table: str) -> TargetDocuments:
        return TargetDocuments(store, self._of(table))

    def _key(self, table: str, row: Mapping[str, Any]) -> dict[str, Any]:
        source = self._table(table)
        names = ["_id"] if source.is_collection else [c.name for c in source.primary_key]
        for name in names:
            if name not in row:
                raise WriteRefused(f"{table}: the key column {name} is missing")
        return {name: row[name] for name in names}

    def _table(self, name: str) -> SourceTable:
        self._process.check()
        return self._source.table(name)

    def _checked(self, make: Callable[[], Write]) -> Write:
        """The write, checked now if it goes to the API; while Postgres is primary the API may be unreachable."""
        return make() if self._side.primary == "astra" else lambda: make()()

    def _announced(self, table: str, key: Mapping[str, Any], astra: Write, postgres: ToPostgres) -> bool:
        """Write a key under the current primary."""
        flows = self._of(table)
        refuse_counters(flows.mapped.source)
        cells = flows.cells.only_key(key)

        def by_api() -> bool:
            if astra():
                self._may_come_late(table, key)
            return True

        def to_astra() -> bool:
            try:
                return bool(self._maker.wrapped([flows], "astra", self._executor).write([cells], by_api))
            except _ComesLate:
                return True

        return self._router.run({"astra": to_astra, "postgres": lambda: postgres(flows)})

    def _may_come_late(self, table: str, key: Mapping[str, Any]) -> None:
        """Have the key read once more: an attempt that was given up may arrive after the successful one (rule 17).

        Raises _ComesLate during an outage of Postgres: the call's own intent is then left unsure instead.
        """
        flows, write_behind = self._of(table), self._registration.write_behind
        mutation = Mutation("recheck", flows.cells.only_key(key), {})
        version = write_behind.stamp(mutation.key)
        try:
            flows.journal.record([Written(mutation, version, "unsure")])
        except TargetUnavailable:
            raise _ComesLate from None
        finally:
            write_behind.forget(mutation.key)
