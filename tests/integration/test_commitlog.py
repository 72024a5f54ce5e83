"""`sync follow commitlog` on real nodes: every kind of statement leads to the right key or partition."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cassandra.cluster import Cluster, Session
from support.commitlog import MemoryLedger, feed_of, follow, node, old_node
from support.commitlog_cases import CASES, VECTORS, Case
from support.old_cassandra import VERSIONS

from sync import local

pytestmark = pytest.mark.slow
KEYSPACE = "ks"
FORMATS = {
    "format 8": {},
    "format 7": {"storage_compatibility_mode": "CASSANDRA_4", "sstable": None},
    "LZ4": {"commitlog_compression": [{"class_name": "LZ4Compressor"}]},
    "Deflate, periodic": {
        "commitlog_compression": [{"class_name": "DeflateCompressor"}],
        "commitlog_sync": "periodic",
        "commitlog_sync_period": "1s",
    },
    "Zstd, group": {
        "commitlog_compression": [{"class_name": "ZstdCompressor"}],
        "commitlog_sync": "group",
        "commitlog_sync_group_window": "100ms",
    },
    "periodic": {"commitlog_sync": "periodic", "commitlog_sync_period": "10s"},
    "direct": {"commitlog_disk_access_mode": "direct"},
}


def session_of(server: local.CassandraServer) -> Session:
    session = Cluster([server.host], port=server.port).connect()
    session.default_timeout = 60
    session.execute(
        f"CREATE KEYSPACE IF NOT EXISTS {KEYSPACE} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
    )
    session.set_keyspace(KEYSPACE)
    session.execute("CREATE TABLE IF NOT EXISTS sync_heartbeat (id uuid PRIMARY KEY) WITH cdc = true")
    return session


def fill(text: str, case: Case, without: Sequence[str] = ()) -> str:
    for part in without:
        text = text.replace(part, "")
    return text.replace("{t}", f"t_{case.name}").replace("{{", "{").replace("}}", "}")


@pytest.fixture(
    scope="module",
    params=[*FORMATS, *VERSIONS],
)
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryLedger]:
    """What was told of all cases, by a node with this format of the log."""
    folder: Path = tmp_path_factory.mktemp("node")
    options: Any = FORMATS.get(request.param, {})
    version = request.param if request.param in VERSIONS else ""
    server = old_node(folder / "cassandra", version) if version else node(folder / "cassandra", **options)
    without = VECTORS if version else ()
    server.start()
    try:
        session = session_of(server)
        for case in CASES:
            for text in (*case.before, case.table):
                session.execute(fill(text, case, without))
        for case in CASES:
            for text in case.statements:
                session.execute(fill(text, case, without))
        ledger = MemoryLedger()
        with feed_of(server, KEYSPACE) as feed:
            follow(feed, ledger)
        session.cluster.shutdown()
        yield ledger
    finally:
        server.remove()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_statement_tells_its_keys(told: MemoryLedger, case: Case) -> None:
    """Would break: a statement whose key is not announced, or one that makes a whole partition be read for a row."""
    assert told.keys(f"t_{case.name}") == case.told


def test_nothing_is_lost(told: MemoryLedger) -> None:
    """Would break: a gap where nothing is missing asks for a full pass."""
    assert told.gaps == []


def test_timestamps_are_the_statements(told: MemoryLedger) -> None:
    """Would break: C2: a delete's timestamp that nobody tells."""
    stamps = {change.table: change.timestamp for change in told.changes}
    assert stamps["t_old_timestamp"] == 5
    now = time.time() * 1e6
    others = {name: stamp for name, stamp in stamps.items() if name != "t_old_timestamp"}
    assert others and all(stamp is not None and now - 600e6 < stamp < now for stamp in others.values()), others
