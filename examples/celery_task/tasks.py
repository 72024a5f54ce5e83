"""Tasks that write songs. Each process of the pool opens a store of its own, and signs off when it ends."""

import os
from uuid import UUID

from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown

from sync import SourceUnavailable, TargetUnavailable, WriteRefusedNow, WriteUnsure, open_store

app = Celery("songs", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.update(
    task_acks_late=True,  # a task whose process dies is run again: these may be repeated
    task_reject_on_worker_lost=True,
    worker_proc_alive_timeout=30,  # seconds until a process must be ready; it opens a store first
)
RETRIED = {
    "autoretry_for": (WriteRefusedNow, WriteUnsure, SourceUnavailable, TargetUnavailable),
    "retry_backoff": True,
    "max_retries": 10,
}
store = None


@worker_process_init.connect
def open_process(**_):
    global store
    store = open_store()  # the environment says which: Cassandra, both sides, or Postgres


@worker_process_shutdown.connect
def close_process(**_):
    if store:  # none where opening it failed
        store.close()


@app.task(**RETRIED)
def save_song(song_id, title, artist, genre, mood=None):
    store.put("songs", {"id": UUID(song_id), "title": title, "artist": artist, "genre": genre, "mood": mood})


@app.task(**RETRIED)
def delete_song(song_id):
    store.delete("songs", {"id": UUID(song_id)})


@app.task(**RETRIED)
def get_song(song_id):
    row = store.get("songs", {"id": UUID(song_id)})
    return row and {**row, "id": song_id}
