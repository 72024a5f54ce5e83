"""Calls of the application's own, which delete a room and of which the store is told the partition alone (rule 47)."""

from __future__ import annotations

import time

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.stores import DualWriteStore
from sync.stores.one_side.cql import CqlStore

_AHEAD_US = 1000
"""By so much a call's own timestamp is above the version of its announcement, which is rounded up to a writer's slot."""


def own_call(store: DualWriteStore, table: str, room: str) -> bool:
    """Announce the room, delete it past the store, and say that the call has ended."""
    begun = store.begin([(table, {"room": room})])
    if begun.primary == "astra":
        source = store._source.store
        assert isinstance(source, CqlStore)
        keyspace = source.cassandra.settings.astra_db_keyspace
        delete_room(source.cassandra, f'"{keyspace}".{table}', room, begun.write.above)
    else:
        with store._target.pool.connection() as connection:  # as any SQL does: triggers tell of it
            connection.execute(f"DELETE FROM {table} WHERE room = %s".encode(), (room,))
    begun.finish()
    return True


def delete_room(cassandra: Cassandra, table: str, room: str, above: int) -> None:
    """Delete it in the source, and return when all clocks have passed the timestamp."""
    at = max(above, time.time_ns() // 1000) + _AHEAD_US
    cassandra.session.execute(f"DELETE FROM {table} USING TIMESTAMP {at} WHERE room = %s", (room,))
    time.sleep(2 * _AHEAD_US / 1e6)
