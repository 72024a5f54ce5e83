"""A table of counters on both sides, and increments of the source whose answers are lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from support.backfills import until
from support.dual import Died, Table
from sync.adapters.cassandra.rows.rows import SourceRows
from sync.core.mutations import Key, pack_key
from sync.ports import Outcome
from sync.settings import Config, DualWriteTuning

PLAYS = "song uuid PRIMARY KEY, times counter, skips counter"
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=16, heartbeat_seconds=0.2, max_wait_seconds=20))
CLAIM_PASSES = "UPDATE sync.intent SET replayed_at = replayed_at - interval '71 s', lease_until = NULL"
"""Afterwards, an increment that was sent to the source with these intents can no longer arrive."""


@dataclass
class Faults:
    """What happens to the next increments of the source; afterwards they are sent as they are.

    refused: nothing was counted. lost: timed out, never counted. landed: timed out, counted. late: timed out, counted when
    `land` is called. dies: counted, then the process is gone.
    """

    plan: list[str] = field(default_factory=list)
    sent: list[dict[str, int]] = field(default_factory=list)
    late: list[tuple[Any, ...]] = field(default_factory=list)

    def land(self) -> None:
        """What was under way arrives."""
        while self.late:
            rows, key, amounts = self.late.pop()
            assert _increment(rows, key, amounts) == ("written", "")


_increment = SourceRows.increment


@contextmanager
def faulty(*plan: str) -> Iterator[Faults]:
    """Within the block, increments of the source meet these faults, one after the other."""
    faults = Faults(list(plan))

    def increment(rows: SourceRows, key: Key, amounts: dict[str, int]) -> tuple[Outcome, str]:
        step = faults.plan.pop(0) if faults.plan else ""
        faults.sent.append(dict(amounts))
        if step == "refused":
            return "refused", "the source says no"
        if step == "late":
            faults.late.append((rows, key, amounts))
        if step in ("lost", "late"):
            return "unsure", "timed out"
        outcome = _increment(rows, key, amounts)
        if step == "dies":
            raise Died
        return ("unsure", "timed out") if step == "landed" else outcome

    with patch.object(SourceRows, "increment", increment):
        yield faults


def recheck(table: Table, key: Key) -> None:
    """Leave a recheck of the key, as a drift report does."""
    table.sql(
        "INSERT INTO sync.intent (table_name, key, source_key, token, kind, state, version, epoch, owner) "
        "VALUES (%s, %s, %s, %s, 'recheck', 'finished', 1, %s, 'drift report')",
        (table.name, key.canonical, pack_key(key.cells), key.token, table.epoch),
    )


def settle(table: Table) -> None:
    """Until both sides are equal, while the stores are open."""
    until(lambda: table.drain() >= 0 and not table.intents(), what="nothing is open")


def sums(times: int | None, skips: int | None = None) -> tuple[dict[str, int | None], dict[str, int | None]]:
    """What `both` returns of a row of these counters."""
    return ({"times": times, "skips": skips},) * 2
