"""A Redis that is silent, not dead (stopped, swapping, behind a network that drops packets), costs only time: invariant 6."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from pydantic import SecretStr
from support.commands import Commands
from support.dual import Table
from support.places import Place
from support.prepared_places import home_of
from support.running_commands import until

from sync import local
from sync.local import processes
from sync.settings import Config, DualWriteTuning, Settings
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
TABLES = tuple(f"songs_{n}" for n in range(6))
CONFIG = Config(
    schema_files=(), dual_write=DualWriteTuning(connections=2, heartbeat_seconds=0.3, async_secondary=frozenset(TABLES))
)
HANGS = 60  # seconds after which a call counts as one that does not return


class Silent:
    """A Valkey of this module's own, which can be stopped and continued."""

    def __init__(self, folder: Path) -> None:
        self._server = local.ValkeyServer(folder)
        self._server.start()
        self.url = self._server.url

    def stop(self) -> None:
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        found = processes.find(self._server.mark())
        assert found is not None
        os.kill(found.pid, number)

    def remove(self) -> None:
        self.go_on()
        self._server.remove()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Silent]:
    made = Silent(tmp_path_factory.mktemp("silent"))
    yield made
    made.remove()


@pytest.fixture
def silent(server: Silent) -> Iterator[Silent]:
    yield server
    server.go_on()


home = home_of(CONFIG, **dict.fromkeys(TABLES, "id uuid PRIMARY KEY, title text"))


@pytest.fixture
def settings(home: Place, server: Silent) -> Settings:
    return home.settings.model_copy(update={"redis_url": SecretStr(server.url)})


@pytest.fixture
def commands(home: Place, server: Silent) -> Commands:
    return home.commands.but(REDIS_URL=server.url)


def beats(table: Table) -> object:
    return table.sql("SELECT max(heartbeat_at) FROM sync.writer WHERE state = 'active'")


def test_a_store_opens_writes_beats_and_closes(home: Place, settings: Settings, silent: Silent) -> None:
    """Would break: the application does not start, or its writer is taken for dead, until Redis answers."""
    silent.stop()
    with ThreadPoolExecutor(1) as pool, closing(Table(home.cassandra, home.settings, CONFIG, TABLES[0])) as table:
        store = pool.submit(DualWriteStore, settings, CONFIG).result(HANGS)
        for name in TABLES:
            assert pool.submit(store.put, name, {"id": uuid4(), "title": "left to workers"}).result(HANGS)
        for _ in range(6):  # one of them would have waited for each table's notification
            seen = beats(table)
            until(lambda seen=seen: beats(table) != seen, what="the heart goes on beating")  # type: ignore[misc]
        assert store._notifier._tables <= set(TABLES), "what waits for Redis is bounded"
        silent.go_on()
        with closing(redis.Redis.from_url(silent.url)) as queue:
            until(lambda: queue.llen("rq:queue:sync") >= len(TABLES), what="the bells ring when it answers")
            silent.stop()
            store.put(TABLES[0], {"id": uuid4(), "title": "and again"})
            pool.submit(store.close).result(HANGS)
            assert table.sql("SELECT DISTINCT state FROM sync.writer") == [("signed_off",)]
            silent.go_on()
            queue.flushdb()


@pytest.mark.parametrize("command", ["preflight", "worker", "backfill", "drift-report"])
def test_commands_say_so_in_a_line(commands: Commands, silent: Silent, command: str) -> None:
    """Would break: a command hangs and does not say why."""
    silent.stop()
    done = commands.run(command, *(["--workers", "1"] if command in ("backfill", "drift-report") else []))
    assert done.code == 1, done
    assert "no answer in time; check REDIS_URL" in " ".join((done.out + done.err).split()), done
    assert "Traceback" not in done.err


def test_status_does_without(commands: Commands, silent: Silent) -> None:
    """Would break: the command that should show what is wrong hangs because of it."""
    silent.stop()
    done = commands.run("status", "--json")
    assert done.code == 0, done
    assert done.json["workers"] is None
