"""A cluster on one machine: its shape, and the options of each node. Each has a loopback address of its own.

All have the same ports, as in real clusters: nodes find each other by address and storage port, drivers by the client port.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from sync.errors import LocalServerError
from sync.local import ports
from sync.local.base import Report, quiet
from sync.local.cassandra.config import CassandraOptions
from sync.local.cassandra.server import CassandraServer
from sync.local.wire import ALL

MAX_NODES = 9
_FILE = "cluster.json"
_TOKENS = 4
"""Of each node. They are given, and not chosen by the nodes, so that all nodes may start at the same time."""
RING_DELAY = "-Dcassandra.ring_delay_ms=10000"
"""A node that is silent so long before it has joined is forgotten; with a lone one's 0.1 s, schema changes pass it by."""
_HEAP_MB, _NODE_BYTES = 320, 850 << 20
_WHOLE_SECONDS = 120.0
_USUAL: Mapping[str, Any] = {  # what a lone node does without, and a cluster runs with
    "auto_bootstrap": False,  # a new cluster has nothing to fetch
    "allocate_tokens_for_local_replication_factor": None,
    "num_tokens": _TOKENS,
    "commitlog_sync": "periodic",  # what was acknowledged survives a process that is killed, too
    "commitlog_sync_period": "10s",
    "hinted_handoff_enabled": True,
    "dynamic_snitch": True,
    "read_request_timeout": "3s",
    "range_request_timeout": "3s",
    "networking_cache_size": "8MiB",
    "file_cache_size": "32MiB",
}


