"""Whether this host may do what reconciles need: they send writes to the source again while applications write."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.schema.privileges import may_write
from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.connection.refusals import error_text
from sync.adapters.postgres.schema.migrations import state_exists
from sync.core.rows import SourceTable, one_sided
from sync.errors import TargetUnavailable
from sync.settings import Settings

_AT_ONCE = 8
_WRITERS = """
SELECT EXISTS (SELECT FROM sync.writer WHERE state = 'active')
    OR EXISTS (SELECT FROM sync.intent) OR EXISTS (SELECT FROM sync.sql_change)
"""


def missing_privileges(settings: Settings, cassandra: Cassandra, tables: Iterable[SourceTable]) -> str:
    """What is missing, in a line, if applications write to both sides and this role may not write the source; else "".

    Raises SettingsError, Unreachable, TargetUnavailable (the target) and SourceUnavailable (the source) if it cannot ask.
    """
    if not _anybody_writes(settings):
        return ""
    # Documents are written through the Data API, with its own token; what only one side can take is not written at all.
    plain = [t for t in tables if not t.is_collection and not one_sided(t)]
    with ThreadPoolExecutor(_AT_ONCE) as executor:
        allowed = list(executor.map(lambda table: may_write(cassandra.session, table), plain))
    lacking = [table.name for table, may in zip(plain, allowed, strict=True) if not may]
    if not lacking:
        return ""
    return (
        f"this role may not write {', '.join(lacking)}: while applications write to both sides, workers repeat writes "
        f'that got no answer, which would never succeed; GRANT MODIFY ON KEYSPACE "{plain[0].keyspace}" TO it'
    )


def _anybody_writes(settings: Settings) -> bool:
    with closing(connect(settings, direct=False, autocommit=True)) as connection:
        try:
            return state_exists(connection) and connection.execute(_WRITERS).fetchone() == (True,)
        except psycopg.Error as error:  # a state of another version, or of another role
            raise TargetUnavailable(error_text(error)) from None
