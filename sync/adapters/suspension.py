"""Whether this process has run all the time: one that was suspended may have been taken for dead, and does not know it.

A writer that is silent is fenced, what it wrote alone is looked for, and the primary changes. If it was not dead but
suspended (SIGSTOP, a frozen container, a laptop's lid), it goes on in the middle of a step as if nothing had been. So it
looks at a clock that goes on meanwhile, often: where that has jumped, it asks Postgres before it accepts a write.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from threading import Condition, Event, Thread

log = logging.getLogger(__name__)
# Linux has a clock that counts a suspended machine's time, where the usual one stands still.
_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_LOOKS_PER_GAP = 4


def _now() -> float:
    return time.clock_gettime(_CLOCK)


class SuspensionDetector:
    """Counts gaps: times of `max_gap` seconds or more in which nobody looked. Safe to use from many threads.

    `max_wait` is for how long Postgres is waited for after one.
    """

    def __init__(self, max_gap: float = math.inf, max_wait: float = 0.0, now: Callable[[], float] = _now) -> None:
        self._max_gap, self._max_wait, self._now = max_gap, max_wait, now
        self._gaps = self._answered = 0
        self._ran_at = self._woken_at = now()
        self._changed, self._ended = Condition(), Event()
        self._thread = Thread(target=self._watch, name="sync-suspension", daemon=True)

    def start(self) -> None:
        """Look from now on, whatever else this process does."""
        self._thread.start()

    def end(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(self._max_gap / _LOOKS_PER_GAP):
            self.gaps()

    def gaps(self) -> int:
        """How many there were until now. Two answers that are the same: between them this process ran."""
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
        """Postgres has answered what it was asked after so many gaps: an answer to what was asked before says nothing."""
        with self._changed:
            self._answered = max(self._answered, gaps)
            self._changed.notify_all()

    @property
    def is_confirmed(self) -> bool:
        """Whether Postgres has answered since the last gap."""
        return self.gaps() == self._answered

    @property
    def awaits_answer(self) -> bool:
        """Whether it has not, and is waited for."""
        return not self.is_confirmed and self._left() > 0

    def wait(self, seconds: float) -> None:
        """Wait for its answer: so long at most, and not longer after the gap than one waits for it."""
        with self._changed:
            self._changed.wait_for(lambda: self._gaps == self._answered, max(0.0, min(seconds, self._left())))

    def _left(self) -> float:
        return self._woken_at + self._max_wait - self._now()
