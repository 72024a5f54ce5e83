"""What a worker does for a drift report: claim a range, hash it on both sides, and where the digests differ, settle each key.

The source is streamed once. The hash and the raw key of each row stay in memory until the range has its verdict; a range
of too many rows is cut after those that were read, so that memory is bounded (invariant 7).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from threading import Semaphore
from time import monotonic, sleep
from typing import Literal, Protocol

from sync.core.drift.compare import Comparison
from sync.core.drift.range_hashes import RangeHashes, Raw
from sync.core.drift.results import MAX_TRIES, RangeResult
from sync.core.encode.rows import RowEncoder
from sync.core.ring import TokenRange
from sync.errors import LeaseLost, NotNow, SourceTimeout, SourceUnavailable, TargetNotNow, TargetUnavailable
from sync.failpoints import failpoint
from sync.flows.copy_ranges import of_range, retry_message
from sync.flows.observing import RangeSpan, StopRequested, Trace, untraced
from sync.flows.pacing import Pacer
from sync.flows.range_verdicts import TableKeys, only_in_target, tally
from sync.flows.recheck import Recheck, RecheckPolicy
from sync.flows.retry import pause_after
from sync.flows.verify import Digests
from sync.ports import Lease, Source

log = logging.getLogger(__name__)
_LONGEST_PAUSE = 4.0
_RENEW_SECONDS = 2.0
_SETTLED_TOGETHER = 10_000
_BURST_SECONDS, _LEAST_BURST = 10, 100
"""With a rate, a range has no more rows than are due in this time: the target reads each in one statement."""
_RESTED_SECONDS, _MOST_REST_SECONDS = 30.0, 600.0
"""A range is cut after so much rest, so that a job ends soon; one partition, which is not, is held up for so much in all."""


class CheckLedger(Protocol):
    """The ledger as a check needs it."""

    def claim(self, run_ids: list[int], owner: str) -> Lease | None: ...
    def reclaim(self, runs: list[int], owner: str) -> None: ...
    def wait(self, lease: Lease, error: str) -> None: ...
    def renew(self, lease: Lease) -> Lease | None: ...
    def release_range(self, lease: Lease) -> None: ...
    def fail(self, lease: Lease, error: str) -> None: ...
    def split(self, lease: Lease, middle: int, error: str) -> None: ...
    def cut(self, lease: Lease, end: int) -> Lease: ...
    def done(self, lease: Lease, checked: RangeResult) -> None: ...


@dataclass(frozen=True, slots=True)
class Sides:
    """Both sides of one table; `keeps`: what expires in the source stays in the target."""

    source: Source
    target: Digests
    keys: Callable[[], TableKeys]
    encoder: RowEncoder
    keeps: bool = False


@dataclass(frozen=True, slots=True)
class CheckStream:
    """One stream of a worker; `sides` opens a table, `repairs` says whether its findings are to be reconciled.

    There are more streams than turns: a stream that waits for keys to settle lets another one read meanwhile; `waits` is
    called when one starts to wait.
    """

    ranges: CheckLedger
    sides: Callable[[str], Sides]
    repairs: Callable[[str], bool]
    policy: RecheckPolicy
    range_rows: int
    turn: Semaphore
    lease_seconds: float = 60
    waits: Callable[[], object] = lambda: None
    pacer: Pacer = field(default_factory=Pacer)
    trace: Trace = untraced

    def most_rows(self, rate: float | None) -> int:
        """After how many rows a range is cut, with this process's share of a rate."""
        return min(self.range_rows, max(_LEAST_BURST, int(_BURST_SECONDS * rate))) if rate else self.range_rows


class _TooManyRows(Exception):
    """The target holds far more rows of the range than the source."""


