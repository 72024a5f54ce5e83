"""The shape of an embedded cluster: its parts of the ring, its replication, what is remembered and refused."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import psutil
import pytest

from sync.commands.local import run
from sync.errors import LocalServerError
from sync.local.cassandra import cluster, config
from sync.local.cassandra.cluster import MAX_NODES, Cluster, remembered, servers, settle
from sync.local.stack import Stack


@pytest.mark.parametrize(("nodes", "data_centers"), [(1, 2), (3, 1), (3, 2), (4, 2)])
def test_each_data_centre_is_cut_into_equal_parts(nodes: int, data_centers: int) -> None:
    """Would break: two nodes claim one token and the second does not start; or one node has most of the rows."""
    shape = Cluster(nodes, data_centers)
    given = [shape.tokens(number) for number in range(nodes * data_centers)]
    every = [token for tokens in given for token in tokens]
    assert len(set(every)) == len(every) == 4 * nodes * data_centers
    assert all(-(2**63) <= token < 2**63 for token in every)
    for data_center in range(data_centers):
        mine = given[data_center * nodes : (data_center + 1) * nodes]
        ring = sorted((token, owner) for owner, tokens in enumerate(mine) for token in tokens)
        owned = dict.fromkeys(range(nodes), 0)
        for (before, _), (token, owner) in zip([ring[-1], *ring[:-1]], ring, strict=True):
            owned[owner] += (token - before) % 2**64
        assert max(owned.values()) - min(owned.values()) < 2**40


def test_a_keyspace_has_up_to_three_replicas_in_each_data_centre() -> None:
    assert Cluster().replication == "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    assert Cluster(5).replication == "{'class': 'NetworkTopologyStrategy', 'datacenter1': 3}"
    assert Cluster(2, 2).replication == "{'class': 'NetworkTopologyStrategy', 'datacenter1': 2, 'datacenter2': 2}"


def test_the_shape_is_remembered(tmp_path: Path) -> None:
    """Would break: `up`, `status` or `down` without --nodes forget two nodes, which go on running."""
    made = settle(tmp_path, 3, None)
    assert (made.nodes, made.data_centers, made.client == made.storage) == (3, 1, False)
    assert remembered(tmp_path) == settle(tmp_path, None, None) == settle(tmp_path, 3, 1) == made
    stack = Stack(tmp_path)
    assert [node.name for node in stack.nodes] == [f"Cassandra 127.0.0.{n}" for n in (1, 2, 3)]
    assert [node.folder.name for node in stack.nodes] == ["cassandra", "cassandra-2", "cassandra-3"]
    assert len(stack.servers) == 5
    assert Stack(tmp_path / "other").cluster == Cluster()


def test_data_of_another_shape_are_left_alone(tmp_path: Path) -> None:
    """Would break: three nodes are started over the data of one, and each thinks that it owns the ring."""
    (tmp_path / "cassandra" / "data").mkdir(parents=True)
    with pytest.raises(LocalServerError, match=r"has 1 node, not 3 nodes in each of 2 data centres: end it with `sync local"):
        settle(tmp_path, 3, 2)
    assert settle(tmp_path, 1, None) == Cluster()


def test_what_a_machine_cannot_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: the machine swaps, and nodes time out; or Java's words about an address are all that is said."""
    with pytest.raises(LocalServerError, match=f"5 nodes in each of 2 data centres are too many.*at most {MAX_NODES}"):
        settle(tmp_path, 5, 2)
    assert not list(tmp_path.iterdir())
    with pytest.raises(LocalServerError, match=r"192\.0\.2\.7 is no address of this machine"):
        cluster.check_addresses(["127.0.0.1", "192.0.2.7"])
    free = psutil.virtual_memory()._replace(available=2 * 10**9)
    monkeypatch.setattr(cluster.psutil, "virtual_memory", lambda: free)
    cluster.check_memory(2)
    with pytest.raises(LocalServerError, match=r"3 nodes of Cassandra need 2\.7 GB of memory, and 2\.0 GB are free"):
        cluster.check_memory(3)


@pytest.mark.parametrize("damaged", ["", "{", "[1]", '{"other": 1}'])
def test_a_damaged_shape_is_no_lone_node(tmp_path: Path, damaged: str) -> None:
    """Would break: `down` ends one node of three and removes the folder under the others."""
    (tmp_path / "cluster.json").write_text(damaged)
    with pytest.raises(LocalServerError, match=r"cluster\.json cannot be read"):
        Stack(tmp_path)


def test_each_node_has_its_address_and_data_centre(tmp_path: Path) -> None:
    shape = Cluster(2, 2, client=1, storage=2)
    jars = [tmp_path / "jamm-0.4.0.jar"]
    first, *_, last = servers(tmp_path, shape)
    for node in (first, last):
        node.folder.mkdir()
        config.write(node.folder, {"client": 1, "storage": 99}, node.options, jars)
    written = json.loads((last.folder / "cassandra.yaml").read_text())
    assert (written["listen_address"], written["storage_port"], written["native_transport_port"]) == ("127.0.0.4", 2, 1)
    (seeds,) = written["seed_provider"][0]["parameters"]
    assert seeds["seeds"] == "127.0.0.1:2,127.0.0.2:2,127.0.0.3:2,127.0.0.4:2"
    assert "allocate_tokens_for_local_replication_factor" not in written
    assert (last.folder / "cassandra-rackdc.properties").read_text() == "dc=datacenter2\nrack=rack1\n"
    assert last.folder.joinpath("java.args").read_text().count("-Dcassandra-rackdc.properties=file:///") == 1
    assert (first.options.role_folder, last.options.role_folder) == (None, first.folder)


@pytest.mark.parametrize("action", ["down", "status", "env"])
def test_a_shape_goes_with_up(action: str, tmp_path: Path) -> None:
    """Would break: `sync local down --nodes 1` is taken for an order to end one node, and removes all."""
    args = argparse.Namespace(action=action, folder=str(tmp_path), nodes=1, data_centers=None, json=False)
    with pytest.raises(LocalServerError, match=r"--nodes and --data-centers go with `sync local up`"):
        run(args)
