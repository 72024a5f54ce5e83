"""What every command begins with."""

from __future__ import annotations

import sys

if "numpy" not in sys.modules:
    # The Cassandra driver imports it for a row format that no command uses: a third of the time in which a command starts.
    sys.modules["numpy"] = None  # type: ignore[assignment]
    import cassandra.protocol  # noqa: F401

    del sys.modules["numpy"]

from sync.settings import Config, Settings, load_config, load_settings


def load(*required: str) -> tuple[Settings, Config]:
    """The settings and sync.toml. Raises SettingsError, naming all of these that are missing (`Settings.require`)."""
    settings = load_settings()
    config = load_config(settings.sync_config)
    settings.require(*required)
    return settings, config
