"""Versions: µs since 1970, unique among writers by their low digits (rule 2).

The arithmetic stands twice, here and in SQL (`sql/journal.sql`, `open`), because a stamp is made in the statement that
commits its intent; a test holds both together.
"""

from __future__ import annotations

UNREPEATABLE_WINDOW_SECONDS = 60
"""How late a write that cannot be sent again may still arrive in the source: an assumption (rule 17), and a stated one."""
SLOTS, STEP = 1000, 4
"""A version modulo SLOTS is its writer's slot. Slots are STEP apart; what lies between is for a write that is sent again."""

MAX_VERSION = 2**63 - 1
MAX_STAMPED = MAX_VERSION - 2 * SLOTS
"""What a stamp may exceed no more: behind it there is no room for a slot and what lies between two of them."""


def stamp(need: int, slot: int) -> int:
    """The least version that is at least `need` and carries the writer's slot."""
    return need + (slot - need) % SLOTS


def again(version: int, attempt: int) -> int:
    """The timestamp at which a list is sent again, so that it hides an earlier attempt's: a list's elements have no names.

    What came first at `version` would else stand there twice (CQL, "Lists": an append is not idempotent). There is room for
    STEP - 1 attempts; those behind share the last one, and must wait until the one before can no longer arrive.
    """
    return version + min(attempt, STEP - 1)


def has_room(attempt: int) -> bool:
    """Whether this attempt has a timestamp that no other one had."""
    return attempt < STEP


def reconciled(read: int, removed: int, bound: int) -> int:
    """The version of a reconciled key: an upper bound of all that is known, and above what was there (rules 1 and 15d).

    Where that is as high as a timestamp can be, no write comes that it would have to be told from.
    """
    return min(max(read, removed, bound + 1), MAX_VERSION)
