"""The guide's script: rows as the driver decodes them, psycopg2's execute_values, 1,000 a page.

Runs on its own, in the peers' environment: python guide_psycopg2.py TABLE
"""

from __future__ import annotations

import os
import sys
from typing import Any

import psycopg2
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster, Session
from pgvector import Vector
from psycopg2.extras import Json, execute_values, register_uuid

PAGE = 1000
COLUMNS = {
    "songs": "id, title, artist, album, genre, description, duration, year, attributes, created_at, updated_at",
    "embeddings": "song_id, model, embedding, created_at",
}


def song(row: Any) -> tuple[Any, ...]:
    """A song as psycopg2 takes it."""
    attributes = Json(dict(row.attributes)) if row.attributes is not None else None
    head = (row.id, row.title, row.artist, row.album, row.genre, row.description, row.duration, row.year)
    return (*head, attributes, row.created_at, row.updated_at)


def embedding(row: Any) -> tuple[Any, ...]:
    """An embedding as psycopg2 takes it: a vector is its text."""
    vector = Vector(list(row.embedding)).to_text() if row.embedding is not None else None
    return (row.song_id, row.model, vector, row.created_at)


CONVERT = {"songs": song, "embeddings": embedding}


def source() -> Session:
    """A session in the source's keyspace."""
    env = os.environ
    known = PlainTextAuthProvider(env["CASSANDRA_USERNAME"], env["CASSANDRA_PASSWORD"])
    points, port = env["CASSANDRA_CONTACT_POINTS"].split(","), int(env["CASSANDRA_PORT"])
    session = Cluster(points, port=port, auth_provider=known).connect()
    session.set_keyspace(env["ASTRA_DB_KEYSPACE"])
    session.default_fetch_size, session.default_timeout = PAGE, 60
    return session


def target() -> dict[str, Any]:
    """How to connect to the target."""
    names = ("host", "port", "user", "password", "sslmode")
    return {"dbname": os.environ["POSTGRES_DATABASE"], **{name: os.environ[f"POSTGRES_{name.upper()}"] for name in names}}


def main(table: str) -> None:
    """Copy a table."""
    columns, convert = COLUMNS[table], CONVERT[table]
    session, connection = source(), psycopg2.connect(**target())
    connection.cursor().execute("SET TIME ZONE 'UTC'")  # the driver's datetimes are naive and mean UTC
    register_uuid()
    insert = f"INSERT INTO {table} ({columns}) VALUES %s ON CONFLICT DO NOTHING"
    rows: list[tuple[Any, ...]] = []
    with connection.cursor() as cursor:
        for row in session.execute(f"SELECT {columns} FROM {table}"):
            rows.append(convert(row))
            if len(rows) == PAGE:
                execute_values(cursor, insert, rows, page_size=PAGE)
                connection.commit()
                rows.clear()
        if rows:
            execute_values(cursor, insert, rows, page_size=PAGE)
    connection.commit()
    session.cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
