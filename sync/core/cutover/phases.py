"""Where a migration stands and what comes next, from the gates of its next switch: one judgement for all callers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sync.core.cutover.gates import Gate
from sync.core.words import counted

_UNDER_WAY = "the backfill is under way; `sync backfill` resumes it"
_FAILED = "look at the failed ranges' error, then run `sync backfill` again"


@dataclass(frozen=True, slots=True)
class MigrationState:
    """What is known. `gates`: those of the next switch but for its canary, by name; `not_judged` says why they are missing.

    `begun`: there is a backfill; `failed`: ranges of it have failed; `unfinished`: one is open. `workers`: running RQ
    workers; None: not known.
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
        """The red gates, in the order in which they are turned green."""
        return [gate for gate in self.gates.values() if not gate.green]

    @property
    def copied(self) -> bool:
        """Whether the copy is done."""
        gate = self.gates.get("backfill")
        return self.begun and not self.failed and not self.unfinished and (gate is None or gate.green)


def phase(migration: MigrationState) -> str:
    """One word or two. `proved`: every gate of the cut-over is green but its canary, which runs only with the cut-over."""
    if migration.primary == "postgres":
        return "cut over"
    if not migration.begun:
        return "schema"
    if not migration.copied:
        return "backfill"
    return "backfilled" if migration.red or migration.not_judged else "proved"


def next_step(migration: MigrationState) -> str:
    """What to do now."""
    if migration.primary == "astra" and not migration.copied:
        return _copy_step(migration)
    if migration.intents and (settle := _drain_step(migration)):
        return settle
    if migration.rejected and migration.primary == "astra":
        return f"look at {counted(migration.rejected, 'rejected row')}: sync rejects"
    if migration.not_judged:
        return f"the gates could not be evaluated: {migration.not_judged}"
    red = [gate for gate in migration.red if gate.name not in ("proof", "intents")]
    if red:
        return _turn_green(red[0], migration)
    if migration.primary == "postgres":
        back = "sync rollback goes back" if not migration.red else "sync drift-report, twice, allows a rollback"
        return f"{back} (sync rollback --fast in an emergency); sync finish ends the migration"
    proof = migration.gates.get("proof")
    return (
        f"compare both sides: {proof.remedy}"
        if proof and not proof.green
        else "sync cutover --dry-run shows the gates; sync cutover makes Postgres primary"
    )


def _copy_step(migration: MigrationState) -> str:
    if migration.failed:
        return _FAILED
    return _UNDER_WAY if migration.unfinished else "sync backfill"


def _drain_step(migration: MigrationState) -> str:
    """What to do about keys that are not reconciled; empty if workers are at it and the keys are few."""
    what = "sent to Astra" if migration.primary == "postgres" else "reconciled"
    keys = f"{counted(migration.intents, 'key')} {'is' if migration.intents == 1 else 'are'}"
    gate = migration.gates.get("intents")
    if not migration.workers:
        return f"{counted(migration.intents, 'key')} to be {what}: run `sync worker`"
    if gate is None or gate.green:
        return ""
    keys, workers = counted(migration.intents, "key"), counted(migration.workers, "worker")
    return f"{keys} being {what} by {workers}; `sync intents` shows those that fail"


def _turn_green(gate: Gate, migration: MigrationState) -> str:
    if gate.name == "writers" and not migration.writers:
        return "verify with `sync migrate`, or begin to write to both sides"
    return f"{gate.name}: {gate.figure}: {gate.remedy}"
