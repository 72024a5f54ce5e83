"""A store that does not ask Postgres for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sync.adapters.postgres.dual_write.breaker import Breaker


@contextmanager
def open_breaker(breaker: Breaker) -> Iterator[None]:
    """It is open, as after a statement that did not come back, whatever a heartbeat hears meanwhile; and closed then."""
    threshold, breaker.threshold = breaker.threshold, 0
    try:
        yield
    finally:
        breaker.threshold = threshold
