"""The calls that are under way in a store: it can end only after them."""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition

from sync.errors import StoreClosed


class Calls:
    """Counts calls, each a `with` block, from any thread; `check` raises where none may begin."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check, self._count, self._closed, self._ended = check, 0, False, Condition()

    def __enter__(self) -> None:
        self._check()  # before the lock: at a fork another thread may have had it, and nobody gives it back
        with self._ended:
            if self._closed:
                raise StoreClosed("this store was closed: nothing was sent; open another")
            self._count += 1

    def __exit__(self, *_error: object) -> None:
        with self._ended:
            self._count -= 1
            self._ended.notify_all()

    def end(self, seconds: float) -> int:
        """Let no call begin any more, and wait for those under way, so many seconds at most; how many are left.

        What a call did after this, nobody would hear of (rule 29).
        """
        with self._ended:
            self._closed = True
            self._ended.wait_for(lambda: not self._count, seconds)
            return self._count
