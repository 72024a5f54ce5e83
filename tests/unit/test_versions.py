"""Versions: the arithmetic of stamps and of reconciled keys."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sync.core.versions import MAX_STAMPED, MAX_VERSION, SLOTS, reconciled, stamp

versions = st.integers(min_value=-(2**40), max_value=2**62)
slots = st.integers(min_value=0, max_value=SLOTS - 1)


@given(versions, slots)
def test_a_stamp_is_the_least_version_of_its_slot_that_is_at_least_what_is_needed(need: int, slot: int) -> None:
    """Would break: a stamp below what is known of the key (rule 2), or the slot of another writer."""
    made = stamp(need, slot)
    assert need <= made < need + SLOTS
    assert made % SLOTS == slot


@given(versions, slots, slots)
def test_stamps_of_different_slots_differ(need: int, one: int, other: int) -> None:
    """Would break: two writers stamp one key alike, and its cells are mixed (rule 2)."""
    assert (stamp(need, one) == stamp(need, other)) == (one == other)


@given(versions, versions, versions)
def test_a_reconciled_version_bounds_all_that_is_known_and_rises(read: int, removed: int, bound: int) -> None:
    """Would break: a version below a timestamp of the key, or one that does not tell two reconciles apart (rules 1 and 15d)."""
    made = reconciled(read, removed, bound)
    assert made >= read
    assert made >= removed
    assert made > bound
    assert made in (read, removed, bound + 1)


def test_the_highest_version_is_not_exceeded() -> None:
    """Would break: a row with the highest timestamp there is cannot be reconciled a second time."""
    assert reconciled(MAX_VERSION, 0, MAX_VERSION) == MAX_VERSION
    assert stamp(MAX_STAMPED, 0) <= MAX_VERSION - SLOTS
