"""Postgres is away while others write, and the follower is killed meanwhile: all that was written is told when it is back.

SYNC_AWAY_SECONDS says for how long; what an hour showed is in docs/capture-commitlog.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from support.backfills import SIMPLE, Site
from support.commitlog import CDC, raw_folder
from support.environments import settings_in
from support.running_commands import Running, until
from support.servers import DURABLE, stack_in, up

from sync import local
from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.core.mutations import unpack_key
from sync.local.stack import Stack
from sync.wiring.capture.commitlog import FOLDER

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]
AWAY_SECONDS = float(os.environ.get("SYNC_AWAY_SECONDS", "20"))
WRITER = Path(__file__).parents[1] / "support" / "steady_writer.py"
RATE, VALUE_BYTES = 200, 2_000
BALLOT_MICROS = 2_000
"""An INSERT IF NOT EXISTS has the node's milliseconds for its time."""
YAML = {**CDC, "commitlog_segment_size": "1MiB", "cdc_total_space": "8MiB"}
"""The node refuses writes half a minute after nobody takes its segments."""
Touched = dict[tuple[str, tuple[bytes, ...]], int]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("away") / "servers"
    up(folder, replace(DURABLE, heap_mb=384, yaml=YAML))
    try:
        yield stack_in(folder)
    finally:
        local.down(folder)


@pytest.fixture(scope="module")
def site(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    settings = settings_in(stack.endpoints().env()).model_copy(update={"astra_db_keyspace": "shop"})
    with open_cassandra(settings) as cassandra:
        cassandra.session.execute(f"CREATE KEYSPACE shop WITH replication = {SIMPLE}")
        for columns in (
            "songs (album text, track int, title text, tags set<text>, PRIMARY KEY (album, track))",
            "people (name text PRIMARY KEY, age int)",
        ):
            cassandra.session.execute(f"CREATE TABLE shop.{columns} WITH cdc = true")
        found = Site(settings, cassandra, tmp_path_factory.mktemp("site"))
        try:
            yield found
        finally:
            found.close()


@contextmanager
def writer(site: Site, record: Path) -> Iterator[subprocess.Popen[bytes]]:
    s = site.settings
    password = s.cassandra_password.get_secret_value() if s.cassandra_password else ""
    server = [str(s.cassandra_contact_points), str(s.cassandra_port), str(s.cassandra_username), password, site.keyspace]
    child = subprocess.Popen([sys.executable, str(WRITER), *server, str(record), str(RATE), str(VALUE_BYTES)])
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def touched(record: Path) -> Touched:
    """When each key and partition was last touched, in microseconds; a partition's has the first cell alone."""
    found: Touched = {}
    for line in record.read_text().splitlines():
        at, table, first, second = line.split("\t")
        rest = () if second in ("", "*") else (int(second).to_bytes(4, "big"),)
        found[table, (first.encode(), *rest)] = int(at)
    return found


def announced(site: Site) -> Touched:
    """The newest event's time of each key and partition that is announced."""
    rows = site.sql("SELECT table_name, source_key, max(version) FROM sync.intent GROUP BY 1, 2")
    return {(table, unpack_key(bytes(key))): version for table, key, version in rows}


def frozen(stack: Stack, seconds: float) -> None:
    """No process of Postgres does anything for a while; whoever is connected waits."""
    assert stack.postgres.pid is not None
    server = psutil.Process(stack.postgres.pid)
    for process in (server, *server.children(recursive=True)):
        process.suspend()
    time.sleep(seconds)
    for process in (*server.children(recursive=True), server):
        process.resume()


def lag(site: Site) -> float:
    """How far behind the feed is, in seconds."""
    rows = site.sql("SELECT extract(epoch FROM clock_timestamp() - told_until)::float8 FROM sync.feed")
    return float(rows[0][0]) if rows and rows[0][0] is not None else float("inf")


class Figures:
    """What is looked at on the way: memory of the follower, its folder, the node's `cdc_raw`."""

    def __init__(self, raw: Path) -> None:
        self._raw, self._begun = raw, time.monotonic()
        self.resident: list[float] = []

    def note(self, what: str, follower: Running) -> None:
        resident = psutil.Process(follower.pid).memory_info().rss / 2**20
        self.resident.append(resident)
        sizes = [sum(p.stat().st_size for p in f.glob("*.log")) / 2**20 for f in (self._raw.parent / FOLDER, self._raw)]
        print(
            f"{time.monotonic() - self._begun:7.1f} s {what}: follower {resident:.1f} MiB, waiting {sizes[0]:.1f} MiB, "
            f"cdc_raw {sizes[1]:.1f} MiB",
            flush=True,
        )


def killed_and_restarted(site: Site, follower: Running, raw: Path) -> Running:
    """Another follower, which takes what the node has made since, though it cannot say so to Postgres."""
    follower.process.kill()
    follower.process.wait()
    until(lambda: list(raw.glob("*.log")), 60, "the node goes on to another segment")
    again = site.start("follow", "commitlog", "--cdc-raw", str(raw), "--quiet")
    until(lambda: again.ended or not list(raw.glob("*.log")), 120, "segments are taken")
    assert not again.ended, again.err
    return again


def test_what_others_write_while_postgres_is_away_is_told(site: Site, stack: Stack, tmp_path: Path) -> None:
    """Would break: a follower that ends, or starts, without Postgres leaves segments to the node, which refuses writes; one
    that keeps in memory what it cannot record; a key that is told by none."""
    raw, record = raw_folder(stack.cassandra), tmp_path / "record.tsv"
    assert site.run("schema", "apply").code == 0
    follower = site.start("follow", "commitlog", "--cdc-raw", str(raw), "--quiet")
    with writer(site, record) as child:
        until(lambda: lag(site) < 5, 120, f"the feed is followed; {follower.err}")
        figures = Figures(raw)
        figures.note("Postgres goes", follower)
        away = time.time_ns() // 1000
        frozen(stack, AWAY_SECONDS * 0.1)
        stack.postgres.stop()
        for part in ("first", "second"):
            time.sleep(AWAY_SECONDS * 0.3)
            figures.note(f"before the {part} kill", follower)
            follower = killed_and_restarted(site, follower, raw)
            figures.note(f"after the {part} kill", follower)
        time.sleep(AWAY_SECONDS * 0.3)
        assert child.poll() is None, "the writer died"
        figures.note("Postgres comes back", follower)
        stack.postgres.start()
        back = time.monotonic()
        until(lambda: lag(site) < 5, AWAY_SECONDS + 600, f"the feed catches up; {follower.err}")
        figures.note(f"caught up after {time.monotonic() - back:.1f} s", follower)
    ended = time.time()
    until(lambda: lag(site) < time.time() - ended, 120, "the feed has told everything")
    figures.note("all is told", follower)
    wanted, found = {key: at for key, at in touched(record).items() if at > away}, announced(site)
    missing = {
        (table, cells)
        for (table, cells), at in wanted.items()
        if max(found.get((table, cells), 0), found.get((table, cells[:1]), 0)) < at - BALLOT_MICROS
    }
    writes = len(record.read_text().splitlines())
    print(
        f"{writes} in the record; {len(wanted)} keys and partitions since it went, {len(missing)} of them not told",
        flush=True,
    )
    assert len(wanted) > RATE and missing == set()
    assert site.sql("SELECT why FROM sync.gap") == []
    assert max(figures.resident) < min(figures.resident) + 128, figures.resident
