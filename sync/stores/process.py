"""A store belongs to the process that opened it, until it is closed."""

from __future__ import annotations

import atexit
import logging
import multiprocessing.process
import os
from collections.abc import Callable
from multiprocessing.util import Finalize

from sync.errors import ForkedStore, StoreClosed

log = logging.getLogger(__name__)


class Process:
    """Remembers the process: two that share a connection would read each other's answers."""

    def __init__(self) -> None:
        self._pid, self._closed = os.getpid(), False

    def close(self) -> None:
        """From now on the store is closed."""
        self._closed = True
        _OPEN.pop(self, None)

    def close_at_exit(self, close: Callable[[], None]) -> None:
        """Call `close` when the interpreter ends, unless the store is closed before: it would not sign off."""
        _OPEN[self] = close
        if multiprocessing.process.parent_process() is not None and os.getpid() not in _CHILDREN:
            # A child that multiprocessing forked ends with os._exit, and runs no handlers of atexit.
            _CHILDREN.add(os.getpid())
            Finalize(None, _close_all, exitpriority=0)

    @property
    def is_own(self) -> bool:
        """Whether this is the process that opened the store."""
        return os.getpid() == self._pid

    def check(self) -> None:
        """Raise ForkedStore in another process than the one that opened the store, StoreClosed after its end."""
        if self._closed:
            raise StoreClosed("this store was closed: nothing was sent; open a new one")
        if not self.is_own:
            raise ForkedStore(
                "this store was opened before the process was forked: open it in each worker process "
                "(gunicorn: in post_fork, or at the first request)"
            )


_OPEN: dict[Process, Callable[[], None]] = {}
_CHILDREN: set[int] = set()


def _close_all() -> None:
    for process, close in list(_OPEN.items()):
        if process.is_own:
            try:
                close()
            except Exception:  # the others are to be closed as well, and the interpreter ends
                log.exception("a store could not be closed at exit")


# With the import, before an application registers handlers of its own: they run in the opposite order, and may still write.
atexit.register(_close_all)
