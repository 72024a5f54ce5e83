"""Samples (`sync.sample`), and what they say over time: rows a second, intents, their age."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

SLOT_SECONDS = 5
"""One sample is taken in so many seconds, whoever runs."""


@dataclass(frozen=True, slots=True)
class Window:
    """How far back history is shown, and the time between two of its points."""

    name: str
    title: str
    seconds: int
    step_seconds: int


WINDOWS = {
    window.name: window
    for window in (
        Window("hour", "1 hour", 3600, 15),
        Window("day", "24 hours", 86_400, 300),
        Window("month", "30 days", 30 * 86_400, 7200),
    )
}


@dataclass(frozen=True, slots=True)
class Sample:
    """The figures of one moment: counts, no keys. `figures` as the statement `take` makes them."""

    at: datetime
    figures: Mapping[str, Any]

    def rows(self, kind: str) -> int | None:
        """How many rows the open runs of a kind (`backfill` or `drift`) have read; None if none is open."""
        found = self.figures["runs"]["rows"].get(kind)
        return None if found is None else int(found)


@dataclass(frozen=True, slots=True)
class Point:
    """A figure at a moment (seconds since 1970); None: not known then, and the line is broken."""

    at: float
    value: float | None


def row_rates(samples: Sequence[Sample], kind: str, longest: float) -> list[Point]:
    """Rows per second of all open runs of a kind. `longest`: two samples further apart (s) are not connected."""
    return [Point(b.at.timestamp(), _rate(a.at, b.at, a.rows(kind), b.rows(kind), longest)) for a, b in pairwise(samples)]


def table_rates(samples: Sequence[Sample], longest: float) -> dict[tuple[str, str], list[Point]]:
    """By kind and table, rows per second while its run was open."""
    found: dict[tuple[str, str], list[Point]] = {}
    for a, b in pairwise(samples):
        before = a.figures["runs"]["tables"]
        for run, (kind, table, _, _, rows) in b.figures["runs"]["tables"].items():
            earlier = before[run][4] if run in before else None
            point = Point(b.at.timestamp(), _rate(a.at, b.at, earlier, rows, longest))
            found.setdefault((kind, table), []).append(point)
    return found


def figures(samples: Sequence[Sample], name: str, longest: float) -> list[Point]:
    """A plain figure (`intents`, `age`, `writers`) over time; without intents their age is 0."""
    found: list[Point] = []
    for sample in samples:
        at = sample.at.timestamp()
        if found and at - found[-1].at > longest:
            found.append(Point(at - 1, None))
        found.append(Point(at, float(sample.figures[name] or 0)))
    return found


def _rate(since: datetime, until: datetime, before: int | None, after: int | None, longest: float) -> float | None:
    """None where the run was not open at both ends, began again, or nobody took samples in between."""
    seconds = (until - since).total_seconds()
    if before is None or after is None or after < before or not 0 < seconds <= longest:
        return None
    return (after - before) / seconds


def latest(points: Sequence[Point], since: float) -> float | None:
    """The last known value, unless it is from before `since`."""
    for point in reversed(points):
        if point.value is not None:
            return point.value if point.at >= since else None
    return None
