"""The gates of a cut-over, a rollback and the end of the migration: pure judgements on facts that were read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sync.core.reads.shapes import Unanswerable
from sync.core.rows import TableMap
from sync.core.words import counted


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition: the figure behind it, and what turns it green; `without_keys`: the figure, where it names keys."""

    name: str
    green: bool
    figure: str
    remedy: str = ""
    without_keys: str = ""


@dataclass(frozen=True, slots=True)
class BackfillFact:
    """Where the newest backfill of a table stands; `total` 0: it was never begun."""

    table: str
    done: int
    total: int
    failed: int


@dataclass(frozen=True, slots=True)
class WriterFact:
    """A writer that has not signed off."""

    name: str
    state: str
    epoch: int
    unrecorded: int
    heartbeat_age: float


@dataclass(frozen=True, slots=True)
class CanaryFact:
    """How many rows of a table are the same on both sides (0: it is empty), or what is wrong.

    `sent`: the source also accepted a row of the canary's own.
    """

    table: str
    rows: int
    error: str = ""
    sent: bool = False


@dataclass(frozen=True, slots=True)
class IntentFacts:
    """Intents: how many there are, how many of them have failed before, how old the oldest is."""

    count: int
    failing: int
    oldest_seconds: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class ShadowFacts:
    """What shadow reads have compared in this epoch and, by table, what they found since its last clean drift pass began.

    `differing`: keys whose rows differ. `unreadable`: keys with a value that Python can represent on one side only.
    """

    compared: int
    differing: Mapping[str, int]
    unreadable: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class AheadFact:
    """Rows of a table that were written ahead of the clock: how many, how many of them are not reconciled yet, how many no
    write can ever follow, and some of their keys.
    """

    table: str
    rows: int
    waiting: int
    beyond: int
    shown: tuple[str, ...]


def backfill_gate(copied: Sequence[BackfillFact]) -> Gate:
    """Every range of every table is done, none failed."""
    done, total = sum(c.done for c in copied), sum(c.total for c in copied)
    never = [c.table for c in copied if not c.total]
    failed = sum(c.failed for c in copied)
    figure = f"{done:,} of {counted(total, 'range')} of {counted(len(copied), 'table')}" + (
        f", {failed} failed" if failed else ""
    )
    if never:
        figure += f"; never begun: {', '.join(never)}"
    return Gate("backfill", bool(copied) and done == total and not never, figure, "finish the copy: sync backfill")


def intents_gate(facts: IntentFacts, most: int) -> Gate:
    """The open intents are few enough to be reconciled while writers wait, and none has failed."""
    green = facts.count <= most and not facts.failing
    figure = f"{facts.count:,} open (at most {most:,})"
    if facts.count:
        figure += f", the oldest {facts.oldest_seconds:.0f} s"
    if facts.failing:
        figure += f"; {facts.failing:,} failed: {facts.error}"
    remedy = "let workers reconcile them: sync worker; `sync intents` shows why they fail, and can give one up"
    return Gate("intents", green, figure, remedy)


def shadow_gate(facts: ShadowFacts) -> Gate:
    """No shadow read has found a difference that no clean drift pass has followed.

    The key that was found is reconciled. But somebody has written one side alone, and may have written other keys.
    """
    figure = f"{counted(facts.compared, 'answer')} compared"
    found = [f"{table} {counted(count, 'key')}" for table, count in sorted(facts.differing.items())]
    figure += f"; since the last clean pass: {', '.join(found)}" if found else ", no difference since the last clean pass"
    if not facts.compared and not found:
        figure = "none compared (shadow_reads in sync.toml)"
    if facts.unreadable:  # a pass cannot change that, and a reconcile neither
        told = ", ".join(f"{table} {counted(count, 'key')}" for table, count in sorted(facts.unreadable.items()))
        figure += f"; with a value that Python can represent on one side only: {told}"
    remedy = "find out who writes one side without the store; then sync drift-report, --repair first where it finds something"
    return Gate("shadow reads", not found, figure, remedy)


