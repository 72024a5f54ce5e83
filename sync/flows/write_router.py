"""Each write goes to the flow of the epoch's primary; while a cut-over is under way it waits (rules 20 and 21)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sync.errors import EpochChanged, SyncError, WriteRefused, WriteRefusedNow, WriteUnsure
from sync.flows.observing import Observe, unobserved
from sync.ports import Primary

T = TypeVar("T")


class EpochView(Protocol):
    """What this process knows of the epoch."""

    @property
    def primary(self) -> Primary: ...
    def epoch_changed(self, changed: EpochChanged) -> None: ...
    def wait_open(self, seconds: float) -> float: ...
    def record_wait(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class WriteRouter:
    """Runs writes under the current epoch; `max_wait` is how many seconds a write waits for a cut-over."""

    epochs: EpochView
    max_wait: float
    observe: Observe = unobserved

    def run(self, by_primary: Mapping[Primary, Callable[[], T]]) -> T:
        """What the current primary's flow returns. Raises WriteRefused, with nothing written, if it takes too long."""
        begun, outcome = time.monotonic(), "failed"
        try:
            result = self.route(by_primary)
            outcome = "written"
            return result
        except WriteUnsure:
            outcome = "unsure"
            raise
        except WriteRefused:
            outcome = "refused"
            raise
        finally:
            self.observe("both", outcome, time.monotonic() - begun)

    def ended(self, error: SyncError | None, seconds: float) -> None:
        """Count a write that was made together with others."""
        outcome = "written" if error is None else "failed"
        if isinstance(error, WriteUnsure | WriteRefused):
            outcome = "unsure" if isinstance(error, WriteUnsure) else "refused"
        self.observe("both", outcome, seconds)

    def route(self, by_primary: Mapping[Primary, Callable[[], T]]) -> T:
        """As `run`, but nothing is counted."""
        # If writes are known to wait, asking Postgres would take up a connection, and wait for the cut-over's own lock.
        waited = self.epochs.wait_open(self.max_wait)
        try:
            result = by_primary[self.epochs.primary]()
        except EpochChanged as changed:
            return self._again(by_primary, changed, waited)
        if waited:
            self.epochs.record_wait(waited)
        return result

    def _again(self, by_primary: Mapping[Primary, Callable[[], T]], changed: EpochChanged, waited: float) -> T:
        begun = time.monotonic() - waited
        while (left := begun + self.max_wait - time.monotonic()) > 0:
            self.epochs.epoch_changed(changed)
            if changed.state != "open":
                self.epochs.wait_open(left)
            waited = time.monotonic() - begun
            try:
                result = by_primary[self.epochs.primary]()
            except EpochChanged as again:
                changed = again
            else:
                self.epochs.record_wait(waited)
                return result
        raise WriteRefusedNow(f"{changed}, and has been for {self.max_wait:g} s: nothing was written")
