"""Whole migrations from three nodes of which one, and then two, are lost: every acknowledged write is on both sides at the end."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from threading import Thread
from uuid import UUID

import pytest
from cassandra.concurrent import execute_concurrent
from cassandra.query import BatchStatement, BatchType
from support.applications import Application, running
from support.cluster_places import ROWS, begun, under_way
from support.commands import Done, Zygote
from support.dual import Table
from support.local_clusters import LocalCluster, Loss, connected, three_nodes, wait_connected
from support.places import NewPlace, Place
from support.running_commands import until

from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.errors import Unreachable, WriteRefused
from sync.settings import load_config
from sync.stores import CqlStore, DualWriteStore

pytest_plugins = ("support.fixtures",)
pytestmark = [pytest.mark.slow, pytest.mark.servers]
NO_QUORUM = "LOCAL_QUORUM"
UNKNOWN = "Unable to perform authorization"
"""Also before a node knows that the others are down: it has waited for their answer about the role."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three nodes, Postgres and Valkey."""
    with three_nodes(tmp_path_factory.mktemp("cluster") / "servers") as made:
        yield made


@pytest.fixture(scope="module")
def new_place(cluster: LocalCluster, zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> NewPlace:
    """Places whose rows are on all three nodes."""
    from support.fixtures import places_at  # only after pytest has loaded it as a plugin

    replication = cluster.stack.cluster.replication
    return places_at(cluster.settings, zygote, cluster.stack.valkey, tmp_path_factory, replication)


@contextmanager
def lost_in_the_middle(
    cluster: LocalCluster, place: Place, applications: list[Application], command: tuple[str, ...], number: int, how: Loss
) -> Iterator[None]:
    """Run a command, and lose a node when it is under way; at the end the node is back, and writes have gone on."""
    began = place.commands.start(*command)
    try:
        if command[0] in ("backfill", "drift-report"):
            until(lambda: under_way(place) or began.poll() is not None, 120, f"{command[0]} is under way")
        with cluster.without(number, how=how):
            done = place.commands.ended(began, 300)
            end = time.monotonic() + 120
            while how == "frozen" and is_held_up(done) and time.monotonic() < end:
                done = place.commands.run(*command)
            assert done.code == 0, done
            before = sum(a.writes for a in applications)
            until(lambda: sum(a.writes for a in applications) > before + 20, 120, "writes go on without the node")
            yield
    finally:
        began.kill()
    before = sum(a.writes for a in applications)
    until(lambda: sum(a.writes for a in applications) > before + 20, what="writes go on with the node")


def is_held_up(done: Done) -> bool:
    """Until a frozen node counts as down it keeps requests waiting, and so intents open: a switch gives up, a proof lacks a key."""
    return ("intents" in done.err and "nothing has changed" in done.err) or "in flight: let `sync worker`" in done.out


@contextmanager
def working(place: Place) -> Iterator[None]:
    """A worker runs: after the cut-over a store leaves to it what it cannot send at once."""
    worker = place.commands.start("worker", "--quiet")
    Thread(target=worker.communicate, daemon=True).start()  # reads what it says, so that it is not kept waiting
    try:
        yield
        assert worker.poll() is None, "the worker has ended"
    finally:
        worker.kill()


@pytest.mark.servers
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("how", os.environ.get("SYNC_CLUSTER_LOSSES", "killed").split(","))  # also: stopped, frozen
def test_every_flow_goes_on_without_one_node_of_three(cluster: LocalCluster, new_place: NewPlace, how: Loss) -> None:
    """Would break: a node is lost during a flow, and rows lack, a write is refused or lost, or the flow ends."""
    with begun(new_place) as place:
        config = load_config(place.commands.folder / "sync.toml")
        with closing(Table(place.cassandra, place.settings, config, "songs")) as table:
            with running(place.settings, config, 2) as applications, working(place):
                until(lambda: sum(a.writes for a in applications) > 40, what="writes are made")
                flows = [("backfill", "--workers", "1"), ("drift-report", "--workers", "1"), ("cutover", "--yes")]
                flows += [("drift-report", "--workers", "1"), ("rollback", "--yes"), ("drift-report", "--workers", "1")]
                for number, flow in enumerate(flows):
                    if flow[0] in ("cutover", "rollback"):
                        place.prove()
                    with lost_in_the_middle(cluster, place, applications, flow, number % 3, how):
                        pass
            table.epoch = 3
            for application in applications:
                application.check(table)
            assert table.check_equal() >= ROWS
            assert len({a.store for a in applications}) == 2


@pytest.mark.timeout(300)
def test_a_node_that_hangs_is_soon_asked_no_more(cluster: LocalCluster) -> None:
    """Would break: its connections are there, so that the driver goes on asking it, and each request waits in vain."""
    with open_cassandra(cluster.settings) as opened:
        wait_connected(opened.session, cluster.addresses)
        with cluster.without(2, how="frozen"):
            hosts = opened.session.cluster.metadata.all_hosts
            until(lambda: [h.address for h in hosts() if h.is_up is False] == [cluster.addresses[2]], 45, "it counts as down")
            for _ in range(6):
                opened.session.execute("SELECT release_version FROM system.local", timeout=5)
        wait_connected(opened.session, cluster.addresses)


@pytest.mark.timeout(900)
def test_two_of_three_nodes_are_lost_and_come_back(cluster: LocalCluster, new_place: NewPlace) -> None:
    """Would break: writes are lost or unsure for good, a password is blamed, ranges fail, or a process stays cut off."""
    with begun(new_place) as superuser, ExitStack() as stack:
        place = cluster.as_ordinary(superuser)
        config = load_config(place.commands.folder / "sync.toml")
        watch = stack.enter_context(open_cassandra(place.settings))
        table = stack.enter_context(closing(Table(watch, place.settings, config, "songs")))
        wait_connected(watch.session, cluster.addresses)
        with running(place.settings, config, 2) as applications:
            until(lambda: sum(a.writes for a in applications) > 40, what="writes are made")
            copying = place.commands.start("backfill", "--workers", "1")
            until(lambda: under_way(place) or copying.poll() is not None, 60, "the backfill is under way")
            with cluster.without(1, 2):
                until(lambda: all(len(a.refused) > 3 for a in applications), 120, "writes are refused")
                told = place.commands.run("preflight")
                assert told.code == 1
                assert NO_QUORUM in told.out + told.err and "password" not in told.out + told.err, told
                with pytest.raises(Unreachable, match=NO_QUORUM):
                    CqlStore(place.settings).close()
                assert place.sql("SELECT count(*) FROM sync.range WHERE state = 'failed'") == [(0,)]
                time.sleep(5)  # the driver tries to connect again meanwhile
            wait_connected(watch.session, cluster.addresses)
            for application in applications:
                others = [words for words in application.refused if NO_QUORUM not in words and UNKNOWN not in words]
                assert not others, others[:3]
                application.refused.clear()
                before = application.writes
                until(lambda a=application, n=before: a.writes > n + 30, what="it writes again")
                assert not application.refused, "all is well, and still a write was refused"
            done = place.commands.ended(copying, 300)
            if done.code:  # a command may give up: it is run again
                assert NO_QUORUM in done.err, done
                done = place.commands.run("backfill", "--workers", "1")
            assert done.code == 0, done
            place.prove()
        for application in applications:
            application.check(table)
        assert table.check_equal() >= ROWS


@pytest.mark.servers
def test_a_refused_write_is_on_neither_side(cluster: LocalCluster, new_place: NewPlace) -> None:
    """Would break: a write that the application was told had failed appears later, on one side or both."""
    with begun(new_place, 1) as place:
        config = load_config(place.commands.folder / "sync.toml")
        key, other = UUID(int=2**100), UUID(int=2**101)
        with closing(Table(place.cassandra, place.settings, config, "songs")) as table:
            with DualWriteStore(place.settings, config) as store:
                store.put("songs", {"id": key, "title": "first", "plays": 1, "tags": None})
                with cluster.without(0, 2):
                    until(lambda: is_refused(store, other), 60, "the node knows that it is alone")
                    for number in range(5):
                        assert is_refused(store, key), number
            assert table.settled(table.key(id=key)) == {"title": "first", "plays": 1, "tags": None}


def is_refused(store: DualWriteStore, key: UUID) -> bool:
    try:
        store.update("songs", {"id": key}, {"tags": {"was": "refused"}})
    except WriteRefused as error:
        assert NO_QUORUM in str(error) or UNKNOWN in str(error)
        return True
    except Exception:  # noqa: BLE001  (unsure, until the node knows that it is alone)
        return False
    return False


@contextmanager
def silent(address: str, port: int) -> Iterator[None]:
    """Something listens there, and never answers."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(64)
        yield


@pytest.mark.servers
def test_a_contact_point_that_is_dead_or_silent_is_passed_over(cluster: LocalCluster, new_place: NewPlace) -> None:
    """Would break: one contact point of three does not answer, and nothing starts; or all, and no line says why."""
    port, good = cluster.stack.cassandra.port, cluster.addresses[1]
    with new_place() as place, silent("127.0.0.8", port):
        for bad in ("127.0.0.8", "127.0.0.9"):
            points = {"cassandra_contact_points": f"{bad},{good}"}
            with open_cassandra(place.settings.model_copy(update=points)) as opened:
                wait_connected(opened.session, cluster.addresses)
            alone = place.settings.model_copy(update={"cassandra_contact_points": bad})
            with pytest.raises(Unreachable, match=r"no answer in time|nothing listens there"), open_cassandra(alone):
                pass


@pytest.mark.servers
def test_roles_are_on_all_nodes(cluster: LocalCluster) -> None:
    """Would break: the node with the roles is down, and nobody can log in to the others."""
    for lost in range(3):
        others = [number for number in range(3) if number != lost]
        with cluster.without(lost), cluster.plain_session(*others) as session:
            until(lambda s=session: len(connected(s)) == 2, what="both others let us in")
    with pytest.raises(AssertionError, match="not within"), cluster.plain_session() as session:
        until(lambda: len(connected(session)) == 4, 1)


@pytest.mark.servers
@pytest.mark.timeout(3000)
def test_a_large_copy_is_complete_though_a_node_dies(cluster: LocalCluster, new_place: NewPlace) -> None:
    """Would break: rows of the ranges that the dead node was asked for are missing, or there twice."""
    count = int(os.environ.get("SYNC_CLUSTER_ROWS", "200000"))
    with begun(new_place, 1) as place:
        place.configure("schema_files = []\n[backfill]\nlease_seconds = 5\n")
        insert = place.cassandra.session.prepare(f'INSERT INTO "{place.keyspace}".songs (id, title, plays) VALUES (?, ?, ?)')

        def batch(first: int) -> BatchStatement:
            made = BatchStatement(BatchType.UNLOGGED)
            for n in range(first, min(first + 100, count)):
                made.add(insert, (UUID(int=n * 7), f"song {n} of a record", n))
            return made

        batches = ((batch(first), ()) for first in range(0, count, 100))
        for ok, error in execute_concurrent(place.cassandra.session, batches, concurrency=8):
            assert ok, error
        copying = place.commands.start("backfill", "--workers", "2", "--json")
        until(lambda: under_way(place) or copying.poll() is not None, 300, "the backfill is under way")
        with cluster.without(1):
            done = place.commands.ended(copying, 900)
            assert done.code == 0, done
            (table,) = done.json["tables"]
            assert (table["rows_read"], table["rows_written"]) == (count, count), table
            assert place.sql("SELECT count(*) FROM songs") == [(count,)]
            proved = place.commands.run("drift-report", "--workers", "2", "--json", timeout=900)
        assert proved.code == 0, proved
        assert proved.json["tables"][0]["rows"]["same"] == count
