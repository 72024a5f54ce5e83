"""Which store the environment asks for."""

from __future__ import annotations

import logging
from contextlib import closing

import psycopg

from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.cutover.epochs import read_epoch
from sync.adapters.postgres.schema.migrations import state_exists
from sync.errors import SettingsError, SyncError, Unreachable
from sync.ports import Epoch
from sync.settings import Config, Settings, load_config, load_settings
from sync.stores.both_sides.dual import DualWriteStore
from sync.stores.both_sides.expected_backend import check_backend
from sync.stores.one_side.cql import CqlStore
from sync.stores.one_side.renamed import named_store
from sync.stores.protocol import Store

log = logging.getLogger(__name__)
# A store of one side cannot harm a plain copy, during which nobody ever wrote to both sides. Nor can it harm a trial of dual
# writes that ended before any history was copied: the copy will include what is written until then.
_UNDER_WAY = """
SELECT (SELECT max(epoch) FROM sync.epoch) > 1 OR EXISTS (SELECT FROM sync.writer),
       (SELECT max(epoch) FROM sync.epoch) > 1 OR EXISTS (SELECT FROM sync.writer WHERE state = 'active')
       OR EXISTS (SELECT FROM sync.writer) AND EXISTS (SELECT FROM sync.run WHERE kind = 'backfill')
"""
_ALLOW = "SYNC_ALLOW_ONE_SIDED=true"


def open_store() -> Store:
    """The store that the environment selects: that of STORAGE_BACKEND, or both sides with SYNC_DUAL_WRITE=true.

    For Astra that is the Data API if ASTRA_DB_API_ENDPOINT is set, otherwise CQL. With settings for both, writes and single
    rows go through the API, and `find`, `scan` and searches with conditions over CQL.
    Raises SettingsError if STORAGE_BACKEND contradicts the epoch of a migration. For a store of one side, unless
    SYNC_ALLOW_ONE_SIDED=true, also SettingsError while a migration is under way, and Unreachable if that cannot be found out.
    """
    settings = load_settings()
    if settings.sync_dual_write:
        config = load_config(settings.sync_config)
        return _over_the_api(settings, config) if settings.astra_db_api_endpoint else DualWriteStore(settings, config)
    _check_plain(settings)
    if settings.storage_backend == "postgres":
        return named_store(settings, load_config(settings.sync_config))
    config = load_config(settings.sync_config)
    return _over_the_api(settings, config) if settings.astra_db_api_endpoint else CqlStore(settings, config=config)


def _over_the_api(settings: Settings, config: Config) -> Store:
    try:
        from sync.stores.both_sides.dual_api import ApiDualWriteStore
        from sync.stores.both_sides.read_back import ReadBackStore
    except ModuleNotFoundError as error:
        what = f"ASTRA_DB_API_ENDPOINT is set, and {str(error.name).partition('.')[0]} is not installed"
        raise SettingsError(f"{what}: pip install 'dual-write-sync[data-api]'") from None
    return ApiDualWriteStore(settings, config) if settings.sync_dual_write else ReadBackStore(settings, config=config)


def _check_plain(settings: Settings) -> None:
    """Refuse a store of one side that is not the primary, or during a migration: the other side would miss its writes.

    Without settings for Postgres there is no database to ask, and no migration to ask about.
    """
    if settings.database_url is None and settings.postgres_host is None:
        return
    try:
        epoch, under_way = _ask(settings)
    except (SyncError, psycopg.Error) as error:
        text = f"cannot find out whether a migration is under way: {' '.join(str(error).split())}"
        if not settings.sync_allow_one_sided:
            raise Unreachable(f"{text}; {_ALLOW} starts all the same; one side will then miss what it writes") from None
        log.warning("%s", text)
        return
    if epoch is not None:
        check_backend(settings.storage_backend, epoch)
    if epoch is not None and under_way:
        text = f"a migration is under way (epoch {epoch.epoch}), and one side would miss what this process writes"
        if not settings.sync_allow_one_sided:
            raise SettingsError(f"{text}: set SYNC_DUAL_WRITE=true; or {_ALLOW}, to end the migration or to give it up")
        log.warning("%s", text)


def _ask(settings: Settings) -> tuple[Epoch | None, bool]:
    """The epoch, None where none is in force; and whether a migration is under way."""
    with closing(connect(settings, direct=False, autocommit=True)) as connection:
        if not state_exists(connection):
            return None, False
        in_force, under_way = connection.execute(_UNDER_WAY).fetchone() or (False, False)
        return (read_epoch(connection) if in_force else None), bool(under_way)
