"""Several hosts of workers against one: `sync backfill --workers 0`, while each host runs `sync worker`.

    python -m benchmarks.hosts [--hosts 1,2,3] [--share 0.25] [--songs 400000] [--rounds 2]

For Linux, as root. Each host is a network namespace with nothing in it but its loopback, a host name of its own, and a
control group with so much of one core (`--share`): what one host needs must not be what another one lacks, as it would be if
they shared the cores of this machine. Its ways to the servers are sockets of this process in its namespace.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import redis
from rq import Worker

from benchmarks import dataset
from benchmarks.dataset import TABLES
from benchmarks.line import Proxy
from benchmarks.meter import Cost, machine, measure, wait_until_calm
from benchmarks.peers import PEERS
from benchmarks.servers import FOLDER, Servers, make_folder, own_servers, say

_SYNC, _TABLE = PEERS[0], TABLES["songs"]
_GROUPS = Path("/sys/fs/cgroup")
_PERIOD_US = 100_000
_CLONE_NEWNET = 0x40000000


class Host:
    """A namespace with its ways to the servers, a host name and a share of one core."""

    def __init__(self, number: int, share: float) -> None:
        self.name = f"sync-bench-{number}"
        self._group = _GROUPS / ("" if _is_unified() else "cpu") / self.name
        self._share = share

    @contextmanager
    def up(self, ports: list[int]) -> Iterator[None]:
        """Make it, with these ports of the servers; it is gone when the block ends."""
        _ip("netns", "add", self.name)
        try:
            _ip("-n", self.name, "link", "set", "lo", "up")
            self._group.mkdir(exist_ok=True)
            quota = int(self._share * _PERIOD_US)
            if _is_unified():
                (self._group / "cpu.max").write_text(f"{quota} {_PERIOD_US}")
            else:
                (self._group / "cpu.cfs_quota_us").write_text(str(quota))
            with ExitStack() as ways:
                for port in ports:
                    ways.enter_context(Proxy(port, listener=_listener(self.name, port)).open())
                yield
        finally:
            _ip("netns", "delete", self.name)
            with suppress(OSError):
                self._group.rmdir()

    def worker(self, env: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
        """Start its worker."""
        # `ip netns exec` mounts a /sys of its own, without the control groups: the group is entered before.
        program = f"hostname {self.name} && exec {sys.executable} -m sync worker -n 1"
        inside = f"exec ip netns exec {self.name} unshare --uts sh -c '{program}'"
        with log.open("wb") as file:
            return subprocess.Popen(
                ["sh", "-c", f"echo $$ > {self._group}/cgroup.procs && {inside}"],
                env={**os.environ, "PYTHONPATH": str(FOLDER.parent), **env},
                cwd=FOLDER,  # where there is no .env and no sync.toml
                stdout=file,
                stderr=file,
            )


def main(argv: list[str]) -> int:
    """Copy the same table with each number of hosts, in turn."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hosts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", default="1,2,3", help="numbers of hosts (%(default)s)")
    parser.add_argument("--share", type=float, default=0.25, help="of one core, for each host (%(default)s)")
    parser.add_argument("--songs", type=int, default=400_000, help="rows (%(default)s)")
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args(argv)
    if os.geteuid():
        raise SystemExit("network namespaces and control groups need root")
    numbers = [int(number) for number in given.hosts.split(",")]
    found: dict[int, list[Cost]] = {number: [] for number in numbers}
    with own_servers("bench", "bench") as servers:
        dataset.make_targets(servers.stack.postgres.conninfo(), servers.database)
        dataset.load(servers.settings, _TABLE, given.songs, keyspace=servers.keyspace)
        servers.stack.cassandra.refresh_estimates(servers.keyspace, _TABLE.name)
        for turn in range(given.rounds):
            for number in numbers if turn % 2 == 0 else numbers[::-1]:
                found[number].append(_once(servers, number, given.share))
    sys.stdout.write(
        f"{machine()}, hosts of {given.share:g} of a core, {given.songs:,} songs\n\n{_table(found, given.songs)}"
    )
    return 0


def _once(servers: Servers, number: int, share: float) -> Cost:
    _SYNC.clear(servers, _TABLE)
    queue = servers.env["REDIS_URL"]
    ports = [int(servers.env["CASSANDRA_PORT"]), int(servers.env["POSTGRES_PORT"]), urlsplit(queue).port or 6379]
    env = {**servers.env, **_SYNC.env()}
    hosts = [Host(n, share) for n in range(number)]
    with ExitStack() as stack:
        for host in hosts:
            stack.enter_context(host.up(ports))
        workers = [host.worker(env, make_folder() / f"{host.name}.log") for host in hosts]
        try:
            _await_workers(queue, workers)
            wait_until_calm(servers, limit=20)
            cost = measure([*_SYNC.command(_TABLE), "--workers", "0"], servers, env, make_folder() / "hosts.log")
        finally:
            for worker in workers:
                worker.send_signal(signal.SIGTERM)
            for worker in workers:
                worker.wait(60)
    say(f"{number} hosts: {cost.seconds:.1f} s, Cassandra {cost.cassandra_cpu:.1f}, Postgres {cost.postgres_cpu:.1f} CPU s")
    return cost


def _await_workers(queue: str, workers: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + 60
    with redis.Redis.from_url(queue) as connection:
        while len(Worker.all(connection)) < len(workers):
            if time.monotonic() > deadline or any(worker.poll() is not None for worker in workers):
                raise SystemExit(f"a host's worker did not start: see {FOLDER}/sync-bench-*.log")
            time.sleep(0.1)


def _listener(namespace: str, port: int) -> socket.socket:
    """A socket that listens in the namespace, on its loopback. A namespace is a thread's: this one's must stay as it is."""
    made: list[socket.socket] = []

    def listen() -> None:
        with Path(f"/run/netns/{namespace}").open() as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"setns {namespace}")
        made.append(socket.create_server(("127.0.0.1", port)))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    return made[0]


def _is_unified() -> bool:
    """Whether control groups are of version 2."""
    return (_GROUPS / "cgroup.controllers").exists()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _table(found: dict[int, list[Cost]], rows: int) -> str:
    head = "| hosts | s | rows/s | × of one | Cassandra CPU s | Postgres CPU s |\n" + "| --- " * 6 + "|\n"
    seconds = {number: statistics.median(cost.seconds for cost in costs) for number, costs in found.items()}
    one = seconds[min(seconds)]
    lines = []
    for number, costs in found.items():
        cpu = [statistics.median(cpus) for cpus in zip(*((c.cassandra_cpu, c.postgres_cpu) for c in costs), strict=True)]
        of_one = f"{one / seconds[number]:.2f}"
        lines.append(
            f"| {number} | {seconds[number]:.1f} | {rows / seconds[number]:,.0f} | {of_one} | {cpu[0]:.1f} | {cpu[1]:.1f} |\n"
        )
    return head + "".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
