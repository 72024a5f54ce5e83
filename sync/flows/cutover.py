"""Cut-over and rollback: announce, wait for every writer's promise, close, drain, switch the primary, open (rules 21 and 30).

The switch itself is one transaction: a failure before it leaves the old epoch, open again; a failure after it, the new one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from sync.core.words import counted
from sync.errors import GateRefused, StillOpen, TargetUnavailable
from sync.failpoints import failpoint
from sync.ports import Epoch, NotReady, SwitchKind

_POLL_SECONDS, _DRAIN_POLL_SECONDS = 0.05, 0.003
_SLICE_SECONDS = 2.0
"""A switch is renewed this often while the backlog is drained: well within its lease."""


class SwitchAuthority(Protocol):
    """What decides which store is primary (invariant 6), as a switch needs it."""

    def begin(self, kind: SwitchKind, judged: int) -> int: ...
    def renew(self, switch: int) -> None: ...
    def not_ready(self, switch: int) -> Sequence[NotReady]: ...
    def close(self, switch: int, pause: float) -> int: ...
    def feeds_behind(self, switch: int, write_timeout: float) -> str: ...
    def open_intents(self) -> int: ...
    def switch_primary(self, switch: int, figures: dict[str, Any], unproved: Callable[[], str]) -> tuple[Epoch, float]: ...
    def abandon(self, switch: int, reason: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to wait, in seconds: for writers to answer, for intents to be settled before the pause, and the pause.

    `write`: for how long a write of somebody else's may be under way at the source.
    """

    ready: float
    settle: float
    pause: float
    write: float = 0.0


@dataclass(frozen=True, slots=True)
class CutoverResult:
    """The result of a switch: the new epoch, and for how many seconds no write could begin."""

    switch: int
    epoch: Epoch
    closed_seconds: float


@dataclass(frozen=True, slots=True)
class Switch:
    """One cut-over or rollback. `drain` reconciles what is due, in the direction of the old epoch; it returns how many keys.

    What it is given says when it is to stop. `unproved` says why both sides are no longer proved equal, or nothing; it is
    called in the switch's transaction.
    """

    authority: SwitchAuthority
    drain: Callable[[Callable[[], bool]], int]
    limits: Limits
    say: Callable[[str], None]
    unproved: Callable[[], str]

    def run(self, kind: SwitchKind, judged: int, figures: dict[str, Any]) -> CutoverResult:
        """Switch from the epoch whose gates were judged.

        Raises GateRefused, with that epoch open again, if anything stands in the way.
        """
        failpoint("switch.before_begin")
        switch = self.authority.begin(kind, judged)
        failpoint("switch.begun")
        try:
            self._await_writers(switch)
            self._await_feeds(switch)
            self._drain_most(switch)
            self.say("closing: writes wait now")
            self.authority.close(switch, self.limits.pause)
            epoch, seconds = self._drain_and_switch(switch, figures)
        except BaseException as error:
            self._abandon(switch, str(error) or type(error).__name__)
            raise
        return CutoverResult(switch, epoch, seconds)

    def _abandon(self, switch: int, reason: str) -> None:
        try:
            self.authority.abandon(switch, reason)
        except TargetUnavailable:  # the first error is what counts
            self.say(
                "Postgres is unreachable: waiting writers open the epoch again, unless it has changed; see `sync status`"
            )

    def _await_writers(self, switch: int) -> None:
        """Every writer promises to wait, and has nothing unrecorded (rule 30)."""
        self.say("announced: waiting for every writer's answer")
        until = time.monotonic() + self.limits.ready
        while not_ready := self.authority.not_ready(switch):
            if time.monotonic() > until or any(w.why == "unclean" for w in not_ready):
                raise GateRefused("; ".join(f"{w.writer} {w.why}, heartbeat {w.heartbeat_age:.0f} s ago" for w in not_ready))
            self._pause(switch, _POLL_SECONDS)

    def _await_feeds(self, switch: int) -> None:
        """Every follower has told what others wrote before the switch began, while writes continue (rule 42)."""
        until, said = time.monotonic() + self.limits.settle + self.limits.write, False
        while behind := self.authority.feeds_behind(switch, self.limits.write):
            if not said:
                self.say(f"waiting for what others have changed: {behind}")
            said = True
            if time.monotonic() > until:
                raise GateRefused(f"it took too long: {behind}, nothing has changed; see `sync status`")
            self._pause(switch, _POLL_SECONDS)

    def _drain_most(self, switch: int) -> None:
        """Reconcile the backlog while writes continue, so that the pause is only for what comes in last."""
        until = time.monotonic() + self.limits.settle
        while (now := time.monotonic()) < until:
            # In slices: what is written all the time may have no end, and a switch that is not renewed is given up as dead.
            end = min(until, now + _SLICE_SECONDS)
            done = self.drain(partial(_is_past, end))
            self.authority.renew(switch)
            if not done and time.monotonic() <= end:
                return

    def _drain_and_switch(self, switch: int, figures: dict[str, Any]) -> tuple[Epoch, float]:
        until, behind = time.monotonic() + self.limits.pause, ""
        while True:
            self.drain(partial(_is_past, until))
            failpoint("switch.drained")
            try:
                behind = self.authority.feeds_behind(switch, self.limits.write)
                if not behind and not self.authority.open_intents():
                    return self.authority.switch_primary(switch, figures, self.unproved)
            except StillOpen:
                pass  # an intent or a writer came in between
            if time.monotonic() > until:
                left = f"{counted(self.authority.open_intents(), 'open intent')} left after {self.limits.pause:g} s"
                left = f"{behind}; {left}" if behind else left
                raise GateRefused(f"it took too long: {left}, nothing has changed")
            time.sleep(_DRAIN_POLL_SECONDS)

    def _pause(self, switch: int, seconds: float) -> None:
        time.sleep(seconds)
        self.authority.renew(switch)


def _is_past(moment: float) -> bool:
    """Whether this moment of the monotonic clock, in seconds, has gone by."""
    return time.monotonic() > moment
