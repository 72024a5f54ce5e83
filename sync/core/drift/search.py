"""How well two rankings of the same search agree."""

from __future__ import annotations

from collections.abc import Sequence

TOLERANCE = 1e-5
"""Both servers sum in float32, each in its own order."""


def recall(found: Sequence[float], exact: Sequence[float]) -> float:
    """The share of the exact answer that was found, both as similarities, nearest first.

    A hit as near as the farthest exact one counts, since ties are ties.
    """
    if not exact:
        return 1.0
    farthest = exact[-1] - TOLERANCE
    return min(1.0, sum(similarity >= farthest for similarity in found) / len(exact))


def overlap(left: Sequence[float], right: Sequence[float]) -> float:
    """The share of the shorter answer that both have, or that is as near as what the other has."""
    size = min(len(left), len(right))
    return (recall(left[:size], right[:size]) + recall(right[:size], left[:size])) / 2 if size else 1.0
