"""The backfill as a whole: plan ranges, ring for workers, watch, build indexes, close the runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sync.core.ring import TokenRange
from sync.errors import WorkFailed
from sync.ports import Progress

POLL_SECONDS = 0.25
MOST_FAILURES = 5


class RunLedger(Protocol):
    """The ledger as the supervisor needs it."""

    def begin(self, plans: dict[str, list[TokenRange]]) -> list[int]: ...
    def progress(self, runs: list[int]) -> list[Progress]: ...
    def work_left(self, runs: list[int]) -> int: ...
    def active_workers(self, runs: list[int]) -> int: ...
    def request_stop(self, runs: list[int], stop: bool) -> None: ...
    def failures(self, runs: list[int]) -> tuple[int, str]: ...
    def finish(self, run: int) -> bool: ...


class Bell(Protocol):
    """Rings for workers."""

    def ring_idle(self, runs: list[int], at_least: int) -> int: ...
    def clear(self) -> None: ...


class OwnWorkers(Protocol):
    """The worker processes of this command."""

    def __len__(self) -> int: ...
    def heal(self) -> int: ...
    def dismiss(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Supervisor:
    """Watches runs until every range is done or failed."""

    ledger: RunLedger
    bell: Bell
    own: OwnWorkers
    show: Callable[[list[Progress]], None]

    def watch(self, runs: list[int]) -> list[Progress]:
        """Ring and watch until nothing is left to do; the last figures. KeyboardInterrupt stops the workers first."""
        try:
            while True:
                progress = self.ledger.progress(runs)
                self.show(progress)
                if all(p.done + p.failed == p.total for p in progress):
                    return progress
                self._wake(runs)
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            self._stop(runs)
            raise
        finally:
            self.bell.clear()
            self.own.dismiss()  # they end while indexes are built

    def _wake(self, runs: list[int]) -> None:
        self.own.heal()
        failures, error = self.ledger.failures(runs)
        if failures >= MOST_FAILURES:
            raise WorkFailed(
                f"{failures} jobs failed, the last one with: {error}; what is copied stays, run it again to go on"
            )
        if self.ledger.work_left(runs):
            # Idle workers are rung for; after a FLUSHALL no worker is registered, but this command's own ones still listen.
            missing = max(0, len(self.own) - self.ledger.active_workers(runs))
            self.bell.ring_idle(runs, missing)

    def _stop(self, runs: list[int]) -> None:
        """Have the workers let go of their ranges at the next batch, and wait for that."""
        self.ledger.request_stop(runs, True)
        until = time.monotonic() + 60
        while self.ledger.active_workers(runs) and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
