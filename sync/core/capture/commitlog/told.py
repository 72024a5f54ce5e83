"""What mutations tell: changed keys, changed partitions, gaps."""

from __future__ import annotations

from collections.abc import Iterator, Set

from sync.core.capture.changes import ChangedKey, Gap
from sync.core.capture.commitlog.mutations import Update
from sync.core.capture.commitlog.rows import LEAST
from sync.core.capture.commitlog.tables import LogTable, Tables, partition_cells

LOCAL = bytes.fromhex("7ad54392bcdd35a684174e047860b377")
"""The id of `system.local`, which remembers when each table was truncated."""


def told(update: Update, now: float) -> Iterator[ChangedKey | Gap]:
    """What an update tells: its rows' keys, or its whole partition. A table without clustering columns has one row a
    partition, so that the key is complete whatever happened to it."""
    table = update.table
    cells = partition_cells(table, update.key)
    if cells is None:
        yield Gap(table.name, now, f"{table.name}: a partition key in the commit log that is not the table's")
        return
    if update.whole is not None or not update.rows:
        times = [time for _, time in update.rows] + [update.whole if update.whole is not None else LEAST]
        yield ChangedKey(table.name, cells, None if table.clustering else (), _shown(max(times)), now)
        return
    for clustering, time in update.rows:
        yield ChangedKey(table.name, cells, clustering, _shown(time), now)


def greatest(one: int | None, other: int | None) -> int | None:
    """The greater of two timestamps, of which either may be missing."""
    return max((time for time in (one, other) if time is not None), default=None)


def _shown(time: int) -> int | None:
    return None if time == LEAST else time


def truncated(data: bytes, tables: Tables, watched: Set[bytes]) -> list[LogTable]:
    """The watched tables that a mutation says were truncated: their ids are the keys of a map in `system.local`."""
    if data[1:17] != LOCAL:
        return []
    return [tables[identity] for identity in watched if b"\x10" + identity in data]
