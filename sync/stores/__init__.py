"""The stores as an application sees them: one interface over Cassandra, a Data API, Postgres, and both sides at once.

both_sides/  over both sides: `DualWriteStore` and what it needs
one_side/    over Cassandra, the Data API, or Postgres alone
calls        calls under way: a store ends only after them
looked       when to read a schema again
opening      `open_store()`
process      a store belongs to the process that opened it
"""

from __future__ import annotations

from sync.stores.both_sides.asynchronous import AsyncDualWriteStore
from sync.stores.both_sides.dual import DualWriteStore
from sync.stores.both_sides.dual_api import ApiDualWriteStore
from sync.stores.one_side.astra import AstraStore
from sync.stores.one_side.cql import CqlStore
from sync.stores.one_side.postgres import PostgresStore
from sync.stores.opening import open_store

__all__ = [
    "ApiDualWriteStore",
    "AstraStore",
    "AsyncDualWriteStore",
    "CqlStore",
    "DualWriteStore",
    "PostgresStore",
    "open_store",
]
