"""What a store of both sides needs for one table, in either direction."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from sync.adapters.cassandra.rows.cells import Cells, cells_of
from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.pool import Pool
from sync.adapters.postgres.dual_write.announcements import Announcements
from sync.adapters.postgres.dual_write.journal import Journal
from sync.adapters.postgres.dual_write.parameters import connection_of
from sync.adapters.postgres.dual_write.registration import Registration
from sync.adapters.postgres.dual_write.reverse import ReverseJournal
from sync.adapters.postgres.schema import indexes
from sync.adapters.postgres.schema.catalogue import regclass
from sync.adapters.postgres.schema.key_order import record_key_order
from sync.core.encode.rows import RowEncoder
from sync.core.expiry import expires
from sync.core.mutations import Key, Mutation
from sync.core.rows import SourceTable, TableMap, one_sided
from sync.errors import PreflightError, SourceUnavailable, WriteRefused, WriteRefusedNow
from sync.flows.dual_write import ForwardWrite
from sync.flows.insert import ForwardInsert
from sync.flows.reverse_write import ReverseWrite
from sync.flows.wrapped_write import WrappedTable, WrappedWrite
from sync.ports import AnyRows, Intent, Primary
from sync.settings import Config
from sync.stores.both_sides.source import SourceSide
from sync.stores.one_side.cql import CqlStore
from sync.wiring.backfill.worker import map_sources
from sync.wiring.dual_write.worker import reconciler
from sync.wiring.visibility import check_target

_SYNC_COLUMNS = "SELECT FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = '_sync_version' AND NOT attisdropped"


@dataclass(frozen=True, slots=True)
class TableFlows:
    """How one table's values become cells, its write flows and its journals under either primary."""

    mapped: TableMap
    encoder: RowEncoder
    cells: Cells
    rows: AnyRows
    forward: ForwardWrite
    reverse: ReverseWrite
    journal: Journal
    announcer: ReverseJournal


def refuse_update(table: SourceTable) -> None:
    """Raise WriteRefused for a table whose rows expire: an update gives some cells another TTL than the rest of their row."""
    if expires(table):
        raise WriteRefused(
            f"{table.name}: its rows expire as a whole, and an update would give some of a row's values another TTL than the "
            "others: read the row, and put it with its ttl"
        )


@dataclass(frozen=True, slots=True)
class FlowMaker:
    """Makes the flows of tables; `registration` is this process as a writer."""

    config: Config
    source: SourceSide
    pool: Pool
    registration: Registration

    def make(self, name: str) -> TableFlows:
        """The flows of a table. Raises PreflightError, SourceUnavailable, TargetUnavailable."""
        with connection_of(self.pool) as connection:
            table = self._mapped(connection, name)
        encoder, one = RowEncoder(table, 0), self.registration
        cells = cells_of(table.source, encoder)
        cells.checks = self.source.checks(table.source)
        journal = Journal(self.pool, table, encoder, one.writer, one.breaker)
        reverse = ReverseJournal(self.pool, table, encoder, one.writer)
        rows, mode = self.source.rows(table.source), self.config.mode(name)
        columns = frozenset(p.source.name for p in encoder.pairs)
        return TableFlows(
            table, encoder, cells, rows,
            ForwardWrite(journal, rows, one.write_behind, mode),
            ReverseWrite(reverse, journal, rows, one.write_behind, columns, mode),
            journal, reverse,
        )  # fmt: skip

    def _mapped(self, connection: Connection, name: str) -> TableMap:
        table = map_sources(self.source.tables, connection, self.config, [name])[name]
        if why := one_sided(table.source):
            raise PreflightError(f"{name}: {why}")
        check_target(connection, [table])
        self.source.check_visibility(table)
        if connection.execute(_SYNC_COLUMNS, (regclass(self.config.options(name).target or name),)).fetchone() is None:
            indexes.add_sync_columns(connection, table)  # writers come before the first backfill (rule 3)
            record_key_order(connection, table)
        return table

    def forward_insert(self, flows: TableFlows, executor: Executor) -> ForwardInsert:
        """The flow of an insert with Astra as primary. Raises WriteRefused if sync.toml forbids it, or Astra is away."""
        name = flows.mapped.name
        if not self.config.options(name).lightweight_transactions:
            raise WriteRefused(
                f"{name}: an insert into Astra is a lightweight transaction: set `lightweight_transactions = true` under "
                f"[tables.{name}] in sync.toml, for writers, workers and commands"
            )
        try:
            store = self.source.store
        except SourceUnavailable as away:
            raise WriteRefusedNow(f"{name}: {away}; nothing was written") from None
        assert isinstance(store, CqlStore), "a store over the Data API has no inserts"
        return ForwardInsert(self.wrapped([flows], "astra", executor), store.inserts(name))

    def wrapped(self, tables: Sequence[TableFlows], primary: Primary, executor: Executor) -> WrappedWrite:
        """The flow of a write of these tables by an application's own class, under this primary."""
        lease, one = self.config.dual_write.writer_lease_seconds, self.registration
        by_name = {flows.mapped.name: flows for flows in tables}

        def announce(keys: Sequence[Key]) -> Sequence[Intent]:
            if len(keys) == 1:  # in one round trip
                flows = by_name[keys[0].table]
                if primary == "postgres":
                    return [flows.announcer.announce(keys[0])]
                return [flows.journal.open(Mutation("recheck", keys[0], {}))]
            announcers = {
                name: flows.announcer if primary == "postgres" else flows.journal for name, flows in by_name.items()
            }
            return Announcements(self.pool, one.breaker, one.writer, announcers, primary).announce(keys)

        def reconciled(flows: TableFlows) -> WrappedTable:
            steps = reconciler(self.pool, flows.mapped, flows.encoder, flows.rows, executor, one.epoch, lease)
            return WrappedTable(flows.journal, steps, flows.forward.mode)

        made = {name: reconciled(flows) for name, flows in by_name.items()}
        return WrappedWrite(announce, made, one.write_behind, primary == "astra")
