"""How much of the time a run may work, by how fast the servers answer: latencies in, a share of the time out.

A side's latency is the median of its last few measurements, so that a lone slow one changes nothing. Above the limit the
share is halved, and again only when measurements have come that were taken since; well below it, the share grows step by
step; in between it stays. It never becomes zero (docs/decisions/0044-throttle.md).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median_low
from typing import Any, Literal

from sync.core.words import duration

Side = Literal["source", "target"]
LEAST_SHARE = 1 / 64
MAX_REST_SECONDS = 60.0
"""A rest is no longer, however long the work before it took: at least one step a minute is made."""
STEP = 1 / 16
_KEPT, _NEEDED = 5, 3
_WELL = 0.8
_NAMES = {"source": "Cassandra", "target": "Postgres"}


@dataclass(frozen=True, slots=True)
class Throttled:
    """That a run rests: the side whose latency is the reason, since when (seconds since 1970), the share of the time left."""

    side: Side
    since: float
    latency_ms: float
    limit_ms: float
    share: float

    def plain(self) -> dict[str, Any]:
        """As plain values, for the ledger and for `sync status --json`."""
        return {
            "side": self.side, "since": round(self.since, 3), "latency_ms": round(self.latency_ms, 1),
            "limit_ms": self.limit_ms, "share": round(self.share, 4),
        }  # fmt: skip


def throttled_of(plain: Mapping[str, Any]) -> Throttled:
    """What `plain` made plain values of."""
    return Throttled(plain["side"], plain["since"], plain["latency_ms"], plain["limit_ms"], plain["share"])


def in_words(plain: Mapping[str, Any], now: float) -> str:
    """`throttled to 25 % for 2m03s: Postgres takes 310 ms (limit 100)`; `now` in seconds since 1970."""
    latency, limit = f"{plain['latency_ms']:,.0f}", f"{plain['limit_ms']:g}"
    share, age = max(1, round(100 * plain["share"])), duration(max(0.0, now - plain["since"]))
    return f"throttled to {share} % for {age}: {_NAMES[plain['side']]} takes {latency} ms (limit {limit})"


def state_in_words(plain: Mapping[str, Any]) -> str:
    """The same without what changes all the time."""
    return f"throttled by {_NAMES[plain['side']]}"


def rest_seconds(worked: float, share: float) -> float:
    """How long to rest after so many seconds of work, so that the work is this share of the time."""
    return min(worked * (1 / share - 1), MAX_REST_SECONDS)


@dataclass(slots=True)
class SideThrottle:
    """One side: its limit in seconds, and the share of the time that its latencies allow."""

    limit: float
    share: float = 1.0
    since: float | None = None
    _latest: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    _fresh: int = _NEEDED
    _before: float = 0.0

    @property
    def latency(self) -> float:
        """The median of the last measurements, in seconds; before the first one that of the process before; else 0."""
        return median_low(self._latest) if self._latest else self._before

    def observe(self, seconds: float, now: float) -> None:
        """Note a measurement; `now` in seconds since 1970."""
        self._latest.append(seconds)
        self._fresh += 1
        if len(self._latest) < _NEEDED:
            return
        if self.latency > self.limit and self._fresh >= _NEEDED:
            self.share, self._fresh = max(LEAST_SHARE, self.share / 2), 0
            self.since = now if self.since is None else self.since
        elif self.latency <= _WELL * self.limit and self.share < 1:
            self.share = min(1.0, self.share + STEP)
            self.since = None if self.share == 1 else self.since

    def resume(self, before: Throttled) -> None:
        """Go on where a process of the same run was."""
        self.share, self.since = min(1.0, max(LEAST_SHARE, before.share)), before.since
        self._before = before.latency_ms / 1000

    def state(self, side: Side) -> Throttled | None:
        """What is to be shown; None while this side is fast enough."""
        if self.since is None:
            return None
        return Throttled(side, self.since, 1000 * self.latency, 1000 * self.limit, self.share)
