"""Each worker opens its store after the fork, and signs off when it ends: a store belongs to one process."""

from flask_gunicorn import app as songs

preload_app = True
worker_class = "gthread"
workers = 2
threads = 4


def post_fork(server, worker):
    songs.open_worker()


def worker_exit(server, worker):
    songs.close_worker()
