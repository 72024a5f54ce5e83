"""`sync local up --data-centers 2`: one data centre is lost, and the other one goes on, lightweight transactions included."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from uuid import UUID

import psutil
import pytest
from cassandra import ConsistencyLevel, DriverException, Unavailable
from cassandra.cluster import NoHostAvailable, Session
from cassandra.query import SimpleStatement
from support.commands import Zygote
from support.dual import prepare
from support.local_clusters import LocalCluster, start, wait_connected
from support.places import NewPlace
from support.running_commands import until

from sync import local
from sync.errors import SyncError
from sync.settings import Config
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
pytestmark = [pytest.mark.slow, pytest.mark.servers]
CONFIG = Config(schema_files=(), tables={"pairs": {"lightweight_transactions": True}})  # type: ignore[dict-item]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A node in each of two data centres, Postgres and Valkey."""
    made = start(tmp_path_factory.mktemp("cluster") / "servers", 1, 2)
    yield made
    local.down(made.stack.folder)


@pytest.fixture(scope="module")
def new_place(cluster: LocalCluster, zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> NewPlace:
    """Places whose rows are in both."""
    from support.fixtures import places_at  # only after pytest has loaded it as a plugin

    replication = cluster.stack.cluster.replication
    return places_at(cluster.settings, zygote, cluster.stack.valkey, tmp_path_factory, replication)


def needs_both(session: Session, statement: SimpleStatement) -> bool:
    """Whether a node says at once that too few are up; before it knows, it waits for the other one in vain."""
    try:
        session.execute(statement)
    except Unavailable:
        return True
    except (DriverException, NoHostAvailable):
        return False
    raise AssertionError("SERIAL does without a data centre: this test shows nothing")


@pytest.mark.parametrize("lost", [1, 0])
def test_a_data_centre_goes_on_without_the_other(cluster: LocalCluster, new_place: NewPlace, lost: int) -> None:
    """Would break: LOCAL_QUORUM or LOCAL_SERIAL ask the other data centre; or the roles are only there, and logins fail."""
    here = 1 - lost
    with new_place() as place:
        place.cql("CREATE TABLE KS.pairs (id uuid PRIMARY KEY, a text, b int)")
        prepare(place.settings, CONFIG, "pairs")
        changes = {
            "cassandra_contact_points": cluster.addresses[here],
            "cassandra_local_dc": cluster.stack.cluster.names[here],
        }
        settings = place.settings.model_copy(update=changes)
        with cluster.without(lost):
            with cluster.plain_session(here, consistency=ConsistencyLevel.QUORUM) as session:
                insert = f"INSERT INTO \"{place.keyspace}\".pairs (id, a) VALUES ({UUID(int=9)}, 'x') IF NOT EXISTS"
                everywhere = SimpleStatement(insert, serial_consistency_level=ConsistencyLevel.SERIAL)
                until(lambda: needs_both(session, everywhere), 60, "SERIAL, a quorum of both, cannot do without the other")
            with DualWriteStore(settings, CONFIG) as store:
                row = {"id": UUID(int=1), "a": "one", "b": 1}
                assert [store.insert("pairs", row), store.insert("pairs", row)] == [True, False]
                store.put("pairs", {"id": UUID(int=2), "a": "two", "b": None})
                store.put("pairs", {"id": UUID(int=3), "a": "three", "b": None})
                store.delete("pairs", {"id": UUID(int=3)})
                assert (store.get("pairs", {"id": UUID(int=1)}), store.get("pairs", {"id": UUID(int=3)})) == (row, None)
            assert place.sql("SELECT a FROM pairs ORDER BY a") == [("one",), ("two",)]
        wait_connected(place.cassandra.session, cluster.addresses[:1])


def test_a_third_shape_is_refused(cluster: LocalCluster) -> None:
    """Would break: `up --nodes 3` over a running cluster of two data centres."""
    with pytest.raises(SyncError, match="has 1 node in each of 2 data centres, not 3 nodes in each of 2 data centres"):
        local.up(cluster.stack.folder, nodes=3)
    found = [server for server in local.status(cluster.stack.folder) if server.name.startswith("Cassandra")]
    assert [(server.host, server.answering) for server in found] == [("127.0.0.1", True), ("127.0.0.2", True)]


def test_down_ends_all_nodes_though_their_folder_is_gone(cluster: LocalCluster) -> None:
    """Would break: the folder is removed by hand, and all nodes but the first run on, unseen.

    The last test here: it ends the servers.
    """
    pids = [node.pid for node in cluster.stack.nodes]
    assert len(pids) == 2 and all(pid and psutil.pid_exists(pid) for pid in pids)
    shutil.rmtree(cluster.stack.folder)
    local.down(cluster.stack.folder)
    assert not [pid for pid in pids if pid and psutil.pid_exists(pid)]
