"""The report of a pass, from the verdicts on its ranges: sums, the ring, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sync.core.drift.compare import FIGURES, Comparison
from sync.core.ring import TokenRange, check_whole_ring
from sync.core.words import counted

VERDICTS = ("same", "different", "unknown")


@dataclass(frozen=True, slots=True)
class CheckedRange:
    """One range of a run: its state, its figures if it has a verdict, the last error if it has none."""

    tokens: TokenRange
    state: str
    figures: dict[str, Any] | None
    error: str

    @property
    def verdict(self) -> str:
        """A range without a verdict of its own is unknown, never clean (invariant 5)."""
        if self.state != "done" or self.figures is None or self.figures.get("verdict") not in VERDICTS:
            return "unknown"
        return str(self.figures["verdict"])

    @property
    def rows(self) -> Comparison:
        """The figures of its rows."""
        given = self.figures["rows"] if self.figures else {}
        return comparison(given)


def unproved(checked: CheckedRange, why: str) -> CheckedRange:
    """The range without its verdict, unless that is `different`: it no longer proves anything."""
    return checked if checked.verdict == "different" else replace(checked, state="unproved", error=why)


def comparison(figures: Mapping[str, Any]) -> Comparison:
    """Figures by name as a Comparison."""
    made = Comparison()
    for name in FIGURES:
        setattr(made, name, int(figures.get(name, 0)))
    return made


def table_report(name: str, ranges: Sequence[CheckedRange], strays: int, seconds: float) -> dict[str, Any]:
    """One table's part of the report, without its findings; `strays` are rows that still have no token.

    Raises ValueError if the ranges are not the ring, and AssertionError if the numbers do not add up.
    """
    check_whole_ring(r.tokens for r in ranges)
    total = Comparison(source=strays, target=strays, unknown=strays)
    for checked in ranges:
        checked.rows.check()
        total.add(checked.rows)
    total.check()
    counts = {verdict: sum(r.verdict == verdict for r in ranges) for verdict in VERDICTS}
    assert sum(counts.values()) == len(ranges), "the verdicts do not add up to the ranges"
    return {
        "table": name,
        "clean": total.clean and counts["same"] == len(ranges) and not _sum(ranges, "repaired"),
        "ranges": {"total": len(ranges), **counts},
        "rows": total.figures(),
        "findings": [],
        "ring": [_strip(r) for r in ranges],
        "repaired": _sum(ranges, "repaired"),
        "kept_columns": _sum(ranges, "kept_columns"),
        "without_token": strays,
        "seconds": round(seconds, 3),
        "latency": _latency(ranges),
        "errors": list(dict.fromkeys(error for r in ranges if (error := _error(r))))[:20],
    }


def _strip(checked: CheckedRange) -> dict[str, Any]:
    tokens = checked.tokens
    return {"start": tokens.start, "end": tokens.end, "verdict": checked.verdict, "rows": checked.rows.source}


def _sum(ranges: Iterable[CheckedRange], name: str) -> int:
    return sum(int(r.figures.get(name, 0)) for r in ranges if r.figures)


def _error(checked: CheckedRange) -> str:
    found = checked.figures.get("error") if checked.figures else ""
    return str(found or ("" if checked.state == "done" else checked.error or "it was not checked"))


def _latency(ranges: Iterable[CheckedRange]) -> dict[str, Any]:
    """How long the checks of ranges took, and how long keys that were being written took until both sides were equal."""
    made = [r.figures for r in ranges if r.figures]
    took = sorted(1000 * float(f.get("seconds", 0)) for f in made)
    return {
        "p50_ms": _quantile(took, 0.5),
        "p99_ms": _quantile(took, 0.99),
        "max_ms": took[-1] if took else None,
        "settled": sum(int(f.get("settled", 0)) for f in made),
        "settled_max": max((float(f.get("slowest_settled", 0)) for f in made), default=None),
    }


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


@dataclass(frozen=True, slots=True)
class Proved:
    """What the recorded passes say about a report's tables: how many in a row are clean, how many are needed, and why there
    are not more; and which store is primary.
    """

    passes: int
    needed: int
    why: str
    primary: str


def next_step(tables: Iterable[dict[str, Any]], proved: Proved) -> str:
    """What to do after this report, the most urgent first."""
    total = Comparison()
    ranges = repaired = 0
    for table in tables:
        total.add(comparison(table["rows"]))
        ranges += table["ranges"]["unknown"]
        repaired += table["repaired"]
    left = total.differing - repaired
    if left and repaired:
        return f"{counted(left, 'key')} left after the repair: `sync intents` and `sync rejects` say why"
    if left:
        return "look at the findings, then run `sync drift-report --repair`, and once more without it"
    if total.in_flight:
        return f"{counted(total.in_flight, 'key')} in flight: let `sync worker` reconcile them, then run it again"
    if total.unknown or ranges:
        what = f"{counted(ranges, 'range')} and {counted(total.unknown, 'row')}"
        return f"{what} not proved equal: look at the errors, and run it again"
    if repaired:
        return "everything that differed was repaired; run it again for a clean pass"
    if total.rejected:
        return f"equal, except for {counted(total.rejected, 'row')} that Postgres cannot hold: `sync rejects`"
    return _equal(proved)


def _equal(proved: Proved) -> str:
    """What follows a clean pass."""
    switch = "cutover" if proved.primary == "astra" else "rollback"
    if proved.passes >= proved.needed:
        said = f"{proved.passes} clean passes in a row prove both sides equal"
        return f"`sync {switch} --dry-run` shows the other gates: {said}"
    if proved.passes:
        return f"run `sync drift-report` once more: a {switch} requires {proved.needed} clean passes in a row"
    return f"run `sync drift-report` again: this pass does not count for a {switch}, {proved.why}"
