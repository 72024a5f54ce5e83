"""The recheck of a partition of a million rows: in bounded memory, killed in the middle, and others' keys do not wait for it.

SYNC_PARTITION_ROWS says how many rows; what a million showed is in docs/capture.md.
"""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.backfills import Site, open_site
from support.running_commands import Running, until
from support.sources import fill_raw

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]
ROWS = int(os.environ.get("SYNC_PARTITION_ROWS", "5000"))
SECONDS = 120 + ROWS / 100
OPEN = "SELECT count(*) FROM (SELECT FROM sync.intent LIMIT 1) AS one"


@pytest.fixture(scope="module")
def site(base_settings: Settings, cassandra: Cassandra, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(base_settings, cassandra, tmp_path_factory.mktemp("long")) as found:
        found.cql("CREATE TABLE {ks}.plays (room text, day int, a text, PRIMARY KEY (room, day))")
        found.configure(more="[capture]\nwrite_timeout_seconds = 0.5")
        for command in (("schema", "apply"), ("backfill", "--workers", "1", "--quiet")):
            done = found.run(*command)
            assert done.code == 0, done
        yield found


def wait(true: Callable[[], object], what: str) -> None:
    """Until it is true; it opens a connection each time, and so it looks seldom."""

    def looked() -> object:
        time.sleep(0.3)
        return true()

    until(looked, SECONDS, what)


class Follower:
    """`sync follow keys` of a file to which lines are added."""

    def __init__(self, site: Site, folder: Path) -> None:
        self._site, self._file = site, folder / "changed.jsonl"
        self._file.touch()
        self._running = site.start("follow", "keys", str(self._file), "--wait", "--quiet")
        self._count = 0
        self.largest = 0.0
        """The longest that another partition's key took, in seconds."""

    def tell(self, **line: object) -> None:
        assert not self._running.ended, self._running.err
        with self._file.open("a") as file:
            file.write(json.dumps({"table": "plays", **line}) + "\n")

    def one_more(self) -> None:
        """Somebody else writes another key: it comes."""
        self._count += 1
        room, begun = f"room {self._count}", time.monotonic()
        self._site.cql(f"INSERT INTO {{ks}}.plays (room, day, a) VALUES ('{room}', 1, 'theirs')")
        self.tell(key={"room": room, "day": 1})
        wait(lambda: self._site.sql("SELECT 1 FROM plays WHERE room = %s", (room,)), f"{room} comes")
        self.largest = max(self.largest, time.monotonic() - begun)


class Watched:
    """A worker, and the most memory that one of its processes was seen with, in MiB."""

    def __init__(self, site: Site) -> None:
        self._site, self.largest = site, 0.0
        self.running: Running = site.start("worker", "--quiet")

    def look(self) -> None:
        assert not self.running.ended, self.running.err
        self.largest = max(self.largest, self.running.memory())

    def again(self) -> None:
        """Another worker; this one is killed, and its lease is over."""
        self.running.kill_all()
        self._site.sql("UPDATE sync.intent SET lease_until = clock_timestamp() WHERE lease_owner IS NOT NULL")
        self.running = self._site.start("worker", "--quiet")


def rechecked(site: Site, follower: Follower, worker: Watched, what: str, wanted: int) -> None:
    """The partition's recheck goes through, though the worker is killed in the middle of it; others' keys come meanwhile."""
    begun = time.monotonic()
    follower.tell(partition={"room": "hall"})
    wait(lambda: site.sql("SELECT 1 FROM sync.intent WHERE kind = 'recheck'"), "rows of the partition are rechecked")
    worker.again()
    while site.sql("SELECT 1 FROM sync.intent WHERE kind = 'recheck_partition'"):
        worker.look()
        time.sleep(0.5)
    expanded, follower.largest = time.monotonic() - begun, 0.0
    print(
        f"{what}: expanded after {expanded:.1f} s; worker {worker.largest:.0f} MiB; load {os.getloadavg()[0]:.1f}", flush=True
    )
    while site.sql(OPEN) != [(0,)]:
        worker.look()
        follower.one_more()
        assert time.monotonic() - begun < SECONDS, site.sql("SELECT kind, state, count(*) FROM sync.intent GROUP BY 1, 2")
    took = time.monotonic() - begun
    print(
        f"{what}: {ROWS:,} rows done after {took:.1f} s; worker {worker.largest:.0f} MiB; "
        f"another key took {follower.largest:.1f} s at most; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    assert site.sql("SELECT count(*) FROM plays WHERE room = 'hall'") == [(wanted,)]


def test_a_long_partition_is_rechecked(site: Site, tmp_path: Path) -> None:
    """Would break: a worker holds the partition's keys in memory, begins it for ever, or does nothing else meanwhile."""
    days = ((b"hall", struct.pack(">i", day), b"theirs") for day in range(ROWS))
    begun = time.monotonic()
    fill_raw(site, "INSERT INTO {ks}.plays (room, day, a) VALUES (?, ?, ?)", days)
    print(f"{ROWS:,} rows written in {time.monotonic() - begun:.0f} s", flush=True)
    follower, worker = Follower(site, tmp_path), Watched(site)
    follower.one_more()
    worker.look()
    before = worker.largest
    rechecked(site, follower, worker, "another has written it", ROWS)
    site.cql("DELETE FROM {ks}.plays WHERE room = 'hall'")
    rechecked(site, follower, worker, "another has deleted it", 0)
    assert worker.largest < before + 128
