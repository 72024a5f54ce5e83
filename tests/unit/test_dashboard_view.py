"""What the dashboard shows: steps, rings, curves and tables, from what was read."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from support import dashboards
from support.dashboards import HOUR, NOW, arcs, samples, snapshot, status, table, writer

from sync.core.dashboard.curves import HEIGHT, WIDTH, curve, nice
from sync.core.dashboard.history import Point, Sample, figures, latest, row_rates, table_rates
from sync.core.dashboard.rings import LENGTH, Arc, dashes, even_ring, ring_of
from sync.core.dashboard.steps import headline, percent, steps
from sync.core.dashboard.view import view


def states(**changes: Any) -> str:
    """The states of the five steps by their first letters."""
    return "".join(step.state[0] for step in steps(status(**changes)))


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"phase": "schema", "tables": [], "writers": []}, "nllll"),
        ({"phase": "backfill", "tables": [table(done=3, running=1)]}, "ndlll"),
        ({"phase": "backfill", "tables": [table(done=3, failed=1)], "writers": []}, "wllll"),
        ({"phase": "backfilled", "writers": []}, "dnlll"),
        ({"phase": "backfilled"}, "ddnll"),
        ({"phase": "backfilled", "writers": [writer("a:1", state="unclean")]}, "dwnll"),
        ({"last_drift": {"pass": 1, "clean": False, "findings": 2, "repaired": 0}}, "ddwll"),
        ({"phase": "proved", "gates": [dashboards.gate("proof")]}, "dddnl"),
        ({"phase": "cut over", "primary": "postgres", "gates": [dashboards.gate("proof")]}, "ddddn"),
        ({"phase": "cut over", "primary": "postgres", "gates": []}, "ddddn"),
    ],
)
def test_the_step_that_is_next_is_marked_and_so_is_what_went_wrong(changes: dict[str, Any], found: str) -> None:
    """Would break: the page says "done" of a copy with failed ranges, or points at a step that is over."""
    marks = states(**changes)
    assert marks == found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"phase": "schema"}, "Ready to copy"),
        ({"phase": "backfill", "tables": [table(done=63, total=64), table("b", 0, 36)]}, "Copying, 63 %"),
        ({"phase": "backfilled", "drift_under_way": [table(done=1, total=4)]}, "Comparing both sides, 25 %"),
        ({"phase": "backfilled"}, "Copied, not yet proved"),
        ({"phase": "proved"}, "Ready for the cut-over"),
        ({"phase": "closing"}, "The primary is being changed"),
        ({"phase": "cut over", "primary": "postgres"}, "Postgres is primary"),
    ],
)
def test_the_headline_says_where_it_stands(changes: dict[str, Any], said: str) -> None:
    """Would break: somebody who looks for ten seconds does not know whether it copies, compares or waits."""
    assert headline(status(**changes)) == said


def test_percent_is_neither_early_nor_late() -> None:
    """Would break: 100 % while a range is left, or 0 % after an hour of work."""
    assert [percent(*pair) for pair in ((0, 0), (0, 9), (1, 10_000), (9_999, 10_000), (5, 5), (1, 2))] == [
        "0 %", "0 %", "1 %", "99 %", "100 %", "50 %",
    ]  # fmt: skip


def lit(pattern: str) -> list[tuple[int, int]]:
    """Which stretches of a ring a dash pattern draws."""
    found, at = [], 0
    for n, part in enumerate(map(int, pattern.split())):
        if n % 2 == 0 and part:
            found.append((at, at + part))
        at += part
    assert not pattern or at == LENGTH, "a pattern that is shorter begins again, and is drawn twice"
    return found


def test_a_ring_is_lit_where_rows_are_copied() -> None:
    """Would break: the ring shows a part as copied that is not, or begins in the wrong place."""
    parts = [Arc(0.0, 0.25, 1.0), Arc(0.25, 0.5, 0.5, running=True), Arc(0.5, 0.75, 0.0), Arc(0.75, 1.0, 0.0, failed=True)]
    ring = ring_of(parts)
    assert (lit(ring.done), lit(ring.running), lit(ring.failed)) == ([(0, 375)], [(375, 500)], [(750, 1000)])
    assert lit(even_ring(1.0).done) == [(0, 1000)] and even_ring(0.0).done == ""
    assert lit(dashes([(0.1, 0.2), (0.2, 0.3), (0.5, 0.6)])) == [(100, 300), (500, 600)]
    assert lit(ring_of(arcs(0.5)).done)[0] == (0, 507), "the first half, and what the next one has"


def sample(seconds: float, rows: int | None, intents: int = 0) -> Sample:
    runs: dict[str, Any] = {"rows": {}, "tables": {}}
    if rows is not None:
        runs = {"rows": {"backfill": rows}, "tables": {"7": ["backfill", "songs", 1, 4, rows]}}
    return Sample(NOW + timedelta(seconds=seconds), {"intents": intents, "age": None, "writers": 1, "runs": runs})


def test_rates_are_of_runs_that_were_open_at_both_ends() -> None:
    """Would break: the end of a run is a rate below nothing, its beginning an enormous one, a night without samples a slow copy."""
    taken = [
        sample(0, None),
        sample(5, 100),
        sample(10, 600),
        sample(15, 50),
        sample(20, 150),
        sample(3600, 99_999),
        sample(3605, None),
    ]
    rates = [point.value for point in row_rates(taken, "backfill", 45)]
    assert rates == [None, 100.0, None, 20.0, None, None]
    of_table = table_rates(taken, 45)[("backfill", "songs")]
    assert [point.value for point in of_table] == [None, 100.0, None, 20.0, None]
    assert row_rates([], "backfill", 45) == [] == row_rates(taken[:1], "backfill", 45)


def test_where_nobody_took_samples_the_line_is_broken() -> None:
    """Would break: a night in which nothing ran looks like a night of 12 open intents."""
    points = figures([sample(0, None, 12), sample(15, None, 12), sample(9000, None, 3)], "intents", 45)
    assert [point.value for point in points] == [12, 12, None, 3]
    drawn = curve(points, NOW.timestamp(), NOW.timestamp() + 9000)
    assert drawn.line.count("M") == 1 and len(drawn.dots) == 1


def test_a_curve_stays_in_its_box() -> None:
    """Would break: a line leaves the drawing, or points from before the window are drawn into it."""
    points = [Point(-50.0, 900.0), Point(0.0, 0.0), Point(50.0, 40.0), Point(100.0, 33.0)]
    drawn = curve(points, 0.0, 100.0)
    assert drawn.top == 50 and drawn.line == f"M0 {HEIGHT}L300 24L{WIDTH} 40.8"
    assert curve([], 0.0, 1.0).line == "" == curve([Point(0.5, None)], 0.0, 1.0).area
    assert [nice(value) for value in (0, 0.2, 1, 1.1, 7, 20, 51, 12_000)] == [1, 1, 1, 2, 10, 20, 100, 20_000]


def test_an_old_rate_is_not_the_present_one() -> None:
    """Would break: a copy that stopped an hour ago seems to run."""
    points = [Point(10.0, 5.0), Point(20.0, None)]
    assert latest(points, 0.0) == 5.0 and latest(points, 11.0) is None and latest([], 0.0) is None


def test_what_needs_somebody_stands_first() -> None:
    """Would break: a failed table is the 180th of two hundred."""
    tables = [table("a"), table("b", 2, running=1), table("c", 5, failed=1), table("d", 0)]
    checks = [
        {"table": "e", "ranges": {"total": 4, "done": 1, "running": 1, "failed": 0}, "error": "away", "throttled": None}
    ]
    found = snapshot(status(tables=tables, drift_under_way=checks, rejects={"b": 3}))
    lines = view(found, [], HOUR).tables
    assert [(line.name, line.state) for line in lines] == [
        ("c", "failed"), ("e", "comparing"), ("b", "copying"), ("d", "waiting"), ("a", "copied"),
    ]  # fmt: skip
    assert (lines[1].error, lines[2].rejected, lines[2].rate, lines[2].left) == ("away", 3, "5,210", "4m14s")


def test_a_table_that_is_throttled_says_by_whom() -> None:
    """Would break: a copy that rests looks slow for no reason; or what a pass is throttled by is not shown."""
    slow = {"side": "source", "since": NOW.timestamp() - 60, "latency_ms": 48.2, "limit_ms": 20, "share": 0.25}
    check = {"table": "b", "ranges": {"total": 4, "done": 1, "running": 1, "failed": 0}, "error": None, "throttled": slow}
    found = snapshot(
        status(tables=[table("a", 2, running=1, throttled=slow), table("b"), table("c")], drift_under_way=[check])
    )
    lines = {line.name: line.throttled for line in view(found, [], HOUR).tables}
    text = "throttled to 25 % for 1m00s: Cassandra takes 48 ms (limit 20)"
    assert lines == {"a": text, "b": text, "c": ""}


def test_the_present_rate_is_that_of_the_last_samples() -> None:
    """Would break: a table shows the average since yesterday as its speed."""
    found = snapshot(status(phase="backfill", tables=[table(done=9, running=1)]))
    taken = [sample(-10, 100), sample(-5, 1100)]
    seen = view(found, taken, HOUR)
    assert seen.tables[0].rate == "200" and seen.charts[0].now == "200"
    assert view(found, samples(["songs"]), HOUR).charts[0].is_empty is False
    assert view(found, [], HOUR).charts[0].is_empty is True


def test_keys_are_there_only_if_asked_for() -> None:
    """Would break: a key of a row is on a page that was opened for somebody to see how far it is."""
    keys = [{"table_name": "songs", "kind": "missing", "key": {"id": "secret-key"}, "found_at": "2026", "columns": []}]
    found = snapshot(status(shadow_reads={"compared": 9, "skipped": 0, "differing": 1, "since_repair": 1, "keys": keys}))
    assert not view(found, [], HOUR).differences and view(found, [], HOUR, show_keys=True).differences == keys
    assert view(replace(found, names={"keyspace": "a", "database": "b"}), [], HOUR).names["keyspace"] == "a"
