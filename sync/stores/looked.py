"""When to look at a schema again: after a refusal, once for many at the same time, and not more than once a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

NOT_AGAIN_SECONDS = 1.0
"""An application that writes what is refused, again and again, does not ask for the schema each time."""


class Looked:
    """Counts the changes that were found: `version`."""

    def __init__(self) -> None:
        self._lock, self._last, self.version = Lock(), -NOT_AGAIN_SECONDS, 0

    def again(self, since: int, look: Callable[[], bool]) -> bool:
        """Whether anything has changed since that version; `look` says whether it has now."""
        with self._lock:
            if self.version == since and time.monotonic() >= self._last + NOT_AGAIN_SECONDS:
                self._last = time.monotonic()
                self.version += look()
            return self.version != since
