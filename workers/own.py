"""An RQ worker of this project's own: it reads its jobs as JSON, and unpickles nothing that stands in Redis."""

from __future__ import annotations

import logging
from uuid import uuid4

from rq import Queue, Worker
from rq.serializers import JSONSerializer

import workers.tasks  # noqa: F401  (imported here for the forked jobs)
from sync.adapters.job_forms import OWN_WORKERS
from sync.adapters.queue import QUEUE, redis_connection
from sync.settings import Settings


class _OwnWorker(Worker):
    def unsubscribe(self) -> None:
        """RQ waits up to a second for the thread that hears its commands; this process ends, and the thread with it."""


def run_worker(settings: Settings) -> None:
    """Work on the queue `sync` until SIGINT or SIGTERM, as `rq worker sync --serializer json` does."""
    # A job's error is recorded in the ledger, and the command says it; RQ would print the traceback, too.
    logging.getLogger("rq").setLevel(logging.CRITICAL)
    connection = redis_connection(settings, None)
    queue = Queue(QUEUE, connection=connection, serializer=JSONSerializer)
    name = f"{OWN_WORKERS}{uuid4().hex}"
    _OwnWorker([queue], name=name, connection=connection, serializer=JSONSerializer).work(logging_level="CRITICAL")
