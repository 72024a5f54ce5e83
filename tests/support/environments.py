"""Settings as a command makes them of its environment, and of nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sync.settings import Settings


def settings_in(env: Mapping[str, Any]) -> Settings:
    """The settings that this environment has, whatever else it has."""
    given: dict[str, Any] = {name.lower(): value for name, value in env.items() if name.lower() in Settings.model_fields}
    return Settings(_env_file=None, **given)
