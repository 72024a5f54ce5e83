"""This project's own RQ worker: it reads its jobs as JSON, and unpickles nothing that is in Redis."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from rq import Queue, SimpleWorker, Worker
from rq.exceptions import DeserializationError
from rq.job import Job
from rq.serializers import JSONSerializer

from sync.adapters.job_serializers import JSON_WORKERS
from sync.adapters.queue import QUEUE, RECONCILE_JOB, redis_connection
from sync.settings import Config, Settings
from sync.workers import tasks  # imported here for the forked jobs, too

_FORGOTTEN_SECONDS = 60
"""A killed worker counts as one that listens for as long, and a minute more; RQ's own default is seven."""

if TYPE_CHECKING:
    from sync.wiring.dual_write.drain_session import DrainSession


class _JsonWorker(Worker):
    """Does reconcile jobs, often of a handful of keys, in this process, with connections that stay open.

    For all other jobs RQ forks; the connections are closed before.
    """

    _session: DrainSession | None = None

    def execute_job(self, job: Job, queue: Queue) -> None:
        if _function(job) == RECONCILE_JOB:
            tasks.drain_session = self._open_session
            SimpleWorker.execute_job(self, job, queue)  # type: ignore[arg-type]  # it needs no more than a worker
            return
        if self._session:
            self._session.close()
        tasks.drain_session = None
        super().execute_job(job, queue)

    def _open_session(self, settings: Settings, config: Config) -> DrainSession:
        from sync.wiring.dual_write.drain_session import DrainSession

        if self._session is None:
            self._session = DrainSession(settings, config)
        return self._session

    def kill_horse(self, *signals: Any) -> None:
        """Kill the forked process, if there is one: without one, RQ would kill the command's own process group."""
        if self.horse_pid:
            super().kill_horse(*signals)

    def unsubscribe(self) -> None:
        """Do nothing: RQ would wait up to a second for the thread that listens for its commands, which ends anyway."""


def _function(job: Job) -> str:
    with suppress(DeserializationError):  # a pickle: RQ records that it failed
        return str(job.func_name)
    return ""


def run_worker(settings: Settings) -> None:
    """Work on the queue `sync` until SIGINT or SIGTERM, as `rq worker sync --serializer json` does."""
    # A job's error is recorded in the ledger, and the command reports it; RQ would print the traceback, too.
    logging.getLogger("rq").setLevel(logging.CRITICAL)
    connection = redis_connection(settings, None)
    queue = Queue(QUEUE, connection=connection, serializer=JSONSerializer)
    name = f"{JSON_WORKERS}{uuid4().hex}"
    worker = _JsonWorker([queue], name=name, connection=connection, serializer=JSONSerializer, worker_ttl=_FORGOTTEN_SECONDS)
    worker.work(logging_level="CRITICAL")
