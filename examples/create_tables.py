"""The source of every example: the tables of schema.cql, and 2,000 songs. Settings come from the environment."""

import os
import uuid
from pathlib import Path

from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster
from cassandra.concurrent import execute_concurrent_with_args

GENRES = ("Ballad", "Blues", "Jazz", "Polka", "Reel")
SONGS = 2_000


def connect():
    """The plain driver's cluster, as an application opens it that does not know the store."""
    return Cluster(
        os.environ["CASSANDRA_CONTACT_POINTS"].split(","),
        port=int(os.environ["CASSANDRA_PORT"]),
        auth_provider=PlainTextAuthProvider(os.environ["CASSANDRA_USERNAME"], os.environ["CASSANDRA_PASSWORD"]),
    )


def main():
    schema = "".join(line for line in Path(__file__).with_name("schema.cql").open() if not line.startswith("--"))
    with connect() as cluster:
        session = cluster.connect(os.environ["ASTRA_DB_KEYSPACE"])
        for statement in filter(str.strip, schema.split(";")):
            session.execute(statement, timeout=60)
        insert = session.prepare("INSERT INTO songs (id, title, artist, genre, mood) VALUES (?, ?, ?, ?, ?)")
        rows = [(uuid.uuid4(), f"Song No. {no}", f"Artist {no % 50}", GENRES[no % 5], mood(no)) for no in range(SONGS)]
        execute_concurrent_with_args(session, insert, rows)
    print(f"songs ({SONGS:,} rows) and playlist are in {os.environ['ASTRA_DB_KEYSPACE']}")


def mood(no):
    """Four numbers that differ from song to song."""
    return [1 + no * step % 100 / 100 for step in (7, 13, 29, 31)]


if __name__ == "__main__":
    main()
