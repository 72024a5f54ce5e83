"""What `sync worker` does about rows that have expired in Postgres, which does not delete them by itself."""

from __future__ import annotations

import logging
import time
from contextlib import closing

import psycopg

from sync.adapters.postgres.connection.connect import Connection, connect
from sync.adapters.postgres.connection.refusals import error_text
from sync.adapters.postgres.dual_write.expired import ExpiredRows
from sync.adapters.postgres.schema.catalogue import read_target
from sync.adapters.postgres.schema.key_order import read_facts
from sync.adapters.postgres.schema.migrations import usable_state
from sync.errors import SyncError
from sync.settings import Config, Settings

log = logging.getLogger(__name__)
_MAX_SECONDS = 1.0
"""No sweep takes longer: the next one resumes."""


class ExpirySweeper:
    """Deletes rows that have expired; logs an error once; the next sweep retries."""

    def __init__(self, settings: Settings, config: Config) -> None:
        self._settings, self._said = settings, ""
        chosen = [name for name in config.tables if config.options(name).expiry and not config.left_out_by(name)]
        self._targets = {name: config.options(name).target or name for name in chosen}
        self._tables: dict[str, ExpiredRows] = {}

    def sweep(self) -> None:
        """Delete what has expired, for a second at most."""
        if not self._targets:
            return
        try:
            with closing(connect(self._settings, direct=False, autocommit=True)) as connection:
                if usable_state(connection):
                    self._sweep(connection, time.monotonic() + _MAX_SECONDS)
            self._said = ""
        except (SyncError, psycopg.Error) as error:
            text = error_text(error)
            if text != self._said:
                log.warning("expired rows: %s", text)
            self._said = text

    def _sweep(self, connection: Connection, until: float) -> None:
        for name in self._targets:
            rows = self._of(connection, name)
            while rows is not None and rows.delete(connection) and time.monotonic() < until:
                pass

    def _of(self, connection: Connection, name: str) -> ExpiredRows | None:
        """The table's expired rows; None for one that no migration has touched, or whose key is not on record."""
        table = read_target(connection, self._targets[name])
        if table is None or not table.expiry:
            return None
        known = self._tables.get(name)
        if known is None or known.table != table:
            facts = read_facts(connection, table)
            if not facts.has_token or facts.order is None:
                return None
            self._tables[name] = known = ExpiredRows(name, table, facts.order)
        return known
