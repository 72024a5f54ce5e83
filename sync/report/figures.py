"""The report of `sync drift-report --json` as values, and what its numbers say; an absent figure proves nothing.

People decide on a cut-over by this document, so it believes no summary: what the report calls clean is clean here only if
the numbers say the same (invariant 5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sync.core.drift.verdicts import FINDINGS
from sync.core.ring import TokenRange, check_whole_ring
from sync.core.words import counted, listed
from sync.report.ring import Segment, merged
from sync.report.text import number

State = Literal["clean", "different", "unknown", "repaired"]

TERMS = ("same", "different", "missing", "in_flight", "rejected", "unknown")
"""The counts that add up to the rows read from the source."""
TIMES = ("p50_ms", "p99_ms", "max_ms")
"""How long single checks took, in milliseconds: the median, the 99th percentile, and the longest."""
_COUNTS = ("source", "target", "extra", *TERMS)


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the report; `absent` names the figures that it lacks, `problems` say why its figures prove nothing."""

    index: int
    name: str
    rows: Mapping[str, int]
    ranges: Mapping[str, int]
    absent: Sequence[str]
    findings: Sequence[Mapping[str, Any]]
    findings_total: int
    ring: Sequence[Segment]
    problems: Sequence[str]
    seconds: float | None
    repaired: int
    latency: Mapping[str, float]
    kept_columns: int

    @property
    def accounted(self) -> int:
        """The sum that the source's rows have to equal."""
        return sum(self.rows[term] for term in TERMS)

    @property
    def adds_up(self) -> bool:
        """Whether every row read is accounted for."""
        return not self.absent and self.rows["source"] == self.accounted

    @property
    def differences(self) -> int:
        """Keys that differ: as counted, or as named where more are named than counted."""
        named = sum(1 for finding in self.findings if finding.get("kind") in FINDINGS)
        return max(named, sum(self.rows[kind] for kind in FINDINGS))

    @property
    def not_known(self) -> bool:
        """Whether some of this table was not read, or its figures contradict each other."""
        named = any(finding.get("kind") not in FINDINGS for finding in self.findings)
        return bool(named or self.rows["unknown"] or self.ranges["unknown"] or self.problems)

    @property
    def state(self) -> State:
        """The verdict on this table."""
        if self.differences:
            return "different"
        return "unknown" if self.not_known else "repaired" if self.repaired else "clean"


@dataclass(frozen=True, slots=True)
class Report:
    """A whole report."""

    says_clean: bool
    started_at: str
    finished_at: str
    next_step: str
    tables: Sequence[Table]
    search: Sequence[Mapping[str, Any]]
    number: int | None
    about: Mapping[str, str]

    @property
    def state(self) -> State:
        """The verdict: the worst of the tables', and never better than the report's own."""
        states = {table.state for table in self.tables}
        for state in ("different", "unknown", "repaired"):
            if state in states:
                return state
        return "clean" if self.says_clean and self.tables else "unknown"

    def total(self, figure: str) -> int:
        """One count of rows, summed over all tables."""
        return sum(table.rows[figure] for table in self.tables)


def read(report: Mapping[str, Any]) -> Report:
    """The values of a report."""
    tables = [_table(i, _mapping(t)) for i, t in enumerate(_list(report.get("tables")))]
    texts = {key: str(report.get(key) or "") for key in ("started_at", "finished_at", "next_step")}
    search = [_mapping(s) for s in _list(report.get("search"))]
    about = {str(key): str(text) for key, text in _mapping(report.get("about")).items() if text not in (None, "")}
    return Report(
        report.get("clean") is True, **texts, tables=tables, search=search, number=whole(report.get("pass")), about=about
    )


def whole(found: Any) -> int | None:
    """A whole number, or None; a bool is not one."""
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def real(found: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) < 1e300:
        return None
    return float(found)


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}


def _list(found: Any) -> list[Any]:
    return list(found) if isinstance(found, list | tuple) else []


def _table(index: int, raw: Mapping[str, Any]) -> Table:
    given, ranges = _mapping(raw.get("rows")), _mapping(raw.get("ranges"))
    rows = {name: whole(given.get(name)) or 0 for name in (*_COUNTS, "kept")}  # older reports do not count kept rows
    counts = {name: whole(ranges.get(name)) or 0 for name in ("total", "same", "different", "unknown")}
    absent = [name.replace("_", " ") for name in _COUNTS if whole(given.get(name)) is None]
    absent += [f"{name} ranges" for name in counts if whole(ranges.get(name)) is None]
    findings = [_mapping(f) for f in _list(raw.get("findings"))]
    ring = _list(raw.get("ring"))
    times = _mapping(raw.get("latency"))
    latency = {name: time for name in TIMES if (time := real(times.get(name))) is not None}
    return Table(
        index=index, name=str(raw.get("table") or "unnamed"), rows=rows, ranges=counts, absent=absent, findings=findings,
        findings_total=max(whole(raw.get("findings_total")) or 0, len(findings)), ring=merged(ring),
        problems=[*_problems(rows, counts, absent), *_not_whole(ring)], seconds=real(raw.get("seconds")),
        repaired=whole(raw.get("repaired")) or 0, latency=latency,
        kept_columns=whole(raw.get("kept_columns")) or 0,
    )  # fmt: skip


def _problems(rows: Mapping[str, int], ranges: Mapping[str, int], absent: Sequence[str]) -> list[str]:
    """Why the figures prove nothing, a sentence each."""
    found, told = [], sum(rows[term] for term in TERMS)
    if absent:
        found.append(f"The report has no figure for {listed(list(absent))}.")
    elif rows["source"] != told:
        off = counted(abs(rows["source"] - told), "row")
        what = f"{off} unaccounted for" if rows["source"] > told else f"{off} counted twice"
        sums = f"{number(rows['source'])} source rows, but {number(told)} in the sum"
        found.append(f"The numbers do not add up: {sums}; {what}.")
    if not absent and ranges["total"] != ranges["same"] + ranges["different"] + ranges["unknown"]:
        found.append("The ranges do not add up: " + " + ".join(number(ranges[k]) for k in list(ranges)[1:])
                     + f" is not {number(ranges['total'])}.")  # fmt: skip
    if ranges["different"] and not any(rows[kind] for kind in FINDINGS):
        found.append(f"{counted(ranges['different'], 'range')} differ, and no row of theirs is counted as a difference.")
    return found


def _not_whole(ring: Sequence[Any]) -> list[str]:
    """Check invariant 4, if the report has a ring at all."""
    try:
        if ring:
            check_whole_ring(TokenRange(r["start"], r["end"]) for r in ring)
    except ValueError as error:
        return [f"The ring is not whole: {error}."]
    except (KeyError, TypeError):
        return ["The ring is not whole: a range of it has no start or no end."]
    return []