def write_times_gate(unseen: Sequence[str], ahead: Sequence[AheadFact]) -> Gate:
    """Every row that was written ahead of the clock is known, so that writes are stamped above it (rules 2 and 3)."""
    more = [f"not checked: {', '.join(unseen)}"] if unseen else []
    said, without_keys = [*map(_ahead, ahead), *more], [*(_ahead(replace(fact, shown=())) for fact in ahead), *more]
    green = not unseen and not any(fact.waiting or fact.beyond for fact in ahead)
    remedy = "sync backfill checks write times; sync worker reconciles what was found"
    if any(fact.beyond for fact in ahead):
        remedy = "write these rows again under other keys, and leave the old ones: no write can have a later timestamp"
    figure = "; ".join(said) or "no row was written ahead of the clock"
    return Gate("write times", green, figure, remedy, "; ".join(without_keys) if ahead else "")


def _ahead(fact: AheadFact) -> str:
    more = " …" if fact.rows > len(fact.shown) else ""
    shown = f" ({'; '.join(fact.shown)}{more})" if fact.shown else ""
    text = f"{fact.table}: {counted(fact.rows, 'row')} written ahead of the clock{shown}"
    if fact.beyond:
        return f"{text}, {fact.beyond:,} of them beyond what a write can follow"
    return f"{text}, {fact.waiting:,} not reconciled yet" if fact.waiting else f"{text}, written above that from now on"


def rejects_gate(rejects: dict[str, int]) -> Gate:
    """Postgres holds every row."""
    count = sum(rejects.values())
    return Gate("rejects", not count, f"{counted(count, 'row')} that Postgres cannot hold", "change the values: sync rejects")


def indexes_gate(missing: Sequence[str]) -> Gate:
    """Every index is there and valid."""
    figure = f"missing or invalid: {', '.join(missing)}" if missing else "all are valid"
    return Gate("indexes", not missing, figure, "sync backfill builds them")


def reads_gate(made: int, faults: Sequence[Unanswerable]) -> Gate:
    """Every read that applications have made can be answered after the switch."""
    figure = f"{counted(made, 'kind', 'kinds')} of read made, all can be answered after the switch"
    if faults:
        figure = "cannot be answered after the switch: " + "; ".join(f"{f.table}: {f.shape} ({f.why})" for f in faults)
    lines = list(dict.fromkeys(line for fault in faults for line in fault.indexes))
    remedy = " ".join(lines) or "change these reads; one that is no longer made is forgotten after a week"
    return Gate("reads", not faults, figure, remedy)


def writers_gate(writers: Sequence[WriterFact], epoch: int, lease: float, expected: int | None = None) -> Gate:
    """Every writer is alive, knows this epoch, and holds nothing unrecorded (rules 29 and 30).

    There is at least one, or exactly `expected`: a process that is not registered does not learn of the switch.
    """
    bad = [text for w in writers if (text := _fault(w, epoch, lease))]
    figure = "; ".join(bad) if bad else f"{counted(len(writers), 'writer')}, all alive" if writers else "none is registered"
    remedy = "stop it, or, if it is dead, sync writers --fence ID; then sync drift-report --repair clears it"
    if expected is not None and len(writers) != expected:
        figure += f"; --writers {expected} are expected"
        remedy = f"{remedy}; or say how many there are" if bad else "start those that are missing, or say how many there are"
    elif expected is None and not writers:
        figure += ": nothing that runs now would learn of the switch"
        remedy = "start the application with SYNC_DUAL_WRITE=true; --no-writers where none is to run now"
    return Gate("writers", not bad and (bool(writers) if expected is None else len(writers) == expected), figure, remedy)


def _fault(writer: WriterFact, epoch: int, lease: float) -> str:
    if writer.state == "unclean":
        return f"{writer.name} was fenced and has not been cleared"
    if writer.heartbeat_age > lease:
        return f"{writer.name} sent its last heartbeat {writer.heartbeat_age:.0f} s ago"
    if writer.epoch != epoch:
        return f"{writer.name} is in epoch {writer.epoch}"
    return f"{writer.name} has {counted(writer.unrecorded, 'unrecorded write')}" if writer.unrecorded else ""


