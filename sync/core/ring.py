"""The token ring of Cassandra's Murmur3Partitioner and its half-open ranges `(start, end]`.

The one notation everywhere is `(start, end]`. The range that starts at `MIN_TOKEN` also holds `MIN_TOKEN` itself, so that
the planned ranges together are the whole ring, both ends included (invariant 4).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

MIN_TOKEN = -(2**63)
UNKNOWN_TOKEN = MIN_TOKEN
"""In an intent: nobody has computed the key's token yet. No key has it: the partitioner makes MAX_TOKEN of it."""
MAX_TOKEN = 2**63 - 1
RING_SIZE = 2**64


@dataclass(frozen=True, order=True, slots=True)
class TokenRange:
    """Tokens `start < t <= end`; a range that starts at `MIN_TOKEN` holds `MIN_TOKEN` too."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not MIN_TOKEN <= self.start < self.end <= MAX_TOKEN:
            raise ValueError(f"({self.start}, {self.end}] is not a token range")

    def __contains__(self, token: int) -> bool:
        return self.start < token <= self.end or token == self.start == MIN_TOKEN

    @property
    def width(self) -> int:
        """The number of tokens in the range."""
        return self.end - self.start + (self.start == MIN_TOKEN)

    def split(self, parts: int) -> list[TokenRange]:
        """The range cut into at most `parts` neighbours of nearly equal width, in order, none of them empty."""
        distance = self.end - self.start
        parts = max(1, min(parts, distance))
        cuts = [self.start + distance * i // parts for i in range(parts + 1)]
        return [TokenRange(a, b) for a, b in pairwise(cuts)]


WHOLE_RING = TokenRange(MIN_TOKEN, MAX_TOKEN)


def check_whole_ring(ranges: Iterable[TokenRange]) -> None:
    """Raise ValueError unless the ranges, in any order, hold every token of the ring exactly once."""
    ordered = sorted(ranges)
    if not ordered or ordered[0].start != MIN_TOKEN or ordered[-1].end != MAX_TOKEN:
        raise ValueError("the ranges do not reach both ends of the ring")
    for left, right in pairwise(ordered):
        if left.end != right.start:
            raise ValueError(f"the ring has a gap or an overlap between {left} and {right}")
    if sum(r.width for r in ordered) != RING_SIZE:
        raise ValueError("the ranges do not add up to the ring")


@dataclass(frozen=True, slots=True)
class SizeEstimate:
    """One row of `system.size_estimates`: the bytes a node holds in one of its primary ranges."""

    start: int
    end: int
    bytes: int


def whole_ring(estimates: list[SizeEstimate]) -> list[SizeEstimate]:
    """Estimates that cover only a part of the ring, scaled up to the whole ring."""
    covered = sum((e.end - e.start) % RING_SIZE or RING_SIZE for e in estimates)
    if not 0 < covered < RING_SIZE:
        return estimates
    return [SizeEstimate(e.start, e.end, e.bytes * RING_SIZE // covered) for e in estimates]


_MANY, _SOME = 64, 8
_EACH = 1 << 20


def least_ranges(estimated_bytes: int, few_rows: bool) -> int:
    """How many ranges a table gets at least, so that several workers have something to do.

    One if it is known to have few rows; otherwise by its estimate, which lags behind; many if there is no estimate.
    """
    if few_rows:
        return 1
    return min(_MANY, max(_SOME, -(-estimated_bytes // _EACH))) if estimated_bytes else _MANY


def plan_ranges(
    estimates: Iterable[SizeEstimate], target_bytes: int, at_least: int = _MANY, replica_boundaries: Iterable[int] = ()
) -> list[TokenRange]:
    """Cut the whole ring into ranges of about `target_bytes`, and into no fewer than `at_least`.

    The estimates say only how many ranges there are to be: the partitioner spreads keys evenly, so equal widths are equal
    sizes, whichever node holds them, and an estimate that is stale or missing costs balance, never coverage. A range that
    proves too big is split when it is copied. Ranges are also cut at the `replica_boundaries`, unless that would more than
    double their number: then there are few rows for so many parts, and it does not matter which node reads them.
    """
    total = sum(e.bytes for e in estimates)
    ranges = _cut(WHOLE_RING.split(max(at_least, -(-total // target_bytes))), replica_boundaries)
    check_whole_ring(ranges)
    return ranges


def _cut(ranges: list[TokenRange], replica_boundaries: Iterable[int]) -> list[TokenRange]:
    ends = sorted({r.end for r in ranges} | {s for s in replica_boundaries if MIN_TOKEN < s < MAX_TOKEN})
    if len(ends) > 2 * len(ranges):
        return ranges
    return [TokenRange(a, b) for a, b in pairwise([MIN_TOKEN, *ends])]
