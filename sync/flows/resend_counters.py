"""Making the source's counters equal to Postgres's, key by key: claim, read, add, read (rule “counters”).

An increment cannot be repeated. What is added is always the difference to what the source shows, and it is never sent while
an earlier one may still arrive: so nothing is counted twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Literal, Protocol

from sync.core.counters import SEND_WITHIN_SECONDS, CounterClaim, to_add
from sync.core.mutations import Key
from sync.errors import SourceUnavailable, TargetBusy, TargetRefused
from sync.failpoints import failpoint
from sync.flows.isolation import isolate
from sync.ports import Outcome, Read

log = logging.getLogger(__name__)
Cells = Mapping[str, bytes | None]
End = Literal["equal", "release", "unsure"]
# Linux has a clock that runs on while the machine is suspended; the usual one stands still.
_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class CounterRows(Protocol):
    """Rows of counters in the source."""

    def increment(self, key: Key, amounts: Mapping[str, int]) -> tuple[Outcome, str]: ...
    def read(self, key: Key) -> Read: ...


class TableCounterSteps(Protocol):
    """The transactions of such a reconcile. All may raise TargetUnavailable."""

    def claim(self, keys: Sequence[Key], /, *, quickly: bool = False) -> dict[Key, CounterClaim]: ...
    def equal(self, key: Key, claim: CounterClaim) -> None: ...
    def unsure(self, key: Key, claim: CounterClaim) -> None: ...
    def release(self, key: Key, claim: CounterClaim) -> None: ...


@dataclass(frozen=True, slots=True)
class CounterResend:
    """Reconciles keys of one table of counters towards the source; `decode` makes raw CQL cells of a row's canonical bytes.

    Only one at a time may work on a key (`OrderedResends`): others would wait for this one's claim as if it had died.
    """

    steps: TableCounterSteps
    secondary: CounterRows
    decode: Callable[[bytes], Cells]
    executor: Executor

    def keys(self, keys: Iterable[Key], failed: Callable[[Key, str], None]) -> int:
        """Reconcile these keys; how many. `failed` is called for those that could not be. Raises TargetUnavailable."""
        claims: dict[Key, CounterClaim] = {}
        claimed_at = _now()
        for some, found in isolate(self.steps.claim, list(dict.fromkeys(keys))):
            if isinstance(found, str):
                for key in some:
                    failed(key, found)
            else:
                claims |= found
        for key in [key for key, claim in claims.items() if claim.waits]:
            del claims[key]
            failed(key, "an increment of the source was not acknowledged: it may still arrive, so no other one is sent yet")
        failpoint("counters.claimed")
        ends = self.executor.map(lambda key: self._make_equal(key, claims[key], claimed_at), claims)
        return sum(self._end(key, claims[key], *end, failed) for key, end in zip(claims, ends, strict=True))

    def _end(self, key: Key, claim: CounterClaim, end: End, error: str, failed: Callable[[Key, str], None]) -> bool:
        failpoint("counters.before_end")
        steps = {"equal": self.steps.equal, "unsure": self.steps.unsure, "release": self.steps.release}
        try:
            steps[end](key, claim)
        except (TargetBusy, TargetRefused) as refused:
            error = str(refused)
        failpoint("counters.ended")
        if error:
            log.warning("%s: %s", key.table, error, extra={"table": key.table, "keys": 1})
            failed(key, error)
        return not error

    def _make_equal(self, key: Key, claim: CounterClaim, claimed_at: float) -> tuple[End, str]:
        """Add what the source lacks; how the claim ends, and why, if the source is not equal."""
        try:
            amounts = self._missing(key, claim)
            if not amounts:
                return "equal", ""
            failpoint("counters.read")
            if _now() > claimed_at + SEND_WITHIN_SECONDS:
                return "release", "the source was slow, and nothing was sent"
            outcome, error = self.secondary.increment(key, amounts)
            failpoint("counters.sent")
            if outcome != "written":
                return "unsure" if outcome == "unsure" else "release", f"the source did not take it: {error}"
            if left := self._missing(key, claim):
                return "release", f"after an increment the source still lacks {_shown(left)}: {_WHY}"
        except (SourceUnavailable, ValueError) as error:
            return "release", str(error)
        return "equal", ""

    def _missing(self, key: Key, claim: CounterClaim) -> dict[str, int]:
        """What the source's counters lack. Raises SourceUnavailable; ValueError if no increment makes them equal."""
        held = self.secondary.read(key).cells
        if claim.row is None and held is not None:
            raise ValueError(
                "the row was deleted in Postgres, and Cassandra cannot reliably delete a counter: insert it again with 0"
            )
        return {} if claim.row is None else to_add(held or {}, self.decode(claim.row))


_WHY = "somebody else writes it, or its counter was deleted in Cassandra, which then hides increments"


def _now() -> float:
    return time.clock_gettime(_CLOCK)


def _shown(amounts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {amount:+d}" for name, amount in amounts.items())
