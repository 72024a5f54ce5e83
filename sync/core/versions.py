"""Versions: µs since 1970, unique among writers by their low digits (rule 2).

The arithmetic stands twice, here and in SQL (`sql/journal.sql`, `open`), because a stamp is made in the statement that
commits its intent; a test holds both together.
"""

from __future__ import annotations

SLOTS = 1000
"""Writers that can be told apart: a version modulo this is its writer's slot."""


def stamp(need: int, slot: int) -> int:
    """The least version that is at least `need` and carries the writer's slot."""
    return need + (slot - need) % SLOTS


def reconciled(read: int, removed: int, bound: int) -> int:
    """The version of a reconciled key: an upper bound of all that is known, and above what was there (rules 1 and 15)."""
    return max(read, removed, bound + 1)
