"""What a process expects of the epoch: STORAGE_BACKEND and a wrapped class must not contradict it (invariant 6)."""

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


def check_wraps(wraps: Primary | None, primary: Primary) -> None:
    """Raise SettingsError if the application's class is there for one primary alone, and the other one is primary."""
    if wraps and wraps != primary:
        raise SettingsError(NO_SUCCESSOR)


NO_SUCCESSOR = (
    "Postgres is primary, and DualWriteStore.wrap was given no class for it (`new` is None): restart with both classes"
)
