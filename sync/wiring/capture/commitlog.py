"""`sync follow commitlog`: a feed of one Cassandra node, from the settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.adapters.cassandra.schema.catalogue import read_tables
from sync.adapters.commitlog.checks import check_node, node_of
from sync.adapters.commitlog.collector import Collector, check_folders
from sync.adapters.commitlog.feed import CommitLogFeed
from sync.adapters.commitlog.heartbeat import Heartbeat, heartbeat_table
from sync.adapters.commitlog.schema import NodeSchema
from sync.core.schema.static_rows import base_of
from sync.settings import Config, Settings

FOLDER = "sync_commitlog"
_MEMORY = "tables.json"


@dataclass(frozen=True, slots=True)
class Followed:
    """What is followed. `raw`: the node's cdc_raw_directory. `folder`: ours, or None for one beside it. `node`: the node's
    address, or None for the one on this machine. `max_bytes`: of collected segments, above which they are left in `raw`."""

    raw: Path
    folder: Path | None = None
    node: str | None = None
    max_bytes: int = 8 << 30


@contextmanager
def open_feed(settings: Settings, config: Config, followed: Followed, names: Sequence[str]) -> Iterator[CommitLogFeed]:
    """The feed of one node, of these tables. Raises SettingsError, PreflightError, Unreachable: one line each."""
    own = followed.folder or followed.raw.resolve().parent / FOLDER
    check_folders(followed.raw, own)
    keyspace = settings.astra_db_keyspace or ""
    with open_cassandra(settings) as cassandra:
        session = cassandra.session
        names = sorted({base_of(name) or name for name in names})  # static columns are told with their table
        sources = [table for table in read_tables(session, keyspace, config.kinds).values() if not table.base]
        host = node_of(session.cluster, followed.node)
        check_node(session, host, keyspace, names)
        beat = Heartbeat(session, host, heartbeat_table(sources))
        schema = NodeSchema(session, host, keyspace, names, own / _MEMORY)
        yield CommitLogFeed(f"commitlog:{host.host_id}", Collector(followed.raw, own, followed.max_bytes), schema, beat)
