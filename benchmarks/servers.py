"""The servers a benchmark runs against, and what CPU time they have used."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from sync.local import PostgresOptions, down, up
from sync.local.stack import Stack
from sync.settings import Settings

FOLDER = Path(__file__).parent.parent / ".local-bench"


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds since their start."""

    cassandra: float
    postgres: float


class Servers:
    """A stack of embedded servers, seen as a benchmark needs it."""

    def __init__(self, stack: Stack, keyspace: str, database: str) -> None:
        self.stack = stack
        self.env = {**stack.endpoints().env(), "ASTRA_DB_KEYSPACE": keyspace, "POSTGRES_DATABASE": database}
        values: dict[str, Any] = {name.lower(): value for name, value in self.env.items()}
        self.settings = Settings(_env_file=None, **values)
        self.keyspace, self.database = keyspace, database

    def cpu(self) -> Cpu:
        """Of both servers, their children, and children that have ended, included."""
        return Cpu(_spent(self.stack.cassandra.pid), _spent(self.stack.postgres.pid))

    def postgres(self) -> psycopg.Connection:
        """A connection to the target database."""
        return psycopg.connect(self.stack.postgres.conninfo(self.database), autocommit=True)


@contextmanager
def own_servers(keyspace: str, database: str, keep: bool = False, name: str = "servers") -> Iterator[Servers]:
    """Servers of the benchmark's own, new, and gone at the end unless they are to be kept."""
    folder = FOLDER / name
    make_folder()
    for variable in [v for v in os.environ if v.lower() in Settings.model_fields]:
        del os.environ[variable]  # nobody's own settings lead a benchmark to other servers
    with _alone():
        if not keep:
            down(folder, say)
        up(folder, say)
        stack = Stack(folder)
        stack.postgres.stop()
        stack.postgres.options = PostgresOptions(settings={"max_connections": "300"})  # of two versions' stores
        stack.postgres.start()
        try:
            yield Servers(stack, keyspace, database)
        finally:
            if not keep:
                down(folder, say)


@contextmanager
def _alone() -> Iterator[None]:
    """One benchmark at a time: two would measure each other."""
    with (FOLDER / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another benchmark is running; waiting for its end")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make_folder() -> Path:
    """The folder for all that a benchmark keeps; git ignores it."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / ".gitignore").write_text("*\n")
    return FOLDER


def say(text: str) -> None:
    """Progress, to stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _spent(pid: int | None) -> float:
    if pid is None:
        return 0.0
    process = psutil.Process(pid)
    total = sum(process.cpu_times()[:4])  # with the children it has reaped
    for child in process.children():
        with suppress(psutil.Error):
            total += sum(child.cpu_times()[:4])
    return total
