"""`sync backfill`: preflight, plan, watch, indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.adapters.postgres.backfill import ahead
from sync.adapters.postgres.backfill.range_ledger import RangeLedger
from sync.adapters.postgres.connection.connect import Connection, connect
from sync.adapters.postgres.connection.refusals import target_errors
from sync.adapters.postgres.dual_write.agreement import note_runs
from sync.adapters.postgres.dual_write.data_centres import place_runs
from sync.adapters.postgres.schema import indexes, migrations
from sync.adapters.postgres.schema.indexes import Build
from sync.adapters.postgres.schema.key_order import record_key_order
from sync.adapters.queue import QueueNotifier, redis_connection
from sync.core.ring import TokenRange, least_ranges, plan_ranges
from sync.core.rows import TableMap
from sync.errors import PreflightError, TargetUnavailable, Unreachable, WorkFailed
from sync.flows.backfill import OwnWorkers, Supervisor
from sync.flows.preflight import PreflightReport
from sync.flows.retry import retry
from sync.ports import Progress
from sync.settings import BackfillTuning, Config, Settings
from sync.wiring.dashboard.sampler import Sampler
from sync.wiring.preflight import preflight
from sync.wiring.shapes import changed, shapes
from sync.wiring.visibility import check_visibility

_MB = 1 << 20


@dataclass(frozen=True, slots=True)
class Plan:
    """What a backfill is going to do: the tables, their shapes and ranges, the registered writers, the data centre.

    `small` are the tables that are seen to have few rows.
    """

    tables: list[TableMap]
    ranges: dict[str, list[TokenRange]]
    estimated_bytes: dict[str, int]
    writers: list[str]
    unfinished: dict[str, int]
    shapes: dict[str, str]
    data_center: str = ""
    small: frozenset[str] = frozenset()


def make_plan(settings: Settings, config: Config, names: list[str] | None) -> Plan:
    """Check everything, write nothing. Raises PreflightError with every error, one per line."""
    report = preflight(settings, config, names)
    if not report.ok:
        raise PreflightError("\n".join(f"{p.table}: {p.text}" for p in report.problems if p.level == "error"))
    sizes = {name: sum(e.bytes for e in estimates) for name, estimates in report.sizes.items()}
    ranges = {t.name: _planned(report, t.name, sizes[t.name], config.backfill) for t in report.tables}
    with closing(connect(settings, autocommit=True)) as connection:
        migrations.require_state(connection)
        unfinished = RangeLedger(connection, config.backfill.lease_seconds).open_runs()
        now = shapes(report.identities, connection, report.tables)
        small = frozenset(report.small)
        return Plan(report.tables, ranges, sizes, _writers(connection), unfinished, now, report.data_center, small)


def _planned(report: PreflightReport, table: str, size: int, tuning: BackfillTuning) -> list[TokenRange]:
    at_least = tuning.min_ranges or least_ranges(size, table in report.small)
    return plan_ranges(report.sizes[table], tuning.range_mb * _MB, at_least, report.replica_boundaries)


def _writers(connection: Connection) -> list[str]:
    found = connection.execute("SELECT id FROM sync.writer WHERE state = 'active' ORDER BY id").fetchall()
    return [str(row[0]) for row in found]


@dataclass(frozen=True, slots=True)
class Show:
    """How the progress reaches the user."""

    progress: Callable[[list[Progress]], None]
    build: Callable[[Build], None]
    step: Callable[[str], None]


def run_backfill(
    settings: Settings, config: Config, plan: Plan, rate: int | None, own: OwnWorkers, show: Show
) -> list[Progress]:
    """Copy, build indexes, close the runs; the final figures. Raises KeyboardInterrupt once the workers have stopped."""
    notifier = QueueNotifier(redis_connection(settings), tables=list(plan.ranges))
    runs = retry(lambda: begin_copy(settings, config, plan, rate, show))

    @contextmanager
    def opened() -> Iterator[RangeLedger]:
        with closing(connect(settings, autocommit=True)) as connection:
            yield RangeLedger(connection, config.backfill.lease_seconds)

    final = Supervisor(opened, notifier, own, Sampler(settings).beside(show.progress)).watch(runs)
    _check_tables(settings, config, plan, runs)
    if not any(p.failed for p in final):
        build_indexes(settings, plan.tables, show.build)

        def close() -> None:
            with opened() as ledger:
                ledger.finish(*runs)
                ahead.recheck(ledger.connection, [table.name for table in plan.tables])

        retry(close)
    return final


def begin_copy(settings: Settings, config: Config, plan: Plan, rate: int | None, show: Show) -> list[int]:
    """Prepare the targets for the load and begin the runs, or continue the unfinished ones; the runs.

    Raises PreflightError, and TargetUnavailable.
    """
    with closing(connect(settings, autocommit=True)) as connection, target_errors():
        ledger = RangeLedger(connection, config.backfill.lease_seconds)
        ledger.check_primary()  # before indexes are dropped; `begin` checks again, and holds the epoch
        indexes.add_sync_columns(connection, *plan.tables)
        record_key_order(connection, *plan.tables)
        for name, removed in indexes.remove_for_load(connection, plan.tables, plan.small):
            show.step(f"{name}: {', '.join(removed)} will be built after the load")
        runs = ledger.begin(plan.ranges, plan.shapes)
        place_runs(connection, runs, plan.data_center)
        note_runs(connection, runs, config.agreed)
        ledger.set_rate(runs, rate)
        return runs


def build_indexes(settings: Settings, tables: list[TableMap], report: Callable[[Build], None]) -> None:
    """Build missing indexes, waiting for a server that restarts meanwhile. Raises PreflightError if that fails."""
    try:
        retry(lambda: indexes.build_missing(settings, tables, report))
    except (TargetUnavailable, Unreachable) as error:
        raise PreflightError(f"the indexes could not be built: {error}; the copied rows stay, run it again") from None


def _check_tables(settings: Settings, config: Config, plan: Plan, runs: list[int]) -> None:
    """Raise WorkFailed if a table has changed: some of its rows were copied before the change, and some after it.

    Raises PreflightError if this role no longer sees values as they are: a mask may have been added.
    """
    with open_cassandra(settings) as cassandra, closing(connect(settings, autocommit=True)) as connection:
        begun = RangeLedger(connection, config.backfill.lease_seconds).shapes(runs)
        found = changed(cassandra, connection, config, plan.tables, begun)
        if found:
            text = "; ".join(f"{table}: {why}" for table, why in found.items())
            raise WorkFailed(f"{text}; run `sync backfill` again: it copies what is there now")
        check_visibility(cassandra, connection, plan.tables)


@contextmanager
def open_ledger(
    settings: Settings, config: Config, network: Mapping[str, int] | None = None
) -> Iterator[tuple[Connection, RangeLedger]]:
    """A connection (`network`: as for `connect`) and its ledger. Raises PreflightError if there is no state schema."""
    with closing(connect(settings, autocommit=True, network=network)) as connection:
        migrations.require_state(connection)
        yield connection, RangeLedger(connection, config.backfill.lease_seconds)
