"""What a worker process does: drain intents."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing, contextmanager

import psycopg

from sync.adapters.cassandra.cells import cells_of
from sync.adapters.cassandra.connect import Cassandra, open_cassandra
from sync.adapters.postgres.breaker import Breaker
from sync.adapters.postgres.connect import connect
from sync.adapters.postgres.data_centres import check_data_center
from sync.adapters.postgres.epochs import read_epoch
from sync.adapters.postgres.in_turn import InTurn
from sync.adapters.postgres.journal import Journal, Writer
from sync.adapters.postgres.migrations import check_version, state_exists
from sync.adapters.postgres.pool import Pool, open_pool
from sync.adapters.postgres.reverse import Resending
from sync.adapters.postgres.settling import Settling
from sync.adapters.queue import Doorbell, redis_connection
from sync.core.decode.rows import RowDecoder
from sync.core.encode.rows import RowEncoder
from sync.core.rows import TableMap
from sync.errors import SyncError
from sync.failpoints import failpoint
from sync.flows.copy_ranges import while_it_can
from sync.flows.drain import Drain
from sync.flows.reconcile import Reconcile
from sync.flows.resend import Resend
from sync.ports import AnyRows, Epoch
from sync.settings import Config, Settings
from sync.wiring.copying import map_tables, rows_by_key, worker_name

log = logging.getLogger(__name__)
_READS_AT_ONCE = 16
_OPEN = """
SELECT table_name, count(*), count(*) FILTER (WHERE lease_until IS NULL OR lease_until < clock_timestamp())
FROM sync.intent GROUP BY table_name ORDER BY table_name
"""


def sweep(settings: Settings) -> dict[str, int]:
    """Ring for every table with intents that nobody is working on; open intents by table. What is away is tried later."""
    try:
        with closing(connect(settings, direct=False, autocommit=True)) as connection:
            tables = connection.execute(_OPEN).fetchall() if state_exists(connection) else []
        due = [str(name) for name, _, due in tables if due]
        if due:
            doorbell = Doorbell(redis_connection(settings))
            failpoint("sweep.before_ring")
            for table in due:
                doorbell.ring_reconcile(table)
    except (SyncError, psycopg.Error) as error:
        log.warning("sweep: %s", " ".join(str(error).split()))
        return {}
    return {str(name): int(count) for name, count, _ in tables}


def drain_job(settings: Settings, config: Config, table: str, stopped: Callable[[], bool]) -> int:
    """Drain one table's intents; how many keys. Opens and closes all its connections."""

    def drain() -> int:
        with open_drains(settings, config, [table]) as drains:
            return drains[table].run(worker_name(), stopped)

    return while_it_can(drain, stopped)


@contextmanager
def open_drains(settings: Settings, config: Config, tables: list[str]) -> Iterator[dict[str, Drain]]:
    """What drains these tables' intents, in the direction of the present epoch."""
    with (
        open_cassandra(settings, config.dual_write.primary_timeout_seconds) as cassandra,
        closing(open_pool(settings, 2)) as pool,
        ThreadPoolExecutor(_READS_AT_ONCE) as executor,
    ):
        with pool.connection() as connection:
            check_version(connection)
            check_data_center(connection, cassandra.data_center)
            epoch = read_epoch(connection)
            mapped = map_tables(cassandra, connection, settings, config, tables)
        yield {name: _drain(cassandra, pool, table, config, executor, epoch) for name, table in mapped.items()}


def _drain(cassandra: Cassandra, pool: Pool, table: TableMap, config: Config, executor: Executor, epoch: Epoch) -> Drain:
    encoder, lease = RowEncoder(table, 0), config.dual_write.writer_lease_seconds
    cells = cells_of(table.source, encoder)
    # A reconcile stamps nothing of its own, so it needs no slot.
    journal = Journal(pool, table, encoder, Writer(worker_name(), 0, 0, lease), Breaker(threshold=sys.maxsize))
    rows = rows_by_key(cassandra, table.source, config)

    return Drain(journal, reconciler(pool, table, encoder, rows, executor, epoch, lease), cells.known_key, lease, epoch.epoch)


def reconciler(
    pool: Pool, table: TableMap, encoder: RowEncoder, rows: AnyRows, executor: Executor, epoch: Epoch, lease: float
) -> Reconcile | Resend | InTurn:
    """What makes the side that follows equal in this epoch (rule 22)."""
    if epoch.primary == "astra":
        return Reconcile(Settling(pool, table, encoder, lease, epoch.epoch), rows, executor)
    decoder = RowDecoder(table, encoder.pairs)
    resend = Resend(Resending(pool, table, encoder, lease, epoch.epoch), rows, decoder.others, executor)
    return InTurn(pool, resend) if table.source.is_collection else resend
