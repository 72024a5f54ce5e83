"""The token ring: ranges that hold every token exactly once (invariant 4)."""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.murmur import hash_of, key_for

from sync.core.ring import (
    MAX_TOKEN,
    MIN_TOKEN,
    RING_SIZE,
    WHOLE_RING,
    SizeEstimate,
    TokenRange,
    check_whole_ring,
    least_ranges,
    plan_ranges,
    whole_ring,
)

_PROFILE = settings(max_examples=200, derandomize=True, database=None, deadline=None)
TOKENS = st.one_of(
    st.integers(MIN_TOKEN, MAX_TOKEN), st.sampled_from([MIN_TOKEN, MIN_TOKEN + 1, -1, 0, 1, MAX_TOKEN - 1, MAX_TOKEN])
)
RANGES = st.tuples(TOKENS, TOKENS).filter(lambda t: t[0] != t[1]).map(lambda t: TokenRange(min(t), max(t)))


@_PROFILE
@given(RANGES, st.integers(-2, 300), st.lists(TOKENS, max_size=20))
def test_the_parts_of_a_range_hold_its_tokens_once(whole: TokenRange, parts: int, tokens: list[int]) -> None:
    """Would break: a range that is split after a timeout loses the token at a cut, or reads it twice."""
    split = whole.split(parts)
    assert (split[0].start, split[-1].end) == (whole.start, whole.end)
    assert all(left.end == right.start for left, right in pairwise(split))
    assert len(split) == max(1, min(parts, whole.end - whole.start))
    assert sum(r.width for r in split) == whole.width
    widths = [r.end - r.start for r in split]
    assert min(widths) >= 1 and max(widths) - min(widths) <= 1
    edges = {t + d for r in split for t in (r.start, r.end) for d in (-1, 0, 1)}
    for token in [*tokens, *edges]:
        assert sum(token in r for r in split) == (token in whole)


@_PROFILE
@given(TOKENS, TOKENS, TOKENS)
def test_a_range_is_open_at_its_start_except_at_the_least_token(start: int, end: int, token: int) -> None:
    """Would break: the least token of the ring is in no range."""
    if start >= end:
        return
    assert (token in TokenRange(start, end)) == (start < token <= end or start == token == MIN_TOKEN)


@pytest.mark.parametrize(
    ("start", "end"), [(0, 0), (1, 0), (MIN_TOKEN - 1, 0), (0, MAX_TOKEN + 1), (MAX_TOKEN, MIN_TOKEN), (MIN_TOKEN, MIN_TOKEN)]
)
def test_what_is_not_a_range_cannot_be_made(start: int, end: int) -> None:
    """Would break: an empty or inverted range is planned, read as nothing and called done."""
    with pytest.raises(ValueError, match="not a token range"):
        TokenRange(start, end)


ESTIMATES = st.lists(st.builds(SizeEstimate, TOKENS, TOKENS, st.integers(0, 2**40)), max_size=8)


