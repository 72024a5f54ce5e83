"""The guide's script with psycopg 3 and pgvector: rows as the driver decodes them, executemany, 1,000 a page.

With `copy`, the same script tuned: binary COPY in place of executemany; it cannot be run twice.
Runs on its own, in the peers' environment: python guide_psycopg3.py TABLE executemany|copy
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import psycopg
from guide_psycopg2 import COLUMNS, PAGE, source, target
from pgvector import Vector
from pgvector.psycopg import register_vector
from psycopg.types.json import Jsonb

TYPES = {
    "songs": "uuid text text text text text float8 int4 jsonb timestamptz timestamptz",
    "embeddings": "uuid text vector timestamptz",
}


def utc(moment: datetime | None) -> datetime | None:
    """The driver's naive datetime, which means UTC."""
    return moment.replace(tzinfo=UTC) if moment is not None else None


def song(row: Any) -> tuple[Any, ...]:
    """A song as psycopg takes it."""
    attributes = Jsonb(dict(row.attributes)) if row.attributes is not None else None
    head = (row.id, row.title, row.artist, row.album, row.genre, row.description, row.duration, row.year)
    return (*head, attributes, utc(row.created_at), utc(row.updated_at))


def embedding(row: Any) -> tuple[Any, ...]:
    """An embedding as psycopg takes it."""
    vector = Vector(list(row.embedding)) if row.embedding is not None else None
    return (row.song_id, row.model, vector, utc(row.created_at))


CONVERT: dict[str, Callable[[Any], tuple[Any, ...]]] = {"songs": song, "embeddings": embedding}


def main(table: str, way: str) -> None:
    """Copy a table."""
    session, connection = source(), psycopg.connect(**target())
    register_vector(connection)
    result = session.execute(f"SELECT {COLUMNS[table]} FROM {table}")
    rows = (row for row in result)  # iter(result) would begin its page again
    load = copy_page if way == "copy" else insert_page
    while load(connection, table, list(islice(rows, PAGE))):
        connection.commit()
    session.cluster.shutdown()


def insert_page(connection: psycopg.Connection, table: str, rows: list[Any]) -> int:
    """INSERT a page of rows; returns how many there were."""
    marks = ", ".join(["%s"] * len(COLUMNS[table].split()))
    insert = f"INSERT INTO {table} ({COLUMNS[table]}) VALUES ({marks}) ON CONFLICT DO NOTHING"
    with connection.cursor() as cursor:
        cursor.executemany(insert, map(CONVERT[table], rows))
    return len(rows)


def copy_page(connection: psycopg.Connection, table: str, rows: list[Any]) -> int:
    """COPY a page of rows; returns how many there were."""
    statement = f"COPY {table} ({COLUMNS[table]}) FROM STDIN (FORMAT BINARY)"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(TYPES[table].split())
        for row in map(CONVERT[table], rows):
            copy.write_row(row)
    return len(rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
