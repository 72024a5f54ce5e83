"""Readings of servers, each in a thread of its own: one that hangs is waited for only so long."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from threading import Lock, Thread
from typing import Any, TypeVar, cast

from sync.errors import Unreachable

T = TypeVar("T")
_PROBE_SECONDS, _STATE_SECONDS = 5.0, 7.0
_ANOTHER_SECONDS = 60.0


class Readings:
    """What is asked of servers that may hang, so that an answer comes within the sum of the two limits.

    `probe_seconds` are for whether a server answers, `state_seconds` for what it knows. What hangs goes on in its thread;
    only after a minute another one asks again.
    """

    def __init__(self, probe_seconds: float = _PROBE_SECONDS, state_seconds: float = _STATE_SECONDS) -> None:
        self.probe_seconds, self.state_seconds = probe_seconds, state_seconds
        self._lock = Lock()
        self._under_way: dict[str, tuple[Future[Any], float]] = {}

    def begin(self, name: str, read: Callable[[], T]) -> Future[T]:
        """Begin a reading; if one of this name is under way, that one."""
        with self._lock:
            future, begun = self._under_way.get(name, (Future[Any](), 0.0))
            if name not in self._under_way or future.done() or time.monotonic() - begun > _ANOTHER_SECONDS:
                future = Future[Any]()
                self._under_way[name] = future, time.monotonic()
                Thread(target=_run, args=(future, read), name=f"sync-reading-{name}", daemon=True).start()
            return cast("Future[T]", future)


def _run(future: Future[Any], read: Callable[[], Any]) -> None:
    try:
        future.set_result(read())
    except Exception as error:  # noqa: BLE001 (whoever asked gets it)
        future.set_exception(error)


def answer(reading: Future[T], begun: float, seconds: float) -> T:
    """What was read, by `seconds` after `begun`, of time.monotonic(). Raises Unreachable, and what the reading has raised."""
    try:
        return reading.result(max(0.0, begun + seconds - time.monotonic()))
    except Late:
        raise Unreachable(f"no answer within {seconds:g} s") from None
