"""The figures of `make bench-dual-write`: medians of the rounds, and ratios inside each round."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.meter import machine
from benchmarks.report import Goal, _goal

TITLES = {
    "commit": "one Postgres commit (INSERT of one small row)",
    "cassandra": "Cassandra store alone",
    "postgres": "Postgres store alone",
    "both": "the two one after the other, no protocol",
    "inline": "DualWriteStore, inline",
    "async": "DualWriteStore, secondary by workers",
}
TASK_TITLES = {
    "inline": TITLES["inline"],
    "tasks": "AsyncDualWriteStore, inline: tasks that share the store's threads",
    "trial": "the same write on the event loop, a trial without error paths",
}
"""The ways that are measured with hundreds of callers at once: threads for the first, tasks for the others."""
STEPS = ("intent", "primary", "second half", "mark")


@dataclass(frozen=True, slots=True)
class Run:
    """One way with so many threads or tasks, once. Times in seconds; CPU of client, Cassandra and Postgres, of all writes."""

    way: str
    threads: int
    round: int
    writes: int
    seconds: float
    p50: float
    p99: float
    cpu: float
    cassandra_cpu: float
    postgres_cpu: float
    steps: dict[str, float]

    @property
    def rate(self) -> float:
        """Writes per second."""
        return self.writes / self.seconds


@dataclass(frozen=True, slots=True)
class Drained:
    """A drain, once."""

    code: str
    keys: int
    seconds: float
    cpu: float
    rss_mb: float
    equal: bool


@dataclass(slots=True)
class Found:
    """Everything that was measured."""

    runs: list[Run] = field(default_factory=list)
    drains: list[Drained] = field(default_factory=list)

    def threads(self) -> list[int]:
        """With how many threads all ways were measured."""
        return sorted({run.threads for run in self.runs if run.way == "commit"})

    def callers(self) -> list[int]:
        """With how many threads or tasks the ways for many callers were measured."""
        return sorted({run.threads for run in self.runs if run.way == "tasks"})

    def of(self, way: str, threads: int) -> list[Run]:
        """The runs of one way, in the order of the rounds."""
        return [run for run in self.runs if (run.way, run.threads) == (way, threads)]

    def median(self, way: str, threads: int, number: Callable[[Run], float]) -> float:
        """The median of the rounds."""
        return statistics.median(number(run) for run in self.of(way, threads))

    def ratio(self, threads: int, of: Callable[[dict[str, Run]], float]) -> float:
        """The median of a ratio that is taken in each round by itself."""
        rounds: dict[int, dict[str, Run]] = defaultdict(dict)
        for run in self.runs:
            if run.threads == threads:
                rounds[run.round][run.way] = run
        return statistics.median(of(ways) for ways in rounds.values())


def goals(found: Found) -> list[Goal]:
    """What issue 4 wants."""
    threads = found.threads()
    out = []
    for n in threads:
        inline = found.ratio(n, lambda w: w["inline"].p50 / (w["both"].p50 + w["commit"].p50))
        queued = found.ratio(n, lambda w: w["async"].p50 / (w["cassandra"].p50 + w["commit"].p50))
        slower = found.ratio(n, lambda w: w["inline"].rate / min(w["cassandra"].rate, w["postgres"].rate))
        name = f"{n} thread{'s' * (n > 1)}"
        out.append(Goal(name, "inline p50 of (both, one after the other, + one commit)", inline, 1, False))
        out.append(Goal(name, "async p50 of (primary alone + one commit)", queued, 1, False))
        if n == threads[-1]:
            out.append(Goal(name, "inline writes/s of the slower store alone", slower, 0.6, True))
    if own := [d for d in found.drains if d.code == "this"]:
        keys = statistics.median(d.keys / d.seconds for d in own)
        out.append(Goal("drain", "keys/s", keys, 2000, True))
    return out


def as_json(found: Found) -> dict[str, Any]:
    """Everything, for a program."""
    return {
        "machine": machine(),
        "runs": [asdict(run) for run in found.runs],
        "drains": [asdict(drained) for drained in found.drains],
        "goals": [{**asdict(goal), "reached": goal.reached} for goal in goals(found)],
    }


def as_text(found: Found) -> str:
    """Tables in Markdown, then the goals."""
    threads = found.threads()
    rounds = 1 + max(run.round for run in found.runs)
    out = [f"Median of {rounds} round(s), interleaved; servers and client on the same {machine()}.", ""]
    for n in threads:
        out += [*_table(found, n, f"{n} thread{'s' * (n > 1)}"), ""]
    for n in found.callers():
        out += [*_table(found, n, f"{n} callers"), "", *_per_write(found, n), ""]
    out += [*_steps(found, threads), "", *_drains(found), ""]
    return "\n".join([*out, *map(_goal, goals(found)), *_against(found)]) + "\n"


def _ways(found: Found, threads: int | None = None) -> list[str]:
    return list(dict.fromkeys(run.way for run in found.runs if threads in (None, run.threads)))


def title(way: str) -> str:
    """How a way is called; that of another checkout says so."""
    name, _, code = way.partition("@")
    return {**TASK_TITLES, **TITLES}[name] + (f" ({code})" if code else "")


def _table(found: Found, threads: int, name: str) -> list[str]:
    head = f"| {name} | p50 ms | p99 ms | writes/s | CPU ms a write: client, Cassandra, Postgres |"
    return [head, "| --- " * 5 + "|", *(_row(found, way, threads) for way in _ways(found, threads))]


def _row(found: Found, way: str, threads: int) -> str:
    def of(number: Callable[[Run], float]) -> float:
        return found.median(way, threads, number)

    p50, p99, rate = of(lambda r: r.p50 * 1e3), of(lambda r: r.p99 * 1e3), of(lambda r: r.rate)
    per_write = (lambda r: r.cpu / r.writes, lambda r: r.cassandra_cpu / r.writes, lambda r: r.postgres_cpu / r.writes)
    cpu = ", ".join(f"{of(share) * 1e3:.2f}" for share in per_write)
    return f"| {title(way)} | {p50:.2f} | {p99:.2f} | {rate:,.0f} | {cpu} |"


def _per_write(found: Found, callers: int) -> list[str]:
    """Client CPU a write, as a ratio to the threads': it depends little on what else the machine does."""
    out = []
    for way in ("tasks", "trial"):
        cpu = found.ratio(callers, _quotient(way, "inline", lambda run: run.cpu / run.writes))
        out.append(f"{title(way)}, {callers} callers: client CPU a write × {cpu:.2f} of the threads'")
    return out


