"""The servers together, in one folder: up, down, status."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from sync.errors import LocalServerError
from sync.local.addresses import DATABASE, KEYSPACE, Endpoints
from sync.local.base import Report, Server, ServerStatus, plain_errors, quiet
from sync.local.cassandra.cluster import (
    MAX_NODES,
    Cluster,
    check_memory,
    remembered,
    settle,
    wait_whole,
)
from sync.local.cassandra.cluster import servers as cassandra_nodes
from sync.local.cassandra.server import CassandraServer
from sync.local.clients import write_client_files
from sync.local.postgres import PostgresServer
from sync.local.valkey import ValkeyServer

_SIGN = ".sync-local"
_SIGN_TEXT = "The embedded servers of sync live here; `sync local down` stops them and removes this folder.\n"
_STUCK_SECONDS = 20.0


class Stack:
    """Cassandra, Postgres and Valkey below one folder; `nodes` are all of Cassandra's, `cassandra` is the first."""

    def __init__(self, folder: Path, report: Report = quiet, cluster: Cluster | None = None) -> None:
        self.folder = Path(folder).absolute().resolve()
        self.cluster = cluster or remembered(self.folder)
        self.nodes = cassandra_nodes(self.folder, self.cluster, report)
        self.cassandra: CassandraServer = self.nodes[0]
        self.postgres = PostgresServer(self.folder / "postgres", report=report)
        self.valkey = ValkeyServer(self.folder / "valkey", report=report)
        self.servers: tuple[Server, ...] = (*self.nodes, self.postgres, self.valkey)

    def endpoints(self) -> Endpoints:
        """Where the servers answer; raises if they were never started."""
        return Endpoints(
            cassandra_port=self.cassandra.port,
            postgres_port=self.postgres.port,
            postgres_user=self.postgres.user,
            postgres_password=self.postgres.password,
            redis_url=self.valkey.url,
            cassandra_user=self.cassandra.user,
            cassandra_password=self.cassandra.password,
            cassandra_hosts=",".join(self.cluster.addresses[: self.cluster.nodes]),
        )


def up(folder: Path, report: Report = quiet, nodes: int | None = None, data_centers: int | None = None) -> Endpoints:
    """Start what is not running, wait until all answer, make keyspace and database; safe to call again.

    `nodes` is how many of Cassandra each of `data_centers` has; None for what the folder has, or one. LocalServerError is
    raised if the folder has another number of them.
    """
    home = Path(folder).absolute().resolve()
    claim(home)
    with _locked(home, report):
        with plain_errors("the embedded servers' folder", home):
            stack = Stack(home, report, settle(home, nodes, data_centers))
        if not stack.cluster.is_alone:
            check_memory(sum(node.pid is None for node in stack.nodes))
        try:
            _together(stack.servers, lambda server: _bring_up(server, report))
            if not stack.cluster.is_alone:
                wait_whole(stack.nodes)
            stack.cassandra.execute(
                f"CREATE KEYSPACE IF NOT EXISTS {KEYSPACE} WITH replication = {stack.cluster.replication}"
            )
            stack.postgres.create_database(DATABASE)
        except BaseException:  # Ctrl-C too: what this call started ends with it, its data stay
            for server in stack.servers:
                if server.launched:
                    server.kill()
            raise
        where = stack.endpoints()
        with plain_errors("the embedded servers' folder", stack.folder):
            write_client_files(stack.folder, where)
        return where


def down(folder: Path, report: Report = quiet) -> None:
    """End all and remove the folder; a folder that is not ours is not touched."""
    home = Path(folder).absolute().resolve()
    stack = Stack(home, cluster=_shape_to_end(home))
    if not stack.folder.exists():  # removed by hand: the servers may still run, and nobody knows how many
        _together(stack.servers, lambda server: _bring_down(server, report))
        return
    if not (stack.folder / _SIGN).is_file():
        raise LocalServerError(f"{stack.folder} is not a folder of embedded servers; nothing was ended or removed")
    with _locked(stack.folder, report):
        _together(stack.servers, lambda server: _bring_down(server, report))
        shutil.rmtree(stack.folder)


def _shape_to_end(home: Path) -> Cluster:
    """The cluster's shape; the largest, if its folder was removed or damaged: there is no node that it lacks."""
    if not home.exists():
        return Cluster(MAX_NODES)
    try:
        return remembered(home)
    except LocalServerError:
        return Cluster(MAX_NODES)


def status(folder: Path) -> list[ServerStatus]:
    """What is known about each server now."""
    return [server.status() for server in Stack(folder).servers]


def endpoints(folder: Path) -> Endpoints:
    """Where the servers of this folder answer, without starting them."""
    return Stack(folder).endpoints()


def _bring_up(server: Server, report: Report) -> None:
    begin = time.monotonic()
    if server.pid is not None:
        if _comes_round(server):
            open_door = "" if server.password else ", without a password until its next start"
            report(f"{server.name}: already running on port {server.port}{open_door}")
            return
        report(f"{server.name}: runs but does not answer; restarting it")
        server.kill()
    server.start()
    report(f"{server.name} {server.ask()}: ready on port {server.port} ({time.monotonic() - begin:.1f} s)")


def _comes_round(server: Server) -> bool:
    """Whether a running server answers, now or, if it is just starting, soon."""
    if server.status().port is None:
        return False  # its folder was removed while it ran: nobody knows its port
    try:
        server.wait_ready(_STUCK_SECONDS)
    except LocalServerError:
        server.check_cancelled()
        return False
    return True


def _bring_down(server: Server, report: Report) -> None:
    running = server.pid is not None
    server.remove()
    if running:
        report(f"{server.name}: ended")


def _together(servers: Sequence[Server], act: Callable[[Server], None]) -> None:
    """Run `act` for all servers at once; the first error, or Ctrl-C, makes the others give up and is raised."""
    with ThreadPoolExecutor(max_workers=len(servers)) as pool:
        futures = [pool.submit(act, server) for server in servers]
        try:
            waiting: set[Future[None]] = set(futures)
            while waiting:
                done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
        except BaseException:
            for server in servers:
                server.cancelled.set()
            raise


def claim(folder: Path) -> None:
    """Make the folder and mark it as ours; a folder with anything else in it is refused, because `down` removes it."""
    sign = folder / _SIGN
    with plain_errors("the embedded servers' folder", folder):
        folder.mkdir(parents=True, exist_ok=True)
        if sign.exists():
            return
        if any(folder.iterdir()):
            raise LocalServerError(f"{folder} has other files in it; choose an empty or new folder for the servers")
        sign.write_text(_SIGN_TEXT)
        (folder / ".gitignore").write_text("*\n")


@contextmanager
def _locked(folder: Path, report: Report) -> Iterator[None]:
    """One `up` or `down` at a time per folder."""
    path = folder / "lock"
    with plain_errors("the embedded servers' folder", folder), path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("another `sync local` is at work in this folder; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        if not path.exists() or os.fstat(file.fileno()).st_ino != path.stat().st_ino:
            raise LocalServerError(f"{folder} was removed meanwhile by another `sync local down`; run it again")
        yield
