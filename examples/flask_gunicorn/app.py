"""Songs over HTTP. gunicorn loads this module before it forks; each worker opens a store of its own (gunicorn.conf.py)."""

from uuid import UUID

from flask import Flask, abort, request

from sync import SourceUnavailable, Store, TargetUnavailable, WriteRefused, WriteRefusedNow, WriteUnsure, open_store

app = Flask(__name__)


def open_worker() -> None:
    app.extensions["store"] = open_store()  # the environment says which: Cassandra, both sides, or Postgres


def close_worker() -> None:
    if opened := app.extensions.pop("store", None):  # none where opening it failed
        opened.close()


def store() -> Store:
    return app.extensions["store"]


@app.put("/songs/<uuid:song_id>")
def save_song(song_id: UUID):
    row = {"id": song_id, **{name: request.json.get(name) for name in ("title", "artist", "genre", "mood")}}
    store().put("songs", row)
    return row


@app.delete("/songs/<uuid:song_id>")
def delete_song(song_id: UUID):
    store().delete("songs", {"id": song_id})
    return "", 204


@app.get("/songs/<uuid:song_id>")
def get_song(song_id: UUID):
    return store().get("songs", {"id": song_id}) or abort(404)


@app.get("/genres/<genre>")
def songs_of_a_genre(genre: str):
    return list(store().find("songs", {"genre": genre}, limit=20))


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
