"""Moves a running application from Cassandra / DataStax Astra to Postgres + pgvector, without downtime or a lost write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sync.errors import ForkedStore, StoreClosed, SyncError, ValueUnreadable, WriteRefused, WriteUnsure

if TYPE_CHECKING:
    from sync.stores import AsyncDualWriteStore, DualWriteStore, open_store

__all__ = [
    "AsyncDualWriteStore",
    "DualWriteStore",
    "ForkedStore",
    "StoreClosed",
    "SyncError",
    "ValueUnreadable",
    "WriteRefused",
    "WriteUnsure",
    "open_store",
]


def __getattr__(name: str) -> Any:
    # The drivers are imported when a store is asked for, not by `sync --help`.
    if name in ("AsyncDualWriteStore", "DualWriteStore", "open_store"):
        from sync import stores

        return getattr(stores, name)
    raise AttributeError(f"module 'sync' has no attribute {name!r}")
