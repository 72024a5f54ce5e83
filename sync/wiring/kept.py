"""An answer that many may ask for, and that is dear to make."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

KEPT_SECONDS = 5.0
Answer = tuple[int, str, bytes]
"""A status of HTTP, a content type and a text."""


class Kept:
    """An answer that is made at most every few seconds, however many ask for it at once."""

    def __init__(self, make: Callable[[], Answer]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._answer: Answer = (503, "text/plain", b"")
        self._until = 0.0

    def get(self) -> Answer:
        """The answer, a few seconds old at most."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._answer = self._make()
                self._until = time.monotonic() + KEPT_SECONDS
            return self._answer
