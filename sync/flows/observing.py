"""How long the steps of a write took, for whoever counts them; most callers of a flow do not."""

from __future__ import annotations

from collections.abc import Callable

Observe = Callable[[str, str, float], None]
"""Is told a side (`source`, `target`, or `both` of a whole call), its outcome, and how many seconds it took."""


def unobserved(side: str, outcome: str, seconds: float) -> None:
    """Count nothing."""
