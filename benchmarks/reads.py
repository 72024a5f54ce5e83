"""`make bench-reads`: a store's `scan`, `find` and `get_many`, beside the plain drivers' reads of the same rows, in one run.

    python -m benchmarks.reads [--rounds 5] [--songs 200000]

Servers of its own. Both read decoded rows as dictionaries: cassandra-driver with its compiled decoder and `dict_factory`,
psycopg with `dict_row` (for all rows, a server-side cursor). The rounds are interleaved; the ratios are of the medians.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import psycopg
from cassandra.cluster import EXEC_PROFILE_DEFAULT
from cassandra.query import dict_factory
from psycopg.rows import dict_row

from benchmarks import dataset
from benchmarks.dataset import TABLES
from benchmarks.meter import wait_until_calm
from benchmarks.peers import PEERS
from benchmarks.servers import Servers, own_servers, say
from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.settings import Config
from sync.stores import CqlStore, DualWriteStore, PostgresStore

_PARTITION, _PARTITIONS = 1000, 20
_PLAYLIST = "playlist (id int, at int, song text, note text, PRIMARY KEY (id, at))"


def main(argv: list[str]) -> int:
    """A line a read."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reads", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--songs", type=int, default=200_000)
    options = parser.parse_args(argv)
    with own_servers("bench", "bench") as servers:
        _prepare(servers, options.songs)
        wait_until_calm(servers)
        _report(_measure(servers, options.rounds))
    return 0


def _prepare(servers: Servers, songs: int) -> None:
    """The songs on both sides, copied by `sync backfill`, and playlists of 1,000 rows, written through a store of both."""
    ours = next(peer for peer in PEERS if peer.name == "sync")
    dataset.make_targets(servers.stack.postgres.conninfo(), servers.database)
    dataset.load(servers.settings, TABLES["songs"], songs, keyspace=servers.keyspace)
    assert ours.before
    ours.before(servers, TABLES["songs"])
    env = {**os.environ, **servers.env, **ours.env()}
    subprocess.run([sys.executable, "-m", "sync", "backfill", "--table", "songs", "--quiet"], env=env, check=True)
    with servers.postgres() as connection:
        connection.execute(f"CREATE TABLE public.{_PLAYLIST}".encode())
    with open_cassandra(servers.settings) as cassandra:
        cassandra.session.execute(f"CREATE TABLE {servers.keyspace}.{_PLAYLIST}")
    with DualWriteStore(servers.settings, Config(schema_files=())) as store:
        for part in range(_PARTITIONS):
            store.put_many(
                "playlist",
                [{"id": part, "at": at, "song": f"song {at}", "note": "a note " * 5} for at in range(_PARTITION)],
            )
    with servers.postgres() as connection:
        connection.execute("VACUUM ANALYZE")


def _measure(servers: Servers, rounds: int) -> dict[str, dict[str, list[float]]]:
    took: dict[str, dict[str, list[float]]] = {}
    settings = servers.settings
    with (
        CqlStore(settings) as cql,
        PostgresStore(settings) as postgres,
        open_cassandra(settings) as cassandra,
        servers.postgres() as connection,
    ):
        session = cassandra.session
        session.set_keyspace(servers.keyspace)
        profile = session.execution_profile_clone_update(EXEC_PROFILE_DEFAULT, row_factory=dict_factory)
        one = session.prepare("SELECT * FROM playlist WHERE id = ?")
        song = session.prepare("SELECT * FROM songs WHERE id = ?")
        ids = [row["id"] for row in session.execute("SELECT id FROM songs LIMIT 1000", execution_profile=profile)]
        reads: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
            "Cassandra, scan": (
                lambda: session.execute("SELECT * FROM songs", execution_profile=profile),
                lambda: cql.scan("songs"),
            ),
            "Cassandra, find": (
                _each(lambda p: session.execute(one, (p,), execution_profile=profile)),
                _each(lambda p: cql.find("playlist", {"id": p})),
            ),
            "Cassandra, get_many": (
                lambda: [
                    row
                    for future in [session.execute_async(song, (i,), execution_profile=profile) for i in ids]
                    for row in future.result()
                ],
                lambda: cql.get_many("songs", [{"id": i} for i in ids]),
            ),
            "Postgres, scan": (lambda: _all(connection), lambda: postgres.scan("songs")),
            "Postgres, find": (
                _each(lambda p: _playlist(connection, p)),
                _each(lambda p: postgres.find("playlist", {"id": p})),
            ),
            "Postgres, get_many": (
                lambda: _rows(connection, "SELECT * FROM public.songs WHERE id = ANY(%s)", (ids,)),
                lambda: postgres.get_many("songs", [{"id": i} for i in ids]),
            ),
        }
        for _ in range(rounds):
            for name, ways in reads.items():
                counts = set()
                for way, read in zip(("driver", "store"), ways, strict=True):
                    begun = time.perf_counter()
                    counts.add(sum(1 for _ in read()))
                    took.setdefault(name, {}).setdefault(way, []).append(time.perf_counter() - begun)
                assert len(counts) == 1, (name, counts)
    return took


def _each(read: Callable[[int], Any]) -> Callable[[], Iterator[Any]]:
    return lambda: (row for part in range(_PARTITIONS) for row in read(part))


def _playlist(connection: psycopg.Connection, part: int) -> list[Any]:
    return _rows(connection, "SELECT * FROM public.playlist WHERE id = %s ORDER BY at", (part,))


def _rows(connection: psycopg.Connection, statement: str, values: tuple[Any, ...]) -> list[Any]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement.encode(), values).fetchall()


def _all(connection: psycopg.Connection) -> Iterator[Any]:
    with connection.transaction(), connection.cursor("bench", row_factory=dict_row) as cursor:
        cursor.itersize = 1000
        yield from cursor.execute("SELECT * FROM public.songs")


def _report(took: dict[str, dict[str, list[float]]]) -> None:
    sys.stdout.write("| read | driver | store | ratio |\n| --- | ---: | ---: | ---: |\n")
    for name, ways in took.items():
        driver, store = median(ways["driver"]), median(ways["store"])
        sys.stdout.write(f"| {name} | {driver:.2f} s | {store:.2f} s | {store / driver:.2f} |\n")
    say(f"memory of this process at its highest: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
