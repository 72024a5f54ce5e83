"""A thread for work that nobody waits for: it takes batches of what is offered; what it has no room for is turned away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Condition, Thread
from typing import Generic, TypeVar

T = TypeVar("T")
log = logging.getLogger(__name__)


class Ended(Exception):
    """The thread is to end: what it was doing is given up."""


class Background(Generic[T]):
    """Calls `work` with what was offered meanwhile, at most `limit` items; with none after `idle_seconds`, and at the end.

    The thread begins with the first offer.
    """

    def __init__(self, name: str, limit: int, work: Callable[[list[T]], None], idle_seconds: float) -> None:
        self._name, self._limit, self._work, self._idle_seconds = name, limit, work, idle_seconds
        self._waiting: list[T] = []
        self._changed, self._ended = Condition(), False
        self._thread: Thread | None = None

    def begin(self) -> None:
        """Start the thread, if it has not begun."""
        if self._thread is None:
            with self._changed:
                self._start()

    def _start(self) -> None:
        if self._thread is None and not self._ended:
            thread = Thread(target=self._run, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # there is no thread to be had: whoever offers must not fail for that
                log.warning("%s: %s", self._name, error)
                self._ended = True
                return
            self._thread = thread

    def offer(self, items: list[T]) -> int:
        """Leave items to the thread; returns how many it has no room for, which are the last ones."""
        with self._changed:
            self._start()
            room = 0 if self._ended else max(0, self._limit - len(self._waiting))
            self._waiting += items[:room]
            self._changed.notify_all()
            return max(0, len(items) - room)

    @property
    def is_ended(self) -> bool:
        """Whether the thread has ended, or is to end."""
        return self._ended

    def pause(self, seconds: float) -> None:
        """Sleep, within `work`. Raises Ended once the thread is to end."""
        with self._changed:
            if self._changed.wait_for(lambda: self._ended, seconds):
                raise Ended

    def end(self) -> list[T]:
        """Take nothing more; returns what nobody will work on."""
        with self._changed:
            self._ended = True
            left, self._waiting = self._waiting, []
            self._changed.notify_all()
            return left

    def join(self, deadline: float) -> None:
        """Wait until the thread has ended, or until this moment of `time.monotonic()`."""
        if self._thread:
            self._thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        ended = False
        while not ended:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended, self._idle_seconds)
                batch, self._waiting = self._waiting, []
                ended = self._ended
            try:
                self._work(batch)
            except Exception:  # the thread goes on with the next batch
                log.exception("%s", self._name)
