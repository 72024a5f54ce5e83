"""How late `sync follow commitlog` is, and what it costs: a follower beside a node that takes writes at a steady rate.

    python -m benchmarks.capture [--rate 2000] [--seconds 60] [--backlog 200000] [--sync batch,periodic]

Starts a Cassandra with CDC and a Postgres of its own, for each way in which Cassandra syncs its commit log
(`commitlog_sync`). A process writes one row a statement; for each the time counts from its acknowledgement to the commit
that records it in Postgres (`pg_xact_commit_timestamp`; all are on one machine, with one clock). No worker runs. Then the
follower is ended, a backlog is written, and another one reads it. CPU is that of the follower's process alone.
"""

from __future__ import annotations

import argparse
import array
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psutil
import psycopg

from benchmarks.capture_writer import CREATE, TABLE
from benchmarks.servers import FOLDER, Servers, make_folder, say
from sync import local
from sync.core.mutations import unpack_key
from sync.local.stack import Stack

_KEYSPACE, _DATABASE = "capture", "capture"
_POLL_SECONDS = 0.2
_TITLES = ("commitlog_sync", "writes a second", "lag p50", "p90", "p99", "largest", "CPU", "RSS", "backlog", "RSS then")
_WARM = 2_000
"""Writes before those that count: the first ones find Java's code not compiled."""


def main(argv: list[str]) -> int:
    """A line for each way of syncing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capture", description=__doc__)
    parser.add_argument("--rate", type=int, default=2_000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--backlog", type=int, default=200_000)
    parser.add_argument("--sync", default="batch,periodic")
    options = parser.parse_args(argv)
    make_folder()
    say(f"load average {os.getloadavg()[0]:.1f}")
    lines = [_measured(sync, options.rate, options.seconds, options.backlog) for sync in options.sync.split(",")]
    for line in (_TITLES, ["---", *["---:"] * (len(_TITLES) - 1)], *lines):
        sys.stdout.write(f"| {' | '.join(line)} |\n")
    return 0


@contextmanager
def _servers(sync: str) -> Iterator[Servers]:
    """A node that links its segments for a follower, and a Postgres that remembers when each transaction was committed."""
    folder = FOLDER / f"capture-{sync}"
    local.down(folder)
    local.claim(folder)
    stack = Stack(folder)
    period = {"commitlog_sync_period": "10s"} if sync == "periodic" else {}
    yaml = {"cdc_enabled": True, "cdc_total_space": "4096MiB", "commitlog_sync": sync, **period}
    stack.cassandra.options = local.CassandraOptions(yaml=yaml)
    stack.postgres.options = local.PostgresOptions(settings={"track_commit_timestamp": "on"})
    try:
        for server in stack.servers:
            server.start()
        stack.postgres.create_database(_DATABASE)
        replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        stack.cassandra.execute(f"CREATE KEYSPACE {_KEYSPACE} WITH replication = {replication}")
        stack.cassandra.execute(CREATE.replace(TABLE, f"{_KEYSPACE}.{TABLE}", 1))
        servers = Servers(stack, _KEYSPACE, _DATABASE)
        (folder / "sync.toml").write_text("schema_files = []\n")
        if _sync(servers, "schema", "apply").wait():
            raise RuntimeError("sync schema apply failed: see what it said")
        yield servers
    finally:
        local.down(folder)


def _sync(servers: Servers, *arguments: str) -> subprocess.Popen[bytes]:
    env = {**os.environ, "PYTHONPATH": str(FOLDER.parent), **servers.env}
    return subprocess.Popen([sys.executable, "-m", "sync", *arguments], env=env, cwd=servers.stack.folder, stdout=sys.stderr)


@dataclass
class Follower:
    """A follower under way: its CPU seconds, and the largest memory it was seen with, in MiB."""

    process: subprocess.Popen[bytes]
    rss: float = 0.0

    @property
    def cpu(self) -> float:
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def look(self) -> None:
        """Note its memory. Raises RuntimeError if it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError("the follower has ended: see what it said")
        self.rss = max(self.rss, psutil.Process(self.process.pid).memory_info().rss / 2**20)

    def until(self, true: Callable[[], bool]) -> None:
        """Wait, and look at it meanwhile."""
        while not true():
            self.look()
            time.sleep(_POLL_SECONDS)


@contextmanager
def _following(servers: Servers) -> Iterator[Follower]:
    raw = servers.stack.cassandra.folder / "data" / "cdc"
    process = _sync(servers, "follow", "commitlog", "--cdc-raw", str(raw), "--quiet")
    try:
        yield Follower(process)
    finally:
        process.terminate()
        process.wait()


