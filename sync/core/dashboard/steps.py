"""The five steps of a migration: which are done, which is the present one, what each has come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sync.core.cutover.proof import CLEAN_PASSES
from sync.core.words import STORES, counted, duration

State = Literal["done", "now", "wrong", "later"]
COPIED_PHASES = ("backfilled", "proved", "closing", "cut over")


@dataclass(frozen=True, slots=True)
class Step:
    """A step with its state, the figure for it, and a detail; `wrong`: it is the one that somebody must look at."""

    name: str
    state: State
    figure: str
    detail: str = ""


def percent(done: float, total: float) -> str:
    """`63 %`; 100 only when nothing is left, 0 only when nothing is done."""
    if not total or done >= total:
        return "100 %" if total else "0 %"
    return f"{min(99, max(1 if done else 0, int(100 * done / total)))} %"


def ranges(found: list[Mapping[str, Any]]) -> tuple[int, int]:
    """How many ranges of these are done, and how many there are."""
    return sum(one["ranges"]["done"] for one in found), sum(one["ranges"]["total"] for one in found)


def steps(status: Mapping[str, Any]) -> list[Step]:
    """All five, of what `sync status --json` prints."""
    made = [_backfill(status), _dual_writes(status), _proof(status), _cutover(status), _finish(status)]
    undone = next((i for i, (_, done, *_) in enumerate(made) if not done), len(made) - 1)
    return [
        Step(name, "wrong" if wrong else "done" if done else "now" if i == undone else "later", figure, detail)
        for i, (name, done, wrong, figure, detail) in enumerate(made)
    ]


_Made = tuple[str, bool, bool, str, str]


def _backfill(status: Mapping[str, Any]) -> _Made:
    tables = status["tables"]
    done, total = ranges(tables)
    failed = sum(table["ranges"]["failed"] for table in tables)
    rows, copied = sum(table["rows_written"] for table in tables), status["phase"] in COPIED_PHASES
    if not tables:
        return "Backfill", copied, False, "not begun", "sync backfill"
    left = [table["eta_seconds"] for table in tables]
    detail = f"{counted(rows, 'row')} of {counted(len(tables), 'table')}"
    if failed:
        detail += f"; {counted(failed, 'failed range')}"
    elif not copied and done < total and None not in left:
        detail += f", {duration(max(left))} left"
    elif not copied and done == total:
        detail += "; indexes are built"
    return "Backfill", copied, bool(failed), percent(done, total), detail


def _dual_writes(status: Mapping[str, Any]) -> _Made:
    writers, intents = status["writers"], status["intents"]
    bad = any(writer["state"] == "unclean" for writer in writers) or bool(intents["stuck"])
    figure = counted(len(writers), "writer") if writers else "no writer"
    detail = f"{counted(intents['open'], 'intent')} open" if intents["open"] else "both sides are written" if writers else ""
    return "Dual writes", bool(writers), bad, figure, detail or "start the application with SYNC_DUAL_WRITE=true"


def _proof(status: Mapping[str, Any]) -> _Made:
    gate = next((g for g in status["gates"] if g["name"] == "proof"), None)
    passes = [table["clean_passes"] for table in status["tables"] if table["clean_passes"] is not None]
    last, running = status["last_drift"], status["drift_under_way"]
    clean = min(min(passes, default=0), CLEAN_PASSES)
    wrong = bool(last and not last["clean"] and not last["repaired"])
    detail = "no pass yet"
    if running:
        detail = f"comparing: {percent(*ranges(running))}"
    elif last:
        detail = f"pass {last['pass']}: {'clean' if last['clean'] else counted(last['findings'], 'finding')}"
    figure = f"{clean} of {CLEAN_PASSES} clean passes"
    if status["primary"] == "postgres":  # the cut-over has required it; what is counted now is for a way back
        return "Proof", True, wrong, "proved", f"for a rollback: {figure}" if not running else detail
    return "Proof", bool(gate and gate["green"]), wrong, figure, detail


def _cutover(status: Mapping[str, Any]) -> _Made:
    if status["phase"] == "closing":
        return "Cut-over", False, False, "under way", "writers wait"
    if status["primary"] == "postgres":
        return "Cut-over", True, False, "Postgres is primary", f"since {status['since'][:16].replace('T', ' ')}"
    gates = status["gates"]
    green = sum(gate["green"] for gate in gates)
    figure = f"{green} of {counted(len(gates), 'gate')} green" if gates else "gates not known"
    return "Cut-over", False, False, figure, f"{STORES[status['primary']]} is primary"


def _finish(status: Mapping[str, Any]) -> _Made:
    return "Finish", False, False, "later" if status["primary"] == "astra" else "your decision", "drops the bookkeeping"


def headline(status: Mapping[str, Any]) -> str:
    """Where the migration stands, in a few words."""
    where = status["phase"]
    if where == "closing":
        return "The primary is being changed"
    if running := status["drift_under_way"]:
        return f"Comparing both sides, {percent(*ranges(running))}"
    if where == "cut over":
        return "Postgres is primary"
    if where == "schema":
        return "Ready to copy"
    if where == "backfill":
        return f"Copying, {percent(*ranges(status['tables']))}"
    return "Ready for the cut-over" if where == "proved" else "Copied, not yet proved"
