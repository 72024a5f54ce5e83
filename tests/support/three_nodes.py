"""A cluster of three nodes on one machine, each at its own loopback address and all at one port, as in real clusters.

Linux has all of 127.0.0.0/8; elsewhere such addresses have to be made first.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
from cassandra import ConsistencyLevel, DriverException, Unavailable
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.policies import RoundRobinPolicy
from cassandra.query import SimpleStatement

from support.running_commands import until
from sync import local
from sync.local import ports
from sync.local.cassandra.cluster import RING_DELAY
from sync.local.cassandra.config import KEYSTORE
from sync.settings import Settings

THIRD_BY_NAME = "127.3"  # which the system resolves as it does any name
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
TOKENS = 4
"""Per node: the ring is cut into twelve parts, which belong to the nodes in turn."""
RING = [(-(2**63) + i * 2**64 // (3 * TOKENS), i % 3) for i in range(3 * TOKENS)]
"""Tokens, each with the number of the node that owns it."""
_USUAL: dict[str, Any] = {  # what a lone node does without, and a cluster runs with
    "auto_bootstrap": False,
    "commitlog_sync": "periodic",  # what was acknowledged survives a process that is killed, too
    "commitlog_sync_period": "10s",
    "allocate_tokens_for_local_replication_factor": None,
    "hinted_handoff_enabled": True,
    "dynamic_snitch": True,
    "read_request_timeout": "3s",
    "range_request_timeout": "3s",
    "unlogged_batch_across_partitions_warn_threshold": 1000,  # tests fill tables with such batches
    "batch_size_warn_threshold": "64KiB",
    "networking_cache_size": "8MiB",
    "file_cache_size": "32MiB",
}
_OF_ALL = SimpleStatement("SELECT * FROM whole.nothing WHERE id = 1", consistency_level=ConsistencyLevel.ALL)


def replication(copies: int) -> str:
    """The replication of a keyspace with this many replicas."""
    return f"{{'class': 'NetworkTopologyStrategy', 'datacenter1': {copies}}}"


@dataclass(frozen=True)
class Certificates:
    """The authority's file, and of each node its certificate and key; all PEM."""

    root: Path
    nodes: tuple[tuple[Path, Path], ...]


def node_certificates(folder: Path) -> Certificates:
    """Certificates for the nodes' addresses; the third node's names another form of its address only."""
    authority, nodes = trustme.CA(), []
    authority.cert_pem.write_to_path(folder / "root.crt")
    for names in (("localhost", ADDRESSES[0]), (ADDRESSES[1],), (THIRD_BY_NAME,)):
        issued = authority.issue_cert(*names)
        nodes.append((folder / f"{names[-1]}.crt", folder / f"{names[-1]}.key"))
        nodes[-1][0].write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(nodes[-1][1])
    return Certificates(folder / "root.crt", tuple(nodes))


class ThreeNodes:
    """The nodes, in the order of their addresses. They can be killed and started again."""

    def __init__(self, folder: Path, certificates: Certificates, heap_mb: int = 320, fast_start: bool = True) -> None:
        """Clients may use TLS or not, at the same port."""
        self.root = certificates.root
        self.port = ports.choose(set(), *ADDRESSES)
        storage = ports.choose({self.port}, *ADDRESSES)
        self.nodes = [
            _node(folder / address, number, self.port, storage, certificates.nodes[number], heap_mb, fast_start)
            for number, address in enumerate(ADDRESSES)
        ]

    def start(self) -> None:
        """Start those that do not run, all at once; when this returns, each knows that the others are up."""
        with ThreadPoolExecutor(len(ADDRESSES)) as executor:
            list(executor.map(lambda node: node.start(), self.nodes))
        with self.session() as session:
            until(lambda: _is_whole(session), 60, "each node has the others up")

    def lose(self, number: int) -> None:
        """Kill one, unless it is dead; the others know it when this returns."""
        self.nodes[number].kill()
        with self.session() as session:
            until(lambda: _is_known_dead(session), 60, "the other nodes take it for dead")

    def end(self) -> None:
        """Kill them all, and remove their data."""
        for node in self.nodes:
            node.kill()
        for node in self.nodes:
            node.remove()

    def settings(self, given: Settings, keyspace: str, at: str = ADDRESSES[0]) -> Settings:
        """Settings with these contact points."""
        changes = {"cassandra_contact_points": at, "cassandra_port": self.port, "astra_db_keyspace": keyspace}
        return given.model_copy(update=changes)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """The driver as it is out of the box, connected to all of them."""
        profile = ExecutionProfile(RoundRobinPolicy(), request_timeout=60)
        cluster = Cluster(ADDRESSES, self.port, execution_profiles={EXEC_PROFILE_DEFAULT: profile})
        try:
            yield cluster.connect()
        finally:
            cluster.shutdown()


def _node(
    folder: Path, number: int, port: int, storage: int, certificate: tuple[Path, Path], heap_mb: int, fast_start: bool
) -> local.CassandraServer:
    seeds = ",".join(f"{address}:{storage}" for address in ADDRESSES)  # all, so that they can start at the same time
    yaml = {
        **_USUAL,
        "storage_port": storage,
        "seed_provider": [
            {"class_name": "org.apache.cassandra.locator.SimpleSeedProvider", "parameters": [{"seeds": seeds}]}
        ],
        "num_tokens": TOKENS,
        "initial_token": ",".join(str(token) for token, owner in RING if owner == number),
        "client_encryption_options": {
            "enabled": True,
            "optional": True,
            "require_client_auth": "false",
            "ssl_context_factory": {"class_name": "org.apache.cassandra.security.PEMBasedSslContextFactory"},
            "keystore": str(folder / KEYSTORE),
        },
    }
    options = local.CassandraOptions(
        address=ADDRESSES[number],
        heap_mb=heap_mb,
        fast_start=fast_start,
        certificate=certificate[0],
        key=certificate[1],
        yaml=yaml,
        jvm=("-XX:MaxDirectMemorySize=256m", RING_DELAY),
        password_auth=False,  # roles would be on one node only, and nobody could log in at another while that is unreachable
    )
    return local.CassandraServer(folder, port=port, options=options)


def _is_known_dead(session: Session) -> bool:
    """Whether each remaining node reports at once that too few are up, instead of waiting for the dead one."""
    said = []
    for pool in list(session.get_pools()):
        try:
            session.execute(_OF_ALL, host=pool.host)
        except Unavailable:
            said.append(pool.host)
        except (DriverException, NoHostAvailable):
            return False
    return bool(said)


def _is_whole(session: Session) -> bool:
    """Whether every node, asked itself, finds all three up."""
    try:
        session.execute(f"CREATE KEYSPACE IF NOT EXISTS whole WITH replication = {replication(len(ADDRESSES))}")
        session.execute("CREATE TABLE IF NOT EXISTS whole.nothing (id int PRIMARY KEY)")
        for host in session.cluster.metadata.all_hosts():
            session.execute(_OF_ALL, host=host)
    except (DriverException, NoHostAvailable):
        return False
    return len(session.get_pools()) == len(ADDRESSES)
