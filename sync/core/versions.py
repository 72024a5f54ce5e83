"""Versions: µs since 1970, unique among writers by their low digits (rule 2).

The arithmetic exists twice, here and in SQL (`sql/journal.sql`, `open`), because a stamp is made in the statement that
commits its intent; a test compares both.
"""

from __future__ import annotations

UNREPEATABLE_WINDOW_SECONDS = 60
"""How late a write that cannot be sent again may still arrive in the source: an assumption (rule 17)."""
SLOTS, STEP = 1000, 4
"""A version modulo SLOTS is its writer's slot. Slots are STEP apart, to leave room for a write that is sent again."""

MAX_VERSION = 2**63 - 1
MAX_STAMPED = MAX_VERSION - 2 * SLOTS
"""The highest version that a stamp can exceed: above it there is no room for a slot and the versions up to the next."""


def stamp(need: int, slot: int) -> int:
    """The least version that is at least `need` and carries the writer's slot."""
    return need + (slot - need) % SLOTS


def again(version: int, attempt: int) -> int:
    """The timestamp at which a list is sent again, so that it hides the earlier attempt: a list's elements have no names.

    Otherwise the elements first sent at `version` would be there twice (CQL, "Lists": an append is not idempotent). There is
    room for STEP - 1 attempts; later ones share the last timestamp, and must wait until the one before can no longer arrive.
    """
    return version + min(attempt, STEP - 1)


def has_room(attempt: int) -> bool:
    """Whether this attempt has a timestamp of its own."""
    return attempt < STEP


def reconciled(read: int, removed: int, bound: int) -> int:
    """The version of a reconciled key: an upper bound of all that is known, and above what was there (rules 1 and 15d).

    A version at the highest possible timestamp stays there: no later write can follow.
    """
    return min(max(read, removed, bound + 1), MAX_VERSION)