def _writing(servers: Servers, rate: int, count: int, first: int) -> tuple[subprocess.Popen[bytes], Path]:
    stack, file = servers.stack, servers.stack.folder / f"acknowledged-{first}"
    asked = {
        "host": stack.cassandra.host, "port": stack.cassandra.port, "user": stack.cassandra.user,
        "password": stack.cassandra.password, "keyspace": _KEYSPACE, "rate": rate, "count": count, "first": first,
        "file": str(file),
    }  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.capture_writer", json.dumps(asked)]
    return subprocess.Popen(command, cwd=FOLDER.parent), file


def _measured(sync: str, rate: int, seconds: int, backlog: int) -> tuple[str, ...]:
    with _servers(sync) as servers, servers.postgres() as connection:
        with _following(servers) as follower:
            follower.until(lambda: _told(connection, time.time() - 15))
            _write(servers, follower, rate, _WARM, 0)
            begun, cpu = time.monotonic(), follower.cpu
            moments = _write(servers, follower, rate, rate * seconds, _WARM)
            ended = time.time()
            follower.until(lambda: _told(connection, ended))
            took, cpu, rss = time.monotonic() - begun, follower.cpu - cpu, follower.rss
        lags = _lags(connection, moments, _WARM)
        achieved = len(moments) / (max(moments) - min(moments))
        load = os.getloadavg()[0]
        say(f"{sync}: {rate} writes a second asked for, {achieved:.0f} made, {len(lags)} recorded; load average {load:.1f}")
        speed, rss_then = _backlog(servers, connection, backlog, _WARM + rate * seconds)
    cuts = statistics.quantiles(lags, n=100)
    shown = [f"{value:.2f} s" for value in (cuts[49], cuts[89], cuts[98], max(lags))]
    return (
        sync,
        f"{achieved:,.0f}",
        *shown,
        f"{cpu / took:.2f} s/s",
        f"{rss:.0f} MiB",
        f"{speed:,.0f} a core",
        f"{rss_then:.0f} MiB",
    )


def _write(servers: Servers, follower: Follower, rate: int, count: int, first: int) -> list[float]:
    """Write so many, and return when each was acknowledged. Raises RuntimeError if one was refused."""
    process, file = _writing(servers, rate, count, first)
    follower.until(lambda: process.poll() is not None)
    return _acknowledged(process, file)


def _acknowledged(process: subprocess.Popen[bytes], file: Path) -> list[float]:
    if process.wait():
        raise RuntimeError("the writer failed: see what it said")
    moments = array.array("d")
    moments.frombytes(file.read_bytes())
    if any(math.isnan(moment) for moment in moments):
        raise RuntimeError("Cassandra refused writes: the machine is too slow for this rate")
    return list(moments)


def _lags(connection: psycopg.Connection, moments: list[float], first: int) -> list[float]:
    """Of each write, from its acknowledgement to the commit that recorded it. Raises RuntimeError if one was not recorded."""
    found = {}
    for key, at in connection.execute(
        "SELECT source_key, extract(epoch FROM min(pg_xact_commit_timestamp(xmin)))::float8 FROM sync.intent GROUP BY 1"
    ):
        found[UUID(bytes=unpack_key(key)[0]).int] = float(at)
    missing = sum(first + number not in found for number in range(len(moments)))
    if missing:
        raise RuntimeError(f"{missing} of {len(moments)} writes were not recorded")
    return [found[first + number] - moment for number, moment in enumerate(moments)]


def _backlog(servers: Servers, connection: psycopg.Connection, count: int, first: int) -> tuple[float, float]:
    """Mutations that a second of the follower's CPU reads and records, and its memory meanwhile, in MiB."""
    say(f"a backlog of {count:,}")
    _acknowledged(*_writing(servers, 0, count, first))
    ended, before = time.time(), _keys(connection)
    with _following(servers) as follower:
        follower.until(lambda: _keys(connection) > before)
        cpu, begun = follower.cpu, _keys(connection)
        follower.until(lambda: _told(connection, ended))
        return (_keys(connection) - begun) / (follower.cpu - cpu), follower.rss


def _keys(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT coalesce(sum(keys), 0) FROM sync.feed").fetchone()
    assert row is not None
    return int(row[0])


def _told(connection: psycopg.Connection, moment: float) -> bool:
    rows = connection.execute("SELECT 1 FROM sync.feed WHERE told_until >= to_timestamp(%s)", (moment,)).fetchall()
    return bool(rows)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
