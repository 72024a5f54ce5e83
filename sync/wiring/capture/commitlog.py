"""`sync follow commitlog`: a feed of one Cassandra node, from the settings."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
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
from sync.adapters.postgres.connection.connect import connect
from sync.core.cutover.followers import NODE_FEED
from sync.core.schema.static_rows import base_of
from sync.errors import Unreachable
from sync.flows.retry import pause_after
from sync.settings import Config, Settings

FOLDER = "sync_commitlog"
_MEMORY = "tables.json"
_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Followed:
    """What is followed. `raw`: the node's cdc_raw_directory. `folder`: ours, or None for one beside it. `node`: the node's
    address, or None for the one on this machine. `max_bytes`: of collected segments, above which they are left in `raw`."""

    raw: Path
    folder: Path | None = None
    node: str | None = None
    max_bytes: int = 8 << 30

    @property
    def own(self) -> Path:
        """Our folder."""
        return self.folder or self.raw.resolve().parent / FOLDER


def await_target(settings: Settings, followed: Followed, say: Callable[[str], None]) -> None:
    """Wait until Postgres can be reached, and take segments meanwhile: a node that is left alone with them refuses writes.

    Only where a follower has been before. The first start raises Unreachable: more likely than an outage are wrong settings.
    """
    try:
        connect(settings).close()
        return
    except Unreachable as error:
        if not followed.own.is_dir():
            raise
        said = str(error)
        say(f"Postgres: {said}; segments are taken, and read when it is back")
    collector = Collector(followed.raw, followed.own, followed.max_bytes)
    with collector.opened(0):
        for failures in itertools.count(1):
            until = time.monotonic() + pause_after(failures)
            while time.monotonic() < until:
                collector.check()
                time.sleep(_LOOK_SECONDS)
            try:
                connect(settings).close()
                return
            except Unreachable as error:
                if str(error) != said:
                    said = str(error)
                    say(f"Postgres: {said}")


@contextmanager
def open_feed(settings: Settings, config: Config, followed: Followed, names: Sequence[str]) -> Iterator[CommitLogFeed]:
    """The feed of one node, of these tables. Raises SettingsError, PreflightError, Unreachable: one line each."""
    check_folders(followed.raw, followed.own)
    keyspace = settings.astra_db_keyspace or ""
    with open_cassandra(settings) as cassandra:
        session = cassandra.session
        names = sorted({base_of(name) or name for name in names})  # static columns are told with their table
        sources = [table for table in read_tables(session, keyspace, config.kinds).values() if not table.base]
        host = node_of(session.cluster, followed.node)
        check_node(session, host, keyspace, names)
        beat = Heartbeat(session, host, heartbeat_table(sources))
        schema = NodeSchema(session, host, keyspace, names, followed.own / _MEMORY)
        yield CommitLogFeed(
            f"{NODE_FEED}{host.host_id}", Collector(followed.raw, followed.own, followed.max_bytes), schema, beat
        )
