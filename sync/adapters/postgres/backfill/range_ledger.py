"""The ledger of runs and their ranges (`sync.run`, `sync.range`): planning, leases, progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.epoch_lock import changing_epoch
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import target_errors
from sync.core.ring import TokenRange, check_whole_ring
from sync.core.throttle import Throttled, throttled_of
from sync.errors import LeaseLost, PreflightError
from sync.ports import Lease, Progress

_SQL = queries("backfill/ranges")
MAX_ATTEMPTS = 8


class RangeLedger:
    """Runs and ranges over one autocommit connection."""

    def __init__(self, connection: Connection, lease_seconds: int) -> None:
        self._connection, self._lease_seconds = connection, lease_seconds

    @property
    def connection(self) -> Connection:
        """The connection, for statements that belong to the same step."""
        return self._connection

    def primary(self) -> str:
        """The store that is primary according to `sync.epoch`, the authority (invariant 6)."""
        row = self._connection.execute(_SQL["epoch"]).fetchone()
        assert row is not None, "sync.epoch is empty"
        return str(row[1])

    def check_primary(self) -> None:
        """Raise PreflightError if the source is not primary."""
        if self.primary() != "astra":
            raise PreflightError("Postgres is primary: a backfill would overwrite the primary")

    def begin(self, plans: dict[str, list[TokenRange]], shapes: Mapping[str, str] | None = None) -> list[int]:
        """A run for each table: its unfinished one, or a new one with these ranges. The floor rises first (rule 3).

        `shapes` are the tables' present shapes: what an unfinished run did while a table had another shape is done again.
        """
        with target_errors(), self._connection.transaction():
            # Two starts at once: the second waits here, then finds the first one's runs. The runs are locked before the
            # epoch, as when a pass is closed and clears writers; so a start that waits for the runs holds up no writer.
            self._connection.execute("LOCK TABLE sync.run IN SHARE ROW EXCLUSIVE MODE")
            runs = self._start(plans, _SQL, {}, shapes or {})
            self._connection.execute(_SQL["reset_ranges"], {"runs": runs, **listed(shapes)})
            self._connection.execute(_SQL["note_shapes"], {"runs": runs, **listed(shapes)})
            with changing_epoch(self._connection):  # at the end: while it is held, no application writes
                self.check_primary()
                row = self._connection.execute(_SQL["raise_floor"]).fetchone()
                assert row is not None
                self._connection.execute(_SQL["set_floor"], {"runs": runs, "floor": row[0]})
            return runs

    def shapes(self, runs: list[int]) -> dict[str, str | None]:
        """The shapes of these runs' tables when the runs began; None if that was not recorded."""
        return dict(self._run("shapes", runs=runs).fetchall())

    def _start(
        self,
        plans: dict[str, list[TokenRange]],
        queries: Mapping[str, str],
        values: Mapping[str, Any],
        shapes: Mapping[str, str],
    ) -> list[int]:
        """Open the runs of a start, with the `resume_runs` and `begin_runs` of its kind, within the caller's transaction.

        All tables' at once: how many statements that takes does not depend on their number.
        """
        with target_errors():
            found: dict[str, int] = dict(self._connection.execute(queries["resume_runs"], {"tables": list(plans), **values}))
            new = [table for table in plans if table not in found]
            given = {"tables": new, "shapes": [shapes.get(table) for table in new], **values}
            found |= dict(self._connection.execute(queries["begin_runs"], given))
            with self._connection.cursor() as cursor:
                cursor.executemany(
                    _SQL["add_range"], [(found[table], table, r.start, r.end) for table in new for r in plans[table]]
                )
            runs = [found[table] for table in plans]
            self.check(runs)
            self._connection.execute(_SQL["reopen"], {"runs": runs})
            self.request_stop(runs, False)
            self._connection.execute(_SQL["forget_failures"], {"runs": runs})
        return runs

    def check(self, runs: list[int]) -> None:
        """Assert that each run's ranges are exactly the ring (invariant 4)."""
        found: dict[int, list[TokenRange]] = {run: [] for run in runs}
        for run, start, end in self._connection.execute(_SQL["whole_ring"], {"runs": runs}):
            found[run].append(TokenRange(start, end))
        for ranges in found.values():
            check_whole_ring(ranges)

    def open_runs(self) -> dict[str, int]:
        """Unfinished backfills by table."""
        found = self._connection.execute("SELECT table_name, id FROM sync.run WHERE kind = 'backfill' AND state = 'open'")
        return {str(t): int(i) for t, i in found.fetchall()}

    def set_rate(self, runs: list[int], rate: int | None) -> None:
        """Set how many rows a second these runs may read, all workers together."""
        self._connection.execute(_SQL["set_rate"], {"runs": runs, "rate": rate})

    def claim(self, run_ids: list[int], owner: str) -> Lease | None:
        """The next range to copy, leased to this owner; None if there is none."""
        row = self._run("claim", runs=run_ids, owner=owner, lease=self._lease_seconds).fetchone()
        return lease_of(row, owner) if row else None

    def renew(self, lease: Lease) -> Lease | None:
        """Prolong the lease, with its present share of the rate; None if the run should stop. Raises LeaseLost."""
        throttled = Jsonb(lease.throttled.plain()) if lease.throttled else None
        values = {"range": lease.range_id, "owner": lease.owner, "lease": self._lease_seconds, "throttled": throttled}
        row = self._run("renew", **values).fetchone()
        if row is None:
            raise LeaseLost(f"range {lease.range_id} of {lease.table} was taken over by another worker")
        stop, rate, sharers = row
        return None if stop else replace(lease, rate=_share(rate, sharers), throttled=None)

    def last_throttled(self, runs: list[int]) -> Throttled | None:
        """How a worker of these runs was throttled a moment ago: a job's process begins where the one before it was."""
        row = self._run("last_throttled", runs=runs).fetchone()
        return throttled_of(row[0]) if row else None

    def release_range(self, lease: Lease) -> None:
        """Release an unfinished range; its checkpoint stays."""
        self._run("release", range=lease.range_id, owner=lease.owner)

    def discard_position(self, lease: Lease) -> None:
        """Release a range whose place within a partition the source no longer knows: it resumes at its last token."""
        self._run("forget_position", range=lease.range_id, owner=lease.owner)

    def wait(self, lease: Lease, error: str) -> None:
        """Release a range because a server is temporarily unavailable, and record that; it does not count as an attempt."""
        self._run("wait", range=lease.range_id, owner=lease.owner, error=error[:2000])

    def fail(self, lease: Lease, error: str) -> None:
        """Record a failed attempt; after `MAX_ATTEMPTS` without progress the range is failed."""
        self._run("fail", range=lease.range_id, owner=lease.owner, error=error[:2000], most=MAX_ATTEMPTS)

    def fail_deadly(self, runs: list[int]) -> None:
        """Fail the ranges whose workers died again and again without a checkpoint: the next worker would, too."""
        error = f"its worker died {MAX_ATTEMPTS} times without progress: out of memory?"
        self._run("fail_crashed", runs=runs, error=error, most=MAX_ATTEMPTS)

    def split(self, lease: Lease, middle: int, error: str) -> None:
        """Split what is left into two ranges, both pending."""
        values = {"range": lease.range_id, "owner": lease.owner, "middle": middle, "error": error[:2000]}
        with target_errors(), self._connection.transaction():
            self._connection.execute(_SQL["split_off"], values)
            self._connection.execute(_SQL["shorten"], values)

    def finish(self, *runs: int) -> bool:
        """Close those of these runs whose ranges are all done, after asserting once more that they are the ring.

        Returns whether all of them are closed by this.
        """
        self.check(list(runs))
        return len(self._run("finish_runs", runs=list(runs)).fetchall()) == len(runs)

    def work_left(self, runs: list[int]) -> bool:
        """Whether there is a range that a worker could claim now."""
        return self._run("work_left", runs=runs).fetchone() == (True,)

    def tables(self, runs: list[int]) -> list[str]:
        """The tables of these runs."""
        return [str(name) for (name,) in self._run("tables_of", runs=runs).fetchall()]

    def active_workers(self, runs: list[int]) -> int:
        """How many processes hold a range at this moment."""
        row = self._run("active_workers", runs=runs).fetchone()
        return int(row[0]) if row else 0

    def note_failure(self, runs: list[int], error: str, away: bool = False) -> None:
        """Record that a job failed as a whole; `away`: because a server did not answer.

        It is no failure if something was copied already: then the settings are right somewhere, and the others continue.
        """
        self._run("note_failure", runs=runs, error=error[:2000], away=away)

    def reclaim(self, runs: list[int], owner: str) -> None:
        """Free what this owner still holds after it lost its connection: that counts neither as an attempt nor as a death."""
        self._run("release_owner", runs=runs, owner=owner)

    def release(self, runs: list[int], worker: str) -> None:
        """Release the ranges of a worker that has stopped."""
        self._run("release_worker", runs=runs, worker=worker)

    def failures(self, runs: list[int]) -> tuple[int, str]:
        """How many jobs failed as a whole since the start, and the last one's error."""
        row = self._run("failures", runs=runs).fetchone()
        return (int(row[0] or 0), str(row[1] or "")) if row else (0, "")

    def request_stop(self, runs: list[int], stop: bool) -> None:
        """Ask the workers of these runs to stop at the next batch, or take that back."""
        self._run("request_stop", runs=runs, stop=stop)

    def progress(self, runs: list[int]) -> list[Progress]:
        """The progress of these runs."""
        rows = self._run("progress", runs=runs).fetchall()
        return [_progress(row) for row in rows]

    def _run(self, query: str, **values: Any) -> psycopg.Cursor[tuple[Any, ...]]:
        with target_errors():
            return self._connection.execute(_SQL[query], values)

    def open_checks(self) -> list[int]:
        """The runs of drift passes that are in progress, or were stopped."""
        return [int(row[0]) for row in self._run("open_drift_runs").fetchall()]

    def latest(self) -> list[int]:
        """The newest backfill of each table."""
        return [int(row[0]) for row in self._connection.execute(_SQL["latest_runs"]).fetchall()]


def listed(shapes: Mapping[str, str] | None) -> dict[str, list[str]]:
    """Shapes by table as two lists, as the statements take them."""
    return {"tables": list(shapes or {}), "shapes": list((shapes or {}).values())}


def lease_of(row: tuple[Any, ...], owner: str) -> Lease:
    """The lease that a claim returns."""
    range_id, run, table, start, end, done_to, floor, attempts, rate, sharers, *position = row
    whole = TokenRange(start, end)
    left = start if done_to is None else max(start, done_to)
    todo = None if left >= end else TokenRange(left, end)
    return Lease(range_id, run, table, whole, todo, floor, attempts, _share(rate, sharers), owner, *position)


def _share(rate: int | None, sharers: int) -> float | None:
    return rate / max(1, sharers) if rate else None


def _progress(row: tuple[Any, ...]) -> Progress:
    table, total, done, running, failed, read, written, stale, rejected, size, abandoned, error, seconds, throttled = row
    return Progress(
        table, total, done, running, failed, int(read), int(written), int(stale), int(rejected), int(size),
        abandoned, error, float(seconds or 0), throttled_of(throttled) if throttled else None,
    )  # fmt: skip
