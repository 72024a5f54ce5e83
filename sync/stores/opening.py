"""Which store the environment asks for."""

from __future__ import annotations

from sync.settings import load_config, load_settings
from sync.stores.cql import CqlStore
from sync.stores.dual import DualWriteStore
from sync.stores.postgres import PostgresStore

Store = CqlStore | PostgresStore | DualWriteStore


def open_store() -> Store:
    """The store that the environment asks for: STORAGE_BACKEND's own, or both with SYNC_DUAL_WRITE=true."""
    settings = load_settings()
    if settings.sync_dual_write:
        return DualWriteStore(settings, load_config(settings.sync_config))
    return CqlStore(settings) if settings.storage_backend == "astra" else PostgresStore(settings)
