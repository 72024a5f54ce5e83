"""RQ's own tools beside a migration: `rq info` and rq-dashboard show what jobs are for, and what is done is forgotten."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr
from rq import Queue
from rq.serializers import JSONSerializer
from support.running_commands import Running, until
from support.watched import free_port

from sync import local
from sync.adapters.queue import CHECK_JOB, COPY_JOB, QUEUE, QueueNotifier
from sync.adapters.queue_state import read_queue
from sync.settings import Settings

pytest_plugins = ("support.fixtures",)
RQ = str(Path(sys.executable).with_name("rq"))
NOWHERE = {"PATH": os.environ.get("PATH", ""), "HOME": "/nowhere"}


@pytest.fixture
def connection(valkey: local.ValkeyServer) -> Iterator[Any]:
    with redis.Redis.from_url(valkey.url) as opened:
        opened.flushall()
        yield opened
        opened.flushall()


@contextmanager
def dashboard(url: str, folder: Path) -> Iterator[Any]:
    """A function that asks rq-dashboard."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("rq-dashboard")), "--json", "-u", url, "-b", "127.0.0.1", "-p", str(port)]
    running = Running(command, folder, NOWHERE)

    def ask(path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=60) as answer:
            return json.load(answer)

    def answers() -> bool:
        try:
            return bool(ask("0/data/queues.json"))
        except OSError:
            return False

    try:
        until(lambda: running.ended or answers(), what="rq-dashboard answers")
        assert not running.ended, running.err
        yield ask
    finally:
        running.kill_all()


def test_they_say_what_jobs_are_for(valkey: local.ValkeyServer, connection: Any, tmp_path: Path) -> None:
    """Would break: whoever looks at the queue sees hashes; or a job that failed, and nothing of why."""
    QueueNotifier(connection, COPY_JOB, ["songs", "genres"]).notify([12, 13], 1)
    failing = [RQ, "worker", QUEUE, "--serializer", "json", "--burst", "--url", valkey.url]
    done = subprocess.run(failing, env=NOWHERE, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done
    QueueNotifier(connection, CHECK_JOB, ["songs"]).notify([14], 1)
    QueueNotifier(connection).notify_reconcile("songs")
    info = subprocess.run(
        [RQ, "info", "--url", valkey.url, "--raw"], env=NOWHERE, capture_output=True, text=True, check=True
    )  # fmt: skip
    assert "queue sync 2" in info.stdout
    with dashboard(valkey.url, tmp_path) as ask:
        waiting = ask("0/data/jobs/sync/queued/10/asc/1.json")["jobs"]
        assert [job["description"] for job in waiting] == ["check ranges of songs (runs 14)", "reconcile songs"]
        (failed,) = ask("0/data/jobs/sync/failed/10/asc/1.json")["jobs"]
        assert failed["description"] == "copy ranges of songs, genres (runs 12, 13)"
        assert "sync.errors.SettingsError: " in ask(f"0/data/job/{failed['id']}.json")["exc_info"]
    (explained,) = read_queue(Settings(redis_url=SecretStr(valkey.url))).newest_failed
    assert explained.description == failed["description"]
    assert explained.why.startswith("DATABASE_URL (or POSTGRES_HOST"), explained


def test_what_is_done_is_forgotten(valkey: local.ValkeyServer, connection: Any, tmp_path: Path) -> None:
    """Would break: a migration of weeks fills Redis with results that nobody reads."""
    queue = Queue(QUEUE, connection=connection, serializer=JSONSerializer)
    QueueNotifier(connection, COPY_JOB, ["songs"]).notify([1], 1)
    (job,) = queue.get_jobs()
    # What the job would do needs servers: this one is done at once, as one that finds nothing left.
    job.data = JSONSerializer.dumps(("time.monotonic", None, [], {}))
    job.save()
    QueueNotifier(connection, COPY_JOB, ["songs"]).notify([2], 1)
    failing = [RQ, "worker", QUEUE, "--serializer", "json", "--burst", "--url", valkey.url]
    subprocess.run(failing, env=NOWHERE, cwd=tmp_path, capture_output=True, timeout=120, check=True)
    (failed,) = queue.failed_job_registry.get_job_ids()
    (finished,) = queue.finished_job_registry.get_job_ids()
    assert finished == job.id
    assert 0 < connection.ttl(f"rq:job:{finished}") <= 60 and 0 < connection.ttl(f"rq:job:{failed}") <= 3600
    assert 0 < connection.ttl(f"rq:results:{finished}") <= 60 and 0 < connection.ttl(f"rq:results:{failed}") <= 3600
