"""`sync drift-report`: give rows their tokens, watch the pass, search, report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from time import sleep
from typing import Any

from sync.adapters.cassandra.connection.connect import open_cassandra, source_name
from sync.adapters.cassandra.rows import search as source_search
from sync.adapters.cassandra.rows.cells import cells_of
from sync.adapters.postgres.connection.connect import Connection, connect
from sync.adapters.postgres.connection.refusals import target_errors
from sync.adapters.postgres.cutover.epochs import read_epoch
from sync.adapters.postgres.cutover.gates import GateFacts
from sync.adapters.postgres.drift import pass_ledger
from sync.adapters.postgres.drift.check_ledger import DriftLedger, ResumePolicy
from sync.adapters.postgres.drift.keys import TargetKeys
from sync.adapters.postgres.drift.pass_ledger import ClosedRun
from sync.adapters.postgres.drift.target_digests import count_strays, without_tokens
from sync.adapters.postgres.dual_write.agreement import note_runs
from sync.adapters.postgres.dual_write.data_centres import place_runs
from sync.adapters.postgres.schema import indexes
from sync.adapters.postgres.schema.key_order import record_key_order
from sync.adapters.postgres.schema.migrations import check_version
from sync.adapters.queue import CHECK_JOB, QueueNotifier, redis_connection
from sync.core.cutover.proof import CLEAN_PASSES
from sync.core.drift.report import Proved, next_step, table_report, unproved
from sync.core.encode.rows import RowEncoder
from sync.core.mutations import KnownKey
from sync.core.rows import TableMap
from sync.core.words import counted
from sync.errors import PreflightError, Unreachable, WorkFailed, WriteRefused
from sync.flows.backfill import OwnWorkers, Supervisor
from sync.flows.retry import retry
from sync.ports import Epoch
from sync.settings import Config, Settings
from sync.wiring.backfill.command import Plan, Show, build_indexes
from sync.wiring.dashboard.sampler import Sampler
from sync.wiring.drift.clear_writers import clear_writers
from sync.wiring.drift.values import add_values, shown_finding
from sync.wiring.drift.verify import SEED, TOP, compare_searches
from sync.wiring.shapes import changed
from sync.wiring.visibility import check_visibility

_STAMPED_AT_ONCE = 1000
_SCHEMA = "SELECT to_regclass('sync.drift_pass') IS NOT NULL"


@dataclass(frozen=True, slots=True)
class DriftRequest:
    """What the report is to do besides comparing; `rate`: how many rows a second it may read, all workers together."""

    repair: bool = False
    searches: int = 0
    show_values: bool = False
    restart: bool = False
    rate: int | None = None


def run_drift(
    settings: Settings, config: Config, plan: Plan, request: DriftRequest, own: OwnWorkers, show: Show
) -> dict[str, Any]:
    """Run one pass over these tables; its report. Raises KeyboardInterrupt once the workers have stopped."""
    notifier = QueueNotifier(redis_connection(settings), CHECK_JOB, [table.name for table in plan.tables])
    runs = retry(lambda: begin_pass(settings, config, plan, request, show))

    @contextmanager
    def opened() -> Iterator[DriftLedger]:
        with closing(connect(settings, autocommit=True)) as connection:
            yield DriftLedger(connection, config.backfill.lease_seconds)

    Supervisor(opened, notifier, own, Sampler(settings).beside(show.progress)).watch(runs)
    return retry(lambda: close_pass(settings, config, plan, runs, request))


def begin_pass(settings: Settings, config: Config, plan: Plan, request: DriftRequest, show: Show) -> list[int]:
    """Give every row its token, build the index on it, and begin the pass; its runs."""
    with open_checks(settings, config) as checks, target_errors():
        indexes.add_sync_columns(checks.connection, *plan.tables)
        record_key_order(checks.connection, *plan.tables)
        copying = [table.name for table in plan.tables if table.name in plan.unfinished]
        # Those that are being copied have no index for it yet: each is read alone, and none is locked while others are read.
        parts = [[t for t in plan.tables if t.name not in copying], *([t] for t in plan.tables if t.name in copying)]
        suspects = [table for part in parts for table in without_tokens(checks.connection, part)]
        for table in [table for table in suspects if count_strays(checks.connection, table)]:
            stamped = stamp_strays(checks.connection, table)
            show.step(_stamped(table.name, stamped))
        if copying:
            show.step(f"{', '.join(copying)}: the backfill is not finished; what it has not copied yet is missing")
        build_indexes(settings, [t for t in plan.tables if t.name not in copying], show.build)
        begun, rates = checks.ranges_checked(plan.ranges), checks.rates(plan.ranges)
        resume_policy = ResumePolicy(config.drift.max_verdict_age_minutes, request.restart)
        runs = checks.begin_pass(plan.ranges, request.repair, plan.shapes, resume_policy, request.rate)
        if rates - {request.rate}:
            now = f"{request.rate:,} rows/s at most" if request.rate else "as fast as it can"
            show.step(f"the pass that was begun goes on with this command's rate: {now}")
        if begun:
            show.step(_resuming(begun, checks.ranges_checked(plan.ranges)))
        place_runs(checks.connection, runs, plan.data_center)
        note_runs(checks.connection, runs, config.agreed)
        return runs


def _stamped(table: str, rows: int) -> str:
    are = "it has one now, and is" if rows == 1 else "they have one now, and are"
    return f"{table}: {counted(rows, 'row')} had no token; {are} checked"


def _resuming(before: int, kept: int) -> str:
    old = before - kept
    have, are = ("has", "is") if old == 1 else ("have", "are")
    again = f"; {old:,} {have} one that is too old, or of another epoch or schema, and {are} checked again" if old else ""
    done = f"{counted(kept, 'range')} already {'has its' if kept == 1 else 'have their'} verdict"
    return f"resuming the pass that was stopped: {done}{again}"


@contextmanager
def open_checks(settings: Settings, config: Config) -> Iterator[DriftLedger]:
    """The ledger. Raises PreflightError if the state schema has no place for drift reports."""
    with closing(connect(settings, autocommit=True)) as connection:
        if connection.execute(_SCHEMA).fetchone() != (True,):
            raise PreflightError("the target's schema `sync` is missing or older: run `sync schema apply` first")
        check_version(connection)
        yield DriftLedger(connection, config.backfill.lease_seconds)


def stamp_strays(connection: Connection, table: TableMap) -> int:
    """Give rows without a token, which somebody inserted by hand, the token of their key; how many."""
    encoder = RowEncoder(table, 0)
    target = TargetKeys(connection, table, encoder)
    cells = cells_of(table.source, encoder)
    stamped = left = 0
    while found := target.without_token(_STAMPED_AT_ONCE, left):
        able = []
        for canonical in found:
            try:
                able.append(cells.known_key(KnownKey(canonical)))
            except (ValueError, WriteRefused):
                left += 1  # it stays without a token, and the report says so
        changed = target.stamp(able)
        stamped, left = stamped + changed, left + len(able) - changed  # nor does one that Postgres refuses to change
    return stamped


def lasting_strays(connection: Connection, table: TableMap, config: Config) -> int:
    """How many rows have no token, but for those that were announced and get one within the tries of a key in flight.

    A row that a wrapped class inserts into Postgres has none until it is sent; the intent of its key is committed before.
    """
    keys = TargetKeys(connection, table, RowEncoder(table, 0))
    found = keys.strays(_STAMPED_AT_ONCE)
    waiting = {key for key, announced in found.items() if announced}
    for _ in range(config.drift.tries):
        if not waiting or len(found) == _STAMPED_AT_ONCE:
            break
        sleep(config.drift.grace_seconds)
        now = keys.strays(_STAMPED_AT_ONCE)
        waiting &= now.keys() if len(now) < _STAMPED_AT_ONCE else waiting
    if len(found) == _STAMPED_AT_ONCE:
        return count_strays(connection, table)
    return len(waiting) + sum(not announced for announced in found.values())


def _changed_tables(settings: Settings, config: Config, plan: Plan, runs: list[int]) -> dict[str, str]:
    """Tables of which nothing is proved, each with the reason: it has changed, or that could not be checked.

    Raises PreflightError if this role does not see values as they are.
    """
    with open_checks(settings, config) as checks:
        begun, unread = checks.shapes(runs), any(found.failed for found in checks.progress(runs))
    try:
        with open_cassandra(settings) as cassandra, closing(connect(settings, autocommit=True)) as connection:
            check_visibility(cassandra, connection, plan.tables)  # a mask may have been added
            return changed(cassandra, connection, config, plan.tables, begun)
    except Unreachable as away:
        # If ranges could not be read, the pass proves nothing anyway, and says so for each range.
        why = f"whether it has changed could not be checked: {away}"
        return {} if unread else {table.name: why for table in plan.tables}


def close_pass(settings: Settings, config: Config, plan: Plan, runs: list[int], request: DriftRequest) -> dict[str, Any]:
    """The report. Its figures are summed, checked and recorded in the transaction that closes its runs."""
    tables = {table.name: table for table in plan.tables}
    search = _searches(settings, plan.tables, request.searches) if request.searches else []
    other = _changed_tables(settings, config, plan, runs)
    with open_checks(settings, config) as checks:
        connection = checks.connection
        suspects = without_tokens(connection, [table for table in plan.tables if table.name not in other])
        strays = {table.name: lasting_strays(connection, table, config) for table in suspects}
        with connection.transaction():
            closed = pass_ledger.lock_runs(connection, runs)
            if closed:
                report, began = {**_summed(closed, strays, other), "search": search}, _began(closed)
                shapes = {run.table: run.shape for run in closed}
                number, finished = pass_ledger.close_runs(connection, runs, report, began, shapes)
                if request.repair:
                    clear_writers(connection, config, plan.tables, report, began)
            else:  # two commands resumed one pass: the later one reports the other's verdict
                number, began, finished, report, closed = _closed_elsewhere(connection, runs)
        for table, run in zip(report["tables"], closed, strict=True):
            table["findings"] = [shown_finding(found) for found in run.findings]
        epoch = read_epoch(connection)
        report = {"pass": number, **report, "next_step": next_step(report["tables"], _proved(connection, plan, epoch))}
        report["about"] = _about(settings, connection, epoch)
    if request.show_values:
        add_values(settings, config, tables, closed, report)
    return {**report, "started_at": began.isoformat(), "finished_at": finished.isoformat()}


def _proved(connection: Connection, plan: Plan, epoch: Epoch) -> Proved:
    """How well the recorded passes prove the plan's tables: that of the least proved one."""
    least = min(GateFacts(connection).proofs(plan.shapes, epoch, plan.data_center), key=lambda proof: proof.passes)
    return Proved(least.passes, CLEAN_PASSES, least.why, epoch.primary)


