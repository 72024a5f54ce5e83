"""Requests that are under way at once: a bounded number of them, each with its own time."""

from __future__ import annotations

import time
from threading import BoundedSemaphore, Lock


class TimedRequest:
    """One of them: it waits for a slot, and frees it with its answer; `seconds` is how long that took."""

    def __init__(self, slots: BoundedSemaphore) -> None:
        slots.acquire()
        self._slots, self._lock, self._begun = slots, Lock(), time.monotonic()
        self.seconds: float | None = None

    def end(self, *_: object) -> float:
        """It has ended, if it had not; how many seconds it took. The driver calls this in a thread of its own."""
        with self._lock:
            if self.seconds is None:
                self.seconds = time.monotonic() - self._begun
                self._slots.release()
            return self.seconds
