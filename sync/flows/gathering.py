"""Who comes while others are under way waits, and goes together with those that wait: group commit, without a timer.

So many may be under way at once. Whoever finds fewer goes at once, by itself. The others wait in their order; when one has
ended, the first of them has its place, and takes along those that wait then. How many that are follows from how long they
take: to wait for a place pays off only where those that are under way wait for each other. One that takes far too long waits
for something of its own, and no longer counts.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import takewhile
from math import inf
from threading import Lock
from typing import Generic, Literal, TypeVar

_WINDOW_SECONDS = 30.0
_AVERAGED = 8
_SLOWER = 1.5
_STUCK, _SURELY_STUCK_SECONDS = 4.0, 2.0
State = Literal["waits", "leads", "goes", "apart"]
"""It waits; it has a place, and may take others along; another one takes it along, or it has ended; it goes by itself."""


class Member:
    """One that comes, once; `owner` has its place.

    An owner that comes again while it seems to have a place was interrupted, and has it still.
    """

    __slots__ = ("begun", "owner", "state")

    def __init__(self, owner: object) -> None:
        self.owner, self.begun = owner, 0.0
        self.state: State = "waits"


class Limit:
    """How many may be under way at once, from `least` to `most`: one more as long as they take little longer than the best.

    If they take longer, they wait for a processor, here or in a server: then fewer do more.
    """

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, most
        self.now = most
        self.usual, self._best, self._best_before, self._until = 0.0, inf, inf, 0.0

    def took(self, seconds: float, at: float) -> None:
        """One that has ended at this moment (in seconds) took so many."""
        if at >= self._until:
            self._best_before, self._best, self._until = self._best, inf, at + _WINDOW_SECONDS
        self._best = min(self._best, seconds)
        self.usual += (seconds - self.usual) / _AVERAGED if self.usual else seconds
        is_quick = self.usual <= _SLOWER * min(self._best, self._best_before)
        self.now = max(self._least, min(self._most, self.now + (1 if is_quick else -1)))


M = TypeVar("M", bound=Member)


class Gathering(Generic[M]):
    """Safe to use from many threads. Nothing here waits: whoever is called to lead must be told so by the caller."""

    def __init__(self, limit: Limit, patience: float) -> None:
        """`patience`, in seconds: who has had a place for longer does not count, and who has waited for longer may lead."""
        self.patience = patience
        self._limit, self._guard = limit, Lock()
        self._places = dict[object, float]()
        """Since when each has its place, the oldest first."""
        self._waiting = deque[M]()
        self._called = set[M]()
        """Those that were called to lead, and have not begun to."""

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def enter(self, one: M) -> bool:
        """Whether it has a place at once, and goes by itself; if not, it waits from now on."""
        with self._guard:
            if one.owner in self._places or (not self._waiting and self._has_room()):
                self._lead(one)
                return True
            self._waiting.append(one)
            return False

    def leave(self, one: M, has_written: bool) -> M | None:
        """It has ended, or waits no longer. Returns who is to lead now, and must be told.

        Only of what `has_written` the time counts: what was refused at once says nothing of how long a write takes.
        """
        with self._guard:
            before, one.state = one.state, "goes"
            self._called.discard(one)
            if before == "waits":
                self._forget(one)
            if before != "leads":
                return None
            self._places.pop(one.owner, None)
            if has_written:
                now = time.monotonic()
                self._limit.took(now - one.begun, now)
            if not self._waiting or not self._has_room():
                return None
            called = self._waiting.popleft()
            self._lead(called)
            self._called.add(called)
            return called

    def withdraw(self, one: M) -> None:
        """It waits no longer. Not if it has been called to lead by now: then whoever called it lets it lead, and leave."""
        if one.state != "waits":
            # Without the lock, which this very thread may have: Python collects tasks that nobody keeps, in any thread.
            return
        with self._guard:
            if one.state == "waits":
                one.state = "goes"
                self._forget(one)

    def take(self, led: list[M], size: int, joins: Callable[[M], bool]) -> None:
        """Add to `led`, which holds who leads, those that go with it, `size` together at most: `joins` is asked of each.

        Who does not join keeps its place in the order.
        """
        with self._guard:
            self._called.discard(led[0])
            left = list[M]()
            while self._waiting and len(led) < size:
                one = self._waiting.popleft()
                if joins(one):
                    led.append(one)
                    one.state = "goes"
                else:
                    left.append(one)
            self._waiting.extendleft(reversed(left))

    def put_back(self, left: list[M]) -> None:
        """What was led by another and has not begun waits again, before those that came later."""
        with self._guard:
            for one in left:
                one.state = "waits"
            self._waiting.extendleft(reversed(left))

    def has_waited(self, one: M, beside_called: bool = True) -> bool:
        """It has waited for too long: whether it leads from now on, beside places that are stuck; not if it waits no longer.

        Without `beside_called` not while another one was called and has not begun, since that one takes it along.
        """
        with self._guard:
            if one.state != "waits" or not self._has_room() or (self._called and not beside_called):
                return False
            self._forget(one)
            self._lead(one)
            self._called.add(one)
            return True

    def disband(self) -> list[M]:
        """All that wait, none of which does any longer: each is to go by itself."""
        with self._guard:
            left, self._waiting = list(self._waiting), deque()
            for one in left:
                one.state = "apart"
            return left

    def _has_room(self) -> bool:
        if len(self._places) < self._limit.now:
            return True
        # Not for less than what is usual by far: where all are slow, none of them is stuck, and more of them would be slower.
        usual = min(_STUCK * self._limit.usual, _SURELY_STUCK_SECONDS)
        since = time.monotonic() - max(self.patience, usual)
        stuck = sum(1 for _ in takewhile(lambda begun: begun < since, self._places.values()))
        return len(self._places) - stuck < self._limit.now

    def _lead(self, one: M) -> None:
        one.state, one.begun = "leads", time.monotonic()
        self._places.pop(one.owner, None)
        self._places[one.owner] = one.begun

    def _forget(self, one: M) -> None:
        with suppress(ValueError):  # not there, if a call that was to take it along was interrupted
            self._waiting.remove(one)
