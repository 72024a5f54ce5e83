"""Two commands clear their jobs from the queue at the same time."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from rq import Queue
from rq.job import Job

from sync import local
from sync.adapters.queue import QUEUE, QueueNotifier

pytest_plugins = ("support.fixtures",)


def test_a_job_that_another_command_deletes_at_the_same_moment_is_cleared(
    valkey: local.ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: RQ finds no status of the job that it should delete, and one of two migrations ends with RQ's error."""
    with redis.Redis.from_url(valkey.url) as connection:
        notifier = QueueNotifier(connection)
        notifier.notify([1], 3)
        fetch_job = Queue.fetch_job

        def fetch_and_lose(queue: Queue, job_id: str) -> Any:
            job = fetch_job(queue, job_id)
            connection.delete(Job.key_for(job_id))
            return job

        with monkeypatch.context() as lost:
            lost.setattr(Queue, "fetch_job", fetch_and_lose)
            notifier.clear()
        notifier.clear()
        assert Queue(QUEUE, connection=connection).count == 0
