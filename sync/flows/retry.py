"""What is done again while a server is temporarily unavailable, or is unreachable: how often, and how long the pauses are."""

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
    """Longer after each failure in a row: what is overloaded or restarting needs time, not questions."""
    return min(2.0**failures / 2, _LONGEST_PAUSE)


def pause(failures: int, stopped: Callable[[], bool]) -> None:
    """So long, or until `stopped()`."""
    until = time.monotonic() + pause_after(failures)
    while time.monotonic() < until and not stopped():
        time.sleep(0.1)


def pause_or_raise(error: SyncError, failures: int, stopped: Callable[[], bool] = lambda: False) -> bool:
    """After so many failures in a row: say the server's words, and pause; False where it was stopped.

    Raises the error where the server is unreachable and it was stopped, or that was for about two minutes.
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
    """What a command's step returns, which may be done again: without end while a server is temporarily unavailable.

    Raises what `act` raises otherwise, and that a server is unreachable after about two minutes.
    """
    for failures in itertools.count(1):
        try:
            return act()
        except (TargetUnavailable, Unreachable) as error:
            pause_or_raise(error, failures)
    raise AssertionError("unreachable")


def retry_until_stopped(act: Callable[[], int], stopped: Callable[[], bool]) -> int:
    """Retry while a server is unreachable, for two minutes or until `stopped()`; while it cannot now, until `stopped()`.

    0 where it was stopped while it waited for a server that cannot now: that is nobody's failure.
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
