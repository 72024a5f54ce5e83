"""`sync status`: the state of everything, from Postgres; it asks the source for its schema, and Redis for its workers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sync.adapters.postgres.backfill.range_ledger import RangeLedger
from sync.adapters.postgres.backfill.rejects import count_rejects
from sync.adapters.postgres.capture.feeds import read_feeds, read_gaps
from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.cutover.epochs import read_epoch
from sync.adapters.postgres.cutover.writers import list_writers
from sync.adapters.postgres.drift.pass_ledger import history
from sync.adapters.postgres.drift.shadow_ledger import shadow_status
from sync.adapters.queue_state import QueueState, read_queue
from sync.core.cutover.attention import attention
from sync.core.cutover.followers import unfollowed
from sync.core.cutover.gates import Gate
from sync.core.cutover.phases import MigrationState, next_step, phase
from sync.core.cutover.proof import proof_gate
from sync.core.drift.compare import FIGURES
from sync.core.drift.verdicts import FINDINGS
from sync.core.reads.shapes import Unanswerable
from sync.errors import SyncError
from sync.ports import Progress, SwitchKind
from sync.settings import Config, Settings
from sync.wiring.backfill.command import open_ledger
from sync.wiring.cutover.gates import judge_facts, nodes_to_follow, open_site, table_proofs, table_shapes
from sync.wiring.cutover.reads import unanswerable

_SILENT = "the source does not answer"
_FOUND = """
WITH found AS (
    SELECT table_name, kind, state, attempts, created_at FROM sync.intent
    UNION ALL SELECT table_name, 'recheck', 'finished', 0, changed_at FROM sync.sql_change  -- rule 50
)"""
_INTENTS = f"""{_FOUND}
SELECT count(*), extract(epoch FROM clock_timestamp() - min(created_at)), count(*) FILTER (WHERE attempts > 0),
       (SELECT coalesce(sum(unrecorded), 0) FROM sync.writer WHERE state <> 'signed_off'),
       (SELECT coalesce(jsonb_object_agg(state, n), '{{}}')
        FROM (SELECT state, count(*) AS n FROM found GROUP BY state) AS by_state)
FROM found
"""
_BY_TABLE = f"""{_FOUND}
SELECT table_name, state, count(*), count(*) FILTER (WHERE kind IN ('recheck', 'recheck_partition'))
FROM found GROUP BY table_name, state ORDER BY table_name, state
"""


def read_status(settings: Settings, config: Config, away: Collection[str] = ()) -> dict[str, Any]:
    """The status as plain values, named as the contract has them. Raises PreflightError before `sync schema apply`.

    Of `away` (`cassandra`, `redis`) nothing is asked: without the source no gate is judged.
    """
    with open_ledger(settings, config) as (connection, ledger):
        judged = GateResults(why=_SILENT) if "cassandra" in away else judge_gates(settings, config)
        return gather(settings, config, connection, ledger, judged, away)


def gather(
    settings: Settings, config: Config, connection: Connection, ledger: RangeLedger, judged: GateResults,
    away: Collection[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """The status around gates that were judged before; asks Postgres and Redis alone."""
    epoch = read_epoch(connection)
    count, age, stuck, spooled, states = _row(connection, _INTENTS)
    progress = [p for p in ledger.progress(ledger.latest()) if not config.left_out_by(p.table)]
    rejected, writers = count_rejects(connection), list_writers(connection)
    unfinished = any(not config.left_out_by(table) for table in ledger.open_runs())
    queue = None if "redis" in away else _queue(settings)
    workers = queue.workers if queue else None
    migration = MigrationState(
        epoch.primary, {gate.name: gate for gate in judged.gates}, bool(progress), any(p.failed for p in progress),
        unfinished, int(count), sum(rejected.values()), len(writers), workers, judged.why,
    )  # fmt: skip
    found: dict[str, Any] = {
        "epoch": epoch.epoch,
        "primary": epoch.primary,
        "since": epoch.since.isoformat(),
        "phase": "closing" if epoch.state == "closing" else phase(migration),
        "next_step": next_step(migration),
        "tables": [_table(p, judged.passes) for p in progress],
        "intents": {
            "open": count,
            "oldest_age_seconds": float(age) if age is not None else None,
            "spooled": int(spooled),
            "stuck": stuck,
            "states": states,
            "tables": _intents_by_table(connection),
        },
        "rejects": rejected,
        "writers": writers,
        "workers": workers,
        "failed_jobs": [{"job": f.description, "why": f.why} for f in queue.newest_failed] if queue else [],
        "indexes_to_build": _row(connection, "SELECT count(*) FROM sync.index")[0],
        "last_drift": last_drift(connection),
        "shadow_reads": shadow_status(connection),
        "feeds": [feed.plain() for feed in read_feeds(connection)],
        "gaps": read_gaps(connection),
        "nodes_without_follower": list(judged.unfollowed),
        "drift_under_way": [_check(p) for p in ledger.progress(ledger.open_checks())],
        "unanswerable_reads": [fault.to_json() for fault in judged.unanswerable],
        "gates": judged.plain(),
        "gates_error": judged.why or None,
    }
    tuning = config.dual_write
    return found | {"attention": attention(found, tuning.writer_lease_seconds, tuning.max_clock_skew_seconds)}


@dataclass(frozen=True, slots=True)
class GateResults:
    """The gates of the next switch without the canary, and each table's number of clean passes; or why there are none."""

    gates: Sequence[Gate] = ()
    passes: Mapping[str, int] = field(default_factory=dict)
    why: str = ""
    unanswerable: Sequence[Unanswerable] = ()
    unfollowed: Sequence[str] = ()

    def without_keys(self) -> GateResults:
        """The same for those who must not see keys of rows."""
        return replace(self, gates=[replace(gate, figure=gate.without_keys or gate.figure) for gate in self.gates])

    def plain(self) -> list[dict[str, Any]]:
        return [{"name": g.name, "green": g.green, "figure": g.figure, "remedy": g.remedy} for g in self.gates]


