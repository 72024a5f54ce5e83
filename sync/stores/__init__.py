"""The stores as an application sees them: one interface over Cassandra, a Data API, Postgres, and both sides at once."""

from __future__ import annotations

from sync.stores.astra import AstraStore
from sync.stores.asynchronous import AsyncDualWriteStore
from sync.stores.cql import CqlStore
from sync.stores.dual import DualWriteStore
from sync.stores.dual_api import ApiDualWriteStore
from sync.stores.opening import open_store
from sync.stores.postgres import PostgresStore

__all__ = [
    "ApiDualWriteStore",
    "AstraStore",
    "AsyncDualWriteStore",
    "CqlStore",
    "DualWriteStore",
    "PostgresStore",
    "open_store",
]
