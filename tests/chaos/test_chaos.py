"""A few trials of every crash point; `make chaos` runs many."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.places import NewPlace

from chaos.explain import Op, State, explained
from chaos.trial import CROWD, CUT, ENDS, JUMPS, POINTS, Arena

pytest_plugins = ("support.fixtures",)
TRIALS, SEED = 2, "suite"


@pytest.fixture(scope="module")
def arena(new_place: NewPlace) -> Iterator[Arena]:
    with new_place() as place:
        made = Arena(place)
        yield made
        made.close()


@pytest.mark.slow
@pytest.mark.parametrize("point", [*POINTS, CUT, *ENDS, JUMPS, CROWD])
def test_invariants_1_and_2_hold_wherever_a_process_ends(arena: Arena, point: str) -> None:
    """Would break: a process that dies at this step loses a write, or leaves the sides different forever."""
    verdicts = [arena.trial(point, f"{SEED}:{point}:{i}") for i in range(TRIALS)]
    assert [v for v in verdicts if v.faults] == []


PUT, UPDATE, DELETE = (
    Op("put", {"a": "1", "b": "1"}, 0, 1, "must"),
    Op("update", {"a": "2"}, 2, 3, "must"),
    Op("delete", {}, 4, 5, "must"),
)


@pytest.mark.parametrize(
    ("ops", "last", "answer"),
    [
        ([PUT, UPDATE], ("2", "1"), True),
        ([PUT, UPDATE], ("1", "1"), False),
        ([PUT, UPDATE, DELETE], None, True),
        ([PUT, UPDATE, DELETE], ("2", "1"), False),
        ([PUT, Op("delete", {}, 2, 3, "may")], None, True),
        ([PUT, Op("delete", {}, 2, 3, "may")], ("1", "1"), True),
        ([PUT, Op("delete", {}, 2, 3, "never")], None, False),
        ([UPDATE], ("2", None), True),
        ([PUT, Op("put", {"a": "3", "b": None}, 0.5, 4, "must")], ("1", "1"), True),
        ([PUT, Op("put", {"a": "3", "b": None}, 1.5, 4, "must")], ("1", "1"), False),
        ([Op("delete", {}, 0, 1, "may"), PUT], None, True),
        ([Op("delete", {}, -2, -1, "may"), PUT], None, False),
    ],
)  # fmt: skip
def test_the_judge_tells_what_can_be_explained(ops: list[Op], last: State, answer: bool) -> None:
    """Would break: the judge of every trial, and with it everything that the trials show."""
    assert explained(None, ops, last) is answer
