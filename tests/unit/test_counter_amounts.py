"""What may be added to counters, and how far those of two rows are apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.core.counters import counter_cells, to_add
from sync.core.cutover.gates import reversible_gate
from sync.core.encode.base import INT64

_BIGINTS = st.integers(-(2**63), 2**63 - 1)


@given(_BIGINTS, _BIGINTS)
def test_a_difference_makes_the_numbers_equal_however_far_they_are_apart(have: int, want: int) -> None:
    """Would break: a difference beyond 64 bits, which Cassandra does not take, though its sums wrap."""
    added = to_add(counter_cells({"a": have}), counter_cells({"a": want}))
    assert (not added) == (have == want)
    (sum_,) = INT64.unpack(((have + added.get("a", 0)) % 2**64).to_bytes(8, "big"))
    assert sum_ == want
    counter_cells(added)  # it fits


def test_null_and_0_are_two_things() -> None:
    """Would break: 0 on one side and null on the other count as equal, and a drift report finds them for ever."""
    zero, one = counter_cells({"a": 0}), counter_cells({"a": 1})
    assert to_add({"a": None}, zero) == {"a": 0} and to_add({}, zero) == {"a": 0}
    assert to_add({"a": None}, {"a": None}) == {} and to_add({}, {"a": None}) == {}
    with pytest.raises(ValueError, match="a is 1 in the source and null in Postgres"):
        to_add(one, {"a": None})


def test_what_cannot_be_written_on_both_sides_makes_the_gate_red() -> None:
    """Would break: a table of COMPACT STORAGE is cut over, and its rows without values are lost at the first write back."""
    gate = reversible_gate(["dense"])
    assert not gate.green and gate.figure == "cannot be written on both sides: dense" and "COMPACT STORAGE" in gate.remedy
    assert reversible_gate([]).green
