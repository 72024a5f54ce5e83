"""Keys in flight: how often they are looked at before they are given up."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest

from sync.core.cql import CqlType
from sync.core.drift.verdicts import TargetRow
from sync.core.encode.rows import RowEncoder
from sync.core.mutations import Key
from sync.core.rows import ColumnPair, PgType, SourceColumn, SourceTable, TableMap, TargetColumn, TargetTable
from sync.flows.recheck import CHUNK, Recheck, RecheckPolicy
from sync.ports import Read

SOURCE = SourceTable("ks", "songs", (SourceColumn("k", CqlType("uuid"), "partition_key"),))
TARGET = TargetTable("public", "songs", (TargetColumn("k", PgType("uuid")),), ("k",))
ENCODER = RowEncoder(TableMap(SOURCE, TARGET, tuple(map(ColumnPair, SOURCE.columns, TARGET.columns))), 0)
BUDGET = 0.5 + 1 + 2 + 4 + 5


class HotKeys:
    """Keys that are written all the time: at every `nth` look alone do both sides show the same row."""

    def __init__(self, nth: int) -> None:
        self.nth, self.reads, self.waited = nth, 0, list[float]()

    def look(self, keys: Sequence[Key]) -> list[TargetRow]:
        return [
            TargetRow(self._row(key) if self.reads % self.nth == self.nth - 1 else b"another", 1, intents=True)
            for key in keys
        ]

    def read(self, keys: Sequence[Key]) -> list[Read | str]:
        self.reads += 1
        return [Read({"k": key.cells[0]}, 1) for key in keys]

    def repair(self, keys: Sequence[Key]) -> dict[Key, str]:
        raise NotImplementedError

    @staticmethod
    def _row(key: Key) -> bytes:
        row = ENCODER.canonical_row({"k": key.cells[0]})
        assert row is not None
        return row


def verdicts(hot: HotKeys, keys: int = 1) -> set[str]:
    raw = [(UUID(int=number).bytes,) for number in range(keys)]
    suspects = [Key("songs", cells, ENCODER.canonical_key(cells), 0) for cells in raw]
    recheck = Recheck(hot, ENCODER, RecheckPolicy(6, 0.5), False, hot.waited.append)
    return {found.verdict for found in recheck.verdicts(suspects)}


def test_a_hot_key_is_met_when_both_sides_are_equal() -> None:
    """Would break: a key that SQL writes ten times a second is in flight in every pass, and there are no two clean ones."""
    assert verdicts(hot := HotKeys(20)) == {"same"}
    assert max(hot.waited) == 0.5


def test_no_key_is_waited_for_longer_than_the_tries_take() -> None:
    assert verdicts(hot := HotKeys(1000)) == {"in flight"}
    assert sum(hot.waited) == pytest.approx(BUDGET)


@pytest.mark.parametrize("grace", [0.0, 0.1, 0.2, 0.3, 0.5, 1.5, 2.0, 3.0])
def test_no_two_looks_are_closer_than_grace_seconds(grace: float) -> None:
    """Would break: a difference counts as found twice, a few milliseconds apart; a pass is not clean for want of patience."""
    policy = RecheckPolicy(6, grace)
    for pause in policy.pauses():
        looks = list(policy.looks(pause, 1))
        assert sum(looks) == pytest.approx(pause) and min(looks) >= min(grace, pause) - 1e-9


def test_many_keys_are_looked_at_no_more_often_than_there_are_tries() -> None:
    """Would break: a bulk load that is under way doubles the load on both sides."""
    assert verdicts(hot := HotKeys(1000), CHUNK + 1) == {"in flight"}
    assert hot.reads == 6 * 2
    assert sum(hot.waited) == pytest.approx(BUDGET)
