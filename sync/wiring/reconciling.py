"""What a worker process does: drain intents."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg

from sync.adapters.cassandra.cells import Cells
from sync.adapters.cassandra.connect import open_cassandra
from sync.adapters.postgres.breaker import Breaker
from sync.adapters.postgres.connect import connect
from sync.adapters.postgres.journal import Journal, Writer
from sync.adapters.postgres.migrations import state_exists
from sync.adapters.postgres.pool import open_pool
from sync.adapters.postgres.settling import Settling
from sync.adapters.queue import Doorbell, redis_connection
from sync.core.encode.rows import RowEncoder
from sync.core.mutations import Key
from sync.errors import SyncError
from sync.failpoints import failpoint
from sync.flows.drain import Drain
from sync.flows.reconcile import Reconcile
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
    tuning = config.dual_write
    with (
        open_cassandra(settings, tuning.primary_timeout_seconds) as cassandra,
        closing(open_pool(settings, 2)) as pool,
        ThreadPoolExecutor(_READS_AT_ONCE) as executor,
    ):
        with pool.connection() as connection:
            mapped = map_tables(cassandra, connection, settings, config, [table])[table]
        encoder = RowEncoder(mapped, 0)
        cells = Cells(cassandra.session, mapped.source, encoder)
        # A reconcile stamps nothing, so it needs no slot.
        writer = Writer(worker_name(), 0, 0, tuning.writer_lease_seconds)
        journal = Journal(pool, mapped, encoder, writer, Breaker(threshold=sys.maxsize))
        settling = Settling(pool, mapped, encoder, tuning.writer_lease_seconds)
        reconcile = Reconcile(settling, rows_by_key(cassandra, mapped.source, config), executor)

        def key(canonical: bytes, mutation: bytes | None) -> Key:
            return cells.known_key(canonical, mutation, journal.key_values)

        return Drain(journal, reconcile, key, tuning.writer_lease_seconds).run(worker_name(), stopped)
