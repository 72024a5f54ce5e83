"""The store of both sides for an application that writes to Astra through the Data API.

The API takes no timestamp, so its writes are announced, and Postgres is made equal by reading the key back over CQL: by this
process where it has CQL settings, by workers where it has not (docs/decisions/0015-a-source-without-timestamps.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import wait
from dataclasses import dataclass
from typing import Any

from sync.adapters.cassandra.cells import Cells
from sync.core.mutations import Mutation
from sync.core.rows import SourceTable
from sync.errors import TargetUnavailable
from sync.ports import Epoch
from sync.settings import Config, Settings
from sync.stores.astra import AstraStore
from sync.stores.dual import DualWriteStore, Side
from sync.stores.key_flows import KeyMaker
from sync.stores.source import SourceSide
from sync.stores.table_flows import FlowMaker, TableFlows

Write = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class ApiSide:
    """The Data API as a side."""

    store: AstraStore

    @property
    def tables(self) -> Mapping[str, SourceTable]:
        """Tables and collections, by name."""
        return self.store.tables

    def close(self) -> None:
        """Close the connections."""
        self.store.close()


class ApiDualWriteStore(DualWriteStore):
    """Writes go to the Data API and to Postgres, reads to the primary. Safe to use from many threads."""

    def _open_source(self, settings: Settings, config: Config, epoch: Epoch) -> Side:
        self._api = AstraStore(settings, config.dual_write.primary_timeout_seconds)
        self._cql = SourceSide(settings, config, self._target.pool, is_primary=True) if settings.has_cql else None
        return ApiSide(self._api)

    def _new_maker(self, settings: Settings, config: Config) -> Any:
        if self._cql is None:
            return KeyMaker(settings, config, self._api, self._target.pool, self._registration)
        return FlowMaker(config, self._cql, self._target.pool, self._registration)

    def close(self) -> None:
        """Sign off and close the connections; in a forked process nothing, they are its parent's."""
        if self._process.is_own:
            super().close()
            if self._cql:
                self._cql.close()

    def put(self, table: str, row: Mapping[str, Any]) -> bool:
        """Write a whole row, or a whole document: what is left out is null, or not there."""
        return self._checked_put(table, row)()

    def _checked_put(self, table: str, row: Mapping[str, Any]) -> Write:
        astra, key = self._api.checked_put(table, row), self._key(table, row)

        def mutation(cells: Cells) -> Mutation:
            return Mutation("put", cells.key(row), cells.row(row))

        return lambda: self._announced(table, key, astra, mutation, lambda: self._target.put(table, row))

    def put_many(self, table: str, rows: Iterable[Mapping[str, Any]]) -> bool:
        """Write whole rows, each on its own and several at once, after all of them were checked; those of a key in order.

        Raises the first row's error when all have been tried.
        """
        cells, by_key = self._of(table).cells, dict[bytes, list[Write]]()
        for row in rows:
            put = self._checked_put(table, row)
            by_key.setdefault(cells.only_key(self._key(table, row)).canonical, []).append(put)
        written = [self._many.submit(_one_by_one, puts) for puts in by_key.values()]
        wait(written)
        for each in written:
            each.result()
        return True

    def update(self, table: str, key: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
        """Write some columns, or fields. What is not there is made; where Postgres is primary not: False, nothing written."""
        astra = self._api.checked_update(table, key, changes)

        def mutation(cells: Cells) -> Mutation:
            return Mutation("update", cells.only_key(key), cells.some(changes))

        return self._announced(table, key, astra, mutation, lambda: self._target.update(table, key, changes))

    def delete(self, table: str, key: Mapping[str, Any]) -> bool:
        """Delete a row, if there is one."""
        astra = self._api.checked_delete(table, key)

        def mutation(cells: Cells) -> Mutation:
            return Mutation("delete", cells.only_key(key), {})

        return self._announced(table, key, astra, mutation, lambda: self._target.delete(table, key))

    def _key(self, table: str, row: Mapping[str, Any]) -> dict[str, Any]:
        source = self._api.source(table)
        names = ["_id"] if source.is_collection else [c.name for c in source.primary_key]
        return {name: row[name] for name in names}

    def _announced(
        self, table: str, key: Mapping[str, Any], astra: Write, mutation: Callable[[Cells], Mutation], postgres: Write
    ) -> bool:
        """Write a key under the present primary; `postgres` writes it where it cannot be sent on over CQL."""
        flows = self._of(table)
        cells = flows.cells.only_key(key)

        def by_api() -> bool:
            if astra():
                self._may_come_late(table, key)
            return True

        def to_astra() -> bool:
            return bool(self._maker.wrapped(flows, "astra", self._executor).write(cells, by_api))

        def to_postgres() -> bool:
            if isinstance(flows, TableFlows) and not flows.mapped.source.is_collection:
                return flows.reverse.write(mutation(flows.cells))
            return bool(self._maker.wrapped(flows, "postgres", self._executor).write(cells, postgres))

        return self._switching.run({"astra": to_astra, "postgres": to_postgres})

    def _may_come_late(self, table: str, key: Mapping[str, Any]) -> None:
        """An attempt that was given up may arrive behind the one that was done: the key is read once more (rule 17)."""
        flows = self._of(table)
        mutation = Mutation("recheck", flows.cells.only_key(key), {})
        version = self._registration.aside.stamp(mutation.key)
        try:
            flows.journal.record(mutation, version, "unsure")
        except TargetUnavailable:
            self._registration.aside.unrecorded(flows.journal, mutation, version, "unsure")


def _one_by_one(puts: list[Write]) -> None:
    for put in puts:
        put()
