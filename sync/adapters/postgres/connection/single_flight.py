"""One query shared by many callers: each gets the result of one that began after its call."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock


class SingleFlight:
    """One look at a time, so that the last result is also the newest."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look, self._lock, self._begun = look, Lock(), 0.0

    def run(self) -> None:
        """Look. Raises what `look` raises."""
        with self._lock:
            self._run()

    def run_or_join(self) -> None:
        """Look, or wait for another caller's look that begins from now on; if that fails, those who wait get no result."""
        asked = time.monotonic()
        with self._lock:
            if self._begun <= asked:
                self._run()

    def _run(self) -> None:
        self._begun = time.monotonic()
        try:
            self._look()
        except BaseException:
            self._begun = time.monotonic()
            raise
