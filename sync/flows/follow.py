"""Following a feed of changes by others: what it tells is recorded, batch by batch, and nothing is taken as told before."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol, TypeVar

from sync.core.capture.changes import ChangeBatch
from sync.errors import EpochChanged, FeedTaken, PreflightError, TargetUnavailable, Unreachable
from sync.flows.retry import pause

T = TypeVar("T")
_TAKE_POLL_SECONDS = 0.5


class ChangedKeys(Protocol):
    """A feed: a source's events as changed keys. What it yields it may yield again: everything is recorded at least once."""

    name: str
    """Which feed it is, in the ledger and in `sync status`: one for each place that is read."""

    def batches(self, position: str | None) -> Iterator[ChangeBatch]:
        """Batches behind `position` (None: from the oldest there is), at least one a second, until it is closed."""


class FeedRecords(Protocol):
    """The ledger as this needs it."""

    def take(self, name: str) -> str | None: ...
    def record(self, name: str, batch: ChangeBatch) -> None: ...
    def release(self, name: str, error: str = "") -> None: ...


def follow(
    feed: ChangedKeys,
    ledger: FeedRecords,
    take_seconds: float,
    say: Callable[[str], None],
    told: Callable[[ChangeBatch], None],
) -> None:
    """Record the feed until it ends. `told` is called with each batch that is recorded.

    While Postgres is away the same batch is tried again, without limit. Raises FeedTaken if another process follows it for
    longer than `take_seconds`, or has taken it over: it goes on from where this one was.
    """
    position = _taken(feed.name, ledger, take_seconds, say)
    try:
        for batch in feed.batches(position):
            _patiently(partial(ledger.record, feed.name, batch), say)
            told(batch)
    except (FeedTaken, PreflightError):
        raise
    except BaseException as error:
        _release(feed.name, ledger, "" if isinstance(error, KeyboardInterrupt) else str(error), say)
        raise
    _release(feed.name, ledger, "", say)


def _taken(name: str, ledger: FeedRecords, take_seconds: float, say: Callable[[str], None]) -> str | None:
    """The feed's position. One that was killed holds it until its lease is over."""
    until = time.monotonic() + take_seconds
    for tries in itertools.count():
        try:
            return _patiently(lambda: ledger.take(name), say)
        except FeedTaken as taken:
            if time.monotonic() > until:
                raise
            if not tries:
                say(f"{taken}; waiting for {take_seconds:.0f} s")
            time.sleep(_TAKE_POLL_SECONDS)
    raise AssertionError("unreachable")


def _patiently(act: Callable[[], T], say: Callable[[str], None]) -> T:
    """What it returns, tried again without limit while Postgres is away, busy, or changing its primary."""
    said = ""
    for failures in itertools.count(1):
        try:
            result = act()
        except (TargetUnavailable, Unreachable, EpochChanged) as error:
            text = f"Postgres: {error}; nothing is lost, trying again"
            if text != said:
                say(text)
            said = text
            pause(failures, lambda: False)
        else:
            if said:
                say("Postgres: it goes on")
            return result
    raise AssertionError("unreachable")


def _release(name: str, ledger: FeedRecords, error: str, say: Callable[[str], None]) -> None:
    try:
        ledger.release(name, error)
    except (TargetUnavailable, Unreachable) as away:  # then its lease ends by itself
        say(f"Postgres: {away}; another process can follow {name} when its lease is over")
