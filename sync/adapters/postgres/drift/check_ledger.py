"""The ledger of drift reports: their runs and ranges, verdicts, findings, and the record of each pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.types.json import Json, Jsonb

from sync.adapters.postgres.backfill.range_ledger import RangeLedger, lease_of
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import target_errors
from sync.core.drift.results import MAX_TRIES, KeyVerdict, RangeResult
from sync.core.keys.json_form import show_key, unknown_key
from sync.core.mutations import pack_cells
from sync.core.ring import TokenRange
from sync.core.rows import TableMap
from sync.errors import LeaseLost
from sync.ports import Lease

_SQL = queries("drift/drift")
MAX_DEATHS = 5
MAX_KEPT = 10_000
"""At most this many findings of a run are kept by key; all are counted."""


@dataclass(frozen=True, slots=True)
class ResumePolicy:
    """How old the verdicts of a stopped pass may be when it is resumed; `restart`: none of them counts."""

    max_minutes: float = 60.0
    restart: bool = False


RESUME_POLICY = ResumePolicy()


class DriftLedger(RangeLedger):
    """Runs and ranges of kind `drift` over one autocommit connection."""

    def ranges_checked(self, tables: Iterable[str]) -> int:
        """How many ranges of these tables have a verdict from a pass that was stopped."""
        row = self._ask("ranges_checked", tables=list(tables)).fetchone()
        return int(row[0]) if row else 0

    def begin_pass(
        self,
        plans: dict[str, list[TokenRange]],
        repair: bool,
        shapes: Mapping[str, str] | None = None,
        resume_policy: ResumePolicy = RESUME_POLICY,
        rate: int | None = None,
    ) -> list[int]:
        """A run for each table: its unfinished one, as far as its verdicts still count, or a new one with these ranges.

        `shapes` are the tables' present shapes; a table without one counts as unchanged. `rate`: as for `set_rate`.
        """
        with target_errors(), self._connection.transaction():
            # Two starts at once: the second waits here, then finds the first one's runs.
            self._connection.execute("LOCK TABLE sync.run IN SHARE ROW EXCLUSIVE MODE")
            runs = self._start(plans, _SQL, {"repair": repair}, shapes or {})
            self._invalidate(runs, {table: (shapes or {}).get(table) for table in plans}, resume_policy)
            self._ask("reset_deaths", runs=runs)
            self.set_rate(runs, rate)
            return runs

    def _invalidate(self, runs: list[int], shapes: Mapping[str, str | None], resume_policy: ResumePolicy) -> None:
        """Have ranges checked again whose verdicts no longer count."""
        now = {"runs": runs, "tables": list(shapes), "shapes": list(shapes.values())}
        void = self._ask("invalidate", **now, restart=resume_policy.restart, age=60 * resume_policy.max_minutes).fetchall()
        self._ask("forget_findings", ranges=[row[0] for row in void])
        self._ask("note_begin", **now)

    def rates(self, tables: Iterable[str]) -> set[int | None]:
        """The rates of the unfinished passes over these tables."""
        return {rate for (rate,) in self._ask("open_rates", tables=list(tables)).fetchall()}

    def open_passes(self, runs: list[int]) -> dict[str, bool]:
        """The tables of those of these runs that are unfinished, and whether their findings are repaired."""
        return {str(table): bool(repair) for table, _, repair in self._ask("open_runs", runs=runs).fetchall()}

    def claim(self, run_ids: list[int], owner: str) -> Lease | None:
        """The next range to check, leased to this owner. Claims of one process must come one after the other."""
        row = self._ask("claim", runs=run_ids, owner=owner, lease=self._lease_seconds).fetchone()
        return lease_of(row, owner) if row else None

    def fail(self, lease: Lease, error: str) -> None:
        """Record a failed attempt; after `MAX_TRIES` the range is unknown."""
        self._run("fail", range=lease.range_id, owner=lease.owner, error=error[:2000], most=MAX_TRIES)

    def fail_deadly(self, runs: list[int]) -> None:
        """Set ranges to unknown if their workers died again and again: the next worker would, too."""
        error = f"its worker died {MAX_DEATHS} times: out of memory?"
        self._ask("fail_crashed", runs=runs, error=error, most=MAX_DEATHS)

    def split(self, lease: Lease, middle: int, error: str) -> None:
        """Split a range into two, both pending."""
        with target_errors(), self._connection.transaction():
            self._split_off(lease, middle, lease.attempts)
            self._ask(
                "shorten", range=lease.range_id, owner=lease.owner, middle=middle, attempts=lease.attempts, error=error[:2000]
            )

    def cut(self, lease: Lease, end: int) -> Lease:
        """The lease of the range's first part; the part after `end` becomes a range of its own. Raises LeaseLost."""
        with target_errors(), self._connection.transaction():
            self._split_off(lease, end, 0)
            if not self._ask("cut", range=lease.range_id, owner=lease.owner, middle=end).rowcount:
                raise LeaseLost(f"range {lease.range_id} of {lease.table} was taken over by another worker")
        whole = TokenRange(lease.whole.start, end)
        return Lease(
            lease.range_id, lease.run_id, lease.table, whole, whole, lease.floor, lease.attempts, lease.rate, lease.owner
        )

    def _split_off(self, lease: Lease, middle: int, attempts: int) -> None:
        self._ask("split_off", range=lease.range_id, owner=lease.owner, middle=middle, attempts=attempts)

    def done(self, lease: Lease, checked: RangeResult, table: TableMap) -> None:
        """Record a range's verdict and its findings, in one transaction. Raises LeaseLost."""
        rows = checked.rows
        values = {
            "range": lease.range_id,
            "owner": lease.owner,
            "figures": Jsonb(_figures(checked)),
            "source": rows.source,
            "same": rows.same,
            "differing": rows.differing,
            "rejected": rows.rejected,
        }
        with target_errors(), self._connection.transaction():
            if self._ask("done", **values).fetchone() is None:
                raise LeaseLost(f"range {lease.range_id} of {lease.table} was taken over by another worker")
            if checked.kept:
                self._keep_findings(lease.run_id, table, checked.kept)

    def _keep_findings(self, run: int, table: TableMap, findings: list[KeyVerdict]) -> None:
        row = self._ask("kept", run=run).fetchone()
        room = MAX_KEPT - (int(row[0]) if row else 0)
        with self._connection.cursor() as cursor:
            cursor.executemany(_SQL["keep"], [_finding(run, table, f) for f in findings[: max(0, room)]])

    def _ask(self, query: str, **values: Any) -> psycopg.Cursor[tuple[Any, ...]]:
        with target_errors():
            return self._connection.execute(_SQL[query], values)


def _figures(checked: RangeResult) -> dict[str, Any]:
    return {
        "rows": checked.rows.figures(),
        "verdict": checked.verdict,
        "repaired": checked.repaired,
        "kept_columns": checked.kept_columns,
        "seconds": round(checked.seconds, 4),
        "settled": checked.settled,
        "slowest_settled": round(checked.slowest_settled, 3),
        "error": checked.error,
    }


def _finding(run: int, table: TableMap, found: KeyVerdict) -> dict[str, Any]:
    key = found.key
    shown = show_key(table.keys, key.cells) if key.cells else unknown_key(key.canonical)
    return {
        "run": run,
        "table": table.name,
        "key": key.canonical,
        "source_key": pack_cells(key.cells, {}) if key.cells else b"",
        "token": key.token,
        "kind": found.verdict,
        "shown": Json(shown),
        "columns": list(found.columns),
        "source_version": found.source_version,
        "target_version": found.target_version,
        "repaired": found.repaired,
        "error": found.error[:1000],
    }
