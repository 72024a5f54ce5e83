"""Notifies workers from its own thread, so that no caller waits for Redis (invariant 6)."""

from __future__ import annotations

import logging
from threading import Condition, Thread

import redis

from sync.adapters.queue import QueueNotifier, redis_connection
from sync.errors import SettingsError, SyncError
from sync.settings import Settings

log = logging.getLogger(__name__)
_ANSWER_SECONDS, _AGAIN_SECONDS, _LAST_SECONDS = 1.0, 5.0, 1.0


class NotifierThread:
    """Notifies workers of tables' intents. While Redis is unreachable or silent it keeps the tables' names and retries.

    Even without it, the sweeper of `sync worker` finds the intents.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tables: set[str] = set()  # at most one entry per table, however long Redis is unreachable
        self._changed, self._ended = Condition(), False
        self._notifier: QueueNotifier | None = None
        self._told = ""
        self._thread = Thread(target=self._run, name="sync-notifier", daemon=True)
        self._thread.start()

    def notify(self, table: str) -> None:
        """Notify workers of this table soon."""
        with self._changed:
            self._tables.add(table)
            self._changed.notify()

    def close(self) -> None:
        """Notify workers of what is left, and end; wait a second at most for a Redis that does not answer."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join(_LAST_SECONDS)

    def _run(self) -> None:
        tables: set[str] = set()  # at first only connect, so that an error is logged when the process starts
        while True:
            try:
                self._notify(tables)
            except SettingsError as error:
                log.warning("%s; intents wait for `sync worker`", error)
                return
            except (SyncError, redis.RedisError) as error:
                self._failed(tables, error)
            else:
                self._told = ""
            with self._changed:
                if self._told and not self._ended:
                    self._changed.wait_for(lambda: self._ended, _AGAIN_SECONDS)
                self._changed.wait_for(lambda: self._ended or self._tables)
                tables, self._tables = self._tables, set()
                if self._ended and (self._told or not tables):
                    return

    def _notify(self, tables: set[str]) -> None:
        if self._notifier is None:
            self._notifier = QueueNotifier(redis_connection(self._settings, _ANSWER_SECONDS))
        for table in sorted(tables):
            self._notifier.notify_table(table)

    def _failed(self, tables: set[str], error: Exception) -> None:
        text = " ".join(str(error).split())
        if not self._told:
            log.warning("Redis: %s; intents wait for it, or for `sync worker`", text)
        self._told, self._notifier = text, None
        with self._changed:
            self._tables |= tables
