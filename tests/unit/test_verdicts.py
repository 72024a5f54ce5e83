"""The verdict on a key: what may be called equal, what is a finding, and what must be read again."""

from __future__ import annotations

import itertools

import pytest

from sync.core.drift.verdicts import SourceRow, TargetRow, Verdict, judge

A, B = b"row a", b"row b"


def held(row: bytes | None = A, version: int | None = 5, **more: object) -> TargetRow:
    return TargetRow(row, None if row is None else version, **more)  # type: ignore[arg-type]


ABSENT, OPEN = TargetRow(), held(intents=True)
THERE, OTHER, GONE = SourceRow(True, A, 5), SourceRow(True, B, 6), SourceRow()
UNHOLDABLE = SourceRow(True, None, 6)


@pytest.mark.parametrize(
    ("before", "source", "after", "verdict"),
    [
        (held(), THERE, held(), "same"),
        (held(), OTHER, held(), "different"),
        (ABSENT, THERE, ABSENT, "missing"),
        (held(), GONE, held(), "extra"),
        (ABSENT, GONE, ABSENT, "gone"),
        (held(), UNHOLDABLE, held(), "different"),
        (ABSENT, UNHOLDABLE, ABSENT, "missing"),
        (ABSENT, UNHOLDABLE, TargetRow(refused=False), "rejected"),
        (ABSENT, UNHOLDABLE, TargetRow(refused=True), "rejected"),
        (ABSENT, THERE, TargetRow(refused=True), "rejected"),
        (ABSENT, THERE, TargetRow(refused=False), "missing"),
        (held(), OTHER, held(refused=True), "different"),
        (held(), SourceRow(error="timed out"), held(), "unknown"),
        (OPEN, OTHER, held(), "in flight"),
        (held(), OTHER, OPEN, "in flight"),
        (held(version=5), OTHER, held(version=6), "in flight"),
        (ABSENT, OTHER, held(), "in flight"),
        (TargetRow(tombstone=1), THERE, TargetRow(tombstone=2), "in flight"),
        (TargetRow(intents=True), THERE, ABSENT, "in flight"),
        (held(B), OTHER, held(version=9), "same"),
        (held(), OTHER, held(B, version=9), "same"),
        (ABSENT, GONE, held(), "gone"),
    ],
)
def test_a_verdict(before: TargetRow, source: SourceRow, after: TargetRow, verdict: Verdict) -> None:
    """Would break: a write under way is called drift, or a stable difference is taken for a write under way."""
    assert judge(before, source, after) == verdict


def test_an_error_is_never_a_verdict_on_the_row() -> None:
    """Would break: invariant 5: what could not be read is called same, or gone."""
    states = [ABSENT, held(), held(B), OPEN, TargetRow(refused=True), TargetRow(tombstone=3)]
    for before, after in itertools.product(states, states):
        assert judge(before, SourceRow(True, A, 5, "read timeout"), after) == "unknown"


def test_nothing_is_a_finding_while_an_intent_is_there_or_the_version_moves() -> None:
    """Would break: a false alarm for a key that a writer or a reconcile is about to make equal."""
    states = [ABSENT, held(), held(B), held(version=7), TargetRow(tombstone=3), TargetRow(tombstone=4)]
    for before, after in itertools.product(states, states):
        for source in (THERE, OTHER, GONE, UNHOLDABLE):
            moved = before.state != after.state
            for b, a in ((before, after), (TargetRow(*before.state, True), after), (before, TargetRow(*after.state, True))):
                if moved or b.intents or a.intents:
                    assert judge(b, source, a) in ("same", "gone", "in flight")


@pytest.mark.parametrize(
    ("before", "source", "after", "verdict"),
    [
        (held(), GONE, held(), "kept"),
        (held(version=0), GONE, held(version=0), "extra"),
        (held(), OTHER, held(), "different"),
        (OPEN, GONE, held(), "in flight"),
        (held(version=5), GONE, held(version=6), "in flight"),
        (held(), SourceRow(error="timed out"), held(), "unknown"),
    ],
)
def test_what_a_table_keeps(before: TargetRow, source: SourceRow, after: TargetRow, verdict: Verdict) -> None:
    """Would break: every fault in a table whose rows expire is taken for an expired row."""
    assert judge(before, source, after, keeps=True) == verdict