def canary_gate(canaries: Sequence[CanaryFact], not_run: str = "") -> Gate:
    """The sampled rows are equal on both sides, and Astra accepts such rows; `not_run` says why the latter was not tried."""
    bad = [f"{c.table}: {c.error}" for c in canaries if c.error]
    if bad:
        return Gate("canary", False, "; ".join(bad), "see the error")
    sent, unsent = sum(c.sent for c in canaries), [c.table for c in canaries if c.rows and not c.sent]
    figure = f"{counted(sum(c.rows for c in canaries), 'row')} of {counted(len(canaries), 'table')} equal on both sides; "
    figure += f"not run: {not_run}" if not_run else f"Astra accepts rows of {counted(sent, 'table')}"
    if unsent and not not_run:
        figure += f" (not tried: {', '.join(unsent)}, where every key may be the application's)"
    return Gate("canary", True, figure)


def reversible_gate(one_sided: Sequence[str], left_out: Sequence[str] = ()) -> Gate:
    """Every table can be written in both directions; all that are written to both sides are migrated (else `left_out`)."""
    said, remedies = [], []
    if one_sided:
        said.append(f"cannot be written on both sides: {', '.join(one_sided)}")
        remedies.append("name tables of COMPACT STORAGE in `exclude` in sync.toml")
    if left_out:
        said.append(f"written to both sides, and not migrated here: {', '.join(left_out)}")
        remedies.append("migrate them, or name them in `exclude` in every sync.toml: stores refuse them then")
    figure = "; ".join(said) or "every table can be written on both sides"
    return Gate("tables", not said, figure, "; ".join(remedies))


def settings_gate(faults: Mapping[str, str]) -> Gate:
    """Every writer was started with this command's settings, as far as they must agree; `faults`: what differs, by writer."""
    figure = "; ".join(f"{writer} {text}" for writer, text in faults.items()) or "every writer has the same sync.toml"
    return Gate("settings", not faults, figure, "give all of them one sync.toml, and restart the application with it")


def sql_writers_gate(faults: Sequence[str]) -> Gate:
    """Every table has its triggers, so that what SQL writes after the cut-over is sent to Astra (rules 44 and 45)."""
    figure = "; ".join(faults) or "every table has its triggers"
    return Gate("SQL writers", not faults, figure, "sync schema apply")


def nothing_open_gate(name: str, count: int, one: str, several: str, remedy: str) -> Gate:
    """Nothing of a kind is open; `one` and `several` name the kind in the singular and plural."""
    return Gate(name, not count, counted(count, one, several), remedy)


def table_shape(table: TableMap, *identities: str) -> str:
    """A short hash of what a table is on both sides: it changes with every column, type and key, with what sync.toml makes
    of them, and with an identity.
    """
    return _short("\n".join([_described(table), *identities, *_choices(table)]))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _described(table: TableMap) -> str:
    source = [(c.name, str(c.type), c.kind) for c in table.source.columns]
    target = [(c.name, str(c.type), c.not_null) for c in table.target.columns]
    return repr((table.name, source, table.target.schema, table.target.name, sorted(target), table.target.primary_key))


def _choices(table: TableMap) -> list[str]:
    """What sync.toml makes of the columns; empty if it says nothing about them."""
    carried = {pair.source.name for pair in table.pairs}
    found = [f"without {c.name}" for c in table.source.columns if c.name not in carried]
    found += [
        f"{p.source.name} is {p.target.name}" for p in table.pairs if p.target.name != (p.source.alias or p.source.name)
    ]
    found += [f"expires at {p.target.name}" for p in table.pairs if p.source.kind == "expiry"]
    found += [f"{p.source.name}: {p.on_reject}" for p in table.pairs if p.on_reject != "reject"]
    return [*found, "keeps"] if table.keeps else found