class _HeldLease:
    """A lease that is renewed while its worker reads or waits."""

    def __init__(self, stream: CheckStream, lease: Lease) -> None:
        self._ranges, self._turn, self._lease, self._at = stream.ranges, stream.turn, lease, monotonic()
        self._waits, self._pacer, self.rested = stream.waits, stream.pacer, 0.0
        self._every = stream.pacer.every(min(stream.lease_seconds / 3, _RENEW_SECONDS), lease.rate)

    def renew_if_due(self) -> None:
        """Renew if it is time. Raises LeaseLost, and StopRequested if the run is to stop."""
        if monotonic() - self._at >= self._every or self._pacer.is_due:
            self._at = monotonic()
            renewed = self._pacer.renew(self._ranges, self._lease)
            if renewed is None:
                raise StopRequested
            self._lease = renewed

    def pace(self, rows: int = 0, stopped: Callable[[], bool] = lambda: False) -> None:
        """Note rows that were, or are to be, read on both sides, and wait until more may be, renewing the lease.

        This stream keeps its turn, so that no other one reads instead. Raises StopRequested if it is `stopped()`, too.
        """
        self._pacer.spend(rows, self._lease.rate)
        begun = monotonic()

        def keep_going() -> bool:
            self.renew_if_due()
            if stopped():
                raise StopRequested
            return self.rested + monotonic() - begun < _MOST_REST_SECONDS

        try:
            self._pacer.wait(keep_going)
        finally:
            self.rested += monotonic() - begun

    def wait(self, seconds: float) -> None:
        """Sleep, renewing the lease, and let another stream have the turn meanwhile."""
        self.renew_if_due()
        until = monotonic() + seconds
        if seconds <= 0:
            return
        self._pacer.idle()
        self._turn.release()
        self._waits()
        try:
            while (left := until - monotonic()) > 0:
                sleep(min(left, 0.1))
                self.renew_if_due()
        finally:
            self._retake_turn()
            self._pacer.begin()

    def _retake_turn(self) -> None:
        """Get the turn back; the others may take long, and the lease must not expire meanwhile."""
        lost: Exception | None = None
        while not self._turn.acquire(timeout=1):
            try:
                self.renew_if_due()
            except (LeaseLost, TargetUnavailable, StopRequested) as error:
                lost = error
        if lost:
            raise lost


def check_ranges(stream: CheckStream, runs: list[int], owner: str, stopped: Callable[[], bool]) -> int:
    """Check ranges until there are none left or `stopped()`; how many were done. Raises TargetUnavailable."""
    done, failures = 0, 0
    stream.ranges.reclaim(runs, owner)
    while not stopped():
        with stream.turn:
            stream.pacer.begin()
            lease = stream.ranges.claim(runs, owner)
            if lease is None:
                break
            outcome = _attempt(stream, lease, stopped)
        stream.pacer.idle()
        if outcome == "stopped":
            break
        done += outcome == "done"
        failures = failures + 1 if outcome == "failed" else 0
        if failures:
            sleep(min(pause_after(failures), _LONGEST_PAUSE))
    return done


def _attempt(
    stream: CheckStream, lease: Lease, stopped: Callable[[], bool]
) -> Literal["done", "failed", "stopped", "lost", "split"]:
    try:
        with stream.trace(lease) as span:
            _check(stream, lease, stopped, span)
    except StopRequested:
        stream.ranges.release_range(lease)
        return "stopped"
    except LeaseLost as error:
        log.warning("%s", error, extra=of_range(lease))
        return "lost"
    except SourceTimeout as error:
        _too_much(stream.ranges, lease, str(error))
        return "split"
    except (SourceUnavailable, TargetNotNow) as error:
        log.warning("%s", retry_message(lease.table, error, isinstance(error, NotNow)), extra=of_range(lease))
        (stream.ranges.wait if isinstance(error, NotNow) else stream.ranges.fail)(lease, str(error))
        return "failed"
    log.info("%s: a range is checked", lease.table, extra=of_range(lease))
    return "done"


def _too_much(ranges: CheckLedger, lease: Lease, error: str) -> None:
    """Split a range that is too much for one request, but not endlessly: if the source hangs, size is not the reason."""
    whole = lease.whole
    if whole.end - whole.start < 2 or lease.attempts >= MAX_TRIES:
        ranges.fail(lease, error)
    else:
        log.warning("%s: %s; the range is split in two", lease.table, error, extra=of_range(lease))
        ranges.split(lease, _middle(whole), error)


