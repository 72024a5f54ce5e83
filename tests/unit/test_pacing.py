"""What paces a stream, with a clock of its own: rests follow what is measured, and a copy or a check under it stays whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from threading import Semaphore

import pytest

from sync.core.ring import TokenRange
from sync.core.rows import Page
from sync.core.throttle import LEAST_SHARE, Throttled
from sync.errors import SourceTimeout, SourceUnavailable, TargetUnavailable
from sync.flows import check_ranges as checking
from sync.flows import copy_ranges as copying
from sync.flows import pacing
from sync.flows.check_ranges import CheckStream
from sync.flows.copy_ranges import CopyStream, copy_ranges
from sync.flows.pacing import Pacer, RateLimiter, Throttle
from sync.flows.recheck import RecheckPolicy
from sync.ports import Batch, Lease

RANGE = TokenRange(0, 10_000)
LIMIT = 0.1


@dataclass
class Clock:
    """Time that passes only when somebody works or sleeps."""

    now: float = 1000.0
    slept: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.now += max(seconds, 0.001)

    def work(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (copying, pacing):
        monkeypatch.setattr(module, "time", made)
    monkeypatch.setattr(checking, "monotonic", made.monotonic)
    monkeypatch.setattr(checking, "sleep", made.sleep)
    return made


def page(token: int, rows: int = 1) -> Page:
    row = b"\0\0\0\x08" + token.to_bytes(8, "big", signed=True)
    return Page(b"head" + row * rows, 4, rows)


@dataclass
class World:
    """A source, a target and a ledger, each of which takes some time; the target is slow from one batch to another."""

    clock: Clock
    batches: int
    is_slow: Callable[[int], bool]
    seconds: float = 0.5
    source_slow: bool = False
    loaded: list[Batch] = field(default_factory=list)
    noted: list[Throttled | None] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)

    def pages(self, _tokens: TokenRange, _rows: int | None = None, _position: bytes | None = None) -> Iterator[Page]:
        for token in range(1, self.batches + 1):
            yield page(token)

    def load(self, _lease: Lease, batch: Batch) -> bool:
        self.clock.work(self.seconds)
        self.loaded.append(batch)
        return True

    def claim(self, _runs: list[int], _owner: str) -> Lease | None:
        return self.leases.pop() if self.leases else None

    def renew(self, lease: Lease) -> Lease:
        self.clock.work(0.3 if self.is_slow(len(self.loaded)) and not self.source_slow else 0.005)
        self.noted.append(lease.throttled)
        return replace(lease, throttled=None)

    def look(self, _table: str) -> bool:
        self.clock.work(0.3 if self.is_slow(len(self.loaded)) and self.source_slow else 0.005)
        return True

    def __getattr__(self, name: str) -> Callable[..., object]:
        return lambda *_: None

    def copy(self, pacer: Pacer) -> None:
        """Copy one range."""
        self.leases = [Lease(1, 7, "songs", RANGE, RANGE, 5, 1, None, "me")]
        stream = CopyStream(self, lambda _: self, lambda _: self, 1, pacer=pacer)  # type: ignore[arg-type]
        assert copy_ranges(stream, [7], "me", lambda: False) == 1

    @property
    def tokens(self) -> list[int]:
        return [p.first_token for batch in self.loaded for p in batch.pages]


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_copy_rests_while_a_side_is_slow_and_comes_back(clock: Clock, side: str) -> None:
    """Would break: the copy goes on at full speed on a server that suffers, or stays slow for ever, or loses a batch."""
    world = World(clock, 300, lambda done: 50 <= done < 60, source_slow=side == "source")
    throttle = Throttle({"source": LIMIT, "target": LIMIT})
    world.copy(Pacer(throttle=throttle, look=world.look))
    assert world.tokens == list(range(1, 301))
    told = [state.side for state in world.noted if state]
    assert set(told) == {side}, "the side that is slow is named"
    assert min(state.share for state in world.noted if state) <= 0.25
    assert (throttle.share, world.noted[-1]) == (1, None)
    assert clock.slept > 20, "ten batches of half a second are worked, at a quarter of the time and less"


def test_without_limits_nothing_is_measured_and_nobody_rests(clock: Clock) -> None:
    """Would break: who did not ask for a throttle pays for one."""
    world = World(clock, 50, lambda _: True)
    world.copy(Pacer(look=lambda _: pytest.fail("nobody asked for this")))
    assert (clock.slept, set(world.noted)) == (0, {None})
    assert len(world.noted) <= 2, "a lease of a minute is renewed every twenty seconds"


def test_a_side_without_a_limit_is_not_measured(clock: Clock) -> None:
    """Would break: a limit on Postgres alone costs Cassandra reads, or a slow Cassandra throttles."""
    world = World(clock, 50, lambda _: True, source_slow=True)
    world.copy(Pacer(throttle=Throttle({"source": None, "target": LIMIT}), look=lambda _: pytest.fail("not measured")))
    assert set(world.noted) == {None}


def test_a_server_that_stays_slow_is_never_left_for_good(clock: Clock) -> None:
    """Would break: the run stands still, without an end and without a word."""
    world = World(clock, 40, lambda _: True, seconds=30.0)
    throttle = Throttle({"target": LIMIT})
    world.copy(Pacer(throttle=throttle))
    assert world.tokens == list(range(1, 41))
    assert throttle.share == LEAST_SHARE
    assert clock.slept <= 40 * 60.5, "no rest is longer than a minute"
    assert world.noted[-1] is not None
    assert world.noted[-1].since < 1200, "since it began, not since the last measurement"


def test_streams_of_a_process_measure_once(clock: Clock) -> None:
    """Would break: sixteen streams ask a suffering server sixteen times a second."""
    throttle = Throttle({"source": LIMIT, "target": LIMIT})
    assert [throttle.is_due("source") for _ in range(3)] == [True, False, False]
    assert [throttle.is_due("target") for _ in range(3)] == [True, False, False]
    clock.now += 1.0
    assert [throttle.is_due("source") for _ in range(3)] == [True, False, False]


def test_a_read_that_is_given_up_counts_as_slow_and_one_that_fails_does_not(clock: Clock) -> None:
    """Would break: the slowest reads of all are no measurements; or an outage passes for slowness, or ends a repair."""
    world = World(clock, 1, lambda _: False)
    lease = Lease(1, 7, "songs", RANGE, RANGE, 5, 1, None, "me")

    def times_out(_table: str) -> bool:
        clock.work(2.5)
        raise SourceTimeout("one row: timed out")

    def fails(_table: str) -> bool:
        raise SourceUnavailable("gone")

    throttle = Throttle({"source": LIMIT})
    for _ in range(3):
        assert Pacer(throttle=throttle, look=times_out).renew(world, lease)
    assert throttle.share == 0.5
    clock.now += 1
    assert Pacer(throttle=throttle, look=fails).renew(world, lease), "the lease is renewed"
    clock.now += 1
    Pacer(throttle=throttle, look=lambda _: False).renew(world, lease)  # no page has come yet
    state = throttle.state()
    assert state is not None
    assert state.latency_ms == 2500, "nothing was measured then"


def test_the_side_that_allows_less_is_named(clock: Clock) -> None:
    """Would break: the operator looks at the wrong server."""
    throttle = Throttle({"source": LIMIT, "target": LIMIT}, Throttled("source", 900.0, 200, 100, 0.5))
    assert throttle.state() == Throttled("source", 900.0, 200, 100, 0.5)
    for _ in range(9):
        throttle.note("target", 1.0)
    state = throttle.state()
    assert state is not None
    assert (state.side, state.share, throttle.share) == ("target", 0.125, 0.125)


def test_a_process_without_that_limit_does_not_begin_where_another_one_was(clock: Clock) -> None:
    """Would break: a limit is taken out of sync.toml, and the run is throttled for ever."""
    assert Throttle({"target": LIMIT}, Throttled("source", 900.0, 200, 100, 0.02)).share == 1


def test_streams_that_share_a_limiter_keep_its_rate_together(clock: Clock) -> None:
    """Would break: each stream of a drift report reads at the rate of all of them."""
    shared = RateLimiter()
    streams = [Pacer(shared), Pacer(shared), Pacer(shared)]
    for _ in range(10):
        for stream in streams:
            stream.spend(10, 10.0)
            assert stream.wait(lambda: True)
    assert 30 <= clock.now - 1000 < 30.5, "300 rows at ten a second"


def test_a_range_is_cut_by_the_rate(clock: Clock) -> None:
    """Would break: at a hundred rows a second Postgres reads a hundred thousand in one statement."""
    stream = CheckStream(None, None, None, RecheckPolicy(2, 0.0), 5000, Semaphore(1))  # type: ignore[arg-type]
    assert [stream.most_rows(rate) for rate in (None, 0.5, 100.0, 10_000.0)] == [5000, 100, 1000, 5000]


def test_ranges_of_a_moment_are_measured_too(clock: Clock) -> None:
    """Would break: a table of many small ranges is never throttled, or stays half throttled after an incident."""
    throttle = Throttle({"source": LIMIT, "target": LIMIT})
    world = World(clock, 2, lambda _: True, seconds=0.15, source_slow=True)
    pacer = Pacer(throttle=throttle, look=world.look)
    for _ in range(50):
        world.copy(pacer)
    assert throttle.share < 0.25
    world.is_slow = lambda _: False
    for _ in range(200):
        world.copy(pacer)
    assert throttle.share == 1


def test_a_lease_is_renewed_before_the_source_is_asked(clock: Clock) -> None:
    """Would break: a read of seconds costs a lease that was to be renewed at last."""
    asked: list[str] = []

    class Ledger:
        def renew(self, lease: Lease) -> Lease:
            asked.append("renew")
            return lease

    def look(_table: str) -> bool:
        asked.append("look")
        return True

    pacer = Pacer(throttle=Throttle({"source": LIMIT, "target": LIMIT}), look=look)
    assert pacer.renew(Ledger(), Lease(1, 7, "songs", RANGE, RANGE, 5, 1, None, "me"))
    assert asked == ["renew", "look"]


@pytest.mark.parametrize(("seconds", "slow"), [(5.0, True), (0.01, False)])
def test_an_error_that_comes_late_is_a_measurement(clock: Clock, seconds: float, slow: bool) -> None:
    """Would break: a Postgres that answers with timeouts alone is not slow; or one that is gone at once is fast."""

    class Ledger:
        def renew(self, _lease: Lease) -> Lease:
            clock.work(seconds)
            raise TargetUnavailable("canceling statement")

    throttle = Throttle({"target": LIMIT})
    for _ in range(3):
        clock.now += 1
        with pytest.raises(TargetUnavailable):
            Pacer(throttle=throttle).renew(Ledger(), Lease(1, 7, "songs", RANGE, RANGE, 5, 1, None, "me"))
    assert throttle.share == (0.5 if slow else 1)
    state = throttle.state()
    assert (state is not None) == slow
