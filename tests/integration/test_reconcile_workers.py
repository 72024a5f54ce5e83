"""Workers as they are run: `rq worker sync` with either serializer, `sync worker` with its sweeper, and what they report."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from pydantic import SecretStr
from support.backfills import until
from support.dual import Table
from support.places import NewPlace, Place
from support.prepared_places import prepared

from sync.settings import Config, DualWriteTuning
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
CONFIG = Config(
    schema_files=(), dual_write=DualWriteTuning(connections=4, heartbeat_seconds=0.3, async_secondary=frozenset({"songs"}))
)


@pytest.fixture
def home(new_place: NewPlace) -> Iterator[Place]:
    with prepared(new_place, CONFIG, songs="id uuid PRIMARY KEY, title text") as place:
        queue = {"redis_url": SecretStr(place.commands.env["REDIS_URL"])}
        yield replace(place, settings=place.settings.model_copy(update=queue))


@pytest.fixture
def table(home: Place) -> Iterator[Table]:
    with closing(Table(home.cassandra, home.settings, CONFIG, "songs")) as opened:
        yield opened


@contextmanager
def working(place: Place, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a folder of its own with nothing but the environment."""
    log = (place.commands.folder / "worker.log").open("ab")
    env = place.commands._whole()
    process = subprocess.Popen(arguments, cwd=place.commands.folder, env=env, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def rq(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("rq")), "worker", "sync", *arguments]


def put_some(place: Place, count: int) -> None:
    with DualWriteStore(place.settings, CONFIG) as store:
        assert store.put_many("songs", [{"id": uuid4(), "title": str(n)} for n in range(count)])


@pytest.mark.parametrize("serializer", [[], ["--serializer", "json"], ["--serializer", "pickle"]])
def test_plain_rq_workers_drain(home: Place, table: Table, serializer: list[str]) -> None:
    """Would break: a worker started as RQ's own documentation says cannot do the jobs."""
    with working(home, *rq(*serializer)), DualWriteStore(home.settings, CONFIG) as store:

        def drained() -> bool:
            store.put("songs", {"id": uuid4(), "title": "rings"})
            time.sleep(1)
            return table.intents() == []

        store.put_many("songs", [{"id": uuid4(), "title": str(n)} for n in range(30)])
        until(drained, what="the worker drains")
    assert table.check_equal() > 30


def test_sync_worker_finds_what_nobody_rang_for(home: Place, table: Table) -> None:
    """Would break: Redis has lost a notification, and the intents stay until somebody looks."""
    put_some(home, 30)
    with closing(redis.Redis.from_url(home.settings.redis_url.get_secret_value())) as queue:  # type: ignore[union-attr]
        queue.flushdb()
    assert len(table.intents()) == 30
    with working(home, sys.executable, "-m", "sync", "worker", "-n", "2") as process:
        until(lambda: table.intents() == [], what="the sweeper rings")
        assert process.poll() is None
    assert process.returncode == 0
    assert table.check_equal() == 30


def clients(home: Place) -> set[int]:
    """The ports of all of Cassandra's clients."""
    return {row.port for row in home.cassandra.session.execute("SELECT port FROM system_views.clients")}


def test_a_worker_keeps_its_connections_from_job_to_job(home: Place, table: Table) -> None:
    """Would break: each handful of keys costs two sessions with the schema, a pool and, on Astra, a metadata request."""
    others = clients(home)
    with working(home, sys.executable, "-m", "sync", "worker", "-n", "1"):
        seen = []
        for _ in range(3):
            with DualWriteStore(home.settings, CONFIG) as store:
                store.put("songs", {"id": uuid4(), "title": "a job"})
            until(lambda: table.intents() == [], what="it is done")
            until(lambda: clients(home) - others, what="they are kept")
            seen.append(clients(home) - others)
        table.sql("ALTER TABLE public.songs ADD COLUMN IF NOT EXISTS other int")  # each job looks at the table again
        with DualWriteStore(home.settings, CONFIG) as store:
            store.put("songs", {"id": uuid4(), "title": "as it is now"})
        until(lambda: table.intents() == [], what="it is done")
    assert set.intersection(*seen), seen


def test_status_and_intents_say_what_is_stuck(home: Place, table: Table) -> None:
    """Would break: an operator cannot see what waits, since when and why; or `--retry` does not try."""
    put_some(home, 3)
    with DualWriteStore(home.settings, CONFIG):
        status = home.commands.run("status", "--json").json
        text = home.commands.run("status").out
    assert (status["intents"]["open"], status["intents"]["states"]) == (3, {"finished": 3})
    (writer,) = status["writers"]
    assert {"id", "host", "pid", "state", "epoch", "unrecorded", "clock_skew_us", "heartbeat_age_seconds"} <= set(writer)
    assert "intents: 3 open" in text and writer["id"] in text
    table.sql(
        "UPDATE sync.intent SET attempts = 3, error = 'the primary did not answer', "
        "lease_until = clock_timestamp() + interval '5 minutes'"
    )
    listed = home.commands.run("intents", "--table", "songs", "--json").json
    keys = {(str(row[0]),) for row in home.cql("SELECT id FROM KS.songs")}
    assert {tuple(intent["key"].values()) for intent in listed["intents"]} == keys
    assert {i["error"] for i in listed["intents"]} == {"the primary did not answer"}
    assert "the primary did not answer" in home.commands.run("intents").out
    assert home.commands.run("intents", "--retry").code == 0
    assert table.sql("SELECT count(*) FROM sync.intent WHERE lease_until > clock_timestamp()") == [(0,)]
    table.drained()
    assert home.commands.run("intents", "--json").json["intents"] == []


def test_a_fenced_writer_is_unclean_and_its_intents_are_free(home: Place, table: Table) -> None:
    """Would break: rule 30: a silent writer blocks a cut-over for ever, or is taken for clean."""
    key = table.key(id=uuid4())
    writer = table.writer()
    writer.put(key, title="a").primary()
    assert home.commands.run("writers", "--fence", "nobody").code == 1
    table.drain()
    assert table.intents(key) == [("put", "open")]
    assert home.commands.run("writers", "--fence", writer.name).code == 0
    table.drain()
    assert table.intents(key) == []
    assert table.target(key) == {"title": "a"}
    (left,) = json.loads(home.commands.run("writers", "--json").out)["writers"]
    assert left["state"] == "unclean"
