"""The backfill as a whole: plan ranges, notify workers, watch, build indexes, close the runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from sync.core.ring import TokenRange
from sync.core.words import counted
from sync.errors import TargetUnavailable, Unreachable, WorkFailed
from sync.flows.retry import pause_or_raise
from sync.ports import Progress

log = logging.getLogger(__name__)
POLL_SECONDS = 0.25
LAST_POLL_SECONDS = 0.05  # while the last ranges are copied, so that their end is noticed at once
MAX_FAILURES = 5
_LEFT_ALONE = 9  # times as long as one look at the ledger took


class RunLedger(Protocol):
    """The ledger as the supervisor needs it."""

    def begin(self, plans: dict[str, list[TokenRange]]) -> list[int]: ...
    def progress(self, runs: list[int]) -> list[Progress]: ...
    def work_left(self, runs: list[int]) -> bool: ...
    def active_workers(self, runs: list[int]) -> int: ...
    def fail_deadly(self, runs: list[int]) -> None: ...
    def request_stop(self, runs: list[int], stop: bool) -> None: ...
    def failures(self, runs: list[int]) -> tuple[int, str]: ...
    def finish(self, *runs: int) -> bool: ...


class Notifier(Protocol):
    """Notifies workers."""

    def notify_idle(self, runs: list[int], at_least: int) -> int: ...
    def clear(self) -> None: ...


class OwnWorkers(Protocol):
    """The worker processes of this command."""

    def __len__(self) -> int: ...
    def heal(self) -> int: ...
    def dismiss(self) -> None: ...


@dataclass(slots=True)
class _Failures:
    """Failed jobs since the last progress, while nobody else worked: one host's fault must not end the run of the others."""

    progress: int = -1
    forgiven: int = 0

    def too_many(self, progress: int, failures: int, others: bool) -> bool:
        if progress != self.progress or others:
            self.progress, self.forgiven = progress, failures
        return failures - self.forgiven >= MAX_FAILURES


@dataclass(frozen=True, slots=True)
class Supervisor:
    """Watches runs until every range is done or failed. A ledger whose connection breaks is opened again."""

    open_ledger: Callable[[], AbstractContextManager[RunLedger]]
    notifier: Notifier
    own_workers: OwnWorkers
    show: Callable[[list[Progress]], None]

    def watch(self, runs: list[int]) -> list[Progress]:
        """Notify workers and watch until nothing is left to do; the last figures. Ctrl-C stops the workers first."""
        try:
            return self._watch(runs)
        except KeyboardInterrupt:
            self._stop(runs)
            raise
        finally:
            self.notifier.clear()
            self.own_workers.dismiss()  # they end while indexes are built

    def _watch(self, runs: list[int]) -> list[Progress]:
        failures, failed = 0, _Failures()
        while True:
            try:
                with self.open_ledger() as ledger:
                    while True:
                        begun = time.monotonic()
                        progress, failures = ledger.progress(runs), 0
                        shown = time.monotonic()
                        self.show(progress)
                        shown = time.monotonic() - shown
                        if all(p.done + p.failed == p.total for p in progress):
                            return progress
                        left = self._notify(ledger, runs, failed, sum(p.done + p.rows_read for p in progress))
                        # Looking at many ranges takes a while: most of the time Postgres is left alone.
                        spent = time.monotonic() - begun - shown
                        time.sleep(max(POLL_SECONDS if left else LAST_POLL_SECONDS, _LEFT_ALONE * spent))
            except (TargetUnavailable, Unreachable) as error:
                failures += 1
                pause_or_raise(error, failures)

    def _notify(self, ledger: RunLedger, runs: list[int], failed: _Failures, done: int) -> bool:
        """Notify workers; whether any range is waiting for one."""
        self.own_workers.heal()
        ledger.fail_deadly(runs)
        failures, error = ledger.failures(runs)
        active = ledger.active_workers(runs)
        if failed.too_many(done, failures, others=active > 0):
            raise WorkFailed(
                f"{counted(failures, 'job')} failed, the last one with: {error}; what is done stays, run it again"
            )
        left = ledger.work_left(runs)
        if left:
            # Idle workers are notified; after a FLUSHALL no worker is registered, but this command's own still listen.
            missing = max(0, len(self.own_workers) - active)
            self.notifier.notify_idle(runs, missing)
        return left

    def _stop(self, runs: list[int]) -> None:
        """Have the workers release their ranges at the next batch, and wait for that."""
        try:
            with self.open_ledger() as ledger:
                ledger.request_stop(runs, True)
                until = time.monotonic() + 60
                while ledger.active_workers(runs) and time.monotonic() < until:
                    time.sleep(POLL_SECONDS)
        except (TargetUnavailable, Unreachable) as error:
            log.warning("Postgres: %s; the workers' leases will expire", error)
