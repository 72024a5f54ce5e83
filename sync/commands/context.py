"""What every command begins with."""

from __future__ import annotations

from sync.settings import Config, Settings, load_config, load_settings


def load() -> tuple[Settings, Config]:
    """The settings and sync.toml. Raises SettingsError."""
    settings = load_settings()
    return settings, load_config(settings.sync_config)
