"""The whole page as values: what was read, put into words and drawings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sync.core.dashboard.curves import Curve, curve
from sync.core.dashboard.history import Point, Sample, Window, figures, latest, row_rates, table_rates
from sync.core.dashboard.rings import Arc
from sync.core.dashboard.steps import Step, headline, steps
from sync.core.dashboard.tables import FRESH_SECONDS, TableLine, table_lines
from sync.core.words import STORES, counted, duration

_CONNECTED_STEPS = 3.0
"""Two points that are more of a window's steps apart are not connected: nobody took samples in between."""
_KEYS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was read at one moment. `status`: as `sync status --json` prints it; `judged_at`: when its gates were judged.

    `names`: keyspace and database.
    """

    at: datetime
    status: Mapping[str, Any]
    judged_at: datetime | None
    events: Mapping[str, Any]
    rings: Mapping[tuple[str, str], Sequence[Arc]]
    names: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure over the window: the present value in words, and its lines with what each is called."""

    title: str
    now: str
    lines: tuple[tuple[str, Curve], ...]
    top: str

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(curve.line or curve.dots for _, curve in self.lines)


@dataclass(frozen=True, slots=True)
class View:
    """The page. Every text is as it is shown, before any escaping."""

    at: datetime
    judged_at: datetime | None
    title: str
    lead: str
    names: Mapping[str, str]
    primary: str
    epoch: int
    steps: Sequence[Step]
    attention: Sequence[str]
    red: Sequence[Mapping[str, Any]]
    green: Sequence[Mapping[str, Any]]
    gates_error: str
    switch: str
    tables: Sequence[TableLine]
    charts: Sequence[Chart]
    window: Window
    begins: datetime
    facts: Sequence[tuple[str, str]]
    writers: Sequence[Mapping[str, Any]]
    troubled: Sequence[str]
    feeds: Sequence[Mapping[str, Any]]
    gaps: Sequence[Mapping[str, Any]]
    switches: Sequence[Mapping[str, Any]]
    passes: Sequence[Mapping[str, Any]]
    differences: Sequence[Mapping[str, Any]] = field(default_factory=tuple)


def view(found: Snapshot, samples: Sequence[Sample], window: Window, show_keys: bool = False) -> View:
    """The page of a snapshot with this window of history. Keys of rows are in it only with `show_keys`."""
    status, now = found.status, found.at.timestamp()
    since, longest = now - window.seconds, _CONNECTED_STEPS * window.step_seconds
    gates, shadow = status["gates"], status["shadow_reads"]
    return View(
        at=found.at, judged_at=found.judged_at, title=headline(status), lead=status["next_step"], names=found.names,
        primary=STORES[status["primary"]], epoch=status["epoch"], steps=steps(status), attention=status["attention"],
        red=[gate for gate in gates if not gate["green"]], green=[gate for gate in gates if gate["green"]],
        gates_error=status["gates_error"] or "", switch="cut-over" if status["primary"] == "astra" else "rollback",
        tables=table_lines(status, found.rings, table_rates(samples, longest), since, now),
        charts=charts(samples, status, since, now, longest), window=window,
        begins=datetime.fromtimestamp(since, found.at.tzinfo), facts=_facts(status),
        writers=status["writers"], troubled=_troubled(status),
        feeds=status["feeds"], gaps=status["gaps"], switches=found.events["switches"], passes=found.events["passes"],
        differences=shadow["keys"][:_KEYS_SHOWN] if show_keys else (),
    )  # fmt: skip


def charts(samples: Sequence[Sample], status: Mapping[str, Any], since: float, now: float, longest: float) -> list[Chart]:
    """Rows per second, open intents, and the age of the oldest."""
    copied, compared = row_rates(samples, "backfill", longest), row_rates(samples, "drift", longest)
    intents, fresh = status["intents"], now - FRESH_SECONDS
    speed = (latest(copied, fresh) or 0.0) + (latest(compared, fresh) or 0.0)
    age = [*figures(samples, "age", longest), Point(now, intents["oldest_age_seconds"] or 0.0)]
    count = [*figures(samples, "intents", longest), Point(now, float(intents["open"]))]
    of_rows = [("copied", copied)] + ([("compared", compared)] if any(p.value for p in compared) else [])
    return [
        _chart("Rows per second", f"{speed:,.0f}", of_rows, since, now),
        _chart("Open intents", f"{intents['open']:,}", [("", count)], since, now),
        _chart("Oldest intent", duration(intents["oldest_age_seconds"] or 0), [("", age)], since, now, duration),
    ]


def _chart(title: str, text: str, lines: list[tuple[str, list[Point]]], since: float, now: float, unit: Any = None) -> Chart:
    """All lines of a chart have one scale: that of the highest."""
    top = max(curve(points, since, now).top for _, points in lines)
    drawn = tuple((name, curve(points, since, now, top)) for name, points in lines)
    return Chart(title, text, drawn, unit(top) if unit else f"{top:,.0f}")


def _troubled(status: Mapping[str, Any]) -> list[str]:
    """The writers that need attention."""
    said = status["attention"]
    return [
        w["id"]
        for w in status["writers"]
        if any(line.startswith((f"writer {w['id']} ", f"writer {w['id']}: ")) for line in said)
    ]


def _facts(status: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Small figures: names and values."""
    intents, shadow = status["intents"], status["shadow_reads"]
    workers = "unknown: Redis does not answer" if status["workers"] is None else f"{status['workers']:,}"
    found = [("Workers", workers), ("Writers", f"{len(status['writers']):,}")]
    found.append(("Unrecorded writes", f"{intents['spooled']:,}"))
    found.append(("Rejected rows", f"{sum(status['rejects'].values()):,}"))
    if status["indexes_to_build"]:
        found.append(("Indexes to build", f"{status['indexes_to_build']:,}"))
    if shadow["compared"] or shadow["skipped"]:
        found.append(("Shadow reads", f"{shadow['compared']:,} compared, {counted(shadow['differing'], 'difference')}"))
    return found
