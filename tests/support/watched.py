"""A migration that is watched: a place with tables, a queue of its own, worker commands that serve metrics, and a writer."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from support.places import NewPlace, Place
from support.running_commands import Running, until
from sync import local
from sync.settings import Settings, load_config
from sync.wiring.metrics import metrics_text
from sync.wiring.readings import Readings

CONFIG = """
schema_files = []
[backfill]
lease_seconds = 5
[dual_write]
heartbeat_seconds = 0.2
writer_lease_seconds = 2.0
shadow_reads = 1.0
[capture]
lease_seconds = 1.0
"""
WRITER = """
import sys
from uuid import UUID
from sync.stores.factory import open_store
with open_store() as store:
    print("open", flush=True)
    for line in sys.stdin:
        word, key, title = line.split()
        if word == "put":
            store.put("songs", {"id": UUID(key), "title": title})
        else:
            store.get("songs", {"id": UUID(key)})
        print("done", flush=True)
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def asked(port: int, path: str) -> tuple[int, str]:
    """The status and the text of an answer; 0 where nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


@dataclass
class Watched:
    """The place and the queue; `stop` ends what was started and is still there."""

    place: Place
    valkey: local.ValkeyServer
    started: list[Any] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return self.place.settings.model_copy(update={"redis_url": SecretStr(self.valkey.url)})

    def scrape(self, **changes: Any) -> str:
        """The metrics as they are now; with other settings, where some are given."""
        config = load_config(self.place.commands.folder / "sync.toml")
        return metrics_text(self.settings.model_copy(update=changes), config, Readings(60, 60)).decode()

    def command(self, *argv: str) -> Running:
        """Start a command in a process group of its own."""
        commands = self.place.commands
        made = Running([sys.executable, "-m", "sync", *argv], commands.folder, commands._whole())
        self.started.append(made)
        return made

    def worker(self) -> tuple[Running, int]:
        """A worker command, and the port of its metrics, which answers."""
        port = free_port()
        made = self.command("worker", "-n", "1", "--metrics-port", str(port))
        until(lambda: made.ended or asked(port, "/healthz")[0] == 200, what="the worker answers")
        assert not made.ended, made.err
        return made, port

    def writer(self) -> subprocess.Popen[str]:
        """An application's process, registered as a writer, that does what it is told on stdin."""
        commands = self.place.commands
        made = subprocess.Popen(
            [sys.executable, "-c", WRITER], cwd=commands.folder, text=True,
            env={**commands._whole(), "SYNC_DUAL_WRITE": "true"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.started.append(made)
        assert made.stdout and made.stdout.readline() == "open\n"
        return made

    def stop(self) -> None:
        for each in self.started:
            if isinstance(each, Running):
                if not each.ended:
                    each.process.terminate()  # a worker that is killed counts for two minutes more
                    each.wait(120)
                each.kill_all()
            else:
                each.send_signal(signal.SIGCONT)
                each.stdin.close()  # it signs off
                each.wait(120)
        self.started.clear()


def tell(writer: subprocess.Popen[str], word: str, key: str, title: str = "-") -> None:
    """Have the writer do something, and wait until it has."""
    assert writer.stdin and writer.stdout
    writer.stdin.write(f"{word} {key} {title}\n")
    writer.stdin.flush()
    assert writer.stdout.readline() == "done\n"


@contextmanager
def watched(new_place: NewPlace, folder: Path) -> Iterator[Watched]:
    """A place with one table of twenty rows, copied and proved."""
    server = local.ValkeyServer(folder)
    server.start()
    try:
        with new_place() as place:
            place.commands.env["REDIS_URL"] = server.url
            place.cql("CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text)")
            for _ in range(20):
                place.cql(f"INSERT INTO KS.songs (id, title) VALUES ({uuid4()}, 'old')")
            place.configure(CONFIG)
            for command in (["schema", "apply"], ["backfill", "--workers", "1"]):
                done = place.commands.run(*command)
                assert done.code == 0, done
            place.prove()
            made = Watched(place, server)
            try:
                yield made
            finally:
                made.stop()
    finally:
        server.remove()


@pytest.fixture(scope="module")
def watched_place(new_place: NewPlace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched(new_place, tmp_path_factory.mktemp("valkey")) as made:
        yield made


@pytest.fixture
def watch(watched_place: Watched) -> Iterator[Watched]:
    """The place, on which nothing runs after the test."""
    yield watched_place
    watched_place.stop()
