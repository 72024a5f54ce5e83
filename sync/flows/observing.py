"""How long the steps of a write took, and what becomes of a range, for whoever counts or records; most callers do not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from sync.ports import Lease

Observe = Callable[[str, str, float], None]
"""Is told a side (`source`, `target`, or `both` of a whole call), its outcome, and how many seconds it took."""


def unobserved(side: str, outcome: str, seconds: float) -> None:
    """Count nothing."""


class StopRequested(Exception):
    """Work on a range is to stop before its end: no error."""


class RangeSpan(Protocol):
    """Is told how work on a range ended, or of an error that ended it."""

    def ended(self, outcome: str, **figures: int) -> None: ...
    def failed(self, error: BaseException) -> None: ...


class _Unrecorded:
    def ended(self, outcome: str, **figures: int) -> None:
        """Record nothing."""

    def failed(self, error: BaseException) -> None:
        """Record nothing."""


Trace = Callable[[Lease], AbstractContextManager[RangeSpan]]
"""Surrounds the work on a range."""


def untraced(_lease: Lease) -> AbstractContextManager[RangeSpan]:
    """Record nothing."""
    return nullcontext(_Unrecorded())
