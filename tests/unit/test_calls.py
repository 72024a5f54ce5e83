"""Calls under way are counted, whatever a handler of a signal does meanwhile."""

from __future__ import annotations

import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor

from sync.stores.calls import Calls


def test_a_handler_may_call_within_a_call() -> None:
    """Would break: SIGTERM closes the store from its handler, in the middle of a call's end, and waits for itself for ever."""
    calls, handled, end = Calls(lambda: None), list[int](), time.monotonic() + 2

    def handler(*_: object) -> None:
        with calls:
            handled.append(1)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        while time.monotonic() < end:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 1e-4))
            for _ in range(100):
                with calls:
                    pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(handled) > 100
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(calls.end, 0).result(20) == 0
