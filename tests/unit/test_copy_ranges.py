"""The worker's loop with doubles: batches and checkpoints, leases, rates, timeouts, servers that go away."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.core.ring import MAX_TOKEN, MIN_TOKEN, TokenRange
from sync.core.rows import Page
from sync.errors import (
    LeaseLost,
    SourceAway,
    SourceTimeout,
    SourceUnavailable,
    TargetNotNow,
    TargetUnavailable,
    Unreachable,
    UnreachableNow,
)
from sync.flows import copy_ranges as flow
from sync.flows import pacing, retry
from sync.flows.copy_ranges import CopyStream, batches, copy_in_streams
from sync.flows.pacing import Pacer
from sync.flows.retry import retry_until_stopped, retry_while_not_now
from sync.ports import Batch, Lease

RANGE = TokenRange(0, 1000)


def _page(tokens: list[int]) -> Page:
    """A page of rows that have only a token."""
    return Page(b"head" + b"".join(b"\0\0\0\x08" + struct.pack(">q", t) for t in tokens), 4, len(tokens))


def _tokens(page: Page) -> list[int]:
    step = range(page.offset + 4, len(page.data), 12)
    return [struct.unpack_from(">q", page.data, at)[0] for at in step]


def _rows(batch: Batch) -> list[int]:
    return [token for page in batch.pages for token in _tokens(page)]


@dataclass
class Clock:
    """Time that passes only when somebody sleeps."""

    now: float = 100.0
    slept: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += max(seconds, 0.001)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (flow, pacing, retry):
        monkeypatch.setattr(module, "time", made)
    return made


@dataclass
class FakeRanges:
    """The ledger: leases to hand out, and what happened to them."""

    leases: list[Lease]
    log: list[object] = field(default_factory=list)
    renewed: Callable[[Lease], Lease | None] = lambda lease: lease
    taken_back: int = 0

    def claim(self, _runs: list[int], owner: str) -> Lease | None:
        return replace(self.leases.pop(0), owner=owner) if self.leases else None

    def renew(self, lease: Lease) -> Lease | None:
        self.log.append("renew")
        return self.renewed(lease)

    def reclaim(self, _runs: list[int], _owner: str) -> None:
        self.taken_back += 1

    def wait(self, lease: Lease, error: str) -> None:
        self.log.append(("wait", lease.range_id, error))

    def discard_position(self, lease: Lease) -> None:
        self.log.append(("forget", lease.range_id))

    def release_range(self, lease: Lease) -> None:
        self.log.append(("back", lease.range_id))

    def fail(self, lease: Lease, error: str) -> None:
        self.log.append(("fail", lease.range_id, error))

    def split(self, lease: Lease, middle: int, _error: str) -> None:
        self.log.append(("split", lease.range_id, middle))


@dataclass
class FakeSource:
    """Gives these pages, then raises this error."""

    given: list[Page]
    error: Exception | None = None
    asked: list[tuple[TokenRange, int | None]] = field(default_factory=list)
    places: list[bytes | None] = field(default_factory=list)
    between: Callable[[], None] = lambda: None

    def pages(self, tokens: TokenRange, page_rows: int | None = None, position: bytes | None = None) -> Iterator[Page]:
        self.places.append(position)
        self.asked.append((tokens, page_rows))
        for page in self.given:
            self.between()
            yield page
        if self.error:
            raise self.error


@dataclass
class FakeTarget:
    """Remembers batches; `keep_going` is what it answers."""

    loaded: list[Batch] = field(default_factory=list)
    keep_going: bool = True
    error: Exception | None = None

    def load(self, _lease: Lease, batch: Batch) -> bool:
        if self.error:
            raise self.error
        self.loaded.append(batch)
        return self.keep_going


def _lease(number: int = 1, todo: TokenRange | None = RANGE, rate: float | None = None, attempts: int = 1) -> Lease:
    return Lease(number, 7, "songs", RANGE, todo, 5, attempts, rate, "")


def _stream(ranges: FakeRanges, source: FakeSource, target: FakeTarget, batch_bytes: int = 1) -> CopyStream:
    return CopyStream(ranges, lambda _table: source, lambda _lease: target, batch_bytes, lease_seconds=60)


def _never() -> bool:
    return False


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=60),
    st.lists(st.integers(0, 9), max_size=30),
    st.integers(1, 400),
    st.none() | st.integers(1, 20),
)
def test_every_row_is_in_one_batch_and_no_checkpoint_is_beyond_an_unfinished_partition(
    tokens: list[int], cuts: list[int], batch_bytes: int, batch_rows: int | None
) -> None:
    """Would break: a row between two batches is lost; or a worker resumes after rows of a partition that were not loaded."""
    rows, pages = sorted(tokens), []
    for cut in [*cuts, len(rows)]:
        pages.append(_page(rows[:cut]))
        rows = rows[cut:]
    made = list(batches(iter(pages), 50, batch_bytes, batch_rows))
    assert [row for batch in made for row in _rows(batch)] == sorted(tokens)
    assert [batch.last for batch in made] == [False] * (len(made) - 1) + [True]
    assert made[-1].done_to == 50
    assert [b.done_to for b in made] == sorted(b.done_to for b in made)
    left = sorted(tokens)
    for batch in made[:-1]:
        left = left[batch.rows :]
        assert batch.rows
        assert batch.done_to < left[0], "a row that is not loaded yet lies before the checkpoint"
        assert batch.done_to == left[0] - 1
        before = batch.rows - batch.pages[-1].count
        assert sum(p.size for p in batch.pages[:-1]) < batch_bytes
        assert not batch_rows or before < batch_rows


def test_an_empty_range_is_one_empty_batch() -> None:
    """Would break: a range without rows is never done."""
    assert list(batches(iter([]), 9, 1)) == [Batch((), 9, last=True)]
    assert list(batches(iter([_page([])]), 9, 1)) == [Batch((), 9, last=True)]


def test_ranges_are_copied_until_there_are_none() -> None:
    """Would break: a worker stops after its first range, or counts a range that it gave back."""
    ranges, target = FakeRanges([_lease(1), _lease(2, todo=None)]), FakeTarget()
    assert flow.copy_ranges(_stream(ranges, FakeSource([_page([1, 2]), _page([2, 3])]), target), [7], "me", _never) == 2
    assert [(b.done_to, b.last, b.rows) for b in target.loaded] == [(1, False, 2), (1000, True, 2), (1000, True, 0)]
    assert ranges.log == []


def test_a_stop_gives_the_range_back_after_the_batch() -> None:
    """Would break: after Ctrl-C a range waits until its lease expires, or one that is all but done is thrown away."""
    ranges, target = FakeRanges([_lease(1), _lease(2)]), FakeTarget()
    source = FakeSource([_page([1]), _page([2]), _page([3])])
    assert flow.copy_ranges(_stream(ranges, source, target), [7], "me", lambda: bool(target.loaded)) == 0
    assert [b.done_to for b in target.loaded] == [1]
    assert ranges.log == [("back", 1)]
    one, last = FakeRanges([_lease(1)]), FakeTarget(keep_going=False)
    assert flow.copy_ranges(_stream(one, FakeSource([_page([1])]), last), [7], "me", _never) == 1
    assert one.log == [], "the last batch is done, whoever asked to stop"


def test_the_next_lease_is_taken_when_one_is_lost() -> None:
    """Would break: a lease taken over by another worker ends the whole job."""
    ranges, target = FakeRanges([_lease(1)]), FakeTarget(error=LeaseLost("gone"))
    assert flow.copy_ranges(_stream(ranges, FakeSource([]), target), [7], "me", _never) == 0
    assert ranges.log == []


def test_an_unavailable_source_is_asked_again_after_longer_and_longer_pauses(clock: Clock) -> None:
    """Would break: a restart of Cassandra uses up all attempts within a second."""
    ranges = FakeRanges([_lease(i) for i in range(6)])
    source = FakeSource([], SourceUnavailable("away"))
    assert flow.copy_ranges(_stream(ranges, source, FakeTarget()), [7], "me", _never) == 0
    assert ranges.log == [("fail", i, "away") for i in range(6)]
    assert 1 + 2 + 4 + 8 + 15 + 15 <= clock.now - 100 < 46


@pytest.mark.parametrize(
    ("whole", "middle"),
    [
        (TokenRange(0, 1000), 500),
        (TokenRange(MIN_TOKEN, MAX_TOKEN), -1),
        (TokenRange(7, 9), 8),
        (TokenRange(7, 8), None),
        (TokenRange(MIN_TOKEN, MIN_TOKEN + 2), MIN_TOKEN + 1),
        (TokenRange(MIN_TOKEN, MIN_TOKEN + 1), None),
    ],
)
def test_a_range_that_times_out_is_split_or_fails_where_it_is_one_token(whole: TokenRange, middle: int | None) -> None:
    """Would break: a split at an end makes an empty range, which the ledger refuses, and the job dies."""
    ranges = FakeRanges([replace(_lease(), whole=whole, todo=whole)])
    flow.copy_ranges(_stream(ranges, FakeSource([], SourceTimeout("too much")), FakeTarget()), [7], "me", _never)
    assert ranges.log == [("split", 1, middle) if middle is not None else ("fail", 1, "too much")]
    if middle is not None:
        assert whole.start < middle < whole.end


def test_a_time_out_splits_what_is_left() -> None:
    """Would break: the half that is already copied is split off again and again, and the hard half never is."""
    ranges = FakeRanges([_lease()])
    source = FakeSource([_page([100]), _page([801]), _page([900])], SourceTimeout("too much"))
    flow.copy_ranges(_stream(ranges, source, FakeTarget()), [7], "me", _never)
    assert ranges.log == [("split", 1, 949)], "899 and 1000 are the ends of what is left"


def test_reading_keeps_to_its_share_over_all_ranges(clock: Clock) -> None:
    """Would break: the first page of every range is free, so that many small ranges are read at full speed."""
    ranges, source = FakeRanges([_lease(i, rate=10.0) for i in range(5)]), FakeSource([_page([1] * 20)])
    assert flow.copy_ranges(_stream(ranges, source, FakeTarget(), 1 << 20), [7], "me", _never) == 5
    assert 8 <= clock.now - 100 < 8.5
    assert {rows for _, rows in source.asked} == {10}, "a page is no more than a second's rows"


def test_a_lease_is_renewed_while_its_worker_waits_and_the_rate_follows(clock: Clock) -> None:
    """Would break: at a low rate the lease expires before the batch is done, and the range never is."""
    ranges = FakeRanges([_lease(rate=1.0)], renewed=lambda lease: replace(lease, rate=100.0))
    source = FakeSource([_page([1] * 10), _page([2] * 10), _page([3] * 10)])
    flow.copy_ranges(_stream(ranges, source, FakeTarget()), [7], "me", _never)
    assert 10 <= clock.now - 100 < 11, "ten rows at one a second, then ten at a hundred"
    assert len(ranges.log) >= 9


def test_a_lease_is_renewed_while_a_slow_source_sends_pages(clock: Clock) -> None:
    """Would break: a batch of slow pages is read for nothing, because its lease has expired."""
    ranges, target = FakeRanges([_lease()]), FakeTarget()
    source = FakeSource([_page([i]) for i in range(1, 9)], between=lambda: clock.sleep(15))
    flow.copy_ranges(_stream(ranges, source, target, 1 << 20), [7], "me", _never)
    assert ranges.log == ["renew"] * 4
    assert len(target.loaded) == 1


@pytest.mark.parametrize("asked", ["the run", "the job"])
def test_a_stop_is_heard_while_waiting(clock: Clock, asked: str) -> None:
    """Would break: Ctrl-C is not noticed during a pause of minutes."""
    ranges = FakeRanges([_lease(rate=1.0)], renewed=lambda lease: None if asked == "the run" else lease)
    source = FakeSource([_page([1] * 1000), _page([2])])
    flow.copy_ranges(_stream(ranges, source, FakeTarget()), [7], "me", lambda: asked == "the job" and clock.now > 102)
    assert clock.now < 105
    assert ranges.log[-1] == ("back", 1)


def test_pace_does_not_save_up(clock: Clock) -> None:
    """Would break: a pause is followed by a burst as large as the pause was long."""
    limiter = Pacer()
    limiter.spend(100, 10)
    clock.now += 1000
    assert limiter.wait(lambda: True)
    limiter.spend(100, 10)
    assert limiter.wait(lambda: True)
    assert 10 <= clock.now - 1100 < 10.5
    limiter.spend(100, None)
    assert limiter.wait(_never)


def test_what_is_away_is_tried_again_for_about_two_minutes(clock: Clock) -> None:
    """Would break: a restart ends the job; or the job waits forever for a target that is gone."""
    errors: list[Exception] = [TargetUnavailable("cut"), Unreachable("Cassandra at x: nothing listens there")]
    assert retry_until_stopped(lambda: _raise(errors.pop()) if errors else 3, _never) == 3
    begun = clock.now
    with pytest.raises(Unreachable):
        retry_until_stopped(lambda: _raise(Unreachable("gone")), _never)
    assert 100 < clock.now - begun < 180
    with pytest.raises(TargetUnavailable):
        retry_until_stopped(lambda: _raise(TargetUnavailable("cut")), lambda: True)


def _raise(error: Exception) -> int:
    raise error


def test_lanes_share_the_work_and_a_broken_one_stops_the_others() -> None:
    """Would break: an error in one stream is lost, or the job waits for the other stream's hours of work."""
    ranges, target = FakeRanges([_lease(i) for i in range(20)]), FakeTarget()

    @contextmanager
    def opened() -> Iterator[CopyStream]:
        yield _stream(ranges, FakeSource([_page([1])]), target)

    assert copy_in_streams(opened, 3, [7], "me", _never) == 20
    endless, broken = FakeRanges([_lease(i) for i in range(100_000)]), FakeTarget(error=RuntimeError("bug"))
    targets = iter([broken, FakeTarget()])

    @contextmanager
    def half() -> Iterator[CopyStream]:
        yield _stream(endless, FakeSource([_page([1])]), next(targets))

    with pytest.raises(RuntimeError, match="bug"):
        copy_in_streams(half, 2, [7], "me", _never)
    assert endless.leases, "the other stream went on to the end"