def _about(settings: Settings, connection: Connection, epoch: Epoch) -> dict[str, Any]:
    """What a reader of the report has to know: what was compared with what, and in which epoch."""
    return {
        "version": version("dual-write-sync"),
        "source": source_name(settings),
        "keyspace": settings.astra_db_keyspace,
        "target": f"Postgres at {connection.info.host}:{connection.info.port}",
        "database": connection.info.dbname,
        "epoch": epoch.epoch,
        "primary": epoch.primary,
    }


def _closed_elsewhere(
    connection: Connection, runs: list[int]
) -> tuple[int, datetime, datetime, dict[str, Any], list[ClosedRun]]:
    found = pass_ledger.recorded(connection, runs)
    if found is None:
        raise WorkFailed("another drift report has closed a part of this pass: run it again; `--history` has the other's")
    return found


def _began(closed: list[ClosedRun]) -> datetime:
    return min(run.started_at for run in closed)


def _summed(closed: list[ClosedRun], strays: dict[str, int], other: dict[str, str]) -> dict[str, Any]:
    """The report's figures; `other` holds the tables of which nothing is proved, each with the reason."""
    found = []
    for run in closed:
        why = other.get(run.table, "")
        ranges = [unproved(r, why) for r in run.ranges] if why else run.ranges
        table = table_report(run.table, ranges, strays.get(run.table, 0), run.seconds)
        table["errors"] = [*filter(None, [why]), *(e for e in table["errors"] if e != why)]
        found.append({**table, "checking_seconds": round(run.checking_seconds, 3), "run": run.run})
    return {"clean": all(t["clean"] for t in found), "tables": found, "search": []}


def _searches(settings: Settings, tables: list[TableMap], count: int) -> list[dict[str, Any]]:
    found = []
    with open_cassandra(settings) as cassandra, closing(connect(settings, autocommit=True)) as connection:
        for table in tables:
            rows = source_search.sample_rows(cassandra.raw, table.source, RowEncoder(table, 0).columns, count, SEED)
            for verdict in compare_searches(cassandra, connection, table, rows):
                found.append({**verdict.figures(), "k": TOP})
    return found


def list_passes(settings: Settings, config: Config, limit: int) -> list[dict[str, Any]]:
    """The recorded passes, the newest first."""
    with open_checks(settings, config) as checks:
        return [_pass(row) for row in pass_ledger.history(checks.connection, limit)]


def _pass(row: dict[str, Any]) -> dict[str, Any]:
    tables = [{n: t[n] for n in ("table", "clean", "ranges", "rows", "repaired")} for t in row["report"]["tables"]]
    return {
        "pass": row["id"],
        "clean": row["clean"],
        "repaired": row["repaired"],
        "started_at": row["started_at"].isoformat(),
        "finished_at": row["finished_at"].isoformat(),
        "tables": tables,
    }
