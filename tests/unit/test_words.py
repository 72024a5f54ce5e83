"""Numbers and names in sentences."""

from __future__ import annotations

import pytest

from sync.core.words import counted, first_of, listed


@pytest.mark.parametrize(("count", "said"), [(0, "0 gates"), (1, "1 gate"), (2, "2 gates"), (1_000_000, "1,000,000 gates")])
def test_one_is_no_plural(count: int, said: str) -> None:
    """Would break: `refused by 1 gates`."""
    assert counted(count, "gate") == said


def test_irregular_plurals() -> None:
    """Would break: `2 passs`."""
    assert (counted(1, "pass", "passes"), counted(2, "pass", "passes")) == ("1 pass", "2 passes")


def test_lists() -> None:
    """Would break: a comma before the last one, or none at all."""
    assert [listed(list(names)) for names in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]


def test_of_a_long_list_the_first_and_how_many_more() -> None:
    """Would break: a cluster of 300 nodes on one line, or `and 0 more`."""
    assert first_of(list("abc"), 3) == "a, b, c"
    assert first_of(list("abcd"), 3) == "a, b, c and 1 more"
    assert first_of([str(n) for n in range(2000)], 1) == "0 and 1,999 more"
