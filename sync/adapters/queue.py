"""RQ wakes workers; Postgres knows what is to be done. Losing Redis costs time only (invariant 6)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue, Worker
from rq.exceptions import InvalidJobOperation
from rq.job import Job
from rq.serializers import JSONSerializer

from sync.adapters.job_serializers import JSON_WORKERS, unread_serializers
from sync.adapters.queue_errors import NO_URL, check_url, explain
from sync.errors import SettingsError, Unreachable
from sync.settings import Settings

QUEUE = "sync"
COPY_JOB = "sync.workers.tasks.copy_ranges_and_times"
CHECK_JOB = "sync.workers.tasks.check_ranges"
RECONCILE_JOB = "sync.workers.tasks.reconcile"
_JOB_TIMEOUT = 3600
_CONNECT_SECONDS, _ANSWER_SECONDS = 5.0, 5.0
_WHAT = {COPY_JOB: "copy ranges of ", CHECK_JOB: "check ranges of "}
_NAMED = 3
log = logging.getLogger(__name__)


def redis_connection(settings: Settings, answer_seconds: float | None = _ANSWER_SECONDS) -> redis.Redis:
    """A tested connection; it waits at most `answer_seconds` for each answer and never retries.

    None is for a worker, which waits for jobs as long as RQ says. Raises SettingsError and Unreachable, one line each,
    without the URL's password.
    """
    settings.require("redis_url")
    url = settings.redis_url.get_secret_value() if settings.redis_url else ""
    check_url(url)
    try:
        connection = _connection(url, _ANSWER_SECONDS if answer_seconds is None else answer_seconds)
    except ValueError:  # its text may contain part of the password, taken for the port
        raise SettingsError(NO_URL) from None
    try:
        connection.ping()
    except (redis.RedisError, OSError) as error:  # a certificate file that is not there is an OSError
        raise unanswered(connection, error) from None
    return _connection(url, None) if answer_seconds is None else connection


def _connection(url: str, answer_seconds: float | None) -> redis.Redis:
    # The client's own defaults differ by version: 6 and 7 wait forever, 8 retries again and again.
    made: redis.Redis = redis.Redis.from_url(
        url,
        socket_connect_timeout=min(_CONNECT_SECONDS, answer_seconds or _CONNECT_SECONDS),
        socket_timeout=answer_seconds,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=30,
    )
    return made


def live_workers(queue: Queue) -> int:
    """How many RQ workers listen: those that RQ remembers, without killed ones, whose own entry has expired."""
    keys = Worker.all_keys(queue=queue)
    return int(queue.connection.exists(*keys)) if keys else 0


def unanswered(connection: Any, error: redis.RedisError | OSError) -> Unreachable:
    """The error that names the Redis server and says what went wrong, in one line."""
    return Unreachable(f"{redis_name(connection)}: {explain(error, connection)}")


def redis_name(connection: Any) -> str:
    """How errors and reports name the queue; never with a secret."""
    options = connection.connection_pool.connection_kwargs
    return f"Redis at {options.get('host', options.get('path', '?'))}:{options.get('port', '')}"


class QueueNotifier:
    """Notifies workers on the queue `sync` to do `job` for runs. Errors of Redis are logged unless a method raises them."""

    def __init__(self, connection: Any, job: str = COPY_JOB, tables: Sequence[str] = ()) -> None:
        """`tables` are those of the runs, for the jobs' descriptions."""
        self._job, self._what, self._tables = job, _WHAT[job], tables
        # Jobs are read as JSON only: with pickle, anybody who can write to Redis could run code in this process.
        self._queue = Queue(QUEUE, connection=connection, serializer=JSONSerializer)
        self._pickled = Queue(QUEUE, connection=connection)  # only ever written to
        self._silent = False

    def notify(self, runs: list[int], times: int) -> None:
        """Put `times` jobs for these runs on the queue."""
        try:
            self._notify(runs, times)
        except redis.RedisError as error:
            log.warning("Redis: %s; the command that watches the runs notifies workers again", explain(error))

    def _notify(self, runs: list[int], times: int) -> None:
        named, more = ", ".join(self._tables[:_NAMED]), len(self._tables) - _NAMED
        of = f"{named}{f' and {more} more' if more > 0 else ''} " if named else ""
        self._enqueue(self._job, ",".join(map(str, runs)), f"{self._what}{of}(runs {', '.join(map(str, runs))})", times)

    def notify_reconcile(self, table: str) -> bool:
        """Queue a job for a table's intents unless one is waiting already; returns whether it was queued."""
        try:
            return self.notify_table(table)
        except redis.RedisError as error:
            log.warning("Redis: %s; the sweeper will notify workers", explain(error))
            return False

    def notify_table(self, table: str) -> bool:
        """As `notify_reconcile`, but raises RedisError."""
        description = f"reconcile {table}"
        waiting = description in self._waiting().values()
        if not waiting:
            self._enqueue(RECONCILE_JOB, table, description)
        return not waiting

    def _enqueue(self, function: str, argument: str, description: str, times: int = 1) -> None:
        for queue in self._serializers():
            for _ in range(times):
                queue.enqueue_call(
                    function, args=(argument,), timeout=_JOB_TIMEOUT, result_ttl=60, failure_ttl=3600, description=description
                )

    def _waiting(self) -> dict[str, str]:
        """The descriptions of the waiting jobs, by job id."""
        ids = self._queue.get_job_ids()
        with self._queue.connection.pipeline(transaction=False) as asked:
            for job in ids:
                asked.hget(Job.key_for(job), "description")
            found = asked.execute()
        return {job: (text or b"").decode(errors="replace") for job, text in zip(ids, found, strict=True)}

    def _serializers(self) -> list[Queue]:
        """The queue in the forms that its workers read: JSON for `sync worker`, pickle for a plain `rq worker`.

        A worker does not say which form it reads: one that is not ours gets pickled jobs. If workers recently failed to read
        one form, jobs are queued in the other form as well.
        """
        names = [worker.rsplit(":", 1)[-1] for worker in Worker.all_keys(queue=self._queue)]
        others = [name for name in names if not name.startswith(JSON_WORKERS)]
        unread = unread_serializers(self._queue)
        as_json = len(others) < len(names) or not names or "pickle" in unread
        as_pickle = bool(others) or "json" in unread
        return [self._queue] * as_json + [self._pickled] * as_pickle

    def notify_idle(self, runs: list[int], at_least: int) -> int:
        """Queue one job for each idle worker, newcomers included, but no fewer than `at_least`; returns how many.

        At least one: after a FLUSHALL a worker still listens, but is no longer registered. Nothing is added while jobs are
        waiting: the new ones would only find the work done.
        """
        try:
            if self._queue.count:
                return 0
            idle = sum(w.get_state() == "idle" for w in Worker.all(queue=self._queue, serializer=JSONSerializer))
            times = max(idle, at_least, 1)
            self._notify(runs, times)
        except redis.RedisError as error:
            if not self._silent:  # this is called several times a second
                log.warning("Redis: %s; workers are notified again later", explain(error))
            self._silent = True
            return 0
        self._silent = False
        return times

    def clear(self) -> None:
        """Remove the jobs that no worker has started: the work is done."""
        try:
            for job, what in self._waiting().items():
                found = self._queue.fetch_job(job) if what.startswith(self._what) else None
                if found:
                    with suppress(InvalidJobOperation):  # another command has just deleted it
                        found.delete()
        except redis.RedisError as error:
            log.warning("Redis: %s; leftover jobs will find nothing to do", explain(error))

    def workers(self) -> int:
        """How many RQ workers listen to the queue. Raises Unreachable."""
        try:
            return live_workers(self._queue)
        except redis.RedisError as error:
            raise unanswered(self._queue.connection, error) from None
