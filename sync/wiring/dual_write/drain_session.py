"""One set of connections for all the reconcile jobs of a worker process, rather than one per job."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from sync.settings import Config, Settings
from sync.wiring.backfill.worker import worker_name
from sync.wiring.dual_write.worker import Connections, make_drains, open_connections


class DrainSession:
    """Opened at the first job, and again after a job that failed. Each job reads the epoch and the tables again."""

    def __init__(self, settings: Settings, config: Config) -> None:
        self._settings, self._config = settings, config
        self._stack = ExitStack()
        self._open: Connections | None = None

    def run(self, table: str, stopped: Callable[[], bool]) -> int:
        """Drain one table's intents; the number of keys done."""
        try:
            if self._open is None:
                self._open = self._stack.enter_context(open_connections(self._settings, self._config))
            drains = make_drains(self._open, self._settings, self._config, [table])
            return drains[table].run(worker_name(), stopped)
        except BaseException:  # RQ's timeout, too: a connection that was interrupted in the middle is not used again
            self.close()
            raise

    def close(self) -> None:
        """Close the connections; the next job opens others."""
        self._open = None
        self._stack.close()
