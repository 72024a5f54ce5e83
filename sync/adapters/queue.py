"""RQ as the doorbell: Postgres knows what is to be done, RQ wakes workers. Losing Redis costs time only (invariant 6)."""

from __future__ import annotations

import logging
from typing import Any

import redis
from rq import Queue, Worker
from rq.job import Job

from sync.errors import SettingsError, Unreachable
from sync.settings import Settings

QUEUE = "sync"
COPY_JOB = "sync.workers.tasks.copy_ranges"
CHECK_JOB = "sync.workers.tasks.check_ranges"
RECONCILE_JOB = "sync.workers.tasks.reconcile"
_JOB_TIMEOUT = 3600
_FAILED_LOOKED_AT = 10
_WHAT = {COPY_JOB: "copy ranges of runs", CHECK_JOB: "check ranges of runs"}
log = logging.getLogger(__name__)


def redis_connection(settings: Settings) -> redis.Redis:
    """A connection that was tried. Raises SettingsError and Unreachable, one line each, without the URL's password."""
    settings.require("redis_url")
    url = settings.redis_url.get_secret_value() if settings.redis_url else ""
    try:
        connection: redis.Redis = redis.Redis.from_url(url, socket_connect_timeout=10, health_check_interval=30)
    except ValueError:  # its text may hold a piece of the password, taken for the port
        form = "redis://user:password@host:port/0, with @ : / % in the password as %40 %3A %2F %25"
        raise SettingsError(f"REDIS_URL: it is not a Redis URL; it must read {form}") from None
    try:
        connection.ping()
    except redis.AuthenticationError:
        raise Unreachable(f"{redis_name(connection)}: the password was refused; check REDIS_URL") from None
    except redis.RedisError as error:
        raise Unreachable(f"{redis_name(connection)}: {' '.join(str(error).split())}; check REDIS_URL") from None
    return connection


def redis_name(connection: Any) -> str:
    """How errors and reports name the queue; never with a secret."""
    options = connection.connection_pool.connection_kwargs
    return f"Redis at {options.get('host', options.get('path', '?'))}:{options.get('port', '')}"


class Doorbell:
    """Rings for workers on the queue `sync`, to do `job` for runs. Errors of Redis are reported and survived."""

    def __init__(self, connection: Any, job: str = COPY_JOB) -> None:
        self._job, self._what = job, _WHAT[job]
        self._queue = Queue(QUEUE, connection=connection)
        self._json = Queue(QUEUE, connection=connection, serializer="json")
        self._silent = False

    def ring(self, runs: list[int], times: int) -> None:
        """Put `times` jobs for these runs on the queue."""
        self._enqueue(self._job, ",".join(map(str, runs)), f"{self._what} {runs}", times)

    def ring_reconcile(self, table: str) -> bool:
        """Put a job for a table's intents on the queue, unless one waits there already; whether it rang."""
        try:
            description = f"reconcile {table}"
            waiting = any(job.description == description for job in self._queue.get_jobs())
            if not waiting:
                self._enqueue(RECONCILE_JOB, table, description)
        except redis.RedisError as error:
            log.warning("Redis: %s; the sweeper will ring", " ".join(str(error).split()))
            return False
        return not waiting

    def _enqueue(self, function: str, argument: str, description: str, times: int = 1) -> None:
        for queue in (self._queue, self._json) if self._wants_json() else (self._queue,):
            for _ in range(times):
                queue.enqueue_call(
                    function, args=(argument,), timeout=_JOB_TIMEOUT, result_ttl=60, failure_ttl=3600, description=description
                )

    def _wants_json(self) -> bool:
        """Whether a worker could not read a job of late: one was started with `--serializer json`, so both forms are rung."""
        failed = self._queue.failed_job_registry.get_job_ids(0, _FAILED_LOOKED_AT - 1, desc=True, cleanup=False)
        for job in Job.fetch_many(failed, connection=self._queue.connection):
            result = job.latest_result() if job else None
            if result and "DeserializationError" in (result.exc_string or ""):
                return True
        return False

    def ring_idle(self, runs: list[int], at_least: int) -> int:
        """Ring once for each idle worker, newcomers included, or `at_least` times; how often it rang.

        Never less than once: after a FLUSHALL a worker still listens, but is registered no more. Nothing is added while jobs
        wait: they would only find the work done.
        """
        try:
            if self._queue.count:
                return 0
            idle = sum(worker.get_state() == "idle" for worker in Worker.all(queue=self._queue))
            times = max(idle, at_least, 1)
            self.ring(runs, times)
        except redis.RedisError as error:
            if not self._silent:  # this is called several times a second
                log.warning("Redis: %s; ringing again later", " ".join(str(error).split()))
            self._silent = True
            return 0
        self._silent = False
        return times

    def clear(self) -> None:
        """Take back the jobs that nobody has begun: the work is done."""
        try:
            for job in self._queue.get_jobs():
                if (job.description or "").startswith(self._what):
                    job.delete()
        except redis.RedisError as error:
            log.warning("Redis: %s; leftover jobs will find nothing to do", " ".join(str(error).split()))

    def workers(self) -> int:
        """How many RQ workers listen to the queue."""
        return int(Worker.count(queue=self._queue))
