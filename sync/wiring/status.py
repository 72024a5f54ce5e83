"""`sync status`: the state of everything, from Postgres; Redis is asked only for its workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sync.adapters.postgres.connect import Connection
from sync.adapters.postgres.epochs import read_epoch
from sync.adapters.postgres.passes import history
from sync.adapters.postgres.rejects import count_rejects
from sync.adapters.postgres.writers import list_writers
from sync.adapters.queue import Doorbell, redis_connection
from sync.core.drift import FIGURES
from sync.core.verdicts import FINDINGS
from sync.errors import SyncError
from sync.ports import Progress
from sync.settings import Config, Settings
from sync.wiring.backfill import open_ledger

_INTENTS = """
SELECT count(*), extract(epoch FROM clock_timestamp() - min(created_at)), count(*) FILTER (WHERE attempts > 0),
       (SELECT coalesce(sum(unrecorded), 0) FROM sync.writer WHERE state <> 'signed_off'),
       (SELECT coalesce(jsonb_object_agg(state, n), '{}')
        FROM (SELECT state, count(*) AS n FROM sync.intent GROUP BY state) AS by_state)
FROM sync.intent
"""


def read_status(settings: Settings, config: Config) -> dict[str, Any]:
    """The status as plain values, named as the contract has them. Raises PreflightError before `sync schema apply`."""
    with open_ledger(settings, config) as (connection, ledger):
        epoch = read_epoch(connection)
        count, age, stuck, spooled, states = _row(connection, _INTENTS)
        unfinished = set(ledger.open_runs().values())
        rejected = count_rejects(connection)
        progress = ledger.progress(ledger.latest())
        writers, proved = list_writers(connection), last_drift(connection)
        facts = _Facts(progress, bool(unfinished), int(count), sum(rejected.values()), bool(writers), proved)
        phase, next_step = _cut_over(int(count)) if epoch.primary == "postgres" else _phase(facts)
        return {
            "epoch": epoch.epoch,
            "primary": epoch.primary,
            "since": epoch.since.isoformat(),
            "phase": "closing" if epoch.state == "closing" else phase,
            "next_step": next_step,
            "tables": [_table(p) for p in progress],
            "intents": {
                "open": count,
                "oldest_age_seconds": float(age) if age is not None else None,
                "spooled": int(spooled),
                "stuck": stuck,
                "states": states,
            },
            "rejects": rejected,
            "writers": writers,
            "workers": _workers(settings),
            "indexes_to_build": _row(connection, "SELECT count(*) FROM sync.index")[0],
            "last_drift": proved,
        }


def last_drift(connection: Connection) -> dict[str, Any] | None:
    """The last recorded pass in a few figures; None where there was none."""
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


def _row(connection: Connection, query: str) -> tuple[Any, ...]:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row


@dataclass(frozen=True, slots=True)
class _Facts:
    progress: list[Progress]
    unfinished: bool
    intents: int
    rejected: int
    writers: bool
    last_drift: dict[str, Any] | None


def _phase(facts: _Facts) -> tuple[str, str]:
    if not facts.progress:
        return "schema", "sync backfill"
    if any(p.failed for p in facts.progress):
        return "backfill", "look at the failed ranges' error, then run `sync backfill` again"
    if facts.unfinished:
        return "backfill", "the backfill is under way; `sync backfill` goes on with it where it was stopped"
    if facts.intents:
        return "backfilled", f"{facts.intents} keys are to be reconciled: run `sync worker`"
    if facts.rejected:
        return "backfilled", f"look at the {facts.rejected} rejected rows: sync rejects"
    if not facts.writers:
        return "backfilled", "verify with `sync migrate`, or begin to write to both sides"
    if facts.last_drift is None or not facts.last_drift["clean"]:
        return "backfilled", "compare both sides: sync drift-report"
    return "proved", "sync cutover --dry-run shows what still stands in the way"


def _cut_over(intents: int) -> tuple[str, str]:
    if intents:
        return "cut over", f"{intents} keys are to be sent to Astra: run `sync worker`"
    return "cut over", "sync rollback takes it back; sync finish ends the migration"


def _table(p: Progress) -> dict[str, Any]:
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
        "rows_per_second": rate,
        "eta_seconds": eta,
        "error": p.error,
    }


def _workers(settings: Settings) -> int | None:
    """RQ workers on the queue; None where Redis cannot be asked."""
    try:
        return Doorbell(redis_connection(settings)).workers()
    except SyncError:
        return None
