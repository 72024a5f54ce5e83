"""The stores as an application sees them: one interface over Cassandra, a Data API, Postgres, and both sides at once.

astra             over the Data API
asynchronous      over both sides, for asyncio
calls             calls under way: a store ends only after them
cql               over CQL
dual              over both sides
dual_api          over both sides, where Astra is written through the Data API
expected          STORAGE_BACKEND must not contradict the epoch
known_flows       the flows of tables that were used
live_tables       the source's tables as they are now
looked            when to read a schema again
opening           `open_store()`
postgres          over Postgres
process           a store belongs to the process that opened it
read_back         the Data API with CQL beside it
source            the source, connected or away for now
source_api        the same, written through the Data API
table_flows       what one table needs, in either direction
target            Postgres, and this process as a writer there
target_documents  documents out of Postgres's rows
unreadable        values that Python has none of
values            an application's values as Postgres takes them, and back
wrapped           `DualWriteStore.wrap`
"""

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