def test_a_server_that_cannot_now_is_waited_for_and_costs_no_attempt(clock: Clock) -> None:
    """Would break: a full disk, or an overloaded source, fails one range after the other within minutes."""
    for error in (SourceAway("NoHostAvailable"), TargetNotNow("could not extend file: No space left on device")):
        ranges, begun = FakeRanges([_lease(i) for i in range(6)]), clock.now
        source = FakeSource([], error if isinstance(error, SourceAway) else None)
        target = FakeTarget(error=error if isinstance(error, TargetNotNow) else None)
        assert flow.copy_ranges(_stream(ranges, source, target), [7], "me", _never) == 0
        assert ranges.log == [("wait", i, str(error)) for i in range(6)]
        assert 1 + 2 + 4 + 8 + 15 + 15 <= clock.now - begun < 46


def test_whoever_waits_for_a_server_that_cannot_now_has_not_failed(clock: Clock) -> None:
    """Would break: after five minutes of a full disk the jobs that waited count as failed, and the whole run ends."""
    begun = clock.now
    assert retry_until_stopped(lambda: _raise(TargetNotNow("no room")), lambda: clock.now > begun + 3600) == 0
    assert retry_until_stopped(lambda: _raise(UnreachableNow("it starts")), lambda: clock.now > begun + 7200) == 0
    assert retry_while_not_now(lambda: _raise(TargetNotNow("no room")), lambda: clock.now > begun + 9000) == 0
    with pytest.raises(TargetUnavailable):
        retry_while_not_now(lambda: _raise(TargetUnavailable("cut")), _never)


