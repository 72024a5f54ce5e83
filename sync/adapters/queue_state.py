"""What stands in the queue: workers, waiting jobs, and jobs that failed, each explained in a line. Nothing is unpickled."""

from __future__ import annotations

import binascii
import re
import time
from base64 import b64decode
from dataclasses import dataclass
from typing import Any

import redis
from rq import Queue
from rq.job import Job
from rq.results import Result
from rq.serializers import JSONSerializer

from sync.adapters.job_serializers import inflated
from sync.adapters.queue import QUEUE, live_workers, redis_connection, unanswered
from sync.settings import Settings

_SHOWN = 5
_OWN_ERROR = re.compile(r"^sync\.errors\.(\w+): (.+)$", re.MULTILINE)
_ERROR = re.compile(r"^(?:\w+\.)*([A-Z]\w*[a-z]\w*)(?::|$)", re.MULTILINE)
_KNOWN = (
    ("DeserializationError", "its worker reads the other serializer; the job was queued in both since"),
    ("JobTimeoutException", "it took too long and was ended; its ranges are taken over"),
    ("AbandonedJobError", "its worker is gone; what it held is taken over when its lease ends"),
    ("Work-horse terminated unexpectedly", "its process was killed, often for want of memory; what it held is taken over"),
)


@dataclass(frozen=True, slots=True)
class FailedJob:
    """A job that failed: what it was to do, and why it failed, without values."""

    description: str
    why: str


@dataclass(frozen=True, slots=True)
class QueueState:
    """How many RQ workers listen, how many jobs wait, how many failed within the last hour, and the newest of these."""

    workers: int
    waiting: int
    failed: int
    newest_failed: tuple[FailedJob, ...]


def read_queue(settings: Settings) -> QueueState:
    """The queue as it is now. Raises SettingsError and Unreachable."""
    connection = redis_connection(settings)
    queue = Queue(QUEUE, connection=connection, serializer=JSONSerializer)
    try:
        failed = queue.failed_job_registry
        # By their score: RQ forgets those that have expired only when it looks for them.
        ids: Any = connection.zrevrangebyscore(failed.key, "+inf", time.time(), start=0, num=_SHOWN)
        return QueueState(
            live_workers(queue),
            int(queue.count),
            int(connection.zcount(failed.key, time.time(), "+inf")),
            tuple(_failed(connection, job.decode()) for job in ids),
        )
    except (redis.RedisError, OSError) as error:
        raise unanswered(connection, error) from None
    finally:
        connection.close()


def _failed(connection: Any, job: str) -> FailedJob:
    described = connection.hget(Job.key_for(job), "description") or b"a job that is forgotten"
    return FailedJob(described.decode(errors="replace"), explain_failure(_traceback(connection, job)))


def _traceback(connection: Any, job: str) -> str:
    newest = connection.xrevrange(Result.get_key(job), count=1)  # type: ignore[no-untyped-call]
    try:
        return inflated(b64decode(newest[0][1].get(b"exc_string", b""))).decode(errors="replace") if newest else ""
    except binascii.Error:
        return ""


def explain_failure(traceback: str) -> str:
    """Why a job failed: the message of an error of this project; of others the kind: their text may quote values."""
    for symptom, text in _KNOWN:
        if symptom in traceback:
            return text
    if own := _OWN_ERROR.findall(traceback):
        return str(own[-1][1])
    if other := _ERROR.findall(traceback):
        return f"{other[-1]}; the worker's log says more"
    return "RQ recorded no reason"
