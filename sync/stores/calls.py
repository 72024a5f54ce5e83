"""The calls that are under way in a store: it can end only after them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from threading import Condition, get_ident

from sync.errors import StoreClosed


class Calls:
    """Counts calls, each a `with` block, by thread; `check` raises where none may begin."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._under_way: Counter[int] = Counter()
        self._closed, self._ended = False, Condition()

    def __enter__(self) -> None:
        self._check()  # before the lock: at a fork another thread may have had it, and nobody gives it back
        with self._ended:
            if self._closed:
                raise StoreClosed("this store was closed: nothing was sent; open a new one")
            self._under_way[get_ident()] += 1

    def __exit__(self, *_error: object) -> None:
        with self._ended:
            self._under_way[get_ident()] -= 1
            self._ended.notify_all()

    def end(self, seconds: float) -> int:
        """Let no call begin any more, and wait for those under way, so many seconds at most; how many are left.

        What a call did after this, nobody would hear of (rule 29). One of this very thread was broken off, by a signal's
        handler that raised before the `with` block had begun.
        """
        with self._ended:
            self._closed = True
            self._under_way.pop(get_ident(), None)
            self._ended.wait_for(lambda: not self._under_way.total(), seconds)
            return self._under_way.total()
