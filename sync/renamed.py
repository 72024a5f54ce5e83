"""Entries of sync.toml that had other names: an old one is an error that says the new one."""

from __future__ import annotations

from typing import Any

from sync.errors import SettingsError

_RENAMED = {
    "backfill": {"range_count": "min_ranges"},
    "dual_write": {
        "most_skew_seconds": "max_clock_skew_seconds",
        "most_wait_seconds": "max_wait_seconds",
        "most_unrecorded_mb": "max_unrecorded_mb",
        "journal_away": "on_postgres_down",
        "queued": "async_secondary",
    },
    "drift": {"waiting": "max_waiting_ranges", "most_verdict_minutes": "max_verdict_age_minutes"},
    "cutover": {
        "most_pause_seconds": "max_pause_seconds",
        "most_settle_seconds": "max_drain_seconds",
        "most_intents": "max_intents",
    },
}
"""By section: what a setting was called before, and what it is called."""


def refuse_old_names(sections: Any) -> None:
    """Raise SettingsError with every old name in these sections, and the new ones."""
    given = sections if isinstance(sections, dict) else {}  # pydantic says what else is wrong
    found = [
        f"{section}.{old} to {new}"
        for section, names in _RENAMED.items()
        for old, new in names.items()
        if isinstance(given.get(section), dict) and old in given[section]
    ]
    if found:
        raise SettingsError(f"settings have new names: rename {', '.join(found)}")
