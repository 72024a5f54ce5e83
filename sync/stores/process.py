"""A store belongs to the process that opened it, until it is closed."""

from __future__ import annotations

import os

from sync.errors import ForkedStore, StoreClosed


class Process:
    """Remembers the process: two that share a connection would read each other's answers."""

    def __init__(self) -> None:
        self._pid, self._closed = os.getpid(), False

    def close(self) -> None:
        """From now on the store is closed."""
        self._closed = True

    @property
    def is_own(self) -> bool:
        """Whether this is the process that opened the store."""
        return os.getpid() == self._pid

    def check(self) -> None:
        """Raise ForkedStore in another process than the one that opened the store, StoreClosed after its end."""
        if self._closed:
            raise StoreClosed("this store was closed: nothing was sent; open another")
        if not self.is_own:
            raise ForkedStore(
                "this store was opened before the process was forked: open it in each worker process "
                "(gunicorn: in post_fork, or at the first request)"
            )