def _middle(tokens: TokenRange) -> int:
    return tokens.start + (tokens.end - tokens.start) // 2


def _check(stream: CheckStream, lease: Lease, stopped: Callable[[], bool], span: RangeSpan) -> None:
    begun = monotonic()
    sides, held_lease = stream.sides(lease.table), _HeldLease(stream, lease)
    found = RangeHashes(sides.encoder)
    held_lease.pace(0, stopped)  # nothing is read yet: a job whose time is over leaves the range
    try:
        lease = _read(stream, lease, sides, held_lease, found)
        failpoint("drift.read")
        checked = RangeResult(lease.whole)
        _compare(stream, lease, sides, held_lease, found, checked)
        checked.rows.check()
    except _TooManyRows as error:
        stream.ranges.split(replace(lease, attempts=0), _middle(lease.whole), str(error))
        span.ended("split")
        return
    except AssertionError as error:  # a side contradicts itself: nothing of the range is proved (invariant 5)
        checked = RangeResult(lease.whole, Comparison(source=found.count, unknown=found.count), error=str(error))
    checked.seconds = monotonic() - begun
    failpoint("drift.before_done")
    stream.ranges.done(lease, checked)
    span.ended("done", rows=checked.rows.source, differing=checked.rows.differing, repaired=checked.repaired)


def _read(stream: CheckStream, lease: Lease, sides: Sides, held_lease: _HeldLease, found: RangeHashes) -> Lease:
    """Stream the source; if there are too many rows, the range ends with the last partition that was read whole."""
    a_second = max(1, int(lease.rate)) if lease.rate else None  # with a rate, reading must not come in bursts
    most = stream.most_rows(lease.rate)
    for page in sides.source.pages(lease.whole, a_second):
        held_lease.renew_if_due()
        if not page.count:
            continue
        if found.count >= most and (end := found.cut_before(page.first_token)) is not None:
            return stream.ranges.cut(lease, end)
        found.add(page)
        held_lease.pace(page.count)
        if held_lease.rested > _RESTED_SECONDS and (end := found.cut_before(found.last_token)) is not None:
            return stream.ranges.cut(lease, end)
    return lease


def _compare(
    stream: CheckStream, lease: Lease, sides: Sides, held_lease: _HeldLease, found: RangeHashes, checked: RangeResult
) -> None:
    target = sides.target.digest(lease.whole)
    rows = checked.rows
    if not sides.encoder.expires and target == found.digest():
        rows.source = rows.target = rows.same = found.count
        assert target.count == found.count, "rows of equal digests do not add up"
        return
    if target.count > found.count + 2 * stream.range_rows and lease.whole.end - lease.whole.start >= 2:
        raise _TooManyRows(f"the target holds {target.count} rows of a range in which the source has {found.count}")
    held = dict(sides.target.hashes(lease.whole))
    held_lease.pace(len(held))  # which were read once more
    same, raw = found.compare(held)
    assert same + len(raw) == found.count, "rows of the source do not add up"
    rows.source, rows.same, rows.target = found.count, same, same
    failpoint("drift.suspects")
    keys = sides.keys()
    only_there = sorted(held.keys() - {keys.of_source(cells).canonical for cells in raw})
    del held
    found.clear()
    recheck = Recheck(
        keys, sides.encoder, stream.policy, stream.repairs(lease.table), held_lease.wait, sides.keeps, held_lease.pace
    )
    for suspects in _parts([*raw, *only_there]):
        source_keys = [keys.of_source(s) for s in suspects if isinstance(s, tuple)]
        target_only = only_in_target(lease, keys, [s for s in suspects if isinstance(s, bytes)], checked)
        tally(recheck, source_keys, target_only, checked)


def _parts(suspects: list[Raw | bytes]) -> Iterator[list[Raw | bytes]]:
    """The suspects in parts that are settled together: what is known of each is far larger than its key."""
    for at in range(0, len(suspects), _SETTLED_TOGETHER):
        yield suspects[at : at + _SETTLED_TOGETHER]
