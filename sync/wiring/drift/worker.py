"""What a worker process does for a drift report: check token ranges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cache
from threading import Event, Lock, Semaphore

from sync.adapters.cassandra.connection.connect import Cassandra, open_cassandra
from sync.adapters.cassandra.connection.one_row import OneRow
from sync.adapters.cassandra.connection.pages import RangeReader
from sync.adapters.cassandra.rows.cells import Cells, cells_of
from sync.adapters.cassandra.rows.key_rows import KeyRows
from sync.adapters.postgres.connection.connect import Connection, connect
from sync.adapters.postgres.connection.pool import Pool, open_pool
from sync.adapters.postgres.connection.refusals import target_errors
from sync.adapters.postgres.cutover.epochs import read_epoch
from sync.adapters.postgres.drift.check_ledger import DriftLedger
from sync.adapters.postgres.drift.keys import TargetKeys
from sync.adapters.postgres.drift.target_digests import TargetDigests
from sync.adapters.postgres.dual_write.agreement import check_runs
from sync.adapters.postgres.dual_write.data_centres import check_data_center
from sync.core.drift.digest import Digest
from sync.core.drift.range_hashes import Raw
from sync.core.drift.results import RangeResult
from sync.core.drift.verdicts import TargetRow
from sync.core.encode.base import Reject
from sync.core.encode.rows import TOKEN_COLUMN, RowEncoder
from sync.core.mutations import Key, KnownKey
from sync.core.ring import TokenRange
from sync.core.rows import Page, TableMap
from sync.errors import WriteRefused
from sync.flows.check_ranges import CheckStream, Sides, check_ranges
from sync.flows.copy_ranges import in_streams
from sync.flows.pacing import Pacer, RateLimiter, Throttle
from sync.flows.recheck import RecheckPolicy
from sync.flows.retry import retry_until_stopped
from sync.ports import Epoch, KeyReconciler, Lease, Read
from sync.settings import Config, Settings
from sync.wiring.backfill.worker import map_tables, rows_by_key, worker_name
from sync.wiring.dual_write.worker import reconciler
from sync.wiring.throttle import throttle_of
from sync.wiring.tracing import tracing

_MB = 1 << 20
_READS_AT_ONCE = 8


class BothKeys:
    """Single keys of one table on both sides; `reconcile` is None where nothing is to be repaired."""

    def __init__(self, cells: Cells, rows: KeyRows, target: TargetKeys, reconcile: KeyReconciler | None) -> None:
        self._cells, self._rows, self._target, self._reconcile = cells, rows, target, reconcile

    def of_source(self, raw: Raw) -> Key:
        """The key of raw cells; without canonical bytes if the target cannot hold it."""
        cells = tuple(cell or b"" for cell in raw)
        try:
            return self._cells.key_of(cells)
        except (WriteRefused, Reject):
            return self._cells.key_without_target(cells)

    def of_target(self, canonical: bytes, tokens: TokenRange) -> Key:
        """The key with these canonical bytes in this range. Raises ValueError if it is not proved to be in it."""
        try:
            key = self._cells.known_key(KnownKey(canonical))
        except WriteRefused as error:
            raise ValueError(str(error)) from None
        if key.token not in tokens and not self._cells.one_form:
            raise ValueError(
                f"its {TOKEN_COLUMN} is that of another key, which may have the same value in Postgres; set it to NULL to "
                "have the row taken for what it says"
            )
        return key

    def look(self, keys: Sequence[Key]) -> list[TargetRow]:
        """What the target holds of each key."""
        return self._target.look(keys)

    def read(self, keys: Sequence[Key]) -> list[Read | str]:
        """What the source holds of each key, or why that could not be read.

        Raises SourceAway, but not in a repair: what is repaired already must stay a finding of this pass.
        """
        return self._rows.read_each(keys, raises_away=self._reconcile is None)

    def restamp(self, keys: Sequence[Key]) -> int:
        """Give rows their tokens."""
        return self._target.stamp(keys)

    def repair(self, keys: Sequence[Key]) -> dict[Key, str]:
        """Reconcile keys, with a recheck intent for each; the reason for those that failed."""
        assert self._reconcile is not None, "nobody asked for a repair"
        failed = {key: "the target cannot hold this key" for key in keys if not key.canonical}
        able = [key for key in keys if key.canonical]
        self._target.request_recheck(able)
        self._reconcile.keys(able, failed.__setitem__)
        return failed


class _Digests:
    """The target's digests; they raise TargetUnavailable if the connection breaks."""

    def __init__(self, digests: TargetDigests) -> None:
        self._digests = digests

    def digest(self, tokens: TokenRange) -> Digest:
        with target_errors():
            return self._digests.digest(tokens)

    def hashes(self, tokens: TokenRange) -> dict[bytes, bytes]:
        with target_errors():
            return self._digests.hashes(tokens)


class _Ranges:
    """The ledger for a stream; it knows the tables, and lets one stream claim at a time."""

    def __init__(self, checks: DriftLedger, tables: dict[str, TableMap], claiming: Lock) -> None:
        self._checks, self._tables, self._claiming = checks, tables, claiming
        self.renew, self.release_range = checks.renew, checks.release_range
        self.reclaim, self.wait = checks.reclaim, checks.wait
        self.fail, self.split, self.cut = checks.fail, checks.split, checks.cut

    def claim(self, run_ids: list[int], owner: str) -> Lease | None:
        with self._claiming:
            return self._checks.claim(run_ids, owner)

    def done(self, lease: Lease, checked: RangeResult) -> None:
        self._checks.done(lease, checked, self._tables[lease.table])


