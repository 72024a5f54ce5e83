"""How fast a stream works: at most its share of a rate, and of the time only the share that slow servers allow.

What is measured is what a single read and a single write of an application take: one row of the source by its key, and the
renewal of the stream's lease, which is one row and its commit (docs/decisions/0044-throttle.md).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Protocol

from sync.core.throttle import Side, SideThrottle, Throttled, rest_seconds
from sync.errors import SourceTimeout, SourceUnavailable
from sync.ports import Lease

log = logging.getLogger(__name__)
MEASURE_SECONDS = 1.0
"""Each side is measured this often in each process, and leases are renewed as often."""


class Renews(Protocol):
    """The part of a ledger that renews a lease."""

    def renew(self, lease: Lease) -> Lease | None: ...


@dataclass(slots=True)
class RateLimiter:
    """Keeps whoever shares it, over all ranges, to a number of rows per second."""

    due: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def spend(self, rows: int, rows_per_second: float | None) -> None:
        """Note rows that were read: the next ones are due when these have used up their time."""
        if rows_per_second:
            with self._lock:
                self.due = max(self.due, time.monotonic()) + rows / rows_per_second


class Throttle:
    """What the streams of a process measure, and the share of the time that they may work.

    `limits` are in seconds; a side without one is not measured. `before`: how another process of the run was throttled.
    """

    def __init__(self, limits: Mapping[Side, float | None], before: Throttled | None = None) -> None:
        self._sides = {side: SideThrottle(limit) for side, limit in limits.items() if limit}
        self._next = dict.fromkeys(self._sides, 0.0)
        self._lock = Lock()
        if before and before.side in self._sides:
            self._sides[before.side].resume(before)

    def is_due(self, side: Side) -> bool:
        """Whether whoever asks is to measure this side now; the others are not, for a while."""
        with self._lock:
            if time.monotonic() < self._next.get(side, float("inf")):
                return False
            self._next[side] = time.monotonic() + MEASURE_SECONDS
            return True

    @property
    def is_waiting(self) -> bool:
        """Whether a side is to be measured by the next one who asks."""
        return time.monotonic() >= min(self._next.values(), default=float("inf"))

    def is_slow(self, side: Side, seconds: float) -> bool:
        """Whether that is longer than the side's limit."""
        return seconds > self._sides[side].limit

    def note(self, side: Side, seconds: float) -> None:
        """Note how long a side took."""
        with self._lock:
            before = self._state()
            self._sides[side].observe(seconds, time.time())
            after = self._state()
        if (before is None) != (after is None):
            log.info("throttled: %s", after.plain() if after else "no longer")

    @property
    def share(self) -> float:
        """The share of the time to work: that of the side that allows less."""
        return min((side.share for side in self._sides.values()), default=1.0)

    def state(self) -> Throttled | None:
        """The side that allows less, if any side is too slow."""
        with self._lock:
            return self._state()

    def _state(self) -> Throttled | None:
        found = [state for name, side in self._sides.items() if (state := side.state(name))]
        return min(found, key=lambda state: state.share, default=None)


class Pacer:
    """Paces one stream. `look` reads one row of a table of the source; it returns False if that was no measurement."""

    def __init__(
        self,
        limiter: RateLimiter | None = None,
        throttle: Throttle | None = None,
        look: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._limiter, self._throttle, self._look = limiter or RateLimiter(), throttle, look
        self._since: float | None = None
        self._worked = 0.0

    @property
    def is_due(self) -> bool:
        """Whether a lease is to be renewed now, however young, because a side is to be measured."""
        return self._throttle is not None and self._throttle.is_waiting

    def every(self, seconds: float, rate: float | None) -> float:
        """How often to renew a lease: so often, or more often with a rate, whose share changes, or a throttle."""
        return min(seconds, MEASURE_SECONDS) if rate or self._throttle else seconds

    def spend(self, rows: int, rate: float | None) -> None:
        """Note rows that were read, at this stream's share of a rate."""
        self._limiter.spend(rows, rate)

    def begin(self) -> None:
        """Work begins, or goes on."""
        self._since = time.monotonic()

    def idle(self) -> None:
        """What follows is no work: a turn, a pause, or keys are waited for. The rest that is owed stays."""
        if self._since is not None:
            self._worked += time.monotonic() - self._since
        self._since = None

    def wait(self, keep_going: Callable[[], bool]) -> bool:
        """Sleep until the next rows are due, and the rest after the last work is over; False as soon as `keep_going` says so.

        How long a rest is follows the present share: it ends soon once the servers are fast again.
        """
        self.idle()
        begun = time.monotonic()
        try:
            while (left := self._left(begun)) > 0:
                if not keep_going():
                    return False
                time.sleep(min(left, 0.1))
        finally:
            self._worked = 0.0
            self.begin()
        return True

    def _left(self, begun: float) -> float:
        rest = rest_seconds(self._worked, self._throttle.share) if self._throttle else 0.0
        return max(self._limiter.due, begun + rest) - time.monotonic()

    def renew(self, ranges: Renews, lease: Lease) -> Lease | None:
        """Renew a lease, as the ledger does, and measure the sides if it is time; the ledger notes how the run is throttled.

        Raises LeaseLost and TargetUnavailable, as the ledger does.
        """
        throttle = self._throttle
        if throttle is None:
            return ranges.renew(lease)
        is_due, answered, begun = throttle.is_due("target"), False, time.monotonic()
        try:
            renewed = ranges.renew(replace(lease, throttled=throttle.state()))
            answered = True
        finally:
            took = time.monotonic() - begun
            if is_due and (answered or throttle.is_slow("target", took)):  # an error that comes late says so, too
                throttle.note("target", took)
        if throttle.is_due("source"):  # when the lease is safe: this may take seconds
            self._measure_source(throttle, lease.table)
        return renewed

    def _measure_source(self, throttle: Throttle, table: str) -> None:
        """A source that is away is no measurement, and no error here: the stream's own read finds that out."""
        begun = time.monotonic()
        try:
            known = self._look(table)
        except SourceTimeout as error:  # it took that long, and that is what is asked here
            log.info("%s: one row: %s", table, error)
            known = True
        except SourceUnavailable as error:  # where keys are repaired, an error would cost what the pass has found
            log.info("%s: one row: %s", table, error)
            known = False
        if known:
            throttle.note("source", time.monotonic() - begun)
