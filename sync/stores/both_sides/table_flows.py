"""What a store of both sides needs for one table, in either direction."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

from sync.adapters.cassandra.rows.cells import Cells, cells_of
from sync.adapters.cassandra.rows.moments import row_until
from sync.adapters.cassandra.rows.partitions import delete_of
from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.pool import Pool
from sync.adapters.postgres.dual_write.announcements import Announcements, RowsAndPartitions
from sync.adapters.postgres.dual_write.batch_journal import RowsJournal
from sync.adapters.postgres.dual_write.journal import Journal
from sync.adapters.postgres.dual_write.parameters import connection_of
from sync.adapters.postgres.dual_write.partitions import PartitionJournal, PartitionReverse
from sync.adapters.postgres.dual_write.registration import Registration
from sync.adapters.postgres.dual_write.reverse import ReverseJournal
from sync.adapters.postgres.dual_write.sql_changes import expand
from sync.adapters.postgres.schema import indexes
from sync.adapters.postgres.schema.catalogue import regclass
from sync.adapters.postgres.schema.key_order import record_key_order
from sync.adapters.postgres.schema.sql_writers import watched, writers_of
from sync.adapters.store_metrics import store_metrics
from sync.core.counters import refuse_counters
from sync.core.encode.rows import RowEncoder
from sync.core.expiry import expires
from sync.core.mutations import Key, Mutation
from sync.core.reads.query import OPERATORS
from sync.core.rows import TableMap, has_counters, one_sided
from sync.core.schema.static_rows import check_insert
from sync.errors import PreflightError, QueryNotSupported, SourceUnavailable, TargetUnavailable, WriteRefused, WriteRefusedNow
from sync.flows.dual_write import ForwardWrite, Mode
from sync.flows.dual_write_batch import ForwardBatch
from sync.flows.increment import ForwardIncrement
from sync.flows.insert import ForwardInsert
from sync.flows.reverse_write import ReverseWrite
from sync.flows.shared_puts import SharedPuts
from sync.flows.wrapped_write import WrappedTable, WrappedWrite
from sync.ports import AnyRows, Intent, Primary
from sync.settings import Config
from sync.stores.both_sides.source import SourceSide
from sync.stores.one_side.cql import CqlStore
from sync.wiring.backfill.worker import map_sources
from sync.wiring.dual_write.worker import reconciler
from sync.wiring.tracing import tracing
from sync.wiring.visibility import check_target

log = logging.getLogger(__name__)
_MOST_OF_A_CALL = 200
"""Changes by SQL that a call of an application's own class moves, within its own time."""
_SYNC_COLUMNS = "SELECT FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = '_sync_version' AND NOT attisdropped"


