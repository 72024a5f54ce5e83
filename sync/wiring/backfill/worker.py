"""What a worker process does: copy token ranges."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import cache, partial

from sync.adapters.astra.collection_rows import CollectionRows
from sync.adapters.cassandra.connection.connect import Cassandra, open_cassandra
from sync.adapters.cassandra.connection.one_row import OneRow
from sync.adapters.cassandra.connection.pages import RangeReader
from sync.adapters.cassandra.rows.rows import SourceRows
from sync.adapters.cassandra.schema.catalogue import read_tables
from sync.adapters.postgres.backfill.loader import Loader
from sync.adapters.postgres.backfill.range_ledger import RangeLedger
from sync.adapters.postgres.connection.connect import Connection, connect
from sync.adapters.postgres.connection.refusals import error_text
from sync.adapters.postgres.dual_write.agreement import check_runs
from sync.adapters.postgres.dual_write.data_centres import check_data_center
from sync.adapters.postgres.schema.catalogue import read_targets
from sync.adapters.queue import QueueNotifier, redis_connection
from sync.core.encode.rows import RowEncoder
from sync.core.expiry import migrated
from sync.core.rows import SourceTable, TableMap
from sync.core.schema.mapping import map_table
from sync.errors import PreflightError, SyncError, Unreachable
from sync.flows.copy_ranges import CopyStream, copy_in_streams
from sync.flows.pacing import Pacer, Throttle
from sync.flows.retry import retry_until_stopped
from sync.ports import Lease
from sync.settings import Config, Settings
from sync.wiring.throttle import throttle_of
from sync.wiring.tracing import tracing
from sync.wiring.visibility import check_visibility
from sync.wiring.write_times import RowsAhead

_MB = 1 << 20
_INSTANCE = secrets.token_hex(3)  # containers may share a host name and number their processes alike


def worker_name() -> str:
    """What this process signs its leases with."""
    return f"{socket.gethostname()}:{os.getpid()}:{_INSTANCE}"


def map_tables(
    cassandra: Cassandra, connection: Connection, settings: Settings, config: Config, names: list[str]
) -> dict[str, TableMap]:
    """The mappings of these tables. Raises PreflightError with the first blocker, and SourceUnavailable.

    It also raises if this process does not see their values as they are, on both sides.
    """
    sources = read_tables(cassandra.session, settings.astra_db_keyspace or "", config.kinds)
    found = map_sources(sources, connection, config, names)
    check_visibility(cassandra, connection, found.values())
    return found


def map_sources(
    sources: Mapping[str, SourceTable], connection: Connection, config: Config, names: list[str]
) -> dict[str, TableMap]:
    """The same mappings if the source's tables are known already, without a look at what this process sees."""
    found = {}
    targets = read_targets(connection, [config.options(name).target or name for name in names])
    for name in names:
        if name not in sources:
            raise PreflightError(f"{name}: there is no such table in the source's keyspace")
        options = config.options(name)
        table, problems = map_table(migrated(sources[name], options), targets.get(options.target or name), options)
        if table is None:
            raise PreflightError(f"{name}: {next(p.text for p in problems if p.level == 'error')}")
        found[name] = table
    return found


def rows_by_key(cassandra: Cassandra, table: SourceTable, config: Config, lazy: bool = False) -> SourceRows:
    """Reads and writes single rows of the source, as sync.toml says; `lazy`: asks nothing before the first one."""
    if table.is_collection:
        return CollectionRows(cassandra, table, config.dual_write.primary_timeout_seconds)
    serial = config.options(table.name).lightweight_transactions
    return SourceRows(cassandra, table, config.dual_write.primary_timeout_seconds, serial, lazy)


def copy_job(settings: Settings, config: Config, runs: list[int], stopped: Callable[[], bool]) -> int:
    """What one worker process does for these runs; how many ranges it finished. Opens and closes all its connections."""
    return retry_until_stopped(lambda: _copy_job(settings, config, runs, stopped), stopped)


def _copy_job(settings: Settings, config: Config, runs: list[int], stopped: Callable[[], bool]) -> int:
    tuning = config.backfill
    with ExitStack() as stack:
        with closing(connect(settings, autocommit=True)) as connection:
            ledger = RangeLedger(connection, tuning.lease_seconds)
            names = [name for name, run in ledger.open_runs().items() if run in runs]
            if not ledger.work_left(runs):  # one notification too many: other workers have the last ranges
                return 0
            cassandra = stack.enter_context(open_cassandra(settings, tuning.request_timeout_seconds))
            check_data_center(connection, cassandra.data_center, runs)
            check_runs(connection, runs, config.agreed)
            tables = map_tables(cassandra, connection, settings, config, names)
            throttle = throttle_of(config, ledger, runs)

        @contextmanager
        def stream() -> Iterator[CopyStream]:
            with closing(connect(settings, autocommit=True)) as own:
                yield _stream(cassandra, own, tables, config, throttle)

        return copy_in_streams(stream, tuning.streams, runs, worker_name(), stopped)


def _stream(
    cassandra: Cassandra, connection: Connection, tables: dict[str, TableMap], config: Config, throttle: Throttle | None
) -> CopyStream:
    tuning = config.backfill

    ahead = RowsAhead(cassandra, connection, tables, config)

    @cache
    def one_row(name: str) -> OneRow:
        return OneRow(cassandra.raw, tables[name].source, RowEncoder(tables[name], 0).columns, ahead.terms(name))

    @cache
    def reader(name: str) -> RangeReader:
        columns, noted = RowEncoder(tables[name], 0).columns, one_row(name).note if throttle else None
        page_bytes = int(tuning.page_mb * _MB)
        return RangeReader(cassandra.raw, tables[name].source, columns, page_bytes, ahead.terms(name), noted)

    @cache
    def loader(name: str, floor: int) -> Loader:
        encoder = RowEncoder(tables[name], floor, ahead.row_times(name))
        return Loader(connection, tables[name], encoder, tuning.lease_seconds, partial(ahead.note, name))

    def target(lease: Lease) -> Loader:
        return loader(lease.table, lease.floor)

    batch = int(tuning.batch_mb * _MB)
    ranges = RangeLedger(connection, tuning.lease_seconds)
    pacer = Pacer(throttle=throttle, look=lambda name: one_row(name).read())
    trace = tracing().ranges("backfill")
    return CopyStream(ranges, reader, target, batch, tuning.lease_seconds, ahead.look, pacer=pacer, trace=trace)


def note_failure(settings: Settings, runs: list[int], error: BaseException) -> None:
    """Record, for the command that watches these runs, that this process's job failed; release its ranges."""
    text = str(error) if isinstance(error, SyncError) else f"{type(error).__name__}: {error_text(error)}"
    with closing(connect(settings, autocommit=True)) as connection:
        ledger = RangeLedger(connection, 1)
        ledger.note_failure(runs, " ".join(text.split()), isinstance(error, Unreachable))
        ledger.release(runs, worker_name())


def notify_again(settings: Settings, runs: list[int], job: str) -> None:
    """Notify workers if anything is left of these runs."""
    with closing(connect(settings, autocommit=True)) as connection:
        ledger = RangeLedger(connection, 1)
        left, tables = ledger.work_left(runs), ledger.tables(runs)
    if left:
        QueueNotifier(redis_connection(settings), job, tables).notify(runs, 1)
