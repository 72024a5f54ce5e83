"""A schema is read again after a refusal: once for many refusals at the same time, and at most once a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import TypeVar

from sync.errors import NotNow, SyncError, WriteRefused

K = TypeVar("K")
T = TypeVar("T")
MIN_REFRESH_SECONDS = 1.0
"""An application whose writes are refused again and again does not read the schema each time."""


def retry_on_change(
    known: Callable[[], K],
    call: Callable[[K], T],
    has_changed: Callable[[K, SyncError], bool],
    refusals: tuple[type[SyncError], ...] = (WriteRefused,),
) -> T:
    """Make a call with what is known; repeat it once if it was refused and that has changed.

    `refusals` are the errors after which nothing was written. `has_changed` looks again, and may raise a better error.
    """
    before = known()
    try:
        return call(before)
    except refusals as refusal:
        if isinstance(refusal, NotNow) or not has_changed(before, refusal):
            raise
    return call(known())


class SchemaRefresh:
    """Counts the changes that were found, in `version`."""

    def __init__(self) -> None:
        self._lock, self._last, self.version = Lock(), -MIN_REFRESH_SECONDS, 0

    def refresh(self, since: int, look: Callable[[], bool]) -> bool:
        """Whether anything has changed since that version; `look` reads again and says whether something changed."""
        with self._lock:
            if self.version == since and time.monotonic() >= self._last + MIN_REFRESH_SECONDS:
                self._last = time.monotonic()
                self.version += look()
            return self.version != since
