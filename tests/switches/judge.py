"""What the logs of writers allow, and what both stores hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos.explain import FOREVER, Op, State, explained
from support.dual import Table

_MOST = 18
"""At most this many writes at the end of a key's history are tried in every possible order; more are a fault of the test."""


@dataclass
class Told:
    """What one writer's log says."""

    writer: str = ""
    ops: list[tuple[str, Op]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    took: list[tuple[float, float]] = field(default_factory=list)
    closed: bool = False

    @property
    def answered(self) -> int:
        return sum(op.end < FOREVER for _, op in self.ops)


def read(path: Path) -> Told:
    """A log as it is now; its last line may be incomplete."""
    told, found = Told(), {}
    for line in path.read_text().split("\n")[:-1] if path.exists() else []:
        entry: dict[str, Any] = json.loads(line)
        match entry:
            case {"kind": _}:
                found[entry["n"]] = {**entry, "end": FOREVER, "fate": "may"}
            case {"fate": fate, "n": n}:
                found[n] |= {"end": entry["at"], "fate": "never" if fate == "absent" else fate}
                told.took.append((found[n]["at"], 1000 * (entry["at"] - found[n]["at"])))
                told.refused += [f"{found[n]['key']}: {entry['error']}"] if fate == "never" else []
                told.unsure += [entry["error"]] if fate == "may" else []
            case {"waited": ms}:
                told.waits.append(ms)
            case {"fault": text}:
                told.faults.append(text)
            case {"unread": text}:
                told.unread.append(text)
            case {"writer": name}:
                told.writer = name
            case {"closed": closed}:
                told.closed = closed
    told.ops = [(e["key"], Op(e["kind"], e["values"], e["at"], e["end"], e["fate"])) for e in found.values()]
    return told


def recent(ops: Sequence[Op]) -> list[Op]:
    """The writes that may still show: one answered before the last acknowledged put or delete began is always hidden."""
    whole = [op.begin for op in ops if op.fate == "must" and op.kind != "update"]
    return [op for op in ops if op.fate != "never" and op.end >= max(whole, default=0.0)]


@dataclass
class Verdict:
    """What was found to be wrong."""

    lost: list[str] = field(default_factory=list)
    resurrected: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def all(self) -> list[str]:
        return [*self.lost, *self.resurrected, *self.stale, *self.faults]


def judge(table: Table, told: Iterable[Told]) -> Verdict:
    """After everything is settled: whether both sides are equal, and hold what the acknowledged writes allow."""
    told, verdict = list(told), Verdict()
    verdict.faults = [fault for one in told for fault in one.faults]
    by_key: dict[str, list[Op]] = {}
    for one in told:
        for key, op in one.ops:
            by_key.setdefault(key, []).append(op)
    source, target = table._all_source(), table._all_target()
    for name in {*by_key, *(key[0] for key in source), *(key[0] for key in target)}:
        _judge(verdict, name, by_key.get(name, []), _state(source.get((name,))), _state(target.get((name,))))
    return verdict


def _judge(verdict: Verdict, name: str, ops: list[Op], source: State, target: State) -> None:
    if source != target:
        kind = verdict.lost if target is None else verdict.resurrected if source is None else verdict.stale
        kind.append(f"{name}: source {source}, target {target}; {recent(ops)}")
    if not ops:
        return  # a backfilled row, which no process writes
    left = recent(ops)
    if len(left) > _MOST:
        verdict.faults.append(f"{name}: {len(left)} writes at its end: too many to judge")
    elif not explained(None, left, source):
        newest = max(left, key=lambda op: op.begin)
        kind = verdict.resurrected if newest.kind == "delete" and source else verdict.lost
        kind.append(f"{name}: {source} is explained by no order of {left}")


def _state(row: dict[str, Any] | None) -> State:
    return None if row is None else (row["a"], row["b"])
