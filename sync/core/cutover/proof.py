"""What proves both sides equal: drift passes, table by table, and what disturbs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sync.core.cutover.gates import Gate
from sync.core.words import counted, first_of

CLEAN_PASSES = 2
"""How many drift passes in a row must be clean: a single one may have been lucky in its timing."""
EVERYWHERE = ""
"""The table name of a disturbance that may concern any table."""
WAIVED = (
    f"{CLEAN_PASSES} clean full passes of this epoch: what has changed since the cut-over unnoticed "
    "(a row that SQL updated or deleted behind its triggers, one that somebody wrote in Astra) is not looked for"
)
"""What a rollback without proof cannot know. Every other write has an intent until Astra has acknowledged it."""
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Pass:
    """A recorded drift pass over one table; `shape` is what the table looked like when it was made, `data_center` the one it
    read.
    """

    number: int
    table: str
    clean: bool
    repaired: int
    epoch: int | None
    shape: str
    started_at: datetime
    data_center: str = ""


@dataclass(frozen=True, slots=True)
class ProofBounds:
    """What passes must be younger than: the epoch and, by table, the last event that could have made a difference."""

    epoch: int
    begun: datetime
    disturbed: Mapping[str, tuple[datetime, str]]

    def of(self, table: str) -> tuple[datetime, str]:
        """The last event that a pass over this table must have begun after."""
        found = [self.begun_by, *(self.disturbed[name] for name in (EVERYWHERE, table) if name in self.disturbed)]
        return max(found, key=lambda one: one[0])

    @property
    def begun_by(self) -> tuple[datetime, str]:
        """The epoch's beginning, in the same form."""
        return self.begun, "this epoch"


@dataclass(frozen=True, slots=True)
class TableProof:
    """How many clean passes in a row prove a table, why there are not more, and whether the pass before them `differs`."""

    table: str
    passes: int
    why: str
    differs: bool = False

    @property
    def green(self) -> bool:
        """Whether there are enough."""
        return self.passes >= CLEAN_PASSES


def proofs(
    passes: Sequence[Pass], shapes: Mapping[str, str | None], since: ProofBounds, data_center: str = ""
) -> list[TableProof]:
    """How each of these tables is proved; `shapes` are those of today (None: unknown, and not compared).

    `passes`: newest first. One that found or repaired something is a disturbance, too: only passes after it count.
    """
    return [
        _proof(table, [one for one in passes if one.table == table], shape, since, data_center)
        for table, shape in shapes.items()
    ]


def _proof(table: str, passes: Sequence[Pass], shape: str | None, since: ProofBounds, data_center: str) -> TableProof:
    good = 0
    for one in passes:
        if why := _objection(one, shape, since, data_center):
            return TableProof(table, good, f"pass {one.number} {why}", not one.clean and not one.repaired)
        good += 1
    return TableProof(table, good, "none before it" if good else "no pass yet")


def _objection(one: Pass, shape: str | None, since: ProofBounds, data_center: str) -> str:
    """Why a pass proves nothing."""
    if not one.clean or one.repaired:
        return "repaired" if one.repaired else "was not clean"
    if one.epoch != since.epoch:
        return "was in another epoch"
    if shape is not None and one.shape != shape:
        return "was made before the schema or sync.toml changed"
    if one.data_center not in ("", data_center):
        return f"read data centre {one.data_center}"
    disturbed, what = since.of(one.table)
    return f"began before {what}" if one.started_at <= disturbed else ""


def proof_gate(found: Sequence[TableProof]) -> Gate:
    """The last full passes over every table in this epoch are clean, and began after the last event that could have made a
    difference.
    """
    red = [proof for proof in found if not proof.green]
    least = min((proof.passes for proof in found), default=0)
    tables = counted(len(found), "table")
    if red:
        figure = f"{len(found) - len(red)} of {tables} with {CLEAN_PASSES} clean full passes in a row; {_reasons(red)}"
    else:
        passes = counted(least, "clean full pass", "clean full passes")
        figure = f"{passes} in a row of {tables} (at least {CLEAN_PASSES})"
    differs = any(not proof.passes and proof.differs for proof in red)
    first = "sync drift-report --repair, then twice without it" if differs else "sync drift-report, twice"
    return Gate("proof", bool(found) and not red, figure, f"{first}; --table for one table")


def _reasons(red: Sequence[TableProof]) -> str:
    """Why tables are not proved, grouped by reason."""
    reasons = Counter((proof.passes, proof.why) for proof in red)
    said = []
    for (passes, why), _ in reasons.most_common(_SHOWN):
        names = [proof.table for proof in red if (proof.passes, proof.why) == (passes, why)]
        said.append(f"{first_of(names, _SHOWN)}: {passes} clean, {why}")
    return "; ".join([*said, *(["…"] if len(reasons) > _SHOWN else [])])


def undisturbed_gate(passes: Sequence[Pass], tables: Iterable[str], since: ProofBounds) -> Gate:
    """Nothing in this epoch suggests that both sides differ: what an emergency rollback relies on instead of a proof.

    No write was recorded late, no writer fenced, no intent given up, and the last pass of each table, where there was one,
    was clean.
    """
    newest: dict[str, Pass] = {}
    for one in passes:
        if one.epoch == since.epoch:
            newest.setdefault(one.table, one)
    bad = [
        f"pass {one.number} of {one.table} {'repaired' if one.repaired else 'was not clean'}"
        for one in newest.values()
        if one.repaired or not one.clean
    ]
    tables = {*tables, EVERYWHERE}
    bad += [what for table, (at, what) in since.disturbed.items() if table in tables and at > since.begun]
    figure = "; ".join(bad[:_SHOWN]) or f"nothing since {since.begun.isoformat(timespec='seconds')}"
    return Gate("undisturbed", not bad, figure, "only a full proof shows it: `sync drift-report` twice, without --fast")
