"""Cassandra nodes with CDC, and a ledger in memory: what the tests of `sync follow commitlog` share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import old_cassandra
from sync import local
from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.adapters.cassandra.schema.catalogue import read_tables
from sync.adapters.commitlog.feed import CommitLogFeed
from sync.core.capture.changes import ChangeBatch, ChangedKey, Gap
from sync.settings import Config, Settings
from sync.wiring.capture.commitlog import Followed, open_feed

CDC: dict[str, Any] = {
    "cdc_enabled": True,
    "commitlog_segment_size": "4MiB",
    "commitlog_total_space": "64MiB",
    "cdc_total_space": "64MiB",
    "cdc_free_space_check_interval": "50ms",
    "materialized_views_enabled": True,
}


def node(folder: Path, **yaml: Any) -> local.CassandraServer:
    """A node with CDC, not started. Small segments, so that a test sees several of them."""
    options = local.CassandraOptions(heap_mb=384, fast_start=True, password_auth=False, yaml={**CDC, **yaml})
    return local.CassandraServer(folder, options=options)


def old_node(folder: Path, version: str) -> local.CassandraServer:
    """A node of Cassandra 4 with CDC, not started."""
    yaml = {
        **old_cassandra._settings(),
        "cdc_enabled": True, "commitlog_segment_size_in_mb": 4, "commitlog_total_space_in_mb": 64, "cdc_total_space_in_mb": 64,
        "enable_materialized_views": True,
    }  # fmt: skip
    options = local.CassandraOptions(
        heap_mb=384, fast_start=True, password_auth=False, version=version, java=old_cassandra._java(), yaml=yaml
    )
    return local.CassandraServer(folder, options=options)


def raw_folder(server: local.CassandraServer) -> Path:
    """The node's cdc_raw."""
    return server.folder / "data" / "cdc"


def settings_of(server: local.CassandraServer, keyspace: str) -> Settings:
    """Settings with this node as the source, and nothing else."""
    return Settings(
        _env_file=None, cassandra_contact_points=server.host, cassandra_port=server.port, astra_db_keyspace=keyspace
    )


@dataclass
class MemoryLedger:
    """Keeps what a feed told, as the ledger in Postgres does."""

    position: str | None = None
    changes: list[ChangedKey] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    told_until: float = 0.0
    batches: int = 0

    def record(self, batch: ChangeBatch) -> None:
        self.position = batch.position
        self.changes += batch.changes
        self.gaps += batch.gaps
        self.told_until = batch.told_until
        self.batches += 1

    def keys(self, table: str) -> set[tuple[tuple[bytes, ...], tuple[bytes, ...] | None]]:
        return {(change.partition, change.clustering) for change in self.changes if change.table == table}


def names_of(server: local.CassandraServer, keyspace: str) -> list[str]:
    """All tables of a keyspace."""
    with open_cassandra(settings_of(server, keyspace)) as cassandra:
        return sorted(read_tables(cassandra.session, keyspace))


@contextmanager
def feed_of(
    server: local.CassandraServer, keyspace: str, own: Path | None = None, max_bytes: int = 8 << 30
) -> Iterator[CommitLogFeed]:
    """The feed of a node's keyspace."""
    followed = Followed(raw_folder(server), own, server.host, max_bytes)
    with open_feed(settings_of(server, keyspace), Config(), followed, names_of(server, keyspace)) as feed:
        yield feed


def follow(feed: CommitLogFeed, ledger: MemoryLedger, until: float | None = None, seconds: float = 60.0) -> None:
    """Record batches until all is told that came before the moment (now)."""
    moment = time.time() if until is None else until
    deadline = time.monotonic() + seconds
    batches = feed.batches(ledger.position)
    is_told = False
    try:
        for batch in batches:
            if is_told:
                return  # asking for another batch says that the last one is recorded
            ledger.record(batch)
            is_told = ledger.told_until >= moment
            assert time.monotonic() < deadline, f"nothing told until then: {feed.trouble or 'no trouble'}; {batch}"
    finally:
        batches.close()
