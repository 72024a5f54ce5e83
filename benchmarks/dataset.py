"""The benchmark's tables: made the same every time, loaded into Cassandra, with empty targets in Postgres.

    python -m benchmarks.dataset --songs 200000 --embeddings 60000 [--dirty] [--keyspace bench] [--database bench]

Servers are those of the environment. A million songs is `--songs 1000000`.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from threading import BoundedSemaphore

import psycopg
from cassandra.cluster import Session
from cassandra.query import BatchStatement, BatchType, BoundStatement, PreparedStatement
from psycopg import sql

from benchmarks import rows
from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.settings import Settings, load_settings

KEYSPACE = DATABASE = "bench"
_IN_FLIGHT = 24  # batches per process; Cassandra answers a group of them per write to its commit log


@dataclass(frozen=True, slots=True)
class Table:
    """A table on both sides, and how its rows are made."""

    name: str
    key: str
    columns: tuple[str, ...]
    cql: str
    ddl: str
    make: Callable[[int, int], Iterator[rows.Cells]]
    batch: int  # rows of one CQL batch: below 50 KiB
    default_rows: int


SONGS = Table(
    "songs",
    "id",
    ("id", "title", "artist", "album", "genre", "description", "duration", "year", "attributes", "created_at", "updated_at"),
    "id uuid PRIMARY KEY, title text, artist text, album text, genre text, description text, duration double, year int, "
    "attributes map<text, text>, created_at timestamp, updated_at timestamp",
    "id uuid PRIMARY KEY, title text, artist text, album text, genre text, description text, duration double precision, "
    "year integer, attributes jsonb, created_at timestamptz, updated_at timestamptz",
    rows.songs,
    60,
    200_000,
)
EMBEDDINGS = Table(
    "embeddings",
    "song_id",
    ("song_id", "model", "embedding", "created_at"),
    f"song_id uuid PRIMARY KEY, model text, embedding vector<float, {rows.DIMENSION}>, created_at timestamp",
    f"song_id uuid PRIMARY KEY, model text, embedding vector({rows.DIMENSION}), created_at timestamptz",
    rows.embeddings,
    20,
    60_000,
)
TABLES = {table.name: table for table in (SONGS, EMBEDDINGS)}


def load(settings: Settings, table: Table, count: int, *, dirty: bool = False, keyspace: str = KEYSPACE) -> float:
    """Make the source table again with `count` rows, by a process per core; returns seconds."""
    begin = time.monotonic()
    with open_cassandra(settings, 120) as source:
        make_source(source.session, table, keyspace)
    workers = os.cpu_count() or 1
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        shares = [(settings, table.name, count, share, workers, dirty, keyspace) for share in range(workers)]
        pool.starmap(_load_share, shares, chunksize=1)
    return time.monotonic() - begin


def drop_source(settings: Settings, table: Table, keyspace: str = KEYSPACE) -> None:
    """No source table of that name any more."""
    with open_cassandra(settings, 120) as source:
        if keyspace in source.session.cluster.metadata.keyspaces:
            source.session.execute(f"DROP TABLE IF EXISTS {keyspace}.{table.name}")


def make_targets(conninfo: str, database: str = DATABASE) -> None:
    """The database, the extension and empty target tables with nothing but their primary keys."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    with psycopg.connect(conninfo, dbname=database, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        for table in TABLES.values():
            fresh_target(connection, table)


def fresh_target(connection: psycopg.Connection, table: Table) -> None:
    """The target table, empty, as new."""
    name = sql.Identifier(table.name)
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))
    connection.execute(sql.SQL("CREATE TABLE {} ({})").format(name, sql.SQL(table.ddl)))


def conninfo(settings: Settings, database: str | None = None) -> str:
    """How libpq connects to the target."""
    password = settings.postgres_password.get_secret_value() if settings.postgres_password else None
    return psycopg.conninfo.make_conninfo(
        host=settings.postgres_host,
        port=settings.postgres_port,
        dbname=database or settings.postgres_database,
        user=settings.postgres_user,
        password=password,
        sslmode=settings.postgres_sslmode,
    )


def make_source(session: Session, table: Table, keyspace: str) -> None:
    """The keyspace, and the table in it, new and empty."""
    replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    session.execute(f"CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {replication}")
    session.execute(f"DROP TABLE IF EXISTS {keyspace}.{table.name}")
    session.execute(f"CREATE TABLE {keyspace}.{table.name} ({table.cql})")


def _load_share(settings: Settings, name: str, count: int, share: int, shares: int, dirty: bool, keyspace: str) -> None:
    """Every `shares`-th block of rows, in batches of bound bytes: nothing is encoded by the driver."""
    logging.getLogger("cassandra").setLevel(logging.ERROR)  # each batch above 5 KiB is a warning
    table = TABLES[name]
    make = rows.dirty(table.make) if dirty else table.make
    with open_cassandra(settings, 120) as source:
        marks = ", ".join("?" * len(table.columns))
        insert = source.session.prepare(f"INSERT INTO {keyspace}.{name} ({', '.join(table.columns)}) VALUES ({marks})")
        window = _Window(source.session)
        for block in range(share, -(-count // rows.BLOCK), shares):
            cells = make(block, min(rows.BLOCK, count - block * rows.BLOCK))
            while chunk := list(islice(cells, table.batch)):
                window.send(_batch(insert, chunk))
        window.drain()


def _batch(insert: PreparedStatement, chunk: list[rows.Cells]) -> BatchStatement:
    batch = BatchStatement(BatchType.UNLOGGED)
    for cells in chunk:
        bound = BoundStatement(insert)
        bound.values = cells
        batch.add(bound)
    return batch


class _Window:
    """At most so many requests in flight; raises the first error."""

    def __init__(self, session: Session) -> None:
        self._session, self._free = session, BoundedSemaphore(_IN_FLIGHT)
        self._errors: list[BaseException] = []

    def send(self, statement: BatchStatement) -> None:
        self._free.acquire()
        if self._errors:
            raise self._errors[0]
        self._session.execute_async(statement).add_callbacks(self._done, self._failed)

    def drain(self) -> None:
        for _ in range(_IN_FLIGHT):
            self._free.acquire()
        if self._errors:
            raise self._errors[0]

    def _done(self, _rows: object) -> None:
        self._free.release()

    def _failed(self, error: BaseException) -> None:
        self._errors.append(error)
        self._free.release()


def main() -> None:
    """Load what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    for table in TABLES.values():
        parser.add_argument(f"--{table.name}", type=int, default=table.default_rows, help="rows; 0: not made")
    parser.add_argument("--dirty", action="store_true", help="one row in fifty with nulls, NUL, NaN, a year 1")
    parser.add_argument("--keyspace", default=KEYSPACE)
    parser.add_argument("--database", default=DATABASE)
    wanted = parser.parse_args()
    settings = load_settings()
    make_targets(conninfo(settings), wanted.database)
    for table in TABLES.values():
        if count := getattr(wanted, table.name):
            seconds = load(settings, table, count, dirty=wanted.dirty, keyspace=wanted.keyspace)
            sys.stderr.write(f"{wanted.keyspace}.{table.name}: {count:,} rows in {seconds:.0f} s\n")


if __name__ == "__main__":
    main()
