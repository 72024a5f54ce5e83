"""The form in which jobs are queued: JSON, or pickle for a plain `rq worker`. Nothing from Redis is unpickled here."""

from __future__ import annotations

import binascii
import zlib
from base64 import b64decode
from contextlib import suppress
from typing import Any, Literal

from rq import Queue
from rq.job import Job
from rq.results import Result

JSON_WORKERS = "sync-json-"
"""The prefix of the names of our own workers, which read only JSON."""
Serializer = Literal["json", "pickle"]
_JOBS_CHECKED = 10
_MAX_BYTES = 1 << 16  # of a text that anybody may have written there


def unread_serializers(queue: Queue) -> set[Serializer]:
    """The serializers of those newest failed jobs that a worker could not read. Raises RedisError.

    The raw text of their results is read: RQ itself would unpickle a result, whoever wrote it.
    """
    failed = queue.failed_job_registry.get_job_ids(0, _JOBS_CHECKED - 1, desc=True, cleanup=False)
    return {serializer for job in failed if (serializer := _unread(queue.connection, job))}


def _unread(connection: Any, job: str) -> Serializer | None:
    newest = connection.xrevrange(Result.get_key(job), count=1)  # type: ignore[no-untyped-call]
    if not newest:
        return None
    with suppress(binascii.Error):
        if b"DeserializationError" in inflated(b64decode(newest[0][1].get(b"exc_string", b""))):
            data = connection.hget(Job.key_for(job), "data") or b""
            return "json" if inflated(data).startswith(b"[") else "pickle"
    return None


def inflated(data: bytes) -> bytes:
    """What RQ has compressed, at most 64 kB of it; nothing if it is something else."""
    with suppress(zlib.error):
        return zlib.decompressobj().decompress(data, _MAX_BYTES)
    return b""
