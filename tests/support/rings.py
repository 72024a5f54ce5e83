"""A cluster whose ring changes: a node joins, leaves, moves to another token, or takes a dead one's place.

Each node has one token, since nodes with several cannot be moved.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from support.local_clusters import LocalCluster, start
from sync import local
from sync.local import processes
from sync.local.cassandra.cluster import wait_whole
from sync.local.cassandra.config import TOOL_ARGUMENTS
from sync.local.cassandra.java import java_program

_NODES = 3
_PART = 2**64 // _NODES
_FIRST = -(2**63)
_JOIN_SECONDS = 600.0
"""A node that joins waits for the ring to settle, and then fetches what it will own."""


@dataclass
class Ring:
    """The cluster; `nodes` are those that are in the ring now, `moved` is how often one has moved."""

    cluster: LocalCluster
    nodes: list[local.CassandraServer]
    moved: int = 0

    def joins(self) -> None:
        """A fourth node takes half of the first one's part."""
        first, address = self.nodes[0], f"127.0.0.{_NODES + 1}"
        yaml = {**(first.options.yaml or {}), "initial_token": str(_FIRST + _PART // 2), "auto_bootstrap": True}
        options = replace(first.options, address=address, role_folder=first.folder, roles_replication=None, yaml=yaml)
        folder = first.folder.with_name(f"cassandra-{_NODES + 1}")
        node = local.CassandraServer(folder, port=first.port, options=options)
        self.nodes.append(node)
        self._whole(node)

    def leaves(self) -> None:
        """The second node, a contact point, gives its part to the others, and ends."""
        node = self.nodes[1]
        operate(node, "decommission", "false")
        node.stop()
        self.nodes.remove(node)
        wait_whole(self.nodes)

    def moves(self) -> None:
        """The third node moves by a quarter of a part, and gives that up or takes it over; each time farther."""
        self.moved += 1
        operate(self.nodes[2], "move", str(_FIRST + 2 * _PART - self.moved * _PART // 4))

    def replaced(self) -> None:
        """The third node dies with all that it has, and a new one at its address takes its place."""
        node = self.nodes[2]
        node.kill()
        shutil.rmtree(node.folder / "data")
        yaml = {**(node.options.yaml or {}), "initial_token": None, "auto_bootstrap": True, **self._seeds(node)}
        jvm = (*node.options.jvm, f"-Dcassandra.replace_address_first_boot={node.options.address}")
        node.options = replace(node.options, yaml=yaml, jvm=jvm)
        self._whole(node)

    def _whole(self, node: local.CassandraServer) -> None:
        node.start(wait=False)
        node.wait_ready(_JOIN_SECONDS)
        wait_whole(self.nodes)

    def _seeds(self, node: local.CassandraServer) -> dict[str, Any]:
        """All nodes but this one: a seed does not fetch what it owns."""
        storage = self.cluster.stack.cluster.storage
        seeds = ",".join(f"{other.options.address}:{storage}" for other in self.nodes if other is not node)
        name = "org.apache.cassandra.locator.SimpleSeedProvider"
        return {"seed_provider": [{"class_name": name, "parameters": [{"seeds": seeds}]}]}


@contextmanager
def ring(folder: Path) -> Iterator[Ring]:
    """Three nodes of one token each, with Postgres and Valkey."""
    made: Ring | None = None
    try:
        yaml = [{"num_tokens": 1, "initial_token": str(_FIRST + number * _PART)} for number in range(_NODES)]
        cluster = start(folder, _NODES, yaml=yaml)
        made = Ring(cluster, list(cluster.stack.nodes))
        yield made
    finally:
        for node in made.nodes if made else ():
            node.kill()  # also one that `down` does not know
        local.down(folder)


def operate(node: local.CassandraServer, operation: str, *arguments: str) -> None:
    """Call an operation of a node's StorageService, as nodetool does; returns when it is over."""
    program = str(node.options.java or java_program())
    command = [program, f"@{node.folder / TOOL_ARGUMENTS}", "org.gridkit.jvmtool.SJK", "mx", "-p", str(node.pid)]
    command += ["-b", "org.apache.cassandra.db:type=StorageService", "-mc", "-op", operation, "-a", *arguments]
    env = processes.child_env()
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_JOIN_SECONDS, env=env)
    Path(f"/tmp/.java_pid{node.pid}").unlink(missing_ok=True)
    assert done.returncode == 0, done
