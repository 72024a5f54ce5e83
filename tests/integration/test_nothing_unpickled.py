"""Somebody who can write to Redis can run no code in the application or in `sync`'s commands and workers: they read JSON."""

from __future__ import annotations

import pickle
import time
import zlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
from rq import Queue
from rq.job import Job
from rq.results import Result
from support.dual import Table
from support.places import NewPlace, Place
from support.prepared_places import prepared
from support.running_commands import until

from sync.adapters.job_serializers import JSON_WORKERS
from sync.settings import Config, DualWriteTuning
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(async_secondary=frozenset({"songs"})))


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    with prepared(new_place, CONFIG, songs="id uuid PRIMARY KEY, title text") as place:
        changes = {"redis_url": type(place.settings.postgres_password)(place.commands.env["REDIS_URL"])}
        yield Place(place.cassandra, place.settings.model_copy(update=changes), place.commands)


@pytest.fixture
def queue(home: Place) -> Iterator[redis.Redis]:
    with closing(redis.Redis.from_url(home.commands.env["REDIS_URL"])) as opened:
        opened.flushdb()
        yield opened
        opened.flushdb()


class Touch:
    """Creates the file when it is unpickled."""

    def __init__(self, flag: Path) -> None:
        self._flag = flag

    def __reduce__(self) -> Any:
        return Path.touch, (self._flag,)


def plant(queue: redis.Redis, flag: Path, waits: bool) -> str:
    """A job that failed, or that waits, with a pickle wherever RQ keeps one."""
    evil, job = pickle.dumps(Touch(flag)), str(uuid4())
    fields: dict[Any, Any] = {
        "data": zlib.compress(evil), "result": evil, "meta": evil, "description": "reconcile other", "origin": "sync",
        "status": "queued" if waits else "failed", "created_at": "2026-01-01T00:00:00.000000Z", "timeout": "60",
    }  # fmt: skip
    queue.hset(Job.key_for(job), mapping=fields)
    said = b64encode(zlib.compress(b"rq.exceptions.DeserializationError"))
    queue.xadd(Result.get_key(job), {"type": 2, "exc_string": said, "return_value": b64encode(evil), "worker_name": "w"})
    if waits:
        queue.rpush("rq:queue:sync", job)
    else:
        queue.zadd("rq:failed:sync", {job: time.time() + 3600})
    return job


def test_the_plant_is_one(queue: redis.Redis, tmp_path: Path) -> None:
    """RQ's own reader executes the planted pickle; otherwise the other tests would prove nothing."""
    job = plant(queue, tmp_path / "flag", waits=False)
    Job.fetch(job, connection=queue).latest_result()
    assert (tmp_path / "flag").exists()


def test_an_application_and_commands_execute_nothing(home: Place, queue: redis.Redis, tmp_path: Path) -> None:
    """Would break: anybody who can write to Redis can run code in every process of the application."""
    flag = tmp_path / "flag"
    plant(queue, flag, waits=False)
    plant(queue, flag, waits=True)
    queue.hset(Job.key_for("broken"), mapping={"data": b"\xff", "description": b"\xff\xfe"})
    queue.rpush("rq:queue:sync", "broken", "gone")
    queue.zadd("rq:failed:sync", {"broken": time.time() + 3600})
    queue.xadd(Result.get_key("broken"), {"exc_string": "no base64 at all!"})
    with DualWriteStore(home.settings, CONFIG) as store:
        store.put("songs", {"id": uuid4(), "title": "rings"})
        until(lambda: "reconcile songs" in descriptions(queue), what="it rang")
    forms = {bytes(zlib.decompress(data))[:1] for data in jobs(queue, "songs")}
    assert forms == {b"["}, "a pickle is what could not be read"
    for command in ("status", "preflight", "intents"):
        home.commands.run(command)
    assert not flag.exists()


def test_sync_worker_executes_nothing_and_works(home: Place, queue: redis.Redis, tmp_path: Path) -> None:
    """Would break: the same in `sync worker`, its supervisor and its jobs; or it cannot read the jobs that `sync` queues."""
    flag = tmp_path / "flag"
    with closing(Table(home.cassandra, home.settings, CONFIG, "songs")) as table:
        with DualWriteStore(home.settings, CONFIG) as store:
            store.put("songs", {"id": uuid4(), "title": "waits"})
        queue.flushdb()
        plant(queue, flag, waits=False)
        planted = plant(queue, flag, waits=True)
        worker = home.commands.start("worker", "-n", "1")
        try:
            until(lambda: table.intents() == [], what="it drains")
            until(lambda: queue.zscore("rq:failed:sync", planted), what="it has met what was planted")
            (name,) = [key.decode() for key in queue.smembers("rq:workers:sync")]
            assert name.removeprefix("rq:worker:").startswith(JSON_WORKERS)
        finally:
            worker.terminate()
            worker.communicate(timeout=60)
    assert not flag.exists()


@pytest.mark.parametrize(
    ("listening", "forms"),
    [([], {b"["}), ([JSON_WORKERS], {b"["}), (["someone"], {b"\x80"}), (["someone", JSON_WORKERS], {b"[", b"\x80"})],
)
def test_every_worker_gets_what_it_reads(home: Place, queue: redis.Redis, listening: list[str], forms: set[bytes]) -> None:
    """Would break: the first job is one that the only worker cannot read; or our own workers fail every second job."""
    for name in listening:
        queue.sadd("rq:workers:sync", f"rq:worker:{name}{uuid4().hex}")
    with DualWriteStore(home.settings, CONFIG) as store:
        store.put("songs", {"id": uuid4(), "title": "rings"})
        until(lambda: jobs(queue, "songs"), what="it rang")
    assert {bytes(zlib.decompress(data))[:1] for data in jobs(queue, "songs")} == forms


def jobs(queue: redis.Redis, table: str) -> list[bytes]:
    """The data of a table's waiting jobs."""
    found = [queue.hmget(Job.key_for(job), "description", "data") for job in Queue("sync", connection=queue).get_job_ids()]
    return [data for description, data in found if description == f"reconcile {table}".encode()]


def descriptions(queue: redis.Redis) -> list[str]:
    ids = Queue("sync", connection=queue).get_job_ids()
    return [(queue.hget(Job.key_for(job), "description") or b"").decode(errors="replace") for job in ids]
