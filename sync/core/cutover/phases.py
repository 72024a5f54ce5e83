"""Where a migration stands and what comes next, from the gates of its next switch: one judgement for all who ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sync.core.cutover.gates import Gate
from sync.core.words import counted

_UNDER_WAY = "the backfill is under way; `sync backfill` resumes it"
_FAILED = "look at the failed ranges' error, then run `sync backfill` again"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known. `gates`: those of the next switch but for its canary, by name; `not_judged` says why they are missing.

    `begun`: there is a backfill; `failed`: ranges of it have failed; `unfinished`: one is open. `workers`: RQ workers that
    run; None: not known.
    """

    primary: Literal["astra", "postgres"]
    gates: Mapping[str, Gate]
    begun: bool
    failed: bool
    unfinished: bool
    intents: int
    rejected: int
    writers: int
    workers: int | None
    not_judged: str = ""

    @property
    def red(self) -> list[Gate]:
        """The gates that stand in the way, in the order in which they are turned green."""
        return [gate for gate in self.gates.values() if not gate.green]

    @property
    def copied(self) -> bool:
        """Whether the copy is done."""
        gate = self.gates.get("backfill")
        return self.begun and not self.failed and not self.unfinished and (gate is None or gate.green)


def phase(standing: Standing) -> str:
    """One word or two. `proved`: every gate of the cut-over is green; its canary only flies with the cut-over itself."""
    if standing.primary == "postgres":
        return "cut over"
    if not standing.begun:
        return "schema"
    if not standing.copied:
        return "backfill"
    return "backfilled" if standing.red or standing.not_judged else "proved"


def next_step(standing: Standing) -> str:
    """What to do now."""
    if standing.primary == "astra" and not standing.copied:
        return _copy(standing)
    if standing.intents and (settle := _settle(standing)):
        return settle
    if standing.rejected and standing.primary == "astra":
        return f"look at {counted(standing.rejected, 'rejected row')}: sync rejects"
    if standing.not_judged:
        return f"the gates could not be evaluated: {standing.not_judged}"
    red = [gate for gate in standing.red if gate.name not in ("proof", "intents")]
    if red:
        return _turn_green(red[0], standing)
    if standing.primary == "postgres":
        back = "sync rollback goes back" if not standing.red else "sync drift-report, twice, allows a rollback"
        return f"{back} (sync rollback --fast in an emergency); sync finish ends the migration"
    return (
        "compare both sides: sync drift-report"
        if standing.red
        else "sync cutover --dry-run shows the gates; sync cutover makes Postgres primary"
    )


def _copy(standing: Standing) -> str:
    if standing.failed:
        return _FAILED
    return _UNDER_WAY if standing.unfinished else "sync backfill"


def _settle(standing: Standing) -> str:
    """What to do about keys that are not settled; nothing where workers are at it, and they are few."""
    what = "sent to Astra" if standing.primary == "postgres" else "reconciled"
    keys = f"{counted(standing.intents, 'key')} {'is' if standing.intents == 1 else 'are'}"
    gate = standing.gates.get("intents")
    if not standing.workers:
        return f"{counted(standing.intents, 'key')} to be {what}: run `sync worker`"
    if gate is None or gate.green:
        return ""
    keys, workers = counted(standing.intents, "key"), counted(standing.workers, "worker")
    return f"{keys} being {what} by {workers}; `sync intents` shows those that fail"


def _turn_green(gate: Gate, standing: Standing) -> str:
    if gate.name == "writers" and not standing.writers:
        return "verify with `sync migrate`, or begin to write to both sides"
    return f"{gate.name}: {gate.figure}: {gate.remedy}"
