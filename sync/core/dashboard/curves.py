"""Figures over time as lines of a drawing, in its own units: no colours, no words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sync.core.dashboard.history import Point

WIDTH, HEIGHT = 600, 120


@dataclass(frozen=True, slots=True)
class Curve:
    """A line and the area under it as SVG paths in a box of WIDTH by HEIGHT; `top` is the value at its upper edge.

    Both paths are empty where nothing is known.
    """

    line: str
    area: str
    top: float
    dots: tuple[tuple[float, float], ...] = ()


def curve(points: Sequence[Point], since: float, until: float, top: float = 0.0) -> Curve:
    """The curve of what lies between two moments (seconds since 1970); where a value is missing, the line is broken.

    A value with no neighbour is a dot. `top`: the value at the upper edge; 0: a round one above all of them.
    """
    known = [p.value for p in points if p.value is not None and since <= p.at <= until]
    top = top or nice(max(known, default=0.0))
    pieces: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point.value is None:
            pieces.append([])
        elif since <= point.at <= until:
            x = (point.at - since) / (until - since) * WIDTH
            pieces[-1].append((round(x, 1), round(HEIGHT - point.value / top * HEIGHT, 1)))
    lines = [piece for piece in pieces if len(piece) > 1]
    return Curve(
        " ".join(map(_line, lines)),
        " ".join(f"{_line(p)}L{p[-1][0]:g} {HEIGHT}L{p[0][0]:g} {HEIGHT}Z" for p in lines),
        top,
        tuple(piece[0] for piece in pieces if len(piece) == 1),
    )


def _line(piece: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in piece)


def nice(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50 … that is not below the value; 1 for nothing."""
    if value <= 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)