def test_a_lane_frees_what_it_held_before_it_lost_its_connection() -> None:
    """Would break: its ranges wait until their leases expire, and count as those of a worker that died."""
    ranges = FakeRanges([])
    flow.copy_ranges(_stream(ranges, FakeSource([]), FakeTarget()), [7], "me", _never)
    assert ranges.taken_back == 1


def test_a_range_goes_on_at_its_place_and_is_looked_at_once() -> None:
    """Would break: each job restarts a partition; or searches its write times again, which may take longer than a job."""
    place, looks = b"place", list[TokenRange]()
    for position, todo in ((place, RANGE), (None, TokenRange(7, 1000)), (None, RANGE)):
        ranges, source = FakeRanges([replace(_lease(todo=todo), position=position)]), FakeSource([_page([9])])
        stream = replace(_stream(ranges, source, FakeTarget()), note_rows_ahead=lambda _t, tokens, _a: looks.append(tokens))
        assert flow.copy_ranges(stream, [7], "me", _never) == 1
        assert source.places == [position]
    assert looks == [RANGE]


def test_a_batch_is_loaded_behind_a_look_however_long_that_takes(clock: Clock) -> None:
    """Would break: a search for write times that takes longer than a job gives the range back unchanged, forever."""
    begun, target = clock.now, FakeTarget()
    stream = replace(
        _stream(FakeRanges([_lease()]), FakeSource([_page([1]), _page([2])]), target),
        note_rows_ahead=lambda *_: clock.sleep(100),
    )
    flow.copy_ranges(stream, [7], "me", lambda: clock.now > begun + 60)
    assert len(target.loaded) == 1


def test_a_batch_ends_at_the_place_behind_its_last_page() -> None:
    """Would break: the checkpoint is the place of the page that was read ahead, and whoever resumes skips its rows."""
    pages = [replace(_page([5]), after=bytes([i])) for i in range(3)]
    assert [(b.done_to, b.position) for b in batches(iter(pages), 9, 1)] == [(4, b"\0"), (4, b"\1"), (9, None)]