@dataclass(frozen=True, slots=True)
class TableFlows:
    """How one table's values become cells, its write flows and its journals under either primary."""

    mapped: TableMap
    encoder: RowEncoder
    cells: Cells
    rows: AnyRows
    forward: ForwardWrite
    batch: ForwardBatch
    puts: SharedPuts
    reverse: ReverseWrite
    journal: Journal
    announcer: ReverseJournal
    deletes: Deletes

    def announces(self, primary: Primary) -> RowsAndPartitions:
        """What announces keys and partitions of the table under this primary."""
        width = len(self.mapped.source.primary_key)
        if primary == "postgres":
            return RowsAndPartitions(self.announcer, self.deletes.announcer, width)
        return RowsAndPartitions(self.journal, self.deletes.journal, width)

    def put(self, row: Mapping[str, Any], ttl: int | None = None) -> Mutation:
        """A write of a whole row. This and the others raise WriteRefused for what cannot be written to both sides."""
        refuse_counters(self.mapped.source)
        return Mutation("put", self.cells.key(row), row_until(self.mapped.source, self.cells, row, ttl))

    def insert(self, row: Mapping[str, Any]) -> Mutation:
        """A write of a whole row if there is none."""
        check_insert(self.mapped.name)
        return self.put(row)

    def update(self, key: Mapping[str, Any], changes: Mapping[str, Any]) -> Mutation:
        """A write of some columns: not in a table whose rows expire, where it would give them another TTL than the others."""
        refuse_counters(self.mapped.source)
        if expires(self.mapped.source):
            raise WriteRefused(
                f"{self.mapped.name}: its rows expire as a whole, and an update would give some of a row's values another "
                "TTL than the others: read the row, and put it with its ttl"
            )
        return Mutation("update", self.cells.only_key(key), self.cells.some(changes))

    def delete(self, key: Mapping[str, Any]) -> Mutation:
        """A delete of one row."""
        refuse_counters(self.mapped.source)
        return Mutation("delete", self.cells.only_key(key), {})

    def written(self, key: Mapping[str, Any]) -> Key:
        """The key that a call of the application's own class writes; of the partition key's columns alone, the partition.

        Raises WriteRefused for other columns, and for a partition in a table that keeps what expires.
        """
        names = {column.name for column in self.mapped.source.partition_key}
        whole = set(key) == names and None not in key.values() and len(self.mapped.source.primary_key) > len(names)
        if not whole:
            return self.cells.only_key(key)
        if self.mapped.keeps:  # nobody can tell what the call deletes from what has expired before
            raise WriteRefused(
                f"{self.mapped.name} keeps what expires: name each key that a method writes; of a whole partition what has "
                "expired before would go, too"
            )
        return self.cells.first_columns(key)

    def delete_of(self, where: Mapping[str, Any]) -> tuple[TableFlows | Deletes, Mutation]:
        """The delete of the rows of a partition, and the flows that write it. Raises QueryNotSupported and WriteRefused."""
        refuse_counters(self.mapped.source)
        mutation = delete_of(self.cells, self.mapped.source, where)
        if mutation.kind == "delete":
            return self, mutation
        is_whole = not mutation.cells and len(mutation.key.cells) == len(self.mapped.source.partition_key)
        if self.mapped.keeps and not is_whole:
            # A key counts as deleted with its partition: one that has expired, and is outside the range, would not be kept.
            raise QueryNotSupported(f"{self.mapped.name} keeps what expires: delete a whole partition, or single rows")
        self.deletes.journal.check(mutation)
        return self.deletes, mutation


@dataclass(frozen=True, slots=True)
class Deletes:
    """The flows of deletes of a table's partitions."""

    journal: PartitionJournal
    forward: ForwardWrite
    reverse: ReverseWrite
    announcer: PartitionReverse