@dataclass(frozen=True)
class Cluster:
    """The shape: so many nodes in each of so many data centres; the ports of all of them, 0 for a lone node."""

    nodes: int = 1
    data_centers: int = 1
    client: int = 0
    storage: int = 0

    @property
    def is_alone(self) -> bool:
        """Whether it is the one node that most people develop with."""
        return self.nodes * self.data_centers == 1

    @property
    def addresses(self) -> list[str]:
        """Of all nodes, data centre by data centre."""
        return [f"127.0.0.{number}" for number in range(1, self.nodes * self.data_centers + 1)]

    @property
    def names(self) -> list[str]:
        """Of the data centres."""
        return [f"datacenter{number}" for number in range(1, self.data_centers + 1)]

    @property
    def replication(self) -> str:
        """The replication of a keyspace: up to three replicas in each data centre."""
        if self.is_alone:
            return "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        copies = ", ".join(f"'{name}': {min(self.nodes, 3)}" for name in self.names)
        return f"{{'class': 'NetworkTopologyStrategy', {copies}}}"

    @property
    def roles_replication(self) -> str:
        """That of the roles: all nodes have them, and each data centre a quorum of its own."""
        copies = ", ".join(f"'{name}': {self.nodes}" for name in self.names)
        return f"{{'class': 'NetworkTopologyStrategy', {copies}}}"

    def tokens(self, number: int) -> list[int]:
        """The tokens of a node. Within a data centre the nodes own equal parts of the ring, in turn."""
        data_center, node = divmod(number, self.nodes)
        parts = self.nodes * _TOKENS
        return [-(2**63) + part * 2**64 // parts + data_center for part in range(node, parts, self.nodes)]


def remembered(folder: Path) -> Cluster:
    """The shape of the cluster in this folder; a lone node if nothing else was asked for."""
    path = folder / _FILE
    try:
        return Cluster(**json.loads(path.read_text()))
    except FileNotFoundError:
        return Cluster()
    except (OSError, ValueError, TypeError) as error:
        raise LocalServerError(f"{path} cannot be read; `sync local down` ends all nodes and removes their folder") from error


def settle(folder: Path, nodes: int | None, data_centers: int | None) -> Cluster:
    """The shape to start: what is asked for, else what there is. Raises LocalServerError over data of another shape."""
    known, is_new = remembered(folder), not (folder / "cassandra" / "data").exists()
    asked = Cluster(nodes or known.nodes, data_centers or known.data_centers, known.client, known.storage)
    if (asked.nodes, asked.data_centers) == (known.nodes, known.data_centers):
        return known
    if not is_new:
        raise LocalServerError(
            f"{folder} has {_words(known)}, not {_words(asked)}: end it with `sync local down`, which removes its data, "
            "or choose another --folder"
        )
    if asked.nodes * asked.data_centers > MAX_NODES:
        raise LocalServerError(f"{_words(asked)} are too many for one machine: at most {MAX_NODES} nodes in all")
    if asked.is_alone:
        (folder / _FILE).unlink(missing_ok=True)
        return Cluster()
    check_addresses(asked.addresses)
    client = ports.choose(set(), *asked.addresses)
    chosen = Cluster(asked.nodes, asked.data_centers, client, ports.choose({client}, *asked.addresses))
    (folder / _FILE).write_text(json.dumps(asdict(chosen)))
    return chosen


def check_memory(missing: int) -> None:
    """Raise LocalServerError unless there is memory for so many more nodes: a machine that swaps has nodes that time out."""
    needed, free = missing * _NODE_BYTES, psutil.virtual_memory().available
    if needed > free:
        raise LocalServerError(
            f"{missing} nodes of Cassandra need {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free: "
            "end other programs, or start fewer nodes (--nodes)"
        )


def check_addresses(addresses: Sequence[str]) -> None:
    """Raise LocalServerError for a loopback address that this system lacks; Linux has all of 127.0.0.0/8."""
    for address in addresses:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((address, 0))
            except OSError as error:
                raise LocalServerError(
                    f"{address} is no address of this machine, and each node needs one of its own: make it first "
                    f"(macOS: sudo ifconfig lo0 alias {address})"
                ) from error


def servers(folder: Path, cluster: Cluster, report: Report = quiet) -> tuple[CassandraServer, ...]:
    """The nodes below a stack's folder; the first is where a lone node would be."""
    first = folder / "cassandra"
    if cluster.is_alone:
        return (CassandraServer(first, report=report),)
    return tuple(
        CassandraServer(
            folder / f"cassandra-{number + 1}" if number else first,
            port=cluster.client or None,
            options=_options(cluster, number, first),
            report=report,
        )
        for number in range(len(cluster.addresses))
    )


def _options(cluster: Cluster, number: int, first: Path) -> CassandraOptions:
    seeds = ",".join(f"{address}:{cluster.storage}" for address in cluster.addresses)
    yaml = {
        **_USUAL,
        "storage_port": cluster.storage,
        "seed_provider": [
            {"class_name": "org.apache.cassandra.locator.SimpleSeedProvider", "parameters": [{"seeds": seeds}]}
        ],
        "initial_token": ",".join(map(str, cluster.tokens(number))),
    }
    return CassandraOptions(
        address=cluster.addresses[number],
        data_center=cluster.names[number // cluster.nodes],
        role_folder=first if number else None,
        roles_replication=None if number else cluster.roles_replication,
        heap_mb=_HEAP_MB,
        yaml=yaml,
        # Roles are on all nodes: whoever can reach one that has a quorum can log in.
        jvm=("-XX:MaxDirectMemorySize=256m", RING_DELAY, f"-Dcassandra.system_auth.default_rf={len(cluster.addresses)}"),
    )


def wait_whole(nodes: Sequence[CassandraServer]) -> None:
    """Wait until each node, asked itself, has all others up. Raises LocalServerError after two minutes."""
    deadline = time.monotonic() + _WHOLE_SECONDS
    for node in nodes:
        while said := _lacks(node):
            node.check_cancelled()
            if time.monotonic() > deadline:
                raise LocalServerError(f"{node.name} has not all other nodes up after {_WHOLE_SECONDS:.0f} s: {said}")
            node.cancelled.wait(0.3)


def _lacks(node: CassandraServer) -> str:
    """What this node misses for a read of all nodes; "" if nothing."""
    try:
        node.execute("SELECT role FROM system_auth.roles", consistency=ALL)
    except LocalServerError as error:
        return str(error)
    return ""


def _words(cluster: Cluster) -> str:
    nodes = f"{cluster.nodes} node{'s' * (cluster.nodes > 1)}"
    return nodes if cluster.data_centers == 1 else f"{nodes} in each of {cluster.data_centers} data centres"
