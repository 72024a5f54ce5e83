"""Two answers to one read: in which keys an application would see a difference."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from sync.core.drift.answers import are_equal, suspects

NAN = float("nan")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (NAN, math.nan),
        ([1.5, NAN], [1.5, -NAN]),
        ({"a": [NAN], "b": None}, {"b": None, "a": (NAN,)}),
        ((1, "x"), [1, "x"]),
        (Decimal("1.50"), Decimal("1.5")),
        (2**70, Decimal(2**70)),
        (datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)),
        (None, None),
    ],
)
def test_what_is_equal_to_an_application(one: Any, other: Any) -> None:
    """Would break: a finding for each row with a NaN, and a second look at each row with a tuple."""
    assert are_equal(one, other) and are_equal(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (NAN, 0.0), (NAN, None), ([1.0], [1.0, 2.0]), ([1, 2], [2, 1]), ({"a": 1}, {"a": 1, "b": None}), ({"a": 1}, {"b": 1}),
        ("", None), ("a", ["a"]), ([], None), ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}), (b"a", "a"),
    ],
)  # fmt: skip
def test_what_is_not(one: Any, other: Any) -> None:
    """Would break: a difference that the application would meet after the cut-over is not seen."""
    assert not are_equal(one, other) and not are_equal(other, one)


def test_rows_that_one_answer_lacks() -> None:
    """Would break: a search whose index finds another row is a difference; or a row that is missing is none."""
    ours, theirs = {1: {"v": 1}, 2: {"v": 2}, 3: {"v": 3}}, {2: {"v": 0}, 3: {"v": 3}, 4: {"v": 4}}
    assert suspects(ours, theirs, whole=False) == [2]
    assert suspects(ours, theirs, whole=True) == [2, 1, 4]
    assert suspects({}, {}, whole=True) == []
