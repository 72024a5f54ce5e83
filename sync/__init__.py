"""Moves a running application from Cassandra / DataStax Astra to Postgres + pgvector, without downtime or a lost write.

What an application imports is in `__all__` below. docs/architecture.md walks through the packages.

adapters/    what speaks to Cassandra, Astra, Postgres and Redis
commands/    one module a command
core/        pure logic: types, hashes, versions, gates, verdicts
dashboard/   the page of `sync dashboard`
demo/        `sync demo`
flows/       the order of the steps: dual write, backfill, drift, switch
local/       embedded servers, from packages
report/      drift reports as HTML
stores/      what an application opens
wiring/      builds adapters and hands them to flows
workers/     what RQ runs
__main__     `python -m sync`
arguments    the options of every command
cli          the command line: run one command, print
console      output for people: results to stdout, progress and logs to stderr
errors       every error, below one root
failpoints   named places where a test ends or delays the process
json_log     logs as JSON lines (`SYNC_LOG=json`)
missing      which settings are missing to reach a server
notify_settings  the section `[notify]` of sync.toml
ports        what the flows need, as protocols named by role
renamed      old names of settings, and the new ones
resources    files that come with the package
settings     the environment and sync.toml, as frozen values
tuning       the base of sync.toml's sections of numbers
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sync.errors import (
    ForkedStore,
    NotNow,
    NotSupported,
    PreflightError,
    QueryNotSupported,
    SettingsError,
    SourceTimeout,
    SourceUnavailable,
    StoreClosed,
    SyncError,
    TargetUnavailable,
    Unreachable,
    ValueUnreadable,
    WriteRefused,
    WriteRefusedNow,
    WriteUnsure,
)

if TYPE_CHECKING:
    from sync.stores import AsyncDualWriteStore, DualWriteStore, Store, Transaction, open_store

__all__ = [
    "AsyncDualWriteStore",
    "DualWriteStore",
    "ForkedStore",
    "NotNow",
    "NotSupported",
    "PreflightError",
    "QueryNotSupported",
    "SettingsError",
    "SourceTimeout",
    "SourceUnavailable",
    "Store",
    "StoreClosed",
    "SyncError",
    "TargetUnavailable",
    "Transaction",
    "Unreachable",
    "ValueUnreadable",
    "WriteRefused",
    "WriteRefusedNow",
    "WriteUnsure",
    "open_store",
]


def __getattr__(name: str) -> Any:
    # The drivers are imported when a store is asked for, not by `sync --help`.
    if name in ("AsyncDualWriteStore", "DualWriteStore", "Store", "Transaction", "open_store"):
        from sync import stores

        return getattr(stores, name)
    raise AttributeError(f"module 'sync' has no attribute {name!r}")
