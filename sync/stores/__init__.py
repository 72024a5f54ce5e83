"""The stores as an application sees them: one interface over Cassandra, a Data API, Postgres, and both sides at once.

both_sides/     over both sides: `DualWriteStore` and what it needs
one_side/       over Cassandra, the Data API, or Postgres alone
calls           counts calls under way: a store closes only after them
factory         `open_store()`
process         a store belongs to the process that opened it
protocol        `Store`: what all stores have in common
rows            what `find` and `scan` return
schema_refresh  when to read a schema again
threads         a call that a pool of threads makes, or its caller; never both
transaction     `Transaction`: what `transaction()` gives
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sync.stores.both_sides.asynchronous import AsyncDualWriteStore
from sync.stores.both_sides.dual import DualWriteStore
from sync.stores.factory import open_store
from sync.stores.one_side.cql import CqlStore
from sync.stores.one_side.postgres import PostgresStore
from sync.stores.protocol import Store
from sync.stores.transaction import Transaction

if TYPE_CHECKING:
    from sync.stores.both_sides.dual_api import ApiDualWriteStore
    from sync.stores.one_side.astra import AstraStore

__all__ = [
    "ApiDualWriteStore",
    "AstraStore",
    "AsyncDualWriteStore",
    "CqlStore",
    "DualWriteStore",
    "PostgresStore",
    "Store",
    "Transaction",
    "open_store",
]


def __getattr__(name: str) -> Any:
    # The stores over the Data API need astrapy, which an application over CQL need not have.
    if name == "ApiDualWriteStore":
        from sync.stores.both_sides.dual_api import ApiDualWriteStore

        return ApiDualWriteStore
    if name == "AstraStore":
        from sync.stores.one_side.astra import AstraStore

        return AstraStore
    raise AttributeError(f"module 'sync.stores' has no attribute {name!r}")
