"""Two nodes of one cluster, each in a data centre of its own: dc1 and dc2. Started only where a test asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.policies import DCAwareRoundRobinPolicy

from support.running_commands import until
from sync import local
from sync.errors import LocalServerError
from sync.local.cassandra.cluster import RING_DELAY
from sync.local.ports import LOOPBACK
from sync.settings import Settings

NAMES = ("dc1", "dc2")
RACK = "cassandra-rackdc.properties"
NO_LOGIN = {"cassandra_username": None, "cassandra_password": None}


@dataclass(frozen=True)
class TwoDataCentres:
    """The nodes, by data centre. One of them may be killed or stopped, and started again."""

    nodes: dict[str, local.CassandraServer]

    def settings(
        self, given: Settings, local_dc: str | None = None, keyspace: str | None = None, at: str = "dc1"
    ) -> Settings:
        """Settings whose contact point is the node in `at`; `local_dc` is what CASSANDRA_LOCAL_DC says."""
        changes = {"cassandra_port": self.nodes[at].port, "cassandra_local_dc": local_dc, **NO_LOGIN}
        return given.model_copy(update=changes | ({"astra_db_keyspace": keyspace} if keyspace else {}))

    def execute(self, *statements: str) -> None:
        """Run CQL that needs no answer; both nodes know what it made when this returns."""
        profile = ExecutionProfile(DCAwareRoundRobinPolicy("dc1"), request_timeout=60)
        cluster = Cluster([LOOPBACK], self.nodes["dc1"].port, execution_profiles={EXEC_PROFILE_DEFAULT: profile})
        with closing_cluster(cluster) as session:
            for statement in statements:
                session.execute(statement)

    def end(self) -> None:
        """End both."""
        for node in self.nodes.values():
            node.remove()


def start(folder: Path, heap_mb: int = 256) -> TwoDataCentres:
    """Start both, one after the other; they know each other when this returns."""
    nodes: dict[str, local.CassandraServer] = {}
    try:
        for name in NAMES:
            nodes[name] = _node(folder / name, name, nodes.get("dc1"), heap_mb)
            nodes[name].start()
        until(lambda: _knows_both(nodes["dc1"]), 60, "each knows the other")
    except BaseException:
        TwoDataCentres(nodes).end()
        raise
    return TwoDataCentres(nodes)


def _knows_both(node: local.CassandraServer) -> bool:
    """Whether it lets a keyspace have replicas in both; the keyspace stays, unused."""
    try:
        node.execute(
            "CREATE KEYSPACE IF NOT EXISTS both WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 1, 'dc2': 1}"
        )
    except LocalServerError:
        return False
    return True


@contextmanager
def closing_cluster(cluster: Cluster) -> Iterator[Session]:
    """The cluster's session; the cluster is shut down at the end."""
    try:
        yield cluster.connect()
    finally:
        cluster.shutdown()


def _node(folder: Path, name: str, first: local.CassandraServer | None, heap_mb: int) -> local.CassandraServer:
    folder.mkdir(parents=True)
    rack = folder.parent / f"{name}.properties"
    rack.write_text(f"dc={name}\nrack=r1\n")
    yaml: dict[str, object] = {"endpoint_snitch": "GossipingPropertyFileSnitch", "hinted_handoff_enabled": True}
    if first is not None:
        seed = f"{LOOPBACK}:{first._memory.ports(first.port_names)['storage']}"
        yaml["seed_provider"] = [
            {"class_name": "org.apache.cassandra.locator.SimpleSeedProvider", "parameters": [{"seeds": seed}]}
        ]
        yaml["auto_bootstrap"] = False
    options = local.CassandraOptions(
        password_auth=False,  # roles would be on one node only, and nobody could log in at the other while that is down
        heap_mb=heap_mb,
        fast_start=True,
        yaml=yaml,
        jvm=(f"-D{RACK}={rack.as_uri()}", RING_DELAY),
    )
    return local.CassandraServer(folder, options=options)
