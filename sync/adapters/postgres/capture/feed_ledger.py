"""Feeds in the state schema: a batch's announcements are one transaction with the feed's position (rules 32, 39 to 41)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from sync.adapters.postgres.backfill import rejects
from sync.adapters.postgres.capture.announced import Announced, Announcement, TableKeys, announcement
from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.epoch_lock import share_epoch
from sync.adapters.postgres.connection.pool import Pool
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import error_text, is_lock_conflict, target_errors
from sync.adapters.postgres.dual_write.parameters import connection_of
from sync.core.capture.changes import ChangeBatch, Gap
from sync.core.mutations import Key, pack_key
from sync.core.schema.static_rows import static_name
from sync.errors import FeedTaken, PreflightError, TargetBusy
from sync.failpoints import failpoint

ANNOUNCED_BY = "announce"
"""The owner of what the application announces itself; of what a feed tells it is `follow NAME`."""
_TEXTS = queries("capture/feeds")
_SQL = {name: text.replace("{told}", _TEXTS["told"]).encode() for name, text in _TEXTS.items()}


@dataclass(frozen=True, slots=True)
class FeedLimits:
    """In seconds: a follower's lease; how long a write may be under way at the source; how far apart clocks may be."""

    lease: float
    write_timeout: float
    skew: float


class FeedLedger:
    """Records feeds as `owner`; every method is one transaction, and raises TargetUnavailable and Unreachable.

    `connect` opens an autocommit connection; it is called again after one that broke.
    """

    def __init__(
        self, connect: Callable[[], Connection], tables: Mapping[str, TableKeys], owner: str, limits: FeedLimits
    ) -> None:
        self._connect, self._tables, self._owner, self._limits = connect, tables, owner, limits
        self._connection: Connection | None = None

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def take(self, name: str) -> str | None:
        """Take the feed for this process, and return its position. Raises FeedTaken while another one follows it."""
        values = {"name": name, "owner": self._owner, "lease": self._limits.lease}
        with self._transaction() as connection:
            found = connection.execute(_SQL["take"], values).fetchone()
            if found is None:
                raise _taken(connection, name)
            return None if found[0] is None else str(found[0])

    def release(self, name: str, error: str = "") -> None:
        """Give the feed up, so that another process may go on at once; `error`: why, if it could not go on."""
        with self._transaction() as connection:
            connection.execute(_SQL["release"], {"name": name, "owner": self._owner, "error": error[:1000] or None})

    def record(self, name: str, batch: ChangeBatch) -> None:
        """Record a batch: announcements, gaps, position, or nothing. Raises FeedTaken if another process has the feed.

        A key that Postgres cannot hold is a reject; a table that is not migrated is counted, and passed over.
        """
        now = time.time()
        made = announcement(batch.changes, self._tables, now, self._limits.write_timeout)
        with self._transaction() as connection:
            share_epoch(connection)  # rule 20
            self._advance(connection, name, batch, made, now)
            for statement, keys in (("announce", made.keys), ("announce_partitions", made.partitions)):
                if keys.found:
                    connection.execute(_SQL[statement], keys.values(f"follow {name}"))
            for table, row in made.rejects:
                rejects.record(connection, table, 0, row)
            for gap in batch.gaps:
                for table_name in self._tables_of(gap):
                    self._gap(connection, name, table_name, gap, now)
            failpoint("follow.before_commit")
        failpoint("follow.recorded")

    def _advance(self, connection: Connection, name: str, batch: ChangeBatch, made: Announcement, now: float) -> None:
        values: dict[str, Any] = {
            "name": name, "owner": self._owner, "lease": self._limits.lease, "position": batch.position,
            "behind": None if math.isinf(batch.told_until) else max(0.0, now - batch.told_until),
            "keys": len(made.keys.found), "partitions": len(made.partitions.found), "unmapped": made.unmapped,
            "rejects": len(made.rejects),
        }  # fmt: skip
        if connection.execute(_SQL["advance"], values).fetchone() is None:
            raise _taken(connection, name)

    def _tables_of(self, gap: Gap) -> list[str]:
        """The table, with that of its static columns; "" stands for all."""
        static = static_name(gap.table or "")
        return [gap.table or "", *([static] if static in self._tables else [])]

    def _gap(self, connection: Connection, name: str, table: str, gap: Gap, now: float) -> None:
        values = {
            "name": name, "table": table, "behind": now - gap.until, "why": gap.why[:1000],
            "write_timeout": self._limits.write_timeout, "skew": self._limits.skew,
        }  # fmt: skip
        connection.execute(_SQL["gap"], values)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        if self._connection is None or self._connection.closed or self._connection.broken:
            self._connection = self._connect()
        with target_errors():
            try:
                with self._connection.transaction():
                    yield self._connection
            except psycopg.errors.UndefinedTable:
                raise PreflightError("`sync finish` has ended the migration: there is nothing to follow any more") from None
            except psycopg.Error as error:
                if is_lock_conflict(error):  # two feeds tell of the same keys, or a worker holds one
                    raise TargetBusy(error_text(error)) from None
                raise


def _taken(connection: Connection, name: str) -> FeedTaken:
    owner, left = connection.execute(_SQL["owner"], {"name": name}).fetchone() or ("nobody: it was forgotten", 0.0)
    return FeedTaken(name, str(owner), float(left))


def announce_key(pool: Pool, key: Key, write_timeout: float) -> None:
    """Announce one key, now. Raises TargetUnavailable, and EpochChanged while a switch holds the epoch."""
    one = Announced()
    one.add(key.table, key.canonical, pack_key(key.cells), key.token, None, write_timeout)
    with connection_of(pool) as connection, connection.transaction():
        share_epoch(connection)
        connection.execute(_SQL["announce"], one.values(ANNOUNCED_BY))
