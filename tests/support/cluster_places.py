"""A table on a cluster, ready for the backfill, and whether a flow is in the middle of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from cassandra.concurrent import execute_concurrent_with_args

from support.places import NewPlace, Place
from sync.adapters.cassandra.connection.connect import open_cassandra

SONGS = "CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text, plays int, tags map<text, text>)"
ROWS = 2_000
_TOML = """
schema_files = []
[backfill]
lease_seconds = 5
min_ranges = 48
page_mb = 0.02
[dual_write]
heartbeat_seconds = 0.3
[drift]
grace_seconds = 0.05
"""


@contextmanager
def begun(new_place: NewPlace, rows: int = ROWS) -> Iterator[Place]:
    """A place with a table of so many rows, ready for the backfill."""
    with new_place() as place:
        place.cql(SONGS)
        insert = place.cassandra.session.prepare(
            f'INSERT INTO "{place.keyspace}".songs (id, title, plays, tags) VALUES (?, ?, ?, ?)'
        )
        given = ((UUID(int=n * 7), f"song {n}", n, {"n": str(n)}) for n in range(rows))
        for ok, error in execute_concurrent_with_args(place.cassandra.session, insert, given, concurrency=32):
            assert ok, error
        place.configure(_TOML)
        for command in (("schema", "apply"), ("preflight",)):
            done = place.commands.run(*command)
            assert done.code == 0, done
        with open_cassandra(place.settings) as opened:  # it knows the table, however long the nodes took to agree on it
            yield Place(opened, place.settings, place.commands)


def under_way(place: Place) -> bool:
    """Whether some of the newest run's ranges are done, and others are not."""
    found = place.sql("SELECT state, count(*) FROM sync.range WHERE run_id = (SELECT max(id) FROM sync.run) GROUP BY state")
    states = {state for state, _ in found}
    return "done" in states and states != {"done"}
