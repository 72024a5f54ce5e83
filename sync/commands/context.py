"""What every command begins with."""

from __future__ import annotations

from sync.settings import Config, Settings, load_config, load_settings


def load(*required: str) -> tuple[Settings, Config]:
    """The settings and sync.toml. Raises SettingsError, naming all of these that are missing (`Settings.require`)."""
    settings = load_settings()
    config = load_config(settings.sync_config)
    settings.require(*required)
    return settings, config
