"""The throttle's controller: it falls while a server is slow, comes back, is bounded, and does not flap."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sync.core.throttle import (
    LEAST_SHARE,
    MAX_REST_SECONDS,
    STEP,
    SideThrottle,
    Throttled,
    in_words,
    rest_seconds,
    state_in_words,
    throttled_of,
)

LIMIT = 0.1
ANY = st.floats(0, 60)
FAST, SLOW = st.floats(0, 0.8 * LIMIT), st.floats(1.01 * LIMIT, 60)
NORMAL = st.floats(0, LIMIT)


def _fed(latencies: Iterable[float], side: SideThrottle | None = None) -> tuple[SideThrottle, list[float]]:
    """The controller after these measurements, one a second, and its share after each."""
    made = side or SideThrottle(LIMIT)
    shares = []
    for second, latency in enumerate(latencies):
        made.observe(latency, float(second))
        shares.append(made.share)
    return made, shares


@given(st.lists(ANY, max_size=200))
@example([60.0] * 100)
def test_the_share_is_bounded_whatever_is_measured(latencies: list[float]) -> None:
    """Would break: a run stops for good, or works more than all of the time; or it rests, and nobody is told since when."""
    side, shares = _fed(latencies)
    assert all(LEAST_SHARE <= share <= 1 for share in shares)
    assert (side.state("source") is None) == (side.share == 1)


@given(st.lists(ANY, max_size=100), st.lists(FAST, min_size=21, max_size=21))
def test_it_is_back_at_full_speed_soon_after_the_server_is(before: list[float], fast: list[float]) -> None:
    """Would break: an hour of slowness costs a day of resting."""
    side, _ = _fed([*before, *fast])
    assert (side.share, side.state("target")) == (1, None)


@given(st.lists(SLOW, min_size=21, max_size=60))
def test_while_a_server_is_slow_it_rests_more_and_more(latencies: list[float]) -> None:
    """Would break: the load stays where the server cannot bear it."""
    side, shares = _fed(latencies)
    assert shares[:3] == [1, 1, 0.5], "two slow measurements decide nothing"
    assert shares == sorted(shares, reverse=True)
    assert side.share == LEAST_SHARE
    assert side.since == 2


@given(st.lists(st.tuples(ANY, NORMAL, NORMAL, NORMAL, NORMAL), max_size=30))
def test_a_lone_slow_measurement_changes_nothing(groups: list[tuple[float, ...]]) -> None:
    """Would break: each pause of a garbage collector halves the speed."""
    _, shares = _fed(latency for group in groups for latency in group)
    assert set(shares) <= {1}


@given(st.lists(ANY, max_size=200))
def test_between_two_falls_there_are_measurements_of_what_the_first_one_did(latencies: list[float]) -> None:
    """Would break: the same slow second is counted again and again, and one hiccup throttles to nothing."""
    _, shares = _fed(latencies)
    falls = [at for at in range(1, len(shares)) if shares[at] < shares[at - 1]]
    assert all(later - earlier >= 3 for earlier, later in pairwise(falls))
    assert all(shares[at] - shares[at - 1] <= STEP for at in range(1, len(shares))), "it comes back step by step"


@given(st.lists(SLOW, min_size=3, max_size=30), st.lists(st.floats(0.81 * LIMIT, LIMIT), min_size=5, max_size=100))
def test_near_the_limit_it_stays_as_it_is(slow: list[float], near: list[float]) -> None:
    """Would break: it flaps around the limit."""
    side, _ = _fed(slow)
    _, shares = _fed(near[:5], side)
    settled = shares[-1]
    assert set(_fed(near[5:], side)[1]) <= {settled}


def test_a_server_that_is_slow_only_under_load_is_loaded_as_far_as_it_bears() -> None:
    """Would break: it swings between all and nothing: the server's latency follows the share of the time that is worked."""
    side, shares = SideThrottle(LIMIT), []
    for second in range(600):
        side.observe(0.02 + 0.2 * side.share, float(second))  # the limit is reached at 40 %
        shares.append(side.share)
    later = shares[100:]
    assert min(later) >= 0.15
    assert max(later) <= 0.5, "what it reaches before the measurements that it caused have come"
    assert sum(later) / len(later) > 0.25
    assert side.since == 2, "throttled all the time, not again and again"


@given(st.floats(0, 10_000), st.floats(LEAST_SHARE, 1))
def test_a_rest_ends(worked: float, share: float) -> None:
    """Would break: a page that took ten minutes is followed by a rest of half a day."""
    rest = rest_seconds(worked, share)
    assert 0 <= rest <= MAX_REST_SECONDS
    assert rest_seconds(worked, 1) == 0
    assert rest == MAX_REST_SECONDS or rest == pytest.approx(worked / share - worked, abs=1e-6)


def test_what_is_shown() -> None:
    """Would break: nobody learns which server is slow, or a line changes all the time."""
    side, _ = _fed([0.31] * 6)
    state = side.state("target")
    assert state == Throttled("target", 2.0, 310, 100, 0.25)
    assert throttled_of(state.plain()) == state
    text = in_words(state.plain(), 125.2)
    assert text == "throttled to 25 % for 2m03s: Postgres takes 310 ms (limit 100)"
    assert state_in_words(state.plain()) == "throttled by Postgres"


def test_the_next_process_begins_where_the_last_one_was() -> None:
    """Would break: each job of a minute begins at full speed, on a server that cannot bear it."""
    side = SideThrottle(LIMIT)
    side.resume(Throttled("source", 1000.0, 300, 100, 0.125))
    assert (side.share, side.since) == (0.125, 1000.0)
    _, shares = _fed([0.3, 0.3, 0.3], side)
    assert shares == [0.125, 0.125, 0.0625]
