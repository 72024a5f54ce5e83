"""A circuit breaker for a sick Postgres: while it is open, nobody waits for an answer that will not come (invariant 8)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.pool import Pool
from sync.adapters.postgres.dual_write.parameters import connection_of
from sync.errors import TargetBusy, TargetUnavailable


@dataclass(slots=True)
class Breaker:
    """Opens after `threshold` failures in a row; the writer's heartbeat closes it when Postgres answers again."""

    threshold: int = 1
    failures: int = 0
    causes: dict[str, int] = field(default_factory=dict)
    last: str = ""
    _lock: Lock = field(default_factory=Lock)

    @property
    def is_open(self) -> bool:
        """Whether Postgres must not be asked."""
        return self.failures >= self.threshold

    def reset(self) -> None:
        """Close the breaker: Postgres has answered."""
        self.failures = 0

    @contextmanager
    def connection(self, pool: Pool) -> Iterator[Connection]:
        """A connection of the pool. Raises TargetUnavailable, at once while the breaker is open."""
        if self.is_open:
            raise TargetUnavailable(f"earlier: {self.last}; Postgres is not tried again until it answers a heartbeat")
        try:
            with connection_of(pool) as connection:
                yield connection
        except TargetBusy:
            raise  # one locked row says nothing about the others
        except TargetUnavailable as error:
            with self._lock:
                self.failures += 1
                self.last = str(error)
                cause = str(error).split(":")[0][:80]
                self.causes[cause] = self.causes.get(cause, 0) + 1
            raise
        self.failures = 0