def judge_gates(settings: Settings, config: Config) -> GateResults:
    """As `sync cutover` and `sync rollback` judge; asks both sides, either of which may be unreachable."""
    try:
        with open_site(settings, config) as site:
            epoch = site.authority.current()
            proved = table_proofs(site, epoch, table_shapes(site))
            kind: SwitchKind = "cutover" if epoch.primary == "astra" else "rollback"
            gates, faults = [*judge_facts(site, kind, epoch), proof_gate(proved)], unanswerable(site, kind)
            without = unfollowed(read_feeds(site.connection), nodes_to_follow(site, kind))
    except SyncError as error:
        return GateResults(why=" ".join(str(error).split()))
    return GateResults(gates, {proof.table: proof.passes for proof in proved}, unanswerable=faults, unfollowed=without)


def last_drift(connection: Connection) -> dict[str, Any] | None:
    """The last recorded pass in a few figures; None if there was none."""
    for row in history(connection, 1):
        rows = [table["rows"] for table in row["report"]["tables"]]
        sums = {name: sum(r.get(name, 0) for r in rows) for name in FIGURES}
        return {
            "pass": row["id"],
            "clean": row["clean"],
            "finished_at": row["finished_at"].isoformat(),
            "findings": sum(sums[kind] for kind in FINDINGS),
            "repaired": row["repaired"],
            "rows": sums,
        }
    return None


def _intents_by_table(connection: Connection) -> dict[str, dict[str, Any]]:
    """The intents of each table that has some: how many by state, and how many of them are rechecks."""
    found: dict[str, dict[str, Any]] = {}
    for table, state, count, rechecks in connection.execute(_BY_TABLE.encode()).fetchall():
        of = found.setdefault(table, {"states": {}, "rechecks": 0})
        of["states"][state] = count
        of["rechecks"] += rechecks
    return found


def _row(connection: Connection, query: str) -> tuple[Any, ...]:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row


def _check(p: Progress) -> dict[str, Any]:
    """A table's part of a pass that is under way, or was stopped."""
    ranges = {"total": p.total, "done": p.done, "running": p.running, "failed": p.failed}
    return {"table": p.table, "ranges": ranges, "error": p.error, "throttled": _throttled(p)}


def _throttled(p: Progress) -> dict[str, Any] | None:
    """How a run rests because a server is slow; None if it does not."""
    return p.throttled.plain() if p.throttled else None


def _table(p: Progress, passes: Mapping[str, int]) -> dict[str, Any]:
    rate = p.rows_read / p.seconds if p.seconds else 0.0
    left = p.total - p.done - p.failed
    eta = p.rows_read / p.done * left / rate if left and p.done and rate else (0.0 if not left else None)
    return {
        "table": p.table,
        "ranges": {"total": p.total, "done": p.done, "running": p.running, "failed": p.failed},
        "rows_read": p.rows_read,
        "rows_written": p.rows_written,
        "rows_stale": p.rows_stale,
        "rows_rejected": p.rows_rejected,
        "ranges_abandoned": p.abandoned,
        "rows_per_second": rate,
        "eta_seconds": eta,
        "clean_passes": passes.get(p.table),
        "error": p.error,
        "throttled": _throttled(p),
    }


def _queue(settings: Settings) -> QueueState | None:
    """What stands in the queue; None if Redis does not answer."""
    try:
        return read_queue(settings)
    except SyncError:
        return None
