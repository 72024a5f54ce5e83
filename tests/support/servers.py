"""The embedded servers as tests start them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from sync import local
from sync.local.stack import Stack

ROOT = Path(__file__).parents[2]
DURABLE = local.CassandraOptions(fast_start=True)
"""Java compiles once and lightly: the first hundred tables take a third of the processor's time."""
VOLATILE = replace(
    DURABLE, yaml={"commitlog_sync": "periodic", "commitlog_sync_period": "10s"}, jvm=("-Dcassandra.unsafesystem=true",)
)
"""Nothing waits for a disk: a node that is killed loses its schema."""
QUICK = local.PostgresOptions(settings={"fsync": "off", "full_page_writes": "off"})
"""Killing a process loses nothing, only stopping the machine does; a database is dropped in a tenth of the time."""


def given() -> Path | None:
    """The folder of servers that somebody else started, and ends."""
    name = os.environ.get("SYNC_TEST_SERVERS")
    return Path(name) if name else None


def servers_folder() -> Path:
    """Where this process's servers are: those that were given, or its own, a set for each process of pytest's `-n`."""
    return given() or ROOT / f".local-test{os.environ.get('PYTEST_XDIST_WORKER', '')}"


def stack_in(folder: Path, cassandra: local.CassandraOptions = DURABLE) -> Stack:
    """The three servers below a folder, quick to start and at what tests do most: make and drop tables and databases."""
    stack = Stack(folder)
    stack.cassandra.options = cassandra
    stack.postgres.options = QUICK
    return stack


def up(folder: Path, cassandra: local.CassandraOptions = DURABLE) -> local.Endpoints:
    """What `sync local up` does, with these servers."""
    stack = stack_in(folder, cassandra)
    local.claim(stack.folder)
    with ThreadPoolExecutor() as pool:
        for started in [pool.submit(server.start) for server in stack.servers]:
            started.result()
    return local.up(folder)
