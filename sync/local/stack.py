"""The three servers together, in one folder: up, down, status."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sync.errors import LocalServerError
from sync.local.base import Report, Server, ServerStatus, quiet
from sync.local.cassandra import CassandraServer
from sync.local.endpoints import DATABASE, KEYSPACE, Endpoints
from sync.local.postgres import PostgresServer
from sync.local.valkey import ValkeyServer

_SIGN = ".sync-local"
_SIGN_TEXT = "The embedded servers of sync live here; `sync local down` ends them and removes this folder.\n"
_STUCK_SECONDS = 20.0


class Stack:
    """Cassandra, Postgres and Valkey below one folder."""

    def __init__(self, folder: Path, report: Report = quiet) -> None:
        self.folder = Path(folder).absolute().resolve()
        self.cassandra = CassandraServer(self.folder / "cassandra", report=report)
        self.postgres = PostgresServer(self.folder / "postgres", report=report)
        self.valkey = ValkeyServer(self.folder / "valkey", report=report)
        self.servers: tuple[Server, ...] = (self.cassandra, self.postgres, self.valkey)

    def endpoints(self) -> Endpoints:
        """Where they answer; raises if they were never started."""
        return Endpoints(
            cassandra_port=self.cassandra.port,
            postgres_port=self.postgres.port,
            postgres_user=self.postgres.user,
            postgres_password=self.postgres.password,
            redis_url=self.valkey.url,
        )


def up(folder: Path, report: Report = quiet) -> Endpoints:
    """Start what is not running, wait until all three answer, make keyspace and database; safe to call again."""
    stack = Stack(folder, report)
    _claim(stack.folder)
    with _locked(stack.folder, report):
        started: list[Server] = []
        try:
            _together(stack.servers, lambda server: _bring_up(server, started, report))
            stack.cassandra.execute(
                f"CREATE KEYSPACE IF NOT EXISTS {KEYSPACE} "
                "WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"
            )
            stack.postgres.create_database(DATABASE)
        except BaseException:
            _give_up(stack, started)
            raise
    return stack.endpoints()


def down(folder: Path, report: Report = quiet) -> None:
    """End all three and remove the folder; what is not ours is not touched."""
    stack = Stack(folder)
    if stack.folder.exists() and not (stack.folder / _SIGN).exists() and any(stack.folder.iterdir()):
        raise LocalServerError(f"{stack.folder} is not a folder of embedded servers; nothing was ended or removed")
    if not stack.folder.exists():
        _together(stack.servers, lambda server: _bring_down(server, report))
        return
    with _locked(stack.folder, report):
        _together(stack.servers, lambda server: _bring_down(server, report))
        stack.postgres.remove_elsewhere()
        shutil.rmtree(stack.folder)


def status(folder: Path) -> list[ServerStatus]:
    """What is known about each server now."""
    return [server.status() for server in Stack(folder).servers]


def _bring_up(server: Server, started: list[Server], report: Report) -> None:
    begin = time.monotonic()
    if server.pid is not None and not _comes_round(server):
        report(f"{server.name}: runs but does not answer; starting it anew")
        server.kill()
    if server.pid is not None:
        report(f"{server.name}: already running on port {server.port}")
        return
    server.start(wait=False, on_launch=started.append)
    server.wait_ready()
    report(f"{server.name} {server.ask()}: ready on port {server.port} ({time.monotonic() - begin:.1f} s)")


def _comes_round(server: Server) -> bool:
    """Whether a running server answers, now or, if it is just starting, soon."""
    try:
        server.wait_ready(_STUCK_SECONDS)
    except LocalServerError:
        return False
    return True


def _bring_down(server: Server, report: Report) -> None:
    if server.pid is not None:
        server.stop()
        report(f"{server.name}: ended")


def _together(servers: tuple[Server, ...], act: Callable[[Server], None]) -> None:
    """Run `act` for all servers at once; raises the first error, and Ctrl-C reaches this thread while it waits."""
    errors: list[BaseException] = []

    def run(server: Server) -> None:
        try:
            act(server)
        except (LocalServerError, OSError) as error:
            errors.append(error)
            for other in servers:
                other.cancelled.set()

    threads = [threading.Thread(target=run, args=(server,), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.2)
    if errors:
        raise errors[0]


def _give_up(stack: Stack, started: list[Server]) -> None:
    """End what this call started; their data stay."""
    for server in stack.servers:
        server.cancelled.set()
    for server in started:
        server.kill()


def _claim(folder: Path) -> None:
    """Make the folder and mark it as ours; a folder with anything else in it is refused, because `down` removes it."""
    sign = folder / _SIGN
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not sign.exists():
            if any(folder.iterdir()):
                raise LocalServerError(f"{folder} has other files in it; choose an empty or new folder for the servers")
            sign.write_text(_SIGN_TEXT)
            (folder / ".gitignore").write_text("*\n")
    except OSError as error:
        raise LocalServerError(f"the servers' folder {folder} cannot be made: {error.strerror}; choose another") from error


@contextmanager
def _locked(folder: Path, report: Report) -> Iterator[None]:
    """One `up` or `down` at a time per folder."""
    path = folder / "lock"
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("another `sync local` is at work in this folder; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        if not path.exists() or os.fstat(file.fileno()).st_ino != path.stat().st_ino:
            raise LocalServerError(f"{folder} was removed meanwhile by another `sync local down`; run it again")
        yield
