"""A real PgBouncer in transaction mode in front of a server: the one on PATH, or Debian's, unpacked and not installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg import conninfo

from support import debian
from sync.adapters.postgres.connection.connect import connection_string
from sync.local.postgres_user import other_user
from sync.settings import Settings

_START_SECONDS = 10.0


@dataclass(frozen=True)
class Program:
    """PgBouncer, and the folder of the libraries that came with it."""

    path: str
    libraries: str = ""

    @property
    def env(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", ""), "LD_LIBRARY_PATH": self.libraries}


@cache
def program() -> Program:
    """The program. Skips the test if it is neither installed nor available from Debian's packages."""
    if found := shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        return Program(found)
    folder = debian.unpacked("pgbouncer", "pgbouncer", "libevent-2.1-7", "libc-ares2")
    return Program(str(folder / "usr/sbin/pgbouncer"), debian.libraries(folder))


@dataclass(frozen=True)
class Pooler:
    """A pooler in front of a server, under a name that does not reveal what it is."""

    host: str
    port: int
    log: Path

    def settings(self, settings: Settings) -> Settings:
        """The same database through the pooler, with no direct address beside it."""
        return settings.model_copy(
            update={"postgres_host": self.host, "postgres_port": self.port, "postgres_sslmode": "disable"}
        )

    def client(self, settings: Settings) -> psycopg.Connection[tuple[Any, ...]]:
        """Another application's connection through it."""
        dsn = conninfo.make_conninfo(connection_string(settings), host=self.host, port=self.port, sslmode="disable")
        return psycopg.connect(dsn, autocommit=True, prepare_threshold=None)


@contextmanager
def running(settings: Settings, folder: Path, *, mode: str = "transaction", size: int = 2, **more: str) -> Iterator[Pooler]:
    """A pooler in front of the server of these settings, for any of its databases; `size` server connections for each."""
    found, target = program(), conninfo.conninfo_to_dict(connection_string(settings))
    user = other_user()
    if user is not None:
        for step in (folder, *folder.parents[:3]):
            step.chmod(0o755)
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    config = {
        "listen_addr": "127.0.0.1", "listen_port": str(port), "unix_socket_dir": "", "auth_type": "plain",
        "auth_file": str(folder / "users.txt"), "pool_mode": mode, "default_pool_size": str(size), "max_client_conn": "500",
        "logfile": str(folder / "pgbouncer.log"), "ignore_startup_parameters": "", **more,
    }  # fmt: skip
    lines = "\n".join(f"{name} = {value}" for name, value in config.items() if value)
    users = f'"{target["user"]}" "{target.get("password", "")}"\n'
    everything = f"[databases]\n* = host={target['host']} port={target['port']}\n[pgbouncer]\n{lines}\nunix_socket_dir =\n"
    for name, text in (("users.txt", users), ("pgbouncer.ini", everything), ("pgbouncer.log", "")):
        (folder / name).write_text(text)
        if user is not None:
            user.own(folder / name)
    process = subprocess.Popen(
        [found.path, "-q", str(folder / "pgbouncer.ini")], env=found.env, cwd="/", stderr=subprocess.PIPE, text=True,
        user=user.uid if user else None, group=user.gid if user else None, extra_groups=[] if user else None,
    )  # fmt: skip
    try:
        _wait(port, process)
        yield Pooler("127.0.0.1", port, folder / "pgbouncer.log")
    finally:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


def _wait(port: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    process.kill()
    said = process.stderr.read() if process.stderr else ""
    raise AssertionError(f"PgBouncer did not start: {said}")