def _steps(found: Found, threads: list[int]) -> list[str]:
    out = [f"| p50 ms of a step | {' | '.join(f'{n} threads' for n in threads)} |", "| --- " * (len(threads) + 1) + "|"]
    for way in _ways(found):
        for step in STEPS:
            runs = {n: [r for r in found.of(way, n) if step in r.steps] for n in threads}
            if all(runs.values()):
                price = [f"{statistics.median(r.steps[step] for r in runs[n]) * 1e3:.2f}" for n in threads]
                out.append(f"| {title(way)}: {step} | {' | '.join(price)} |")
    return out


def _drains(found: Found) -> list[str]:
    return [
        f"drain ({d.code}): {d.keys:,} keys in {d.seconds:.1f} s: {d.keys / d.seconds:,.0f} keys/s, "
        f"client CPU {d.cpu:.1f} s, peak {d.rss_mb:.0f} MB, both sides {'equal' if d.equal else 'NOT equal'}"
        for d in found.drains
    ]


def _against(found: Found) -> list[str]:
    """What the other checkout's ways are to this one's, round by round."""
    out = []
    for other in (way for way in _ways(found) if "@" in way):
        own = other.partition("@")[0]
        for n in sorted({run.threads for run in found.runs if run.way == other}):
            p50 = found.ratio(n, _quotient(own, other, lambda run: run.p50))
            p99 = found.ratio(n, _quotient(own, other, lambda run: run.p99))
            rate = found.ratio(n, _quotient(own, other, lambda run: run.rate))
            cpu = found.ratio(n, _quotient(own, other, lambda run: run.cpu / run.writes))
            times = f"p50 × {p50:.2f}, p99 × {p99:.2f}, writes/s × {rate:.2f}, client CPU a write × {cpu:.2f}"
            out.append(f"{own} to {other}, {n} callers: {times}")
    return out


def _quotient(own: str, other: str, number: Callable[[Run], float]) -> Callable[[dict[str, Run]], float]:
    return lambda ways: number(ways[own]) / number(ways[other])
