"""The cluster of `sync local up --nodes`, whose nodes tests take down and bring back: three nodes, or two data centres.

It has passwords, and Cassandra's own consistency for logins: a node alone has no quorum of them, as in real clusters.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import psutil
from cassandra import ConsistencyLevel
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.policies import FallthroughRetryPolicy, RoundRobinPolicy
from pydantic import SecretStr

from support.environments import settings_in
from support.places import Place
from support.running_commands import until
from sync import local
from sync.local.cassandra.cluster import settle, wait_whole
from sync.local.stack import Stack
from sync.settings import Settings

ROLE, PASSWORD = "ordinary", "hunter2-role"
Loss = Literal["killed", "stopped", "frozen"]


@dataclass(frozen=True)
class LocalCluster:
    """The servers below one folder."""

    stack: Stack

    @property
    def addresses(self) -> list[str]:
        return self.stack.cluster.addresses

    @property
    def settings(self) -> Settings:
        """What `sync local env` gives."""
        return settings_in(self.stack.endpoints().env())

    def lose(self, number: int, how: Loss = "killed") -> None:
        """Take a node down; the others may not know it yet."""
        node = self.stack.nodes[number]
        if how == "frozen":
            psutil.Process(node.pid).suspend()
        elif how == "stopped":
            node.stop()
        else:
            node.kill()

    def bring_back(self) -> None:
        """Start or thaw whatever is down; when this returns, each node has the others up."""
        for node in self.stack.nodes:
            if node.pid is not None:
                psutil.Process(node.pid).resume()
        with ThreadPoolExecutor(len(self.stack.nodes)) as executor:
            list(executor.map(lambda node: node.start(), self.stack.nodes))
        wait_whole(self.stack.nodes)

    def as_ordinary(self, place: Place) -> Place:
        """The same place as a role that may read and write: its rights are looked up, while a superuser's are not."""
        self.stack.cassandra.execute(f"CREATE ROLE IF NOT EXISTS {ROLE} WITH PASSWORD = '{PASSWORD}' AND LOGIN = true")
        for right in ("SELECT", "MODIFY"):
            self.stack.cassandra.execute(f"GRANT {right} ON ALL KEYSPACES TO {ROLE}")
        changes = {"cassandra_username": ROLE, "cassandra_password": SecretStr(PASSWORD)}
        commands = place.commands.but(CASSANDRA_USERNAME=ROLE, CASSANDRA_PASSWORD=PASSWORD)
        return Place(place.cassandra, place.settings.model_copy(update=changes), commands)

    @contextmanager
    def without(self, *numbers: int, how: Loss = "killed") -> Iterator[None]:
        """These nodes are down meanwhile."""
        try:
            for number in numbers:
                self.lose(number, how)
            yield
        finally:
            self.bring_back()

    @contextmanager
    def plain_session(self, *numbers: int, consistency: int = ConsistencyLevel.ONE) -> Iterator[Session]:
        """The driver as it is, connected to these nodes first."""
        profile = ExecutionProfile(
            RoundRobinPolicy(), FallthroughRetryPolicy(), request_timeout=60, consistency_level=consistency
        )
        node = self.stack.cassandra
        cluster = Cluster(
            [self.addresses[number] for number in numbers or range(len(self.addresses))],
            node.port,
            auth_provider=PlainTextAuthProvider(node.user, node.password),
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        )
        try:
            yield cluster.connect()
        finally:
            cluster.shutdown()


@contextmanager
def three_nodes(folder: Path) -> Iterator[LocalCluster]:
    """Three nodes: those in the folder SYNC_TEST_CLUSTER, or new ones, which are ended."""
    if given := os.environ.get("SYNC_TEST_CLUSTER"):
        local.up(Path(given))
        yield LocalCluster(Stack(Path(given)))
        return
    try:
        yield start(folder, 3)
    finally:
        local.down(folder)


def start(folder: Path, nodes: int, data_centers: int = 1, yaml: Sequence[Mapping[str, Any]] = ()) -> LocalCluster:
    """What `sync local up --nodes --data-centers` does, with nodes that start in half the processor time.

    `yaml` has other settings of each node.
    """
    local.claim(folder)
    stack = Stack(folder, cluster=settle(folder.resolve(), nodes, data_centers))
    for node in stack.nodes:
        node.options = replace(node.options, fast_start=True)
    for node, changes in zip(stack.nodes, yaml, strict=False):
        node.options = replace(node.options, yaml={**(node.options.yaml or {}), **changes})
    with ThreadPoolExecutor() as executor:
        for started in [executor.submit(server.start) for server in stack.servers]:
            started.result()
    local.up(folder)
    return LocalCluster(stack)


def connected(session: Session) -> set[str]:
    """The nodes that a driver's session has connections to."""
    return {host.address for host, pool in session.get_pool_state().items() if pool["open_count"] and not pool["shutdown"]}


def wait_connected(session: Session, addresses: list[str], seconds: float = 60) -> None:
    """Wait until it has connections to these nodes, and to one of them for what happens in the cluster."""
    until(lambda: connected(session) >= set(addresses), seconds, f"connected to {addresses}: {connected(session)}")
    cluster = session.cluster
    until(lambda: cluster.get_control_connection_host() is not None, seconds, "the driver hears of the nodes")