class StreamDemand:
    """Whether more streams are needed than may read at once: only then do the others open connections."""

    def __init__(self) -> None:
        self._told, self._over = Event(), False

    def begin(self) -> None:
        """A stream waits for keys: another one may read meanwhile."""
        self._told.set()

    def end(self) -> None:
        """There is nothing left to claim."""
        self._over = True
        self._told.set()

    def wait(self, stopped: Callable[[], bool]) -> bool:
        """Wait for `begin`, `end` or `stopped()`; whether to begin."""
        while not self._told.wait(0.2):
            if stopped():
                return False
        return not self._over


@dataclass(frozen=True, slots=True)
class _Job:
    """What all streams of a worker share."""

    settings: Settings
    config: Config
    cassandra: Cassandra
    tables: dict[str, TableMap]
    repairs: dict[str, bool]
    pool: Pool | None
    epoch: Epoch
    executor: Executor
    turn: Semaphore
    claiming: Lock
    demand: StreamDemand
    limiter: RateLimiter
    throttle: Throttle | None


def check_job(settings: Settings, config: Config, runs: list[int], stopped: Callable[[], bool]) -> int:
    """What one worker process does for these runs; how many ranges it finished. Opens and closes all its connections."""
    return retry_until_stopped(lambda: _check_job(settings, config, runs, stopped), stopped)


def _check_job(settings: Settings, config: Config, runs: list[int], stopped: Callable[[], bool]) -> int:
    with ExitStack() as stack:
        with closing(connect(settings, autocommit=True)) as connection:
            checks = DriftLedger(connection, config.backfill.lease_seconds)
            repairs = checks.open_passes(runs)
            if not checks.work_left(runs):
                return 0
            cassandra = stack.enter_context(open_cassandra(settings, config.backfill.request_timeout_seconds))
            check_data_center(connection, cassandra.data_center, runs)
            check_runs(connection, runs, config.agreed)
            tables = map_tables(cassandra, connection, settings, config, list(repairs))
            epoch, throttle = read_epoch(connection), throttle_of(config, checks, runs)
        pool = stack.enter_context(closing(open_pool(settings, config.backfill.streams))) if any(repairs.values()) else None
        executor = stack.enter_context(ThreadPoolExecutor(_READS_AT_ONCE))
        streams = config.backfill.streams
        demand = StreamDemand()
        job = _Job(
            settings, config, cassandra, tables, repairs, pool, epoch, executor, Semaphore(streams), Lock(), demand,
            RateLimiter(), throttle,
        )  # fmt: skip

        def work(owner: str, stop: Callable[[], bool]) -> int:
            if int(owner.rpartition("/")[2]) >= streams and not demand.wait(stop):
                return 0
            with _open_stream(job) as stream:
                done = check_ranges(stream, runs, owner, stop)
            demand.end()
            return done

        return in_streams(work, (1 + config.drift.max_waiting_ranges) * streams, worker_name(), stopped)


@contextmanager
def _open_stream(job: _Job) -> Iterator[CheckStream]:
    tuning, drift = job.config.backfill, job.config.drift
    with closing(connect(job.settings, autocommit=True)) as connection:
        ranges = _Ranges(DriftLedger(connection, tuning.lease_seconds), job.tables, job.claiming)
        policy = RecheckPolicy(drift.tries, drift.grace_seconds)

        @cache
        def one_row(name: str) -> OneRow:
            return OneRow(job.cassandra.raw, job.tables[name].source, RowEncoder(job.tables[name], 0).columns)

        @cache
        def sides(name: str) -> Sides:
            return _sides(job, connection, job.tables[name], one_row(name).note if job.throttle else None)

        yield CheckStream(
            ranges,
            sides,
            job.repairs.__getitem__,
            policy,
            drift.range_rows,
            job.turn,
            tuning.lease_seconds,
            job.demand.begin,
            pacer=Pacer(job.limiter, job.throttle, lambda name: one_row(name).read()),
            trace=tracing().ranges("drift"),
        )


def _sides(job: _Job, connection: Connection, table: TableMap, noted: Callable[[Page], object] | None) -> Sides:
    encoder = RowEncoder(table, 0)
    page_bytes = int(job.config.backfill.page_mb * _MB)
    reader = RangeReader(job.cassandra.raw, table.source, encoder.columns, page_bytes, on_page=noted)
    digests = _Digests(TargetDigests(connection, table, encoder))
    return Sides(reader, digests, cache(lambda: _both_keys(job, connection, table, encoder)), encoder, table.keeps)


def _both_keys(job: _Job, connection: Connection, table: TableMap, encoder: RowEncoder) -> BothKeys:
    """The keys of one table on both sides."""
    cells = cells_of(table.source, encoder)
    rows = key_rows(job.cassandra, table, encoder, job.config)
    reconcile = _reconcile(job, table, encoder) if job.repairs[table.name] else None
    return BothKeys(cells, rows, TargetKeys(connection, table, encoder), reconcile)


def _reconcile(job: _Job, table: TableMap, encoder: RowEncoder) -> KeyReconciler:
    """What repairs keys, in the direction of the epoch in which this job began; a pass ends with its epoch."""
    assert job.pool is not None
    lease = job.config.dual_write.writer_lease_seconds
    by_key = rows_by_key(job.cassandra, table.source, job.config)
    return reconciler(job.pool, table, encoder, by_key, job.executor, job.epoch, lease)


def key_rows(cassandra: Cassandra, table: TableMap, encoder: RowEncoder, config: Config) -> KeyRows:
    """Reads the source's rows of many keys, as sync.toml says."""
    serial = table.source.is_collection or config.options(table.name).lightweight_transactions
    return KeyRows(cassandra, table.source, encoder.columns, config.dual_write.primary_timeout_seconds, serial)