@dataclass(frozen=True, slots=True)
class FlowMaker:
    """Makes the flows of tables; `registration` is this process as a writer."""

    config: Config
    source: SourceSide
    pool: Pool
    registration: Registration

    def make(self, name: str) -> TableFlows:
        """The flows of a table. Raises PreflightError, SourceUnavailable, TargetUnavailable."""
        with connection_of(self.pool.beside) as connection:
            table = self._mapped(connection, name)
        encoder, one = RowEncoder(table, 0), self.registration
        cells = cells_of(table.source, encoder)
        cells.checks = self.source.checks(table.source)
        journal = Journal(self.pool, table, encoder, one.writer, one.breaker)
        reverse = ReverseJournal(self.pool, table, encoder, one.writer)
        rows, mode = self.source.rows(table.source), self.config.mode(name)
        columns = frozenset(p.source.name for p in encoder.pairs)
        reverse_mode = "async" if has_counters(table.source) else mode  # counters are sent on by workers alone
        count, trace = store_metrics().wrote, tracing()
        observe = trace.sides(table, count)
        forward = ForwardWrite(journal, rows, one.write_behind, mode, observe)
        many = RowsJournal(self.pool, table, encoder, one.writer, one.breaker, journal)
        batch = ForwardBatch(replace(forward, observe=count), many, trace.sides(table))
        return TableFlows(
            table, encoder, cells, rows, forward, batch, SharedPuts(forward, batch, self.config.dual_write.connections),
            ReverseWrite(reverse, journal, rows, one.write_behind, columns, reverse_mode, observe),
            journal, reverse, self._deletes(table, encoder, rows, mode),
        )  # fmt: skip

    def _deletes(self, table: TableMap, encoder: RowEncoder, rows: AnyRows, mode: Mode) -> Deletes:
        one = self.registration
        journal = PartitionJournal(self.pool, table, encoder, one.writer, one.breaker)
        reverse = PartitionReverse(self.pool, table, encoder, one.writer)
        ends = frozenset(OPERATORS)  # in the place of columns
        observe = tracing().sides(table, store_metrics().wrote)
        return Deletes(
            journal,
            ForwardWrite(journal, rows, one.write_behind, mode, observe),
            ReverseWrite(reverse, journal, rows, one.write_behind, ends, mode, observe),
            reverse,
        )

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
                f"{flows.mapped.source.section} in sync.toml, for writers, workers and commands"
            )
        try:
            store = self.source.store
        except SourceUnavailable as away:
            raise WriteRefusedNow(f"{name}: {away}; nothing was written") from None
        assert isinstance(store, CqlStore), "a store over the Data API has no inserts"
        return ForwardInsert(self.wrapped([flows], "astra", executor), store.inserts(name))

    def forward_increment(self, flows: TableFlows, executor: Executor) -> ForwardIncrement:
        """The flow of an increment with Astra as primary."""
        return ForwardIncrement(self.wrapped([flows], "astra", executor), flows.rows)

    def wrapped(self, tables: Sequence[TableFlows], primary: Primary, executor: Executor) -> WrappedWrite:
        """The flow of a write of these tables by an application's own class, under this primary."""
        lease, one = self.config.dual_write.writer_lease_seconds, self.registration
        by_name = {flows.mapped.name: flows for flows in tables}

        def announce(keys: Sequence[Key]) -> Sequence[Intent]:
            if len(keys) == 1 and not made[keys[0].table].is_partition(keys[0]):  # in one round trip
                flows = by_name[keys[0].table]
                if primary == "postgres":
                    return [flows.announcer.announce(keys[0])]
                return [flows.journal.open(Mutation("recheck", keys[0], {}))]
            announcers = {name: flows.announces(primary) for name, flows in by_name.items()}
            return Announcements(self.pool, one.breaker, one.writer, announcers, primary).announce(keys)

        def reconciled(flows: TableFlows) -> WrappedTable:
            steps = reconciler(self.pool, flows.mapped, flows.encoder, flows.rows, executor, one.epoch, lease)
            return WrappedTable(flows.journal, steps, flows.forward.mode, len(flows.mapped.source.primary_key))

        made = {name: reconciled(flows) for name, flows in by_name.items()}
        if primary == "astra":
            return WrappedWrite(announce, made, one.write_behind, True)
        return WrappedWrite(announce, made, one.write_behind, False, self._sql_announces(by_name), self._expand_some)

    def _expand_some(self) -> None:
        """Make rechecks of a few keys that SQL has changed: a call's own, unless others' come first; workers do the rest."""
        try:
            with connection_of(self.pool) as connection:  # past the breaker: this says nothing about writes
                expand(connection, _MOST_OF_A_CALL)
        except TargetUnavailable as error:
            log.debug("what SQL has changed is left to workers: %s", error)

    def _sql_announces(self, tables: Mapping[str, TableFlows]) -> Callable[[str], bool]:
        """Whether a table, and each of its partitions, has its triggers now. Raises TargetUnavailable."""
        made = {name: writers_of(flows.mapped, self.config.cutover.sql_writers) for name, flows in tables.items()}

        def announces(table: str) -> bool:
            with connection_of(self.pool) as connection:
                return not made[table].faults(watched(connection, [made[table]]))

        return announces
