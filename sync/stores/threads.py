"""Calls that a pool of threads makes, or, where it takes none, whoever hands them over."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from threading import Lock


def run_once(threads: Executor, call: Callable[[], object]) -> None:
    """Make the call in one of the threads, or here if they take no calls any more; never twice.

    An executor takes a call before it starts a thread for it, and raises if that cannot be started: so a call that it has
    refused may be made all the same.
    """
    unclaimed = Lock()

    def once() -> None:
        if unclaimed.acquire(blocking=False):
            call()

    try:
        threads.submit(once)
    except RuntimeError:
        once()
