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
        """Mark the store as closed."""
        self._closed = True
        _OPEN.pop(self, None)

    def close_at_exit(self, close: Callable[[], None]) -> None:
        """Call `close` when the interpreter ends, unless the store is closed by then: it would not sign off otherwise."""
        _OPEN[self] = close
        if multiprocessing.process.parent_process() is not None and os.getpid() not in _CHILDREN:
            # A child that multiprocessing forked ends with os._exit, which runs no atexit handlers.
            _CHILDREN.add(os.getpid())
            Finalize(None, _close_all, exitpriority=0)

    @property
    def is_own(self) -> bool:
        """Whether this is the process that opened the store."""
        return os.getpid() == self._pid

    def check(self) -> None:
        """Raise ForkedStore in any process but the one that opened the store, StoreClosed once it is closed."""
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
            except Exception:  # the others must be closed as well, and the interpreter is ending
                log.exception("a store could not be closed at exit")


# At import, before an application registers its own handlers: those then run first, and may still write.
atexit.register(_close_all)
