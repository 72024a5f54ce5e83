"""Which store the environment asks for."""

from __future__ import annotations

import logging
from contextlib import closing

import psycopg

from sync.adapters.postgres.connect import Connection, connect
from sync.adapters.postgres.epochs import read_epoch
from sync.adapters.postgres.migrations import state_exists
from sync.errors import SyncError
from sync.ports import Epoch
from sync.settings import Settings, load_config, load_settings
from sync.stores.astra import AstraStore
from sync.stores.cql import CqlStore
from sync.stores.dual import DualWriteStore
from sync.stores.dual_api import ApiDualWriteStore
from sync.stores.expected import check_backend
from sync.stores.postgres import PostgresStore

log = logging.getLogger(__name__)
_IN_FORCE = "SELECT EXISTS (SELECT FROM sync.writer) OR (SELECT max(epoch) FROM sync.epoch) > 1"
Store = AstraStore | CqlStore | PostgresStore | DualWriteStore


def open_store() -> Store:
    """The store that the environment asks for: STORAGE_BACKEND's own, or both with SYNC_DUAL_WRITE=true.

    Astra's own is its Data API where ASTRA_DB_API_ENDPOINT is set, and CQL else.
    Raises SettingsError where STORAGE_BACKEND contradicts the epoch of a migration that is under way.
    """
    settings = load_settings()
    if settings.sync_dual_write:
        config = load_config(settings.sync_config)
        return ApiDualWriteStore(settings, config) if settings.astra_db_api_endpoint else DualWriteStore(settings, config)
    _check_plain(settings)
    if settings.storage_backend == "postgres":
        return PostgresStore(settings)
    return (
        AstraStore(settings)
        if settings.astra_db_api_endpoint
        else CqlStore(settings, config=load_config(settings.sync_config))
    )


def _check_plain(settings: Settings) -> None:
    """A store of one side alone must be the primary's; what it writes, the other side does not learn.

    A plain copy, which nobody ever wrote to on both sides, has no primary to contradict: the application moves as it likes.
    """
    epoch = _epoch(settings)
    if epoch is None:
        return
    check_backend(settings.storage_backend, epoch)
    if epoch.epoch > 1:
        log.warning("a migration is under way, and SYNC_DUAL_WRITE is not true: what this process writes, one side lacks")


def _in_force(connection: Connection) -> bool:
    return connection.execute(_IN_FORCE).fetchone() == (True,)


def _epoch(settings: Settings) -> Epoch | None:
    """The epoch; None where there is none in force, or where nobody can say."""
    if settings.database_url is None and settings.postgres_host is None:
        return None
    try:
        with closing(connect(settings, direct=False, autocommit=True)) as connection:
            return read_epoch(connection) if state_exists(connection) and _in_force(connection) else None
    except (SyncError, psycopg.Error) as error:
        log.warning("whether a migration is under way is not known: %s", " ".join(str(error).split()))
        return None
