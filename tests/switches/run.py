"""`python -m tests.switches.run --switches 50`: cut-overs and rollbacks in a row under load, and what became of every write.

Several processes write keys of their own and keys that they share; the commands are those of an operator, including the drift
passes that they require. Prints a table; exit code 2 if a write was lost, came back, is stale or was refused, or if one
waited longer than the limit. `SYNC_TEST_SERVERS=<folder>` uses servers that run there already.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from chaos.run import own_place  # noqa: E402

from switches.judge import Verdict  # noqa: E402
from switches.scene import AFTER, OTHER, Scene, scene  # noqa: E402

say = functools.partial(print, flush=True)
LIMIT_MS = 250.0


@dataclass
class Found:
    """The result of a series of switches."""

    switches: int = 0
    seconds: float = 0.0
    writes: int = 0
    closed: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def longest(self) -> float:
        """The longest time that a write waited for a switch, in ms."""
        return max(self.waits, default=0.0)


def row_of_switches(made: Scene, count: int, processes: int, threads: int = 2, pause: float = 0.01, sql: int = 0) -> Found:
    """Switch `count` times, there and back, while this many processes write, and `sql` more by SQL."""
    found, kind, began = Found(), "cutover", time.monotonic()
    stopped: list[str] = []
    for _ in range(processes):
        made.start(threads, pause)
    made.begun()
    for _ in range(sql):  # not before: until a store is open, Postgres is a plain copy, which anybody may write
        made.start(threads, pause, sql=True)
    made.begun()
    worker = made.commands.start("worker", "-n", "1") if sql else None
    try:
        for _ in range(count):
            made.prove()
            found.closed.append(made.switch(kind)["closed_ms"])
            found.switches += 1
            _check_followed(made, AFTER[kind])
            kind = OTHER[kind]
    except AssertionError as error:  # what was written until then is judged anyway
        stopped = [f"after {found.switches} switches: {error}"]
    if worker is not None:
        worker.terminate()
        worker.wait(60)
    found.verdict = made.finish()
    found.verdict.faults += stopped
    for told_by in made.told():
        found.writes += told_by.answered
        found.waits += told_by.waits
        found.took += [ms for _, ms in told_by.took]
        found.refused += told_by.refused
        found.unsure += told_by.unsure
        if not told_by.closed:
            found.verdict.faults.append("a writer did not end by itself")
    found.seconds = time.monotonic() - began
    return found


def _check_followed(made: Scene, primary: str) -> None:
    """Every process continues to write, to the new primary."""
    for process in made.processes:
        process.await_writes()
    assert made.epoch[1:] == (primary, "open")


def report(found: Found) -> str:
    """Two tables."""
    verdict, waits, took, closed = found.verdict, sorted(found.waits), sorted(found.took), sorted(found.closed)
    counts: list[Any] = [found.switches, f"{found.writes:,}", len(found.refused), len(found.unsure)]
    counts += [len(each) for each in (verdict.lost, verdict.resurrected, verdict.stale, verdict.faults)]
    times = [("closed", closed), ("a write waited", waits), ("any write took", took)]
    return "\n".join([
        "| switches | writes | refused | unsure | lost | resurrected | stale | other findings |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        f"| {' | '.join(map(str, counts))} |", "",
        "| ms | count | p50 | p99 | max |", "| --- | ---: | ---: | ---: | ---: |",
        *(f"| {name} | {len(v):,} | {_at(v, 0.5):.0f} | {_at(v, 0.99):.0f} | {_at(v, 1):.0f} |" for name, v in times),
    ])  # fmt: skip


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def main(argv: list[str]) -> int:
    """Run; 0, or 2 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.switches.run", description=__doc__)
    parser.add_argument("--switches", type=int, default=50)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--sql", type=int, default=1, help="processes more that write by SQL")
    parser.add_argument("--threads", type=int, default=2, help="of each process")
    parser.add_argument("--pause", type=float, default=0.01, help="seconds between two writes of a thread, on average")
    args = parser.parse_args(argv)
    with own_place("switches") as place, scene(place, rows=1000) as made:
        found = row_of_switches(made, args.switches, args.processes, args.threads, args.pause, args.sql)
    say(
        f"{args.processes} processes and {args.sql} by SQL, of {args.threads} threads, {found.seconds:.0f} s in all\n\n{report(found)}"
    )
    for fault in [*found.verdict.all, *found.refused][:20]:
        say(f"\n{fault}")
    if found.longest > LIMIT_MS:
        say(f"\na write waited {found.longest:.0f} ms: more than {LIMIT_MS:.0f}")
    return 2 if found.verdict.all or found.refused or found.longest > LIMIT_MS else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
