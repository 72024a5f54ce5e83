"""Detects that this process was suspended: it may have been declared dead meanwhile, and does not know it.

A silent writer can be fenced, a drift pass then looks for writes that only it knew of, and the primary may change. If it was
not dead but suspended (SIGSTOP, a frozen container, a closed laptop), it resumes in the middle of a step as if nothing had
happened. So it often reads a clock that runs on meanwhile: if that has jumped, it asks Postgres before it accepts a write.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from threading import Condition, Event, Thread

log = logging.getLogger(__name__)
# Linux has a clock that runs on while the machine is suspended; the usual one stands still.
_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_LOOKS_PER_GAP = 4


def _now() -> float:
    return time.clock_gettime(_CLOCK)


class SuspensionDetector:
    """Counts gaps: periods of `max_gap` seconds or more in which nobody read the clock. Safe to use from many threads.

    `max_wait` is how long callers wait for Postgres after a gap, in seconds.
    """

    def __init__(self, max_gap: float = math.inf, max_wait: float = 0.0, now: Callable[[], float] = _now) -> None:
        self._max_gap, self._max_wait, self._now = max_gap, max_wait, now
        self._gaps = self._answered = 0
        self._ran_at = self._woken_at = now()
        self._changed, self._ended = Condition(), Event()
        self._thread = Thread(target=self._watch, name="sync-suspension", daemon=True)

    def start(self) -> None:
        """Read the clock regularly from now on, whatever else this process does."""
        self._thread.start()

    def end(self) -> None:
        """Stop reading the clock."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(self._max_gap / _LOOKS_PER_GAP):
            self.gaps()

    def gaps(self) -> int:
        """The number of gaps so far. If two calls return the same number, this process ran all the time between them."""
        with self._changed:
            now = self._now()
            if now - self._ran_at >= self._max_gap:
                self._gaps, self._woken_at = self._gaps + 1, now
                log.warning(
                    "this process did not run for %.1f s: it asks Postgres before it accepts a write", now - self._ran_at
                )
            self._ran_at = now
            return self._gaps

    def answered(self, gaps: int) -> None:
        """Postgres has answered a request sent after `gaps` gaps; an answer to an earlier request proves nothing."""
        with self._changed:
            self._answered = max(self._answered, gaps)
            self._changed.notify_all()

    @property
    def is_confirmed(self) -> bool:
        """Whether Postgres has answered since the last gap."""
        return self.gaps() == self._answered

    @property
    def awaits_answer(self) -> bool:
        """Whether Postgres has not answered since the last gap, and `max_wait` is not over."""
        return not self.is_confirmed and self._left() > 0

    def wait(self, seconds: float) -> None:
        """Wait for Postgres's answer for `seconds` at most, and no longer than `max_wait` after the gap."""
        with self._changed:
            self._changed.wait_for(lambda: self._gaps == self._answered, max(0.0, min(seconds, self._left())))

    def _left(self) -> float:
        return self._woken_at + self._max_wait - self._now()
