"""Three nodes with three replicas, and a follower beside each: what others write is told whichever node or follower is killed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cassandra import ConsistencyLevel, DriverException
from cassandra.cluster import NoHostAvailable
from cassandra.pool import Host
from support.commands import Zygote
from support.commitlog import CDC, raw_folder
from support.commitlog_workload import Told, Workload, missing
from support.local_clusters import LocalCluster, start
from support.places import NewPlace, Place
from support.running_commands import until

from sync import local
from sync.core.mutations import unpack_key
from sync.local.cassandra.config import TOOL_ARGUMENTS
from sync.local.cassandra.java import java_program

pytest_plugins = ("support.fixtures",)
pytestmark = [pytest.mark.slow, pytest.mark.servers, pytest.mark.timeout(1800)]
TOML = """
schema_files = []
exclude = ["sync_heartbeat"]
[capture]
write_timeout_seconds = 1
"""
SPAN = 5_000
"""So many partitions that no key is written twice, as a rule: who misses one write of it misses the key."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three nodes with CDC, Postgres and Valkey."""
    folder = tmp_path_factory.mktemp("cluster") / "servers"
    try:
        yield start(folder, 3, yaml=[CDC] * 3)
    finally:
        local.down(folder)


@pytest.fixture(scope="module")
def new_place(cluster: LocalCluster, zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> NewPlace:
    """Places whose rows are on all three nodes."""
    from support.fixtures import places_at  # only after pytest has loaded it as a plugin

    replication = cluster.stack.cluster.replication
    return places_at(cluster.settings, zygote, cluster.stack.valkey, tmp_path_factory, replication)


class Followers:
    """A follower beside each node, by the node's number."""

    def __init__(self, cluster: LocalCluster, place: Place) -> None:
        self._cluster, self._place = cluster, place
        self._running: dict[int, subprocess.Popen[str]] = {}

    def start(self, number: int) -> None:
        node, address = self._cluster.stack.nodes[number], self._cluster.addresses[number]
        follow = ("follow", "commitlog", "--cdc-raw", str(raw_folder(node)), "--node", address, "--quiet")
        self._running[number] = self._place.commands.start(*follow)

    def kill(self, number: int) -> None:
        self._running[number].kill()
        self._running[number].communicate()

    def told(self, moment: float) -> bool:
        """Whether each of them has told everything before the moment."""
        for number, process in self._running.items():
            assert process.poll() is None, (number, process.communicate())
        rows = self._place.sql(f"SELECT count(*) FROM sync.feed WHERE told_until >= to_timestamp({moment})")
        return rows == [(len(self._running),)]

    def end(self) -> None:
        for number in list(self._running):
            self.kill(number)


@contextmanager
def followed(cluster: LocalCluster, place: Place) -> Iterator[Followers]:
    followers = Followers(cluster, place)
    try:
        yield followers
    finally:
        followers.end()


def write(workload: Workload, count: int) -> None:
    """So many statements, of which the cluster may refuse some while it loses a node."""
    for _ in range(count):
        with suppress(DriverException, NoHostAvailable):
            workload.write(1)


def announced(place: Place) -> Told:
    """What is announced in Postgres and was not looked at yet."""
    rows = place.sql("SELECT table_name, kind, source_key FROM sync.intent")
    told: Told = set()
    for table, kind, key in rows:
        cells = unpack_key(bytes(key))
        told.add((table, cells[:1], None if kind == "recheck_partition" else cells[1:]))
    return told


def gate(place: Place) -> tuple[bool, str]:
    """The gate of followers."""
    (found,) = [gate for gate in place.commands.run("status", "--json").json["gates"] if gate["name"] == "followers"]
    return found["green"], found["figure"]


def test_what_others_write_to_three_nodes_is_told_and_arrives(cluster: LocalCluster, new_place: NewPlace) -> None:
    """Would break: a node without a follower goes unnoticed; a key is told by none, after a node was killed or a follower."""
    with (
        new_place() as place,
        cluster.plain_session(consistency=ConsistencyLevel.LOCAL_QUORUM) as session,
        followed(cluster, place) as followers,
    ):
        session.execute(f'USE "{place.keyspace}"')
        session.execute("CREATE TABLE sync_heartbeat (id uuid PRIMARY KEY) WITH cdc = true")
        workload = Workload(session, 1, span=SPAN, expiring=False)
        place.configure(TOML)
        assert place.commands.run("schema", "apply").code == 0

        for number in (0, 1):
            followers.start(number)
        until(lambda: followers.told(time.time() - 5), 120, "two nodes are followed")
        assert gate(place) == (False, f"no follower beside {cluster.addresses[2]}")
        assert f"node {cluster.addresses[2]}: nobody follows its commit log" in place.commands.run("status").out
        followers.start(2)
        until(lambda: followers.told(time.time() - 5), 120, "three nodes are followed")
        assert gate(place) == (True, "3 feeds, caught up")
        assert place.commands.run("backfill", "--workers", "1").code == 0

        write(workload, 200)
        cluster.lose(2)
        write(workload, 200)
        followers.kill(0)
        write(workload, 100)
        cluster.bring_back()
        followers.start(0)
        write(workload, 100)
        ended = time.time()
        until(lambda: followers.told(ended), 240, "each node's follower has told everything")
        assert len(workload.touched) > 400
        assert missing(workload.touched, announced(place)) == set()
        gaps = place.sql("SELECT why FROM sync.gap")
        assert [why for (why,) in gaps if "missing" in why] == [], gaps

        worker = place.commands.start("worker", "--quiet")
        try:
            until(lambda: place.sql("SELECT count(*) FROM sync.intent") == [(0,)], 300, "the worker has read what was told")
        finally:
            worker.kill()
            worker.communicate()
        report = place.commands.run("drift-report", "--workers", "1", "--format", "json")
        assert report.code == 0, report
        assert place.sql("SELECT (SELECT count(*) FROM w_wide) > 100, (SELECT count(*) FROM w_count) > 20") == [(True, True)]


def decommission(node: local.CassandraServer) -> None:
    """The node gives its rows to the others and leaves; three replicas on two nodes have to be wanted."""
    command = [str(java_program()), f"@{node.folder / TOOL_ARGUMENTS}", "org.gridkit.jvmtool.SJK", "mx", "-p", str(node.pid)]
    command += ["-b", "org.apache.cassandra.db:type=StorageService", "-mc", "-op", "decommission", "-a", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    Path(f"/tmp/.java_pid{node.pid}").unlink(missing_ok=True)
    assert done.returncode == 0, done


def test_the_feed_of_a_node_that_was_decommissioned_is_forgotten(cluster: LocalCluster, new_place: NewPlace) -> None:
    """Would break: a cut-over is red for good, or asks for a follower of a node that is no more."""
    with new_place() as place, followed(cluster, place) as followers:
        place.cql("CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text) WITH cdc = true")
        place.configure("schema_files = []\n")
        assert place.commands.run("schema", "apply").code == 0
        for number in range(3):
            followers.start(number)
        until(lambda: followers.told(time.time() - 5), 120, "three nodes are followed")
        gone = f"commitlog:{next(h.host_id for h in hosts(place) if h.address == cluster.addresses[2])}"
        followers.kill(2)
        decommission(cluster.stack.nodes[2])
        until(lambda: "left the cluster" in gate(place)[1], 120, f"the gate says so: {gate(place)}")
        assert gate(place)[1].startswith(f"{gone} is ")
        assert place.commands.run("follow", "forget", gone).code == 0
        until(lambda: gate(place) == (True, "2 feeds, caught up"), 60, "the gate is green")


def hosts(place: Place) -> list[Host]:
    return list(place.cassandra.session.cluster.metadata.all_hosts())
