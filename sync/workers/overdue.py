"""Tables whose intents wait although there are workers: these may all have jobs that take long.

A drift pass even waits for keys that are in flight. With one worker, which checks a range, nobody would send them.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections.abc import Collection
from contextlib import closing
from multiprocessing.connection import Connection
from threading import Event

import psycopg

from sync.adapters.postgres.connection.refusals import error_text
from sync.errors import SyncError
from sync.settings import Config, Settings
from sync.wiring.dual_write.drain_session import DrainSession
from sync.workers.pool import FORK, end_process, end_with_parent

log = logging.getLogger("sync.workers")
BUDGET_SECONDS = 60
_LOOK_SECONDS = 0.2


class Overdue:
    """A process that drains the tables of which two sweeps in a row find intents that nobody works on.

    It is forked, as workers are, before the command opens a connection; it opens its own at the first such table.
    """

    def __init__(self, settings: Settings, config: Config) -> None:
        self._settings, self._config = settings, config
        self._before: Collection[str] = ()
        self._start()

    def _start(self) -> None:
        self._pipe, other = multiprocessing.Pipe()
        self._process = FORK.Process(target=_drain_what_is_named, args=(other, self._settings, self._config))
        self._process.start()
        other.close()
        self._busy = False

    def sweep(self, waiting: Collection[str]) -> None:
        """Take note of the tables with intents that nobody works on. One that has died is replaced."""
        try:
            self._tell(sorted(set(waiting).intersection(self._before)))
        except (EOFError, OSError):
            self.stop(0)
            self._start()
        self._before = waiting

    def _tell(self, tables: list[str]) -> None:
        if not self._process.is_alive():
            raise EOFError
        if self._busy and self._pipe.poll():
            self._pipe.recv()
            self._busy = False
        if tables and not self._busy:
            self._pipe.send(tables)
            self._busy = True

    def stop(self, grace_seconds: float = 30) -> None:
        """Have it end after its batch; after that time it is killed, and what it has leased is free when the lease ends."""
        try:
            end_process(self._process, grace_seconds)
        finally:
            self._pipe.close()


def _drain_what_is_named(pipe: Connection, settings: Settings, config: Config) -> None:
    ended = Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command ends it
    signal.signal(signal.SIGTERM, lambda *_: ended.set())  # in the middle of a batch it would leave claims behind
    end_with_parent()
    with closing(DrainSession(settings, config)) as session:
        while not ended.is_set():
            if not pipe.poll(_LOOK_SECONDS):
                continue
            for table in pipe.recv():
                until = time.monotonic() + BUDGET_SECONDS
                try:
                    session.run(table, lambda until=until: ended.is_set() or time.monotonic() > until)  # type: ignore[misc]
                except (SyncError, psycopg.Error) as error:
                    log.warning("%s: %s", table, error_text(error))
            pipe.send(None)
