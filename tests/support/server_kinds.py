"""Servers of every version that is supported and can be had here: Cassandra, Postgres, and the queue."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from support import debian, postgres_jars
from support.servers import QUICK
from sync import local
from sync.local import processes
from sync.local.cassandra.java import CASSANDRA_VERSION


@dataclass(frozen=True)
class Kind:
    """One combination; a pooler stands before its Postgres if `pooled`."""

    cassandra: str = CASSANDRA_VERSION
    postgres: int = 18
    queue: str = "valkey"
    pooled: bool = False

    def __str__(self) -> str:
        return f"cassandra-{self.cassandra}-postgres-{self.postgres}-{self.queue}{'-pgbouncer' * self.pooled}"


KINDS = (
    Kind(cassandra="4.0.19"),
    Kind(cassandra="4.1.10", postgres=16),
    Kind(),
    Kind(postgres=15, queue="redis"),
    Kind(postgres=16, pooled=True),
    Kind(postgres=17),
    Kind(pooled=True, queue="redis"),
    Kind(cassandra="5.0.9"),
    Kind(cassandra="6.0-alpha2"),
)
"""Each version once at least; those of Cassandra in a row, since a node takes longest to start."""


class RedisServer(local.ValkeyServer):
    """Redis 7, Debian's."""

    name = "Redis"
    program = "redis-server"

    def _binary(self) -> Path:
        return self._unpacked() / "usr/bin/redis-server"

    def _env(self) -> dict[str, str]:
        return processes.child_env(LD_LIBRARY_PATH=debian.libraries(self._unpacked()))

    def _unpacked(self) -> Path:
        return debian.unpacked("redis", "redis-server", "redis-tools", "libjemalloc2", "liblzf1", "libatomic1")


def postgres(folder: Path, version: int) -> local.PostgresServer:
    """A server of this version; `remove()` ends it."""
    kind = postgres_jars.JarPostgres if version in postgres_jars.VERSIONS else local.PostgresServer
    server = kind(folder, options=local.PostgresOptions(version=version, settings=QUICK.settings))
    server.start()
    return server


def queue(folder: Path, name: str) -> local.ValkeyServer:
    """The queue's server; `remove()` ends it."""
    server = RedisServer(folder) if name == "redis" else local.ValkeyServer(folder)
    server.start()
    return server


def wanted(kinds: tuple[Kind, ...]) -> tuple[Kind, ...]:
    """Those that SYNC_TEST_KINDS names a part of; all without it."""
    part = os.environ.get("SYNC_TEST_KINDS", "")
    return tuple(kind for kind in kinds if part in str(kind))
