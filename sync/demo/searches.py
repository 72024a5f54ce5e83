"""The demo's last proof: "tunes most like this one", asked of both sides, to be compared by eye."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from cassandra.cluster import Session

from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.adapters.postgres.connection.connect import Connection, connect
from sync.settings import Settings

_TOP = 5


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One answer: what it is, and how near."""

    label: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The answers of both sides to one question."""

    title: str
    album: str
    source: list[Neighbour]
    target: list[Neighbour]


def compare_neighbours(settings: Settings, titles: tuple[str, ...]) -> list[Neighbours]:
    """For each title that the corpus has: the nearest other tunes, by Cassandra's index and by Postgres's."""
    found = []
    with open_cassandra(settings) as cassandra, closing(connect(settings, autocommit=True)) as connection:
        cassandra.session.set_keyspace(settings.astra_db_keyspace or "")
        for title in titles:
            row = connection.execute(
                "SELECT id, title, album, embedding::text FROM songs JOIN embeddings ON song_id = id "
                "WHERE title LIKE %s ORDER BY title, id LIMIT 1",
                (f"{title}%",),
            ).fetchone()
            if row is not None:
                song, exact_title, album, vector = row
                here = _source(cassandra.session, song, vector)
                found.append(Neighbours(exact_title, album, here, _target(connection, song, vector)))
    return found


def _source(session: Session, song: UUID, vector: str) -> list[Neighbour]:
    values = [float(v) for v in vector.strip("[]").split(",")]
    nearest = session.prepare(
        "SELECT song_id, similarity_cosine(embedding, ?) AS s FROM embeddings ORDER BY embedding ANN OF ? LIMIT ?"
    )
    describe = session.prepare("SELECT title, album FROM songs WHERE id = ?")
    rows = [r for r in session.execute(nearest, (values, values, _TOP + 1)) if r.song_id != song][:_TOP]
    # Cassandra's similarity is (1 + cosine) / 2.
    return [Neighbour(_label(session.execute(describe, (r.song_id,)).one()), 2 * r.s - 1) for r in rows]


def _target(connection: Connection, song: UUID, vector: str) -> list[Neighbour]:
    rows = connection.execute(
        "SELECT title, album, 1 - d FROM (SELECT song_id, embedding <=> %s::vector AS d FROM embeddings "
        "ORDER BY embedding <=> %s::vector LIMIT %s) AS n JOIN songs ON id = song_id WHERE song_id <> %s ORDER BY d LIMIT %s",
        (vector, vector, _TOP + 1, song, _TOP),
    ).fetchall()
    return [Neighbour(_label(row), float(row[2])) for row in rows]


def _label(row: Any) -> str:
    return f"{row[0] or '(no title)'} · {row[1]}"
