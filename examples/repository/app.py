"""Songs over HTTP, from a repository class of the application's own (songs.py)."""

from uuid import UUID

from flask import Flask, abort, request

from repository.songs import open_songs
from sync import SourceUnavailable, TargetUnavailable, WriteRefusedNow, WriteUnsure

app = Flask(__name__)
songs = open_songs()


@app.put("/songs/<uuid:song_id>")
def save_song(song_id: UUID):
    song = {"id": song_id, **{name: request.json.get(name) for name in ("title", "artist", "genre", "mood")}}
    songs.save(song)
    return song


@app.delete("/songs/<uuid:song_id>")
def delete_song(song_id: UUID):
    songs.delete(song_id)
    return "", 204


@app.get("/songs/<uuid:song_id>")
def get_song(song_id: UUID):
    return songs.get(song_id) or abort(404)


@app.get("/genres/<genre>")
def songs_of_a_genre(genre: str):
    return songs.of_genre(genre)


@app.errorhandler(WriteRefusedNow)
@app.errorhandler(WriteUnsure)
@app.errorhandler(SourceUnavailable)
@app.errorhandler(TargetUnavailable)
def unavailable(error: Exception):
    """No answer. A PUT or DELETE may be repeated, whatever became of it."""
    return {"detail": str(error)}, 503, {"Retry-After": "1"}
