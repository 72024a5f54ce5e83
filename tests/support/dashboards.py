"""Snapshots of made-up migrations for the dashboard: any stage, with one table or two hundred."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sync.core.dashboard.history import WINDOWS, Sample, Window
from sync.core.dashboard.rings import Arc
from sync.core.dashboard.view import Snapshot
from sync.wiring.dashboard.watcher import Seen

NOW = datetime(2026, 5, 17, 14, 30, tzinfo=UTC)
HOUR = WINDOWS["hour"]
GATES = ("tables", "backfill", "write times", "rejects", "indexes", "SQL writers", "reads", "writers", "settings", "intents",
         "shadow reads", "proof")  # fmt: skip


def table(name: str = "songs", done: int = 64, total: int = 64, running: int = 0, **more: Any) -> dict[str, Any]:
    ranges = {"total": total, "done": done, "running": running, "failed": more.pop("failed", 0)}
    rows = 18_340 * done
    return {
        "table": name, "ranges": ranges, "rows_read": rows, "rows_written": rows, "rows_stale": 0, "rows_rejected": 0,
        "rows_per_second": 5210.0 if running else 0.0, "eta_seconds": 254.0 if running else 0.0, "clean_passes": None,
        "error": None, "throttled": None, **more,
    }  # fmt: skip


def writer(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "host": "app-1", "pid": 1, "slot": 1, "epoch": 1, "state": "active", "accepts": True, "unrecorded": 0,
            "clock_skew_us": 12, "failures": {}, "data_center": "dc1", "settings": None, "heartbeat_age_seconds": 2.0, **more}  # fmt: skip


def gate(name: str, green: bool = True, figure: str = "as it should be", remedy: str = "") -> dict[str, Any]:
    return {"name": name, "green": green, "figure": figure, "remedy": remedy}


def status(**changes: Any) -> dict[str, Any]:
    found = {
        "epoch": 1, "primary": "astra", "since": "2026-05-17T12:00:00+00:00", "phase": "backfilled",
        "next_step": "compare both sides: sync drift-report, twice; --table for one table", "tables": [table()],
        "intents": {"open": 0, "oldest_age_seconds": None, "spooled": 0, "stuck": 0, "states": {}}, "rejects": {},
        "writers": [writer("app-1:4711"), writer("app-2:913")], "workers": 2, "indexes_to_build": 0, "last_drift": None,
        "shadow_reads": {"compared": 0, "skipped": 0, "differing": 0, "since_repair": 0, "keys": []}, "feeds": [], "gaps": [],
        "nodes_without_follower": [],
        "drift_under_way": [], "unanswerable_reads": [], "gates_error": None, "attention": [],
        "gates": [gate(name) for name in GATES[:-1]] + [
            gate("proof", False, "0 of 1 table with 2 clean full passes in a row; songs: 0 clean, no pass yet",
                 "sync drift-report, twice; --table for one table")],
    }  # fmt: skip
    return found | changes


def snapshot(found: Mapping[str, Any] | None = None, **more: Any) -> Snapshot:
    given: dict[str, Any] = {"at": NOW, "judged_at": NOW, "events": {"switches": [], "passes": []}, "rings": {},
                             "names": {"keyspace": "music", "database": "music"}}  # fmt: skip
    return Snapshot(status=found or status(), **{**given, **more})


def samples(tables: list[str], window: Window = HOUR, kind: str = "backfill") -> list[Sample]:
    """A run over the last two thirds of a window, and intents that come and go."""
    count, found = window.seconds // window.step_seconds, []
    rows = dict.fromkeys(tables, 0)
    for n in range(count):
        at = NOW - timedelta(seconds=window.seconds - (n + 1) * window.step_seconds)
        runs: dict[str, Any] = {"rows": {}, "tables": {}}
        if n > count // 3:
            for i, name in enumerate(tables):
                rows[name] += int(window.step_seconds * (4200 + 1400 * math.sin(n / 9 + i) + 500 * math.sin(n * 1.7 + i)))
                runs["tables"][str(i)] = [kind, name, n, 240, rows[name]]
            runs["rows"] = {kind: sum(rows.values())}
        intents = max(0, int(40 * math.sin(n / 14) + 12 * math.sin(n)))
        found.append(Sample(at, {"intents": intents, "age": intents // 3 or None, "writers": 2, "runs": runs}))
    return found


def arcs(share: float, running: int = 3) -> list[Arc]:
    """Sixty parts of which the first are done, and some are worked on, as workers claim them."""
    done = int(60 * share)
    return [Arc(n / 60, (n + 1) / 60, 1.0 if n < done else 0.4 if n < done + running else 0.0, done <= n < done + running)
            for n in range(60)]  # fmt: skip


def passed(number: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "clean": True, "repaired": 0, "started_at": NOW, "finished_at": NOW, "epoch": 1, "tables": 3,
            "rows": 1_234_567, **more}  # fmt: skip


def seen(found: Snapshot, history: list[Sample] | None = None, **more: Any) -> Seen:
    return Seen(1, found, {name: history or [] for name in WINDOWS}, **more)


def copying() -> Seen:
    """In the middle of a backfill of four tables, one of which has rejects."""
    tables = [
        table("songs", 41, 64, 3), table("recordings", 12, 64, 2, eta_seconds=912.0), table("genres"),
        table("listens", 0, 64, eta_seconds=None, rows_written=0),
    ]  # fmt: skip
    rings = {
        ("backfill", "songs"): arcs(0.64),
        ("backfill", "recordings"): arcs(0.19, 2),
        ("backfill", "listens"): arcs(0, 0),
    }
    found = status(phase="backfill", next_step="the backfill is under way; `sync backfill` resumes it", tables=tables,
                   intents={"open": 12, "oldest_age_seconds": 3.2, "spooled": 0, "stuck": 0, "states": {"open": 12}},
                   rejects={"recordings": 7}, attention=["7 rejected rows: sync rejects"])  # fmt: skip
    return seen(snapshot(found, rings=rings), samples(["songs", "recordings"]))


def many(count: int = 200) -> Seen:
    """So many tables, of which a few are being copied."""
    tables = [table(f"table_{n:03}", *((30, 64, 1) if n % 40 == 7 else (64, 64, 0))) for n in range(count)]
    rings = {("backfill", t["table"]): arcs(0.47, 1) for t in tables if t["ranges"]["running"]}
    return seen(snapshot(status(phase="backfill", tables=tables), rings=rings), samples([name for _, name in rings]))


def red() -> Seen:
    """Copied, with a gate that is red, a writer that is silent, and a pass that found something."""
    gates = [gate(name) for name in GATES if name not in ("writers", "proof")] + [
        gate("writers", False, "app-2:913 sent its last heartbeat 74 s ago",
             "stop it, or, if it is dead, sync writers --fence ID; then sync drift-report --repair clears it"),
        gate("proof", False, "0 of 1 table with 2 clean full passes in a row; songs: 0 clean, pass 3 was not clean",
             "sync drift-report --repair, then twice without it; --table for one table"),
    ]  # fmt: skip
    lines = [
        "writer app-2:913 is without a heartbeat for 74 s: if it has ended, sync writers --fence app-2:913",
        "drift pass 3: 2 findings: sync drift-report --repair",
    ]
    found = status(
        gates=gates, attention=lines, writers=[writer("app-1:4711"), writer("app-2:913", heartbeat_age_seconds=74.0)],
        last_drift={"pass": 3, "clean": False, "findings": 2, "repaired": 0, "finished_at": NOW.isoformat(), "rows": {}},
        tables=[table(clean_passes=0)],
        feeds=[{"name": "pulsar music", "behind_seconds": 0.4, "ended": False, "followed": True, "recorded_age_seconds": 1.0,
                "keys": 1204, "partitions": 3, "strays": 0, "unmapped": 0, "rejects": 0, "gaps": 0, "position": "x",
                "error": None}],
    )  # fmt: skip
    return seen(
        snapshot(found, events={"switches": [], "passes": [passed(3, clean=False), passed(2), passed(1)]}), samples([])
    )


def over() -> Seen:
    """After the cut-over, with a switch of before that was abandoned."""
    switch = {"kind": "cutover", "who": "ops@host:77", "state": "done", "started_at": NOW, "finished_at": NOW, "reason": None,
              "closed_seconds": 0.018}  # fmt: skip
    given_up = {**switch, "state": "abandoned", "reason": "writer app-2:913 does not answer", "closed_seconds": None}
    found = status(epoch=2, primary="postgres", phase="cut over", tables=[table(clean_passes=2)],
                   next_step="sync rollback goes back (sync rollback --fast in an emergency); sync finish ends the migration",
                   gates=[gate(name) for name in GATES])  # fmt: skip
    events = {"switches": [switch, given_up], "passes": [passed(n) for n in (5, 4, 3)]}
    return seen(snapshot(found, events=events), samples([]))
