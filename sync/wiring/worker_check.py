"""What `sync worker` looks at before it begins."""

from __future__ import annotations

from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.settings import Config, Settings
from sync.wiring.preflight import chosen_tables
from sync.wiring.privileges import missing_privileges


def worker_blocker(settings: Settings, config: Config) -> str:
    """What keeps this host's workers from settling what they are given, in a line; else "". Raises SyncError."""
    with open_cassandra(settings) as cassandra:
        return missing_privileges(settings, cassandra, chosen_tables(cassandra, settings, config, None))
