"""The token ring as a drawing that needs no colour: what differs sticks out of it, what is unknown sticks in, hatched.

Neighbours with the same verdict are one segment. The segments are exactly the whole ring, whatever the report holds: a
stretch that is in no range is unknown, and where ranges overlap the worse verdict counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sync.core.ring import MAX_TOKEN, MIN_TOKEN, RING_SIZE
from sync.core.words import counted
from sync.report.text import number

MAX_SEGMENTS = 360
"""One per degree; if there are more, neighbours are drawn as one, with the worst verdict."""
MAX_LISTED = 40
_WORSE = {"same": 0, "unknown": 1, "different": 2}
WORDS = {"same": "the same", "different": "different", "unknown": "not known"}
_LEAST_ANGLE = math.radians(2.4)  # a range of a ten-thousandth of the ring is still visible
_RADII = {"same": (88.0, 98.0), "different": (88.0, 114.0), "unknown": (72.0, 98.0)}


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch `(start, end]` of the ring with one verdict; `ranges` is 0 where the report has a gap.

    `in_part`: part of it has a better verdict.
    """

    start: int
    end: int
    verdict: str
    ranges: int
    rows: int
    in_part: bool = False

    @property
    def text(self) -> str:
        """The segment in words."""
        if not self.ranges:
            return f"({self.start}, {self.end}] not known: in no range of this report"
        what = f"{counted(self.ranges, 'range')}, {counted(self.rows, 'row')}"
        part = " in part" if self.in_part else ""
        return f"({self.start}, {self.end}] {WORDS[self.verdict]}{part}: {what}"


def merged(ranges: Iterable[Any]) -> list[Segment]:
    """The whole ring as segments of alternating verdicts, in order; nothing if there are no ranges."""
    segments: list[Segment] = []
    for part in sorted(_parts(ranges), key=lambda p: (p.start, p.end)):
        reached = segments[-1].end if segments else MIN_TOKEN
        if part.start > reached:
            _append(segments, Segment(reached, part.start, "unknown", 0, 0))
        elif part.start < reached:
            _worsen(segments, part)
        if part.end > reached:
            _append(segments, replace(part, start=max(part.start, reached)))
    if segments and segments[-1].end < MAX_TOKEN:
        _append(segments, Segment(segments[-1].end, MAX_TOKEN, "unknown", 0, 0))
    return segments


def _parts(ranges: Iterable[Any]) -> Iterable[Segment]:
    """The valid ranges; any other verdict counts as unknown."""
    for found in ranges:
        if not isinstance(found, Mapping):
            continue
        start, end, rows = found.get("start"), found.get("end"), found.get("rows")
        if isinstance(start, int) and isinstance(end, int) and MIN_TOKEN <= start < end <= MAX_TOKEN:
            verdict = found.get("verdict")
            known = verdict if isinstance(verdict, str) and verdict in _WORSE else "unknown"
            yield Segment(start, end, known, 1, rows if isinstance(rows, int) else 0)


def _append(segments: list[Segment], part: Segment) -> None:
    """Add a neighbour; a gap is a segment of its own, so that it can be reported."""
    last = segments[-1] if segments else None
    if last and last.verdict == part.verdict and bool(last.ranges) == bool(part.ranges):
        segments[-1] = _joined(last, part)
    else:
        segments.append(part)


def _joined(left: Segment, right: Segment) -> Segment:
    in_part = left.in_part or right.in_part or left.verdict != right.verdict
    ranges, rows = left.ranges + right.ranges, left.rows + right.rows
    return Segment(left.start, right.end, _worse(left, right), ranges, rows, in_part)


def _worse(left: Segment, right: Segment) -> str:
    return max(left.verdict, right.verdict, key=_WORSE.__getitem__)


def _worsen(segments: list[Segment], part: Segment) -> None:
    """Give the segments that `part` overlaps its verdict, if that is the worse one."""
    for i in range(len(segments) - 1, -1, -1):
        if segments[i].end <= part.start:
            return
        mixed = segments[i].in_part or segments[i].verdict != part.verdict
        segments[i] = replace(segments[i], verdict=_worse(segments[i], part), in_part=mixed)


def drawn(segments: Sequence[Segment], most: int = MAX_SEGMENTS) -> list[Segment]:
    """At most about `most` segments: those that begin in one cell of the ring become one, with the worst verdict."""
    if len(segments) <= most:
        return list(segments)
    cells: dict[int, Segment] = {}
    for segment in segments:
        cell = (segment.start - MIN_TOKEN) * most // RING_SIZE
        cells[cell] = _joined(cells[cell], segment) if cell in cells else segment
    return list(cells.values())


def figure(segments: Sequence[Segment], same: int, total: int, label: str) -> str:
    """The drawing; `label` is its text for those who cannot see it."""
    shown = drawn(segments)
    parts = [_path(s) for verdict in ("same", "unknown", "different") for s in shown if s.verdict == verdict]
    middle = (
        f'<text class="many" y="4">{number(same)}</text><text y="24">of {counted(total, "range")}</text>'
        f'<text y="40">{"is" if same == 1 else "are"} the same</text>'
    )
    inside = "".join(parts) + _FACE + middle
    kind = "ring" if len(shown) == len(segments) else "ring coarse"
    return f'<svg class="{kind}" viewBox="-160 -140 320 280" role="img" aria-label="{label}">{inside}</svg>'


_FACE = (
    '<g class="face"><path d="M0-118v-5M118 0h5M0 118v5M-118 0h-5"/><text y="-128">−2⁶³ ┊ 2⁶³−1</text>'
    '<text x="130" y="4" class="right">−2⁶²</text><text y="137">0</text><text x="-130" y="4" class="left">2⁶²</text></g>'
)


def _angle(token: int) -> float:
    """Clockwise from the top, where the ring closes."""
    return 2 * math.pi * (token - MIN_TOKEN) / (RING_SIZE - 1)


def _path(segment: Segment) -> str:
    inner, outer = _RADII[segment.verdict]
    begin, end = _angle(segment.start), _angle(segment.end)
    if segment.verdict != "same" and end - begin < _LEAST_ANGLE:
        middle = (begin + end) / 2
        begin, end = middle - _LEAST_ANGLE / 2, middle + _LEAST_ANGLE / 2
    middle = (begin + end) / 2  # two arcs each way: one of more than half a circle, or of all of it, is ambiguous
    there = f"M{_at(outer, begin)}{_arc(outer, middle, 1)}{_arc(outer, end, 1)}"
    back = f"L{_at(inner, end)}{_arc(inner, middle, 0)}{_arc(inner, begin, 0)}Z"
    return f'<path class="{segment.verdict}" d="{there}{back}"><title>{segment.text}</title></path>'


def _at(radius: float, angle: float) -> str:
    return f"{radius * math.sin(angle):.1f} {-radius * math.cos(angle):.1f}"


def _arc(radius: float, angle: float, sweep: int) -> str:
    return f"A{radius:g} {radius:g} 0 0 {sweep} {_at(radius, angle)}"


def swatch(verdict: str) -> str:
    """The mark of a verdict for the legend, with the height and the fill that it has in the ring."""
    top, height = {"same": (6, 6), "different": (0, 12), "unknown": (6, 12)}[verdict]
    return (
        '<svg class="swatch" viewBox="0 0 18 18" aria-hidden="true">'
        f'<rect class="{verdict}" x="1" width="16" y="{top}" height="{height}"/></svg>'
    )
