"""How far each part of the token ring is: a ring that fills up where rows are copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LENGTH = 1000
"""The ring's circumference in the drawing's own units."""


@dataclass(frozen=True, slots=True)
class Arc:
    """A part of the ring, as shares of it: where it begins and ends, how much of it (0 to 1) is done, and its state."""

    start: float
    end: float
    done: float
    running: bool = False
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Ring:
    """A ring as dash patterns of circles, each as long as LENGTH: what is done, what is worked on, what has failed.

    An empty pattern: there is nothing of it.
    """

    done: str
    running: str = ""
    failed: str = ""


def ring_of(arcs: Sequence[Arc]) -> Ring:
    """The drawing of an open run."""
    spans = [(arc.start, arc.start + (arc.end - arc.start) * min(1.0, max(0.0, arc.done))) for arc in arcs]
    running = [(span[1], arc.end) for arc, span in zip(arcs, spans, strict=True) if arc.running and not arc.failed]
    failed = [(span[1], arc.end) for arc, span in zip(arcs, spans, strict=True) if arc.failed]
    return Ring(dashes(spans), dashes(running), dashes(failed))


def even_ring(share: float) -> Ring:
    """The drawing of a run that is over, or whose ranges are not known one by one."""
    return Ring(dashes([(0.0, share)]))


def dashes(spans: Sequence[tuple[float, float]]) -> str:
    """Spans, in order, as a dash pattern that begins with a dash (of no length, if need be); empty if all are."""
    merged: list[list[int]] = []
    for start, end in spans:
        a, b = round(start * LENGTH), round(end * LENGTH)
        if b <= a:
            continue
        if merged and a <= merged[-1][1]:
            merged[-1][1] = max(b, merged[-1][1])
        else:
            merged.append([a, b])
    if not merged:
        return ""
    parts, at = [0, merged[0][0]] if merged[0][0] else [], merged[0][0]
    for a, b in merged:
        if a > at:
            parts.append(a - at)
        parts.append(b - a)
        at = b
    parts.append(LENGTH - at)
    return " ".join(map(str, parts))
