"""What a command does itself, while a server that it needs cannot now, or is away."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sync.errors import NotNow, TargetUnavailable, Unreachable
from sync.flows.copy_ranges import MOST_RECONNECTS, pause_after

log = logging.getLogger(__name__)
T = TypeVar("T")


def waited(act: Callable[[], T]) -> T:
    """What `act` returns, which may be done again: without end while a server cannot now, for two minutes while it is away.

    Its words are told each time. Raises what `act` raises otherwise.
    """
    for failures in itertools.count(1):
        try:
            return act()
        except (TargetUnavailable, Unreachable) as error:
            if failures > MOST_RECONNECTS and not isinstance(error, NotNow):
                raise
            told = error if isinstance(error, Unreachable) else f"Postgres: {error}"
            log.warning("%s; %s", told, "waiting until it can" if isinstance(error, NotNow) else "connecting again")
            time.sleep(pause_after(failures))
    raise AssertionError("unreachable")
