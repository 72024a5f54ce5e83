"""The demo's other service: it knows nothing of `sync`, and has nothing but the drivers of the two databases.

`python others.py cassandra|postgres LEDGER [BEFORE]` adds, changes and forgets tunes of its own until its input ends.
At its end it writes what its statements came to into LEDGER, as JSON; with BEFORE it continues from an earlier run's ledger.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import UUID, uuid4

_PAUSE_SECONDS = 0.03
_NOT_NOW = "SY001"
"""SQLSTATE of a statement that wrote nothing, since the other database is primary."""
_STATEMENTS = {
    "add": "INSERT INTO songs (id, title, artist, year) VALUES (%s, %s, %s, %s)",
    "change": "UPDATE songs SET year = %s WHERE id = %s",
    "forget": "DELETE FROM songs WHERE id = %s",
}


class TurnedAway(Exception):
    """Postgres writes nothing now."""


class Unsure(Exception):
    """A statement failed, and may have been executed."""


Run = Callable[[str, tuple[Any, ...]], Any]


@contextmanager
def by_cql() -> Iterator[Run]:
    """Runs statements in Cassandra. They raise Unsure."""
    from cassandra import DriverException
    from cassandra.auth import PlainTextAuthProvider
    from cassandra.cluster import Cluster, NoHostAvailable

    login = PlainTextAuthProvider(os.environ["CASSANDRA_USERNAME"], os.environ["CASSANDRA_PASSWORD"])
    hosts, port = os.environ["CASSANDRA_CONTACT_POINTS"].split(","), int(os.environ["CASSANDRA_PORT"])
    with Cluster(hosts, port=port, auth_provider=login) as cluster:
        session = cluster.connect(os.environ["ASTRA_DB_KEYSPACE"])

        def run(statement: str, values: tuple[Any, ...]) -> None:
            try:
                session.execute(statement, values)
            except (DriverException, NoHostAvailable) as error:
                raise Unsure(str(error)) from None

        yield run


@contextmanager
def by_sql() -> Iterator[Run]:
    """Runs statements in Postgres. They raise TurnedAway and Unsure."""
    import psycopg

    with psycopg.connect(
        host=os.environ["POSTGRES_HOST"], port=os.environ["POSTGRES_PORT"], dbname=os.environ["POSTGRES_DATABASE"],
        user=os.environ["POSTGRES_USER"], password=os.environ["POSTGRES_PASSWORD"], autocommit=True,
    ) as connection:  # fmt: skip

        def run(statement: str, values: tuple[Any, ...]) -> None:
            try:
                connection.execute(statement.encode(), values)
            except psycopg.Error as error:
                if error.sqlstate == _NOT_NOW:
                    raise TurnedAway from None
                raise Unsure(str(error)) from None

        yield run


class Service:
    """Writes one statement after the other. `songs`: what was last acknowledged, None for one that it has deleted."""

    def __init__(self, run: Run, songs: dict[str, dict[str, Any] | None]) -> None:
        self._run, self.songs = run, songs
        self.told: Counter[str] = Counter()
        self.longest, self.error = 0.0, ""

    def work(self, ended: Event) -> None:
        """Write until `ended` is set, or Postgres turns it away."""
        while not ended.is_set():
            began = time.monotonic()
            try:
                self._write()
                self.told["acknowledged"] += 1
            except TurnedAway:
                self.told["turned away"] += 1
                return
            except Unsure as error:
                self.told["unsure"] += 1
                self.error = self.error or str(error)
            self.longest = max(self.longest, time.monotonic() - began)
            time.sleep(_PAUSE_SECONDS)

    def _write(self) -> None:
        alive = [key for key, row in self.songs.items() if row is not None]
        choice = random.random()
        if choice < 0.3 or len(alive) < 10:
            key = str(uuid4())
            row = {"title": f"Sung at {time.time():.6f}", "artist": "others", "year": 2000}
            self._run(_STATEMENTS["add"], (UUID(key), *row.values()))
            self.songs[key] = row
        elif choice < 0.9:
            key = random.choice(alive)
            row = {**(self.songs[key] or {}), "year": 2000 + self.told["acknowledged"]}
            self._run(_STATEMENTS["change"], (row["year"], UUID(key)))
            self.songs[key] = row
        else:
            key = random.choice(alive)
            self._run(_STATEMENTS["forget"], (UUID(key),))
            self.songs[key] = None


def main(by: str, ledger: Path, before: Path | None) -> None:
    """Run until stdin ends."""
    known = json.loads(before.read_text())["songs"] if before else {}
    with by_cql() if by == "cassandra" else by_sql() as run:
        service, ended = Service(run, known), Event()
        thread = Thread(target=service.work, args=(ended,))
        thread.start()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()
        ended.set()
        thread.join()
    told = {"told": service.told, "longest_ms": service.longest * 1000, "error": service.error, "songs": service.songs}
    ledger.write_text(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
