"""Retries while a server is temporarily unavailable or unreachable: how often, and with what pauses."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sync.errors import NotNow, SyncError, TargetUnavailable, Unreachable

log = logging.getLogger(__name__)
T = TypeVar("T")
MAX_RECONNECTS = 12  # about two minutes: a restart, or a suspended compute that wakes
_LONGEST_PAUSE = 15.0


def pause_after(failures: int) -> float:
    """The pause in seconds, longer after each failure in a row: a server that is overloaded or restarting needs time."""
    return min(2.0**failures / 2, _LONGEST_PAUSE)


def pause(failures: int, stopped: Callable[[], bool]) -> None:
    """Sleep that long, or until `stopped()`."""
    until = time.monotonic() + pause_after(failures)
    while time.monotonic() < until and not stopped():
        time.sleep(0.1)


def pause_or_raise(error: SyncError, failures: int, stopped: Callable[[], bool] = lambda: False) -> bool:
    """After this many failures in a row, log the server's words and pause; False if it was stopped.

    Raises the error if the server is unreachable and it was stopped, or has been unreachable for about two minutes.
    """
    is_away = not isinstance(error, NotNow)
    if is_away and (stopped() or failures > MAX_RECONNECTS):
        raise error
    if stopped():
        return False
    told = f"Postgres: {error}" if isinstance(error, TargetUnavailable) else error
    log.warning("%s; %s", told, "reconnecting" if is_away else "retrying until it can")
    pause(failures, stopped)
    return True


def retry(act: Callable[[], T]) -> T:
    """What a repeatable step of a command returns, retried without limit while a server is temporarily unavailable.

    Raises any other error of `act` at once, and that a server is unreachable after about two minutes.
    """
    for failures in itertools.count(1):
        try:
            return act()
        except (TargetUnavailable, Unreachable) as error:
            pause_or_raise(error, failures)
    raise AssertionError("unreachable")


def retry_until_stopped(act: Callable[[], int], stopped: Callable[[], bool]) -> int:
    """Retry until `stopped()` while a server is temporarily unavailable; for two minutes at most while it is unreachable.

    0 if it was stopped while a server was temporarily unavailable: that is not a failure.
    """
    for failures in itertools.count(1):
        try:
            return act()
        except (TargetUnavailable, Unreachable) as error:
            if not pause_or_raise(error, failures, stopped):
                return 0
    raise AssertionError("unreachable")


def retry_while_not_now(act: Callable[[], int], stopped: Callable[[], bool]) -> int:
    """Do it, and retry while a server is temporarily unavailable, until `stopped()`; other outages are raised."""
    for failures in itertools.count(1):
        try:
            return act()
        except NotNow as error:
            if not pause_or_raise(error, failures, stopped):
                return 0
    raise AssertionError("unreachable")
