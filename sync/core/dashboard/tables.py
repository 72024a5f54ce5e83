"""A line for each table: its ring, its rates, what is left, what was rejected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sync.core.cutover.proof import CLEAN_PASSES
from sync.core.dashboard.curves import Curve, curve
from sync.core.dashboard.history import Point, latest
from sync.core.dashboard.rings import Arc, Ring, even_ring, ring_of
from sync.core.dashboard.steps import percent
from sync.core.throttle import in_words
from sync.core.words import duration

FRESH_SECONDS = 60.0
"""A rate that is older is not called the present one."""
_ORDER = ("failed", "comparing", "copying", "waiting", "copied")


@dataclass(frozen=True, slots=True)
class TableLine:
    """A table as the page shows it; texts are ready, `spark` is its rows per second over the window."""

    name: str
    state: str
    share: str
    ring: Ring
    rows: str
    rate: str
    left: str
    rejected: int
    passes: str
    error: str
    spark: Curve
    throttled: str


def table_lines(
    status: Mapping[str, Any],
    rings: Mapping[tuple[str, str], Sequence[Arc]],
    rates: Mapping[tuple[str, str], Sequence[Point]],
    since: float,
    now: float,
) -> list[TableLine]:
    """Every table, those that need somebody first, then those that are worked on; `since` and `now` bound the window."""
    checks = {check["table"]: check for check in status["drift_under_way"]}
    known = {table["table"] for table in status["tables"]}
    alone = [_bare(check) for name, check in checks.items() if name not in known]
    lines = [
        _line(table, checks.get(table["table"]), status["rejects"], rings, rates, since, now)
        for table in [*status["tables"], *alone]
    ]
    return sorted(lines, key=lambda line: (_ORDER.index(line.state), line.name))


def _bare(check: Mapping[str, Any]) -> dict[str, Any]:
    """A table that is compared, and was never copied by this program."""
    figures = dict.fromkeys(("rows_read", "rows_written", "rows_rejected"), 0)
    ranges = {"total": 0, "done": 0, "running": 0, "failed": 0}
    return {"table": check["table"], "ranges": ranges, **figures, "rows_per_second": 0.0, "eta_seconds": None,
            "clean_passes": None, "error": check["error"], "throttled": None}  # fmt: skip


def _line(
    table: Mapping[str, Any],
    check: Mapping[str, Any] | None,
    rejects: Mapping[str, int],
    rings: Mapping[tuple[str, str], Sequence[Arc]],
    rates: Mapping[tuple[str, str], Sequence[Point]],
    since: float,
    now: float,
) -> TableLine:
    name, kind = table["table"], "drift" if check else "backfill"
    ranges = check["ranges"] if check else table["ranges"]
    state, points = _state(ranges, bool(check)), rates.get((kind, name), ())
    arcs = rings.get((kind, name))
    rate = latest(points, now - FRESH_SECONDS)
    if rate is None and ranges["running"] and not check:
        rate = table["rows_per_second"]
    left = table["eta_seconds"] if state == "copying" else None
    slow = (check or table)["throttled"]
    passes = "" if table["clean_passes"] is None else f"{min(table['clean_passes'], CLEAN_PASSES)} of {CLEAN_PASSES}"
    return TableLine(
        name, state, percent(ranges["done"], ranges["total"]),
        ring_of(arcs) if arcs else even_ring(ranges["done"] / ranges["total"] if ranges["total"] else 0.0),
        f"{table['rows_written']:,}", f"{rate:,.0f}" if rate and ranges["running"] else "",
        duration(left) if left else "", rejects.get(name, 0), passes,
        (check["error"] if check else None) or table["error"] or "", curve(points, since, now),
        in_words(slow, now) if slow else "",
    )  # fmt: skip


def _state(ranges: Mapping[str, int], checked: bool) -> str:
    if ranges["failed"]:
        return "failed"
    if checked:
        return "comparing"
    if ranges["running"]:
        return "copying"
    return "copied" if ranges["total"] and ranges["done"] == ranges["total"] else "waiting"
