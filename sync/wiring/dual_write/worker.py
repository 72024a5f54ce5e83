"""What a worker process does: drain intents."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from sync.adapters.cassandra.connection.connect import Cassandra, open_cassandra
from sync.adapters.cassandra.rows.cells import cells_of
from sync.adapters.cassandra.rows.partition_keys import PartitionKeys
from sync.adapters.postgres.capture.partition_rechecks import PartitionRechecks
from sync.adapters.postgres.connection.connect import Connection, connect
from sync.adapters.postgres.connection.pool import Pool, open_pool
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import error_text
from sync.adapters.postgres.cutover.epochs import read_epoch
from sync.adapters.postgres.dual_write.agreement import check_writers
from sync.adapters.postgres.dual_write.breaker import Breaker
from sync.adapters.postgres.dual_write.counters import CounterSteps
from sync.adapters.postgres.dual_write.data_centres import check_data_center
from sync.adapters.postgres.dual_write.dead_writers import sign_off_dead
from sync.adapters.postgres.dual_write.journal import Journal, Writer
from sync.adapters.postgres.dual_write.partitions import PartitionJournal
from sync.adapters.postgres.dual_write.reconcile import ReconcileSteps
from sync.adapters.postgres.dual_write.resend_in_order import OrderedResends
from sync.adapters.postgres.dual_write.reverse import ResendSteps
from sync.adapters.postgres.dual_write.sql_changes import expand
from sync.adapters.postgres.schema.migrations import check_version, usable_state
from sync.adapters.queue import QueueNotifier, redis_connection
from sync.core.decode.rows import RowDecoder
from sync.core.encode.rows import RowEncoder
from sync.core.rows import TableMap, has_counters
from sync.errors import SyncError
from sync.failpoints import failpoint
from sync.flows.drain import Drain
from sync.flows.partition_deletes import PartitionDeletes
from sync.flows.partition_rechecks import ExpandPartitions
from sync.flows.reconcile import Reconcile
from sync.flows.resend import Resend
from sync.flows.resend_counters import CounterResend
from sync.flows.retry import retry_while_not_now
from sync.ports import AnyRows, Epoch
from sync.settings import Config, Settings
from sync.wiring.backfill.worker import map_tables, rows_by_key, worker_name

log = logging.getLogger(__name__)
_READS_AT_ONCE, _LANES, _CONNECTIONS = 24, 3, 4
MAX_COUNTED = 100_000
"""No more intents of a table than these are counted: they are counted every two seconds."""
_SQL = {name: text.encode() for name, text in queries("dual_write/journal").items()}


class Sweeper:
    """Notifies workers of every table with intents that nobody is working on; logs an error once; the next sweep retries.

    `ended`: those of these tables, as the last sweep found them, some of whose writes have ended: of an open one of a living
    writer nobody has anything to do yet.
    """

    def __init__(self, settings: Settings, writers_folder: Path | None = None) -> None:
        self._settings, self._writers_folder = settings, writers_folder
        self._said = ""
        self.ended: list[str] = []

    def sweep(self) -> dict[str, int]:
        """Open intents by table, counted up to MAX_COUNTED + 1.

        Dead writers that this host can prove to have nothing unrecorded are signed off.
        """
        self.ended = []
        try:
            with closing(connect(self._settings, direct=False, autocommit=True)) as connection:
                exists = usable_state(connection)
                if exists:
                    sign_off_dead(connection, self._writers_folder)
                tables = _open_by_table(connection) if exists else []
            self.ended = [name for name, _, ended, _ in tables if ended]
            if due := [name for name, _, ended, is_open in tables if ended or is_open]:
                notifier = QueueNotifier(redis_connection(self._settings))
                failpoint("sweep.before_notify")
                for table in due:
                    notifier.notify_reconcile(table)
        except (SyncError, psycopg.Error) as error:
            text = error_text(error)
            if text != self._said:
                log.warning("sweep: %s", text)
            self._said = text
            return {}
        self._said = ""
        return {name: count for name, count, *_ in tables}


def _open_by_table(connection: Connection) -> list[tuple[str, int, bool, bool]]:
    expand(connection)
    with connection.transaction():
        connection.execute(_SQL["in_order"])
        rows = connection.execute(_SQL["open_by_table"], {"most": MAX_COUNTED + 1}).fetchall()
    return [(str(name), int(count), bool(ended), bool(is_open)) for name, count, ended, is_open in rows]


def drain_job(settings: Settings, config: Config, table: str, stopped: Callable[[], bool]) -> int:
    """Drain one table's intents; the number of keys done. Opens and closes all its connections."""

    def drain() -> int:
        with open_drains(settings, config, [table]) as drains:
            return drains[table].run(worker_name(), stopped)

    return retry_while_not_now(drain, stopped)


