"""Metrics of an application's stores, in prometheus_client's default registry; nothing where that is not installed.

They are the process's: several stores in it count together. docs/metrics.md says what they mean.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client import Histogram, Metric

log = logging.getLogger(__name__)
_FAILURES = (OSError, ValueError, RuntimeError)
"""What counting raises where a file cannot be written."""
_WRITE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_READ_SECONDS = (0.0005, *_WRITE_SECONDS)
_WAIT_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_AT_ONCE = 128
WRITE, READ = "sync_write_seconds", "sync_read_seconds"
SWITCH_WAIT, WITHOUT_POSTGRES = "sync_switch_wait_seconds", "sync_writes_without_postgres"


class Nothing:
    """Where prometheus-client is not installed."""

    def wrote(self, side: str, outcome: str, seconds: float) -> None:
        """Count nothing."""

    read = wrote

    def waited(self, seconds: float) -> None:
        """Count nothing."""

    def accepted(self) -> None:
        """Count nothing."""


class StoreMetrics(Nothing):
    """What stores count. A label's child is looked up once: prometheus_client takes longer for that than to count.

    Nothing is raised: with several processes each count is written into a file, and a disk that is full is no reason to lose
    the result of a write that was made.
    """

    def __init__(self) -> None:
        from prometheus_client import Counter, Histogram

        self._said = False
        labels = ("side", "outcome")
        writes = self._histogram(WRITE, "How long writes took, of each side and as a whole", labels, buckets=_WRITE_SECONDS)
        reads = Histogram(READ, "How long reads of keys and searches took", labels, buckets=_READ_SECONDS)
        self._write = cache(lambda side, outcome: writes.labels(side, outcome).observe)
        self._read = cache(lambda side, outcome: reads.labels(side, outcome).observe)
        self._wait = Histogram(SWITCH_WAIT, "How long writes waited for a switch", buckets=_WAIT_SECONDS)
        self._accepted = Counter(WITHOUT_POSTGRES, "Writes that were made while Postgres was away, and buffered")

    def _histogram(self, *arguments: Any, **options: Any) -> Histogram:
        from prometheus_client import Histogram

        return Histogram(*arguments, **options)

    def wrote(self, side: str, outcome: str, seconds: float) -> None:
        """A side, or `both`, has taken a write or not."""
        try:
            self._write(side, outcome)(seconds)
        except _FAILURES as error:
            self._failed(error)

    def read(self, side: str, outcome: str, seconds: float) -> None:
        """A side has answered a read or not."""
        try:
            self._read(side, outcome)(seconds)
        except _FAILURES as error:
            self._failed(error)

    def waited(self, seconds: float) -> None:
        """A write has waited for a switch."""
        try:
            self._wait.observe(seconds)
        except _FAILURES as error:
            self._failed(error)

    def accepted(self) -> None:
        """A write was made without Postgres."""
        try:
            self._accepted.inc()
        except _FAILURES as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        if not self._said:
            self._said = True
            log.warning("stores count wrongly: prometheus_client: %s: %s", type(error).__name__, error)


class LateStoreMetrics(StoreMetrics):
    """The same where nobody but this process reads what it has counted: a write leaves its figures, and they are counted
    many at once, or before they are read. Within a write, counting costs three times of what it does in a row.
    """

    def __init__(self) -> None:
        self._waiting = deque[tuple[str, str, float]]()  # its ends are taken and added to without a lock
        super().__init__()

    def _histogram(self, *arguments: Any, **options: Any) -> Histogram:
        from prometheus_client import Histogram

        count = self._count_waiting

        class Late(Histogram):
            def collect(self) -> Iterable[Metric]:
                count()
                return super().collect()

        return Late(*arguments, **options)

    def wrote(self, side: str, outcome: str, seconds: float) -> None:
        """A side, or `both`, has taken a write or not."""
        self._waiting.append((side, outcome, seconds))
        if len(self._waiting) > _AT_ONCE:
            self._count_waiting()

    def _count_waiting(self) -> None:
        with suppress(IndexError):  # there are no more, of which another thread may have taken some
            while True:
                super().wrote(*self._waiting.popleft())


_SHARED = {"PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"}
"""The client's own names of the variable with which processes share their figures in files."""
_FIRST = Lock()
"""Threads may open the process's first stores at once, and names can be registered once."""


@cache
def store_metrics() -> Nothing:
    """This process's metrics; registered at the first call."""
    with _FIRST:
        return _registered()


@cache
def _registered() -> Nothing:
    return new_metrics()


def new_metrics() -> Nothing:
    """Registered now; Nothing if their names are taken."""
    try:
        return StoreMetrics() if _SHARED & os.environ.keys() else LateStoreMetrics()
    except ModuleNotFoundError:
        return Nothing()
    except (ValueError, OSError) as error:  # names that the application has taken, or no PROMETHEUS_MULTIPROC_DIR
        log.warning("stores count nothing: prometheus_client: %s", error)
        return Nothing()
