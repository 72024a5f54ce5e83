"""Free TCP ports on loopback."""

from __future__ import annotations

import random
import socket
import time

import psutil

from sync.errors import LocalServerError

LOOPBACK = "127.0.0.1"
# Below the range that systems use for outgoing connections: a port of that range could be taken at the next start.
_RANGE = range(15000, 32000)


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server can listen on this port of a loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def becomes_free(port: int, host: str = LOOPBACK, seconds: float = 1.5) -> bool:
    """Like `is_free`, but a server that was killed just now gets a moment to release it."""
    deadline = time.monotonic() + seconds
    while not is_free(port, host):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def choose(taken: set[int], *hosts: str) -> int:
    """A port that is not in `taken`, and free at all of these addresses."""
    for port in random.sample(_RANGE, 200):
        if port not in taken and all(is_free(port, host) for host in hosts or (LOOPBACK,)):
            return port
    where = ", ".join(hosts or (LOOPBACK,))
    raise LocalServerError(f"no free port found on {where} between {_RANGE.start} and {_RANGE.stop}; end some servers")


def holder(port: int) -> str:
    """Who listens on this port, as far as the system tells us: "process 12 (nginx)"."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return "another process"
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,) and connection.pid:
            try:
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
            except psutil.NoSuchProcess:
                break
    return "another process"