@dataclass(frozen=True, slots=True)
class Connections:
    """What drains work with."""

    cassandra: Cassandra
    pool: Pool
    executor: Executor


@contextmanager
def open_connections(settings: Settings, config: Config) -> Iterator[Connections]:
    """One set of connections, closed at the end. Raises SettingsError and Unreachable."""
    with (
        open_cassandra(settings, config.dual_write.primary_timeout_seconds) as cassandra,
        closing(open_pool(settings, _CONNECTIONS)) as pool,
        ThreadPoolExecutor(_READS_AT_ONCE) as executor,
    ):
        yield Connections(cassandra, pool, executor)


def make_drains(by: Connections, settings: Settings, config: Config, tables: list[str]) -> dict[str, Drain]:
    """What drains these tables' intents, in the direction of the current epoch, with the tables as they are now."""
    with by.pool.connection() as connection:
        check_version(connection)
        check_data_center(connection, by.cassandra.data_center)
        check_writers(connection, tables, config.agreed)
        epoch = read_epoch(connection)
        mapped = map_tables(by.cassandra, connection, settings, config, tables)
    return {name: _drain(by.cassandra, by.pool, table, config, by.executor, epoch) for name, table in mapped.items()}


@contextmanager
def open_drains(settings: Settings, config: Config, tables: list[str]) -> Iterator[dict[str, Drain]]:
    """The same, with connections of their own."""
    with open_connections(settings, config) as by:
        yield make_drains(by, settings, config, tables)


def _drain(cassandra: Cassandra, pool: Pool, table: TableMap, config: Config, executor: Executor, epoch: Epoch) -> Drain:
    encoder, lease = RowEncoder(table, 0), config.dual_write.writer_lease_seconds
    cells = cells_of(table.source, encoder)
    # A reconcile stamps nothing of its own, so it needs no slot.
    writer, breaker = Writer(worker_name(), 0, 0, lease), Breaker(threshold=sys.maxsize)
    journal = Journal(pool, table, encoder, writer, breaker)
    rows = rows_by_key(cassandra, table.source, config)
    steps = reconciler(pool, table, encoder, rows, executor, epoch, lease)
    return Drain(
        journal, steps, cells.known_key, lease, epoch.epoch,
        partition_deletes(PartitionJournal(pool, table, encoder, writer, breaker), rows, epoch, lease),
        partition_rechecks(cassandra, pool, table, encoder, config, epoch),
        1 if isinstance(steps, OrderedResends) else _LANES,
    )  # fmt: skip


def partition_deletes(journal: PartitionJournal, rows: AnyRows, epoch: Epoch, lease: float) -> PartitionDeletes | None:
    """What ends the deletes of a table's partitions; None if none of them has several rows."""
    return PartitionDeletes(journal, rows, epoch.primary, lease, epoch.epoch) if journal.has_partitions else None


def partition_rechecks(
    cassandra: Cassandra, pool: Pool, table: TableMap, encoder: RowEncoder, config: Config, epoch: Epoch
) -> ExpandPartitions | None:
    """What expands the rechecks of a table's partitions; None if none of them has several rows."""
    journal = PartitionRechecks(pool, table, encoder, config.dual_write.writer_lease_seconds, epoch.epoch)
    serial = config.options(table.name).lightweight_transactions
    keys = PartitionKeys(cassandra, table.source, config.dual_write.primary_timeout_seconds, serial)
    return ExpandPartitions(journal, keys) if journal.has_partitions else None


def reconciler(
    pool: Pool, table: TableMap, encoder: RowEncoder, rows: AnyRows, executor: Executor, epoch: Epoch, lease: float
) -> Reconcile | Resend | OrderedResends:
    """What makes the secondary equal in this epoch (rule 22)."""
    if epoch.primary == "astra":
        return Reconcile(ReconcileSteps(pool, table, encoder, lease, epoch.epoch), rows, executor)
    decoder = RowDecoder(table, encoder.pairs)
    if has_counters(table.source):
        steps = CounterSteps(pool, table, encoder, lease, epoch.epoch)
        return OrderedResends(pool, CounterResend(steps, rows, decoder.others, executor))
    resend = Resend(ResendSteps(pool, table, encoder, lease, epoch.epoch), rows, decoder.others)
    return OrderedResends(pool, resend) if table.source.is_collection else resend
