"""Samples of what is under way (`sync.sample`): taken by whoever runs, one a slot, thinned after a day."""

from __future__ import annotations

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import target_errors
from sync.core.dashboard.history import SLOT_SECONDS, Sample, Window

_SQL = queries("history/samples")
MAX_COUNTED = 100_000
"""No more intents than these are counted."""
MAX_TABLES = 50
"""Tables with figures of their own in a sample: those with the most ranges under way. All are in its sums."""


def take_sample(connection: Connection) -> bool:
    """Take this slot's sample, unless another process has; whether this call did. Raises TargetUnavailable."""
    with target_errors():
        values = {"slot": SLOT_SECONDS, "most": MAX_COUNTED + 1, "tables": MAX_TABLES}
        return connection.execute(_SQL["take"], values).fetchone() is not None


def thin_samples(connection: Connection) -> int:
    """Delete what is older than a day but for one sample in ten minutes, and what is older than thirty days; how many."""
    with target_errors():
        return connection.execute(_SQL["thin"]).rowcount


def read_samples(connection: Connection, window: Window) -> list[Sample]:
    """The samples of a window, the last one of each of its steps, the oldest first."""
    with target_errors():
        values = {"seconds": window.seconds, "step": window.step_seconds}
        return [Sample(at, figures) for at, figures in connection.execute(_SQL["window"], values).fetchall()]
