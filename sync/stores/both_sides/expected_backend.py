"""What a process expects of the epoch: STORAGE_BACKEND must not contradict the authority (invariant 6)."""

from __future__ import annotations

from sync.errors import SettingsError
from sync.ports import Epoch, Primary

_NAMES = {"astra": "Astra", "postgres": "Postgres"}


def check_backend(expected: Primary | None, epoch: Epoch) -> None:
    """Raise SettingsError if STORAGE_BACKEND is not the epoch's primary; None expects nothing."""
    if expected is None or expected == epoch.primary:
        return
    since = epoch.since.isoformat(timespec="seconds")
    raise SettingsError(
        f"STORAGE_BACKEND is {expected}, but {_NAMES[epoch.primary]} is primary since {since} (epoch {epoch.epoch}): "
        f"set STORAGE_BACKEND={epoch.primary}"
    )
