"""A benchmark's figures: medians of the rounds, ratios inside the run, and whether what was to be reached is."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.expected import Verdict
from benchmarks.meter import Cost, machine
from benchmarks.peers import Peer

_ORDER = ("limit", "ours", "tuned", "peer")
_NUMBERS = ("seconds", "client_cpu", "cassandra_cpu", "postgres_cpu", "rss_mb", "tree_mb")


@dataclass(slots=True)
class Results:
    """All runs, by table and by way."""

    runs: dict[tuple[str, str], list[Cost]] = field(default_factory=lambda: defaultdict(list))
    verdicts: dict[tuple[str, str], list[Verdict | None]] = field(default_factory=lambda: defaultdict(list))
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    ways: dict[str, Peer] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    best_read: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, way: Peer, table: str, cost: Cost, verdict: Verdict | None) -> None:
        """A run that came to its end."""
        self.ways[way.name] = way
        self.runs[table, way.name].append(cost)
        self.verdicts[table, way.name].append(verdict)

    def failed(self, way: Peer, table: str, why: str) -> None:
        """A run that did not."""
        self.ways[way.name] = way
        self.failures[table, way.name] = why

    def median(self, table: str, name: str, number: str) -> float | None:
        """The median of the rounds; None where there is none."""
        runs = self.runs.get((table, name))
        return statistics.median(getattr(run, number) for run in runs) if runs else None

    def without_start(self, table: str) -> float | None:
        """The median of what `sync backfill --json` says the copy itself took; the rest is interpreters and workers."""
        told = [run.answer.get("tables") or [] for run in self.runs.get((table, "sync"), [])]
        seconds = [float(tables[0]["seconds"]) for tables in told if tables]
        return statistics.median(seconds) if seconds else None

    def rows(self, table: str, name: str) -> str:
        """What the target held after the runs: the first that is not equal, else the last."""
        verdicts = [v for v in self.verdicts.get((table, name), []) if v]
        return str(next((v for v in verdicts if not v.clean), verdicts[-1])) if verdicts else ""


@dataclass(frozen=True, slots=True)
class Goal:
    """One ratio that is to be reached; `least`: it is a lower bound."""

    table: str
    text: str
    value: float | None
    bound: float
    least: bool

    @property
    def reached(self) -> bool | None:
        """Whether; None where it was not measured."""
        if self.value is None:
            return None
        return self.value >= self.bound if self.least else self.value <= self.bound


def goals(results: Results) -> list[Goal]:
    """What issue 3 wants of `sync backfill`."""
    found = []
    for table, faster, cpu, of_limit in (("songs", 3.0, 0.25, 0.6), ("embeddings", 6.0, 0.08, 0.7)):
        ours, our_cpu = results.median(table, "sync", "seconds"), results.median(table, "sync", "client_cpu")
        best = _best_peer(results, table)
        both, script = results.median(table, "both", "seconds"), results.median(table, "psycopg3", "client_cpu")
        name = f" ({best[0]})" if best else ""
        found += [
            Goal(table, f"times as fast as the best peer{name}", _ratio(best[1] if best else None, ours), faster, True),
            Goal(table, "of the client CPU of psycopg 3's script", _ratio(our_cpu, script), cpu, False),
            Goal(table, "of the speed of both limits at once", _ratio(both, ours), of_limit, True),
            Goal(table, "MB, the largest process", results.median(table, "sync", "rss_mb"), 200, False),
        ]
    return found


def _best_peer(results: Results, table: str) -> tuple[str, float] | None:
    times = [
        (name, seconds)
        for name, way in results.ways.items()
        if way.kind == "peer" and (seconds := results.median(table, name, "seconds")) is not None
    ]
    return min(times, key=lambda item: item[1]) if times else None


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def as_json(results: Results, rows: Mapping[str, int]) -> dict[str, Any]:
    """Everything, for a program."""
    runs = [
        {"table": table, "way": name, **asdict(run), "rows": asdict(verdict) if verdict else None}
        for (table, name), costs in results.runs.items()
        for run, verdict in zip(costs, results.verdicts[table, name], strict=True)
    ]
    medians = [
        {"table": table, "way": name, **{number: results.median(table, name, number) for number in _NUMBERS}}
        for table, name in results.runs
    ]
    failures = [{"table": table, "way": name, "why": why} for (table, name), why in results.failures.items()]
    return {
        "machine": machine(),
        "rows": dict(rows),
        "medians": medians,
        "goals": [{**asdict(goal), "reached": goal.reached} for goal in goals(results)],
        "best_read": results.best_read,
        "failed": failures,
        "left_out": results.left_out,
        "runs": runs,
    }


def as_text(results: Results, rows: Mapping[str, int]) -> str:
    """A table in Markdown, then the goals."""
    tables = [table for table, count in rows.items() if count]
    sizes = ", ".join(f"{rows[table]:,} {table}" for table in tables)
    rounds = max((len(runs) for runs in results.runs.values()), default=0)
    out = [f"{sizes}; median of {rounds} round(s), seconds; servers and client on the same {machine()}.", ""]
    for table in tables:
        out += [*_table(results, table), ""]
    out += [f"left out: {title}: {why}" for title, why in results.left_out.items()]
    out += [f"failed: {results.ways[name].title} on {table}: {why}" for (table, name), why in results.failures.items()]
    for table, best in results.best_read.items():
        out.append(f"raw read of {table}: {best['streams']} in flight, pages of {best['page_kb']} KiB")
    for table in tables:
        if (seconds := results.without_start(table)) is not None:
            out.append(f"`sync backfill` of {table}, without its start, by its own clock: {seconds:.2f} s")
    out += ["", *(_goal(goal) for goal in goals(results) if goal.table in tables)]
    return "\n".join(out) + "\n"


def _table(results: Results, table: str) -> list[str]:
    names = sorted(
        (name for of, name in results.runs if of == table),
        key=lambda name: (_ORDER.index(results.ways[name].kind), results.median(table, name, "seconds")),
    )
    ours = results.median(table, "sync", "seconds")
    head = f"| {table} | s | × sync | client CPU s | Cassandra CPU s | Postgres CPU s | RSS MB, largest / all | rows |"
    return [head, "| --- " * 8 + "|", *(_row(results, table, name, ours) for name in names)]


def _row(results: Results, table: str, name: str, ours: float | None) -> str:
    seconds, client, cassandra, postgres, rss, tree = (results.median(table, name, number) or 0 for number in _NUMBERS)
    times = f"{seconds / ours:.1f}" if ours else ""
    cpu = " | ".join(f"{value:.1f}" for value in (client, cassandra, postgres))
    rows = results.rows(table, name)
    return f"| {results.ways[name].title} | {seconds:.2f} | {times} | {cpu} | {rss:.0f} / {tree:.0f} | {rows} |"


def _goal(goal: Goal) -> str:
    sign = {True: "reached", False: "NOT reached", None: "not measured"}[goal.reached]
    value = "" if goal.value is None else f"{goal.value:.2f} "
    return f"{sign}: {goal.table}: {value}{goal.text}; wanted {'≥' if goal.least else '≤'} {goal.bound:g}"
