"""What `sync worker` checks before it starts."""

from __future__ import annotations

from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.settings import Config, Settings
from sync.wiring.preflight import chosen_tables
from sync.wiring.privileges import missing_privileges


def worker_blocker(settings: Settings, config: Config) -> str:
    """A line that says why this host's workers could not reconcile what they are given; else "". Raises SyncError."""
    with open_cassandra(settings) as cassandra:
        return missing_privileges(settings, cassandra, chosen_tables(cassandra, settings, config, None))
