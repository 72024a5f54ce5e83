"""Songs through the store; beside it the application's own SQL, and a table that was never in Cassandra: `listens`."""

import os
from uuid import UUID

from flask import Flask, abort, request
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from sync import NotSupported, SourceUnavailable, TargetUnavailable, WriteRefused, WriteRefusedNow, WriteUnsure, open_store

LISTENS = """
CREATE TABLE IF NOT EXISTS listens (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, song uuid NOT NULL, listener text NOT NULL
);
CREATE INDEX IF NOT EXISTS listens_by_listener ON listens (listener, song);
"""
CHART = """
SELECT songs.id, songs.title, count(*) AS listens FROM listens JOIN songs ON songs.id = listens.song
WHERE listens.listener = %s GROUP BY songs.id ORDER BY listens DESC, songs.id
"""
COUNTS = "SELECT song, count(*) AS listens FROM listens WHERE listener = %s GROUP BY song ORDER BY listens DESC, song"
FORGET = "DELETE FROM public.listens WHERE song = %s"

VARIABLES = {"host": "HOST", "port": "PORT", "dbname": "DATABASE", "user": "USER", "password": "PASSWORD"}

app = Flask(__name__)
store = open_store()  # the environment says which: Cassandra, both sides, or Postgres
given = {name: os.environ[f"POSTGRES_{variable}"] for name, variable in VARIABLES.items()}
# The role of `sync local` is called `sync`, as is the migration's schema, in which Postgres would look for tables first.
given["options"] = "-c search_path=public"
pool = ConnectionPool(kwargs={**given, "row_factory": dict_row}, max_size=4, open=True)
with pool.connection() as connection:
    connection.execute(LISTENS)


# songs: through the store, whichever side is primary


@app.put("/songs/<uuid:song_id>")
def save_song(song_id: UUID):
    row = {"id": song_id, **{name: request.json.get(name) for name in ("title", "artist", "genre", "mood")}}
    store.put("songs", row)
    return row


@app.delete("/songs/<uuid:song_id>")
def delete_song(song_id: UUID):
    """One transaction once Postgres is primary; before that two, with an end in between that does no harm."""
    key = {"id": song_id}
    try:
        with store.transaction() as tx:
            tx.delete("songs", key)
            tx.execute(FORGET, [song_id])
    except NotSupported:
        store.delete("songs", key)
        with pool.connection() as connection:
            connection.execute(FORGET, [song_id])
    return "", 204


@app.get("/songs/<uuid:song_id>")
def get_song(song_id: UUID):
    return store.get("songs", {"id": song_id}) or abort(404)


# listens: the application's own table, in a transaction of its own


@app.post("/songs/<uuid:song_id>/listens/<listener>")
def listen(song_id: UUID, listener: str):
    with pool.connection() as connection:
        connection.execute("INSERT INTO listens (song, listener) VALUES (%s, %s)", [song_id, listener])
    return "", 204


@app.get("/charts/<listener>")
def chart(listener: str):
    """The songs that somebody listens to, most often first: a join, as soon as both tables can be read in one place."""
    with pool.connection() as connection:
        if store.primary == "postgres":
            return connection.execute(CHART, [listener]).fetchall()
        counts = connection.execute(COUNTS, [listener]).fetchall()
    songs = store.get_many("songs", [{"id": each["song"]} for each in counts])
    found = zip(songs, counts, strict=True)
    return [{"id": song["id"], "title": song["title"], "listens": each["listens"]} for song, each in found if song]


@app.errorhandler(WriteRefused)
def refused(error: WriteRefused):
    """Nothing was written: the request is wrong, or no write is accepted at the moment."""
    if isinstance(error, WriteRefusedNow):
        return unavailable(error)
    return {"detail": str(error)}, 422


@app.errorhandler(WriteUnsure)
@app.errorhandler(SourceUnavailable)
@app.errorhandler(TargetUnavailable)
def unavailable(error: Exception):
    """No answer. A PUT or DELETE may be repeated, whatever became of it."""
    return {"detail": str(error)}, 503, {"Retry-After": "1"}
