"""Feeds of changes by others that a test plays: changed keys and partitions of one table, and a ledger that records them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from support.dual import Table
from sync.adapters.cassandra.rows.cells import token_of
from sync.adapters.postgres.capture.announced import TableKeys
from sync.adapters.postgres.capture.feed_ledger import FeedLedger, FeedLimits
from sync.adapters.postgres.capture.feeds import read_feeds
from sync.adapters.postgres.connection.connect import connect
from sync.core.capture.changes import ChangeBatch, ChangedKey, Gap
from sync.core.cutover.followers import FeedFact
from sync.core.mutations import Key

FEED = "a feed"


def ledger(table: Table, owner: str = "follower", write_timeout: float = 2.0, lease: float = 300.0) -> FeedLedger:
    """A ledger that has taken FEED."""
    made = free_ledger(table, owner, write_timeout, lease)
    made.take(FEED)
    return made


def free_ledger(table: Table, owner: str, write_timeout: float = 2.0, lease: float = 300.0) -> FeedLedger:
    """A ledger that has not taken it."""
    keys = {table.name: TableKeys(table.mapped, table.encoder, token_of)}
    limits = FeedLimits(lease, write_timeout, 60.0)
    return FeedLedger(lambda: connect(table.settings, autocommit=True), keys, owner, limits)


def changed(table: Table, key: Key, timestamp: int | None = None, age: float = 60.0) -> ChangedKey:
    """An event of this key that is `age` seconds old."""
    width = len(table.mapped.source.partition_key)
    return ChangedKey(table.name, key.cells[:width], key.cells[width:], timestamp, time.time() - age)


def changed_partition(table: Table, timestamp: int | None = None, age: float = 60.0, **partition: Any) -> ChangedKey:
    """An event that names a partition alone."""
    cells = table.cells.first_columns(partition).cells
    return ChangedKey(table.name, cells, None, timestamp, time.time() - age)


def batch(*changes: ChangedKey, gaps: Sequence[Gap] = (), position: str = "1", told: float | None = None) -> ChangeBatch:
    """A batch of these; told until now, if nothing else is said."""
    return ChangeBatch(changes, tuple(gaps), position, time.time() if told is None else told)


def announce(table: Table, *changes: ChangedKey) -> None:
    """Record these as a follower does."""
    made = ledger(table)
    made.record(FEED, batch(*changes))
    made.release(FEED)
    made.close()


def by_another(table: Table, statement: str, key: Key, at: int | None = None) -> None:
    """A statement of somebody else's in the source; WHERE is the key's, and TIMESTAMP its time, where it is given."""
    room, day, song = (
        table.cells.values(dict(zip(table.cells.key_names, key.cells, strict=True)))[n] for n in ("room", "day", "song")
    )
    text = statement.replace("TABLE", f'"{table.mapped.source.keyspace}".plays').replace(
        "TIMESTAMP", f"USING TIMESTAMP {at}" if at else ""
    )
    table.cassandra.session.execute(text, {"room": room, "day": day, "song": song})


WHERE = "WHERE room = %(room)s AND day = %(day)s AND song = %(song)s"
DELETE, UPDATE = f"DELETE FROM TABLE TIMESTAMP {WHERE}", f"UPDATE TABLE TIMESTAMP SET a = 'theirs' {WHERE}"


def read_feeds_of(table: Table) -> FeedFact:
    with table.pool.connection() as connection:
        return read_feeds(connection)[0]
