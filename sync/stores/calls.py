"""Counts the calls under way in a store, which can close only after them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from threading import Condition, RLock, get_ident

from sync.errors import StoreClosed


class Calls:
    """Counts calls, each a `with` block, by thread; `check` raises if none may begin.

    One that begins and ends in different threads is counted by an object of its own: `begin(mine)`, `finish(mine)`.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._under_way: Counter[object] = Counter()
        # Not a Condition's own: a handler of a signal that raises might leave it locked; and a handler may make calls, too.
        self._closed, self._guard = False, RLock()
        self._ended = Condition(self._guard)

    def __enter__(self) -> None:
        self.begin(get_ident())

    def __exit__(self, *_error: object) -> None:
        self.finish(get_ident())

    def begin(self, caller: object) -> None:
        """A call begins. Raises StoreClosed, and what `check` raises."""
        self._check()  # before the lock: another thread may have held it at a fork, and nobody releases it
        with self._guard:
            if self._closed:
                raise StoreClosed("this store was closed: nothing was sent; open a new one")
            self._under_way[caller] += 1

    def go_on(self, caller: object) -> None:
        """A call that is under way goes on elsewhere, too, whether or not the store is being closed by now."""
        with self._guard:
            self._under_way[caller] += 1

    def finish(self, caller: object) -> None:
        """It has ended."""
        with self._guard:
            self._under_way[caller] -= 1
            if not self._under_way[caller]:
                self._under_way.pop(caller, None)
            self._ended.notify_all()

    def end(self, seconds: float) -> int:
        """Refuse new calls, and wait up to `seconds` for those under way; how many are left.

        What a call did after this would go unrecorded (rule 29). A call of this very thread is not waited for: a signal
        handler interrupted it by raising before the `with` block began.
        """
        with self._guard:
            self._closed = True
            self._under_way.pop(get_ident(), None)
            self._ended.wait_for(lambda: not self._under_way.total(), seconds)
            return self._under_way.total()
