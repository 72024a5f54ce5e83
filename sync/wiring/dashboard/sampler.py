"""Takes a sample every few seconds while something runs: for the curves of `sync dashboard`, and for nothing else."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import closing

import psycopg

from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.connection.deadline import IMPATIENT, hung_up_after
from sync.adapters.postgres.connection.refusals import error_text, target_errors
from sync.adapters.postgres.history.samples import take_sample, thin_samples
from sync.adapters.postgres.schema.migrations import usable_state
from sync.core.dashboard.history import SLOT_SECONDS
from sync.errors import SyncError
from sync.ports import Progress
from sync.settings import Settings

log = logging.getLogger(__name__)
THIN_SECONDS = 600.0
ANSWER_SECONDS = 10.0
"""A sample that takes longer is given up: whoever takes it has other work to do."""
_LEFT_ALONE = 9  # times as long as a failed attempt took


class Sampler:
    """Takes samples for whoever calls `tick` often enough; of all processes that do, one takes each."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._next, self._thin, self._said = 0.0, 0.0, ""

    def beside(self, show: Callable[[list[Progress]], None]) -> Callable[[list[Progress]], None]:
        """What shows a command's progress, and takes samples meanwhile."""

        def shown(progress: list[Progress]) -> None:
            show(progress)
            self.tick()

        return shown

    def tick(self) -> None:
        """Take a sample if one is due. History is worth no failed command: what Postgres refuses is logged once.

        Whoever calls meets an outage, or a state of an older version, as well, and says so.
        """
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + SLOT_SECONDS
        try:
            self._take(now)
        except SyncError as error:
            ended = time.monotonic()
            self._next = max(self._next, ended + _LEFT_ALONE * (ended - now))
            log.debug("history for the dashboard: %s", error)
        except psycopg.Error as error:
            text = error_text(error)
            if text != self._said:
                log.warning("history for the dashboard: %s", text)
            self._said = text

    def _take(self, now: float) -> None:
        opened = connect(self._settings, direct=False, autocommit=True, network=IMPATIENT)
        with closing(opened) as connection, hung_up_after(connection, ANSWER_SECONDS), target_errors():
            if usable_state(connection) and take_sample(connection) and now >= self._thin:
                self._thin = now + THIN_SECONDS
                thin_samples(connection)