@_PROFILE
@given(ESTIMATES, st.integers(2**24, 2**40), st.integers(0, 200), st.lists(TOKENS, max_size=20))
def test_planned_ranges_hold_every_token_once(
    estimates: list[SizeEstimate], target: int, at_least: int, tokens: list[int]
) -> None:
    """Would break: rows are never copied, or copied twice, where estimates are stale, wrong, overlapping or missing."""
    planned = plan_ranges(estimates, target, at_least)
    check_whole_ring(planned)
    assert len(planned) == max(at_least, -(-sum(e.bytes for e in estimates) // target), 1)
    assert sum(r.width for r in planned) == RING_SIZE
    ends = [r.end for r in planned]
    for token in [*tokens, MIN_TOKEN, MIN_TOKEN + 1, MAX_TOKEN - 1, MAX_TOKEN, *ends[:50]]:
        at = bisect_left(ends, token)  # there may be half a million ranges: the one that should hold it, and those beside
        assert token in planned[at] and [token in r for r in planned[max(0, at - 2) : at + 3]].count(True) == 1


@_PROFILE
@given(st.integers(1, 200), st.lists(TOKENS, max_size=300))
def test_ranges_end_where_other_nodes_rows_begin(at_least: int, replica_boundaries: list[int]) -> None:
    """Would break: half of each range's rows are fetched by a node from another one; or a small table has 4,096 ranges."""
    planned = plan_ranges([], 1 << 26, at_least, replica_boundaries)
    check_whole_ring(planned)
    assert at_least <= len(planned) <= 2 * at_least
    within = {s for s in replica_boundaries if MIN_TOKEN < s < MAX_TOKEN}
    if len(within) <= at_least:
        assert within <= {r.end for r in planned}


@pytest.mark.parametrize(
    ("size", "few", "wanted"),
    [(0, True, 1), (10 << 20, True, 1), (0, False, 64), (1, False, 8), (20 << 20, False, 20), (1 << 40, False, 64)],
)
def test_ranges_are_as_many_as_a_table_needs(size: int, few: bool, wanted: int) -> None:
    """Would break: a table of ten rows costs as much as one of a million; or one of unknown size becomes one range."""
    assert least_ranges(size, few) == wanted


@st.composite
def whole_rings(draw: st.DrawFn) -> list[TokenRange]:
    """Ranges of all widths, down to one token, that make the ring."""
    inner = draw(st.lists(TOKENS.filter(lambda t: MIN_TOKEN < t < MAX_TOKEN), min_size=1, max_size=12, unique=True))
    ranges = [TokenRange(a, b) for a, b in pairwise([MIN_TOKEN, *sorted(inner), MAX_TOKEN])]
    return draw(st.permutations(ranges))


@_PROFILE
@given(whole_rings())
def test_a_whole_ring_passes_in_any_order(ranges: list[TokenRange]) -> None:
    """Would break: a sound plan is refused."""
    check_whole_ring(ranges)


@_PROFILE
@given(whole_rings(), st.data())
def test_every_planted_fault_is_found(ranges: list[TokenRange], data: st.DataObject) -> None:
    """Would break: a gap of one token, an overlap, a range twice, or an end that is not reached, goes unnoticed."""
    at = data.draw(st.integers(0, len(ranges) - 1))
    chosen = ranges[at]
    faults = [ranges[:at] + ranges[at + 1 :], [*ranges, chosen], [*ranges, WHOLE_RING]]
    if chosen.end - chosen.start > 1:
        faults.append([*ranges, TokenRange(chosen.start, chosen.end - 1)])
        faults.append([*ranges, TokenRange(chosen.start + 1, chosen.end)])
        for start, end in ((chosen.start + 1, chosen.end), (chosen.start, chosen.end - 1)):
            faults.append([*ranges[:at], TokenRange(start, end), *ranges[at + 1 :]])  # one token short, at either end
    if chosen.start > MIN_TOKEN:
        faults.append([*ranges[:at], TokenRange(chosen.start - 1, chosen.end), *ranges[at + 1 :]])
    if chosen.end < MAX_TOKEN:
        faults.append([*ranges[:at], TokenRange(chosen.start, chosen.end + 1), *ranges[at + 1 :]])
    for fault in faults:
        with pytest.raises(ValueError, match="ring"):
            check_whole_ring(fault)


@pytest.mark.parametrize(
    "ranges", [[], [TokenRange(MIN_TOKEN, 0)], [TokenRange(0, MAX_TOKEN)], [TokenRange(MIN_TOKEN + 1, MAX_TOKEN)]]
)
def test_a_ring_without_an_end_is_found(ranges: list[TokenRange]) -> None:
    """Would break: half a ring, or none, passes for all of it."""
    with pytest.raises(ValueError, match="both ends"):
        check_whole_ring(ranges)


@_PROFILE
@given(TOKENS, st.integers(0, 2**64 - 1))
def test_keys_can_be_made_for_any_hash(token: int, salt: int) -> None:
    """Would break: the tests themselves, which make keys at the ends of the ring with this helper."""
    assert hash_of(key_for(token, salt)) == token


def test_the_helper_hashes_as_cassandra_does() -> None:
    """Would break: the helper agrees with itself, but not with the partitioner (the driver's own port of it)."""
    from cassandra.metadata import Murmur3Token

    for key in (bytes(16), bytes(range(16)), b"\xff" * 16):
        assert hash_of(key) == Murmur3Token.hash_fn(key)


def test_estimates_of_some_nodes_stand_for_the_whole_ring() -> None:
    """Would break: one node of three reports a third of the ring, and ranges are three times too large."""
    third = RING_SIZE // 3
    one = [SizeEstimate(MIN_TOKEN, MIN_TOKEN + third, 100)]
    assert sum(e.bytes for e in whole_ring(one)) in (299, 300)
    wrapped = [SizeEstimate(MAX_TOKEN - third // 2, MIN_TOKEN + third - third // 2, 100)]
    assert sum(e.bytes for e in whole_ring(wrapped)) in (299, 300)
    halves = [SizeEstimate(MIN_TOKEN, 0, 100), SizeEstimate(0, MIN_TOKEN, 50)]
    assert whole_ring(halves) == halves
    assert whole_ring([]) == []
    assert whole_ring([SizeEstimate(5, 5, 7)]) == [SizeEstimate(5, 5, 7)], "a node of one token has all of it"
