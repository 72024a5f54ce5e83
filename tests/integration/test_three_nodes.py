"""A cluster of three nodes: what a table's size is, where its ranges are read, and what goes on while nodes are unreachable."""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cassandra.cluster import ResponseFuture, Session
from cassandra.concurrent import execute_concurrent
from cassandra.policies import TokenAwarePolicy
from cassandra.query import BatchStatement, BatchType, BoundStatement
from support.backfills import Site, open_site
from support.drift import drift, table_of
from support.dual import WINDOW_PASSES, prepare
from support.running_commands import until
from support.three_nodes import ADDRESSES, RING, THIRD_BY_NAME, ThreeNodes, replication

from sync.adapters.cassandra.connection import connect as connecting
from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.adapters.cassandra.connection.nodes import unused_nodes
from sync.adapters.cassandra.schema.catalogue import size_estimates
from sync.core.encode.base import INT64, read_cells
from sync.core.ring import SizeEstimate
from sync.errors import Unreachable, WriteUnsure
from sync.flows import copy_ranges
from sync.settings import Config, Settings
from sync.stores import DualWriteStore
from sync.wiring.dual_write.worker import drain_job
from sync.wiring.preflight import preflight

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
ROWS = 30_000
COPIES = (1, 3)
TABLE = (
    "CREATE TABLE {ks}.songs (id uuid PRIMARY KEY, title text, artist text, seconds int) "
    "WITH memtable_flush_period_in_ms = 2000"  # estimates are of what is on disk
)


@pytest.fixture(scope="module")
def three(three_nodes: ThreeNodes) -> ThreeNodes:
    """The nodes."""
    return three_nodes


@pytest.fixture(scope="module")
def sites(base_settings: Settings, three: ThreeNodes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Site]]:
    """The same table with one replica and with three; each in a keyspace and a database of its own."""
    with ExitStack() as stack:
        cassandra = stack.enter_context(open_cassandra(three.settings(base_settings, "system")))
        made = {}
        for copies in COPIES:
            folder, settings = tmp_path_factory.mktemp(f"copies{copies}"), three.settings(base_settings, "system")
            site = stack.enter_context(open_site(settings, cassandra, folder, replication(copies)))
            site.cql(TABLE)
            _fill(site)
            site.configure("lease_seconds = 5\npage_mb = 0.05")
            site.apply()
            made[copies] = site
        yield made


def _fill(site: Site) -> None:
    """Fill it in batches, which is quicker, though not how Cassandra is meant to be used."""
    insert = site.cassandra.session.prepare(
        f"INSERT INTO {site.keyspace}.songs (id, title, artist, seconds) VALUES (?, ?, ?, ?)"
    )

    def batch(first: int) -> BatchStatement:
        made = BatchStatement(BatchType.UNLOGGED)
        for i in range(first, first + 100):
            made.add(insert, (UUID(int=i * 7), f"song {i} of a record", f"artist {i % 97}", i % 400))
        return made

    batches = ((batch(first), ()) for first in range(0, ROWS, 100))
    for ok, error in execute_concurrent(site.cassandra.session, batches, concurrency=8):
        assert ok, error


@dataclass
class Reads:
    """The reads of ranges: what was asked, of which node, and what it answered."""

    asked: list[tuple[BoundStatement, bool, ResponseFuture]] = field(default_factory=list)

    def shares(self, copies: int) -> tuple[float, float, Counter[str]]:
        """The shares of the reads and of the rows that a replica answered, and how many reads each node answered."""
        reads, rows, last, coordinators = [], [], dict[int, int](), Counter[str]()
        for query, goes_on, future in self.asked:
            tokens, node = _tokens(query, future), future.coordinator_host.address
            coordinators[node] += 1
            begin = last[id(query)] if goes_on and id(query) in last else INT64.unpack(query.values[0])[0] + 1
            reads.append(node in replicas(begin, copies))
            rows += [node in replicas(token, copies) for token in tokens]
            if tokens:
                last[id(query)] = tokens[-1]
        return sum(reads) / len(reads), sum(rows) / len(rows), coordinators


def replicas(token: int, copies: int) -> set[str]:
    """The nodes that have the rows of a token, by the ring that they were started with."""
    at = bisect.bisect_left(RING, (token,))
    return {ADDRESSES[RING[(at + i) % len(RING)][1]] for i in range(copies)}


def _tokens(query: BoundStatement, future: ResponseFuture) -> list[int]:
    """The tokens of a page's rows: the token, four columns, and for a copy the write times of three of them."""
    page, found = future.result().current_rows[0], []
    count = 5 + query.prepared_statement.query_string.lower().count("writetime(")
    at = page.offset
    for _ in range(page.count):
        cells, at = read_cells(page.data, at, count)
        found.append(INT64.unpack(cells[0] or b"")[0])
    return found


@contextmanager
def reads_of_ranges(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reads]:
    """Record this process's reads of ranges, as the driver sends them."""
    found, really = Reads(), Session.execute_async

    def execute_async(session: Session, query: Any, *arguments: Any, **named: Any) -> ResponseFuture:
        future = really(session, query, *arguments, **named)
        if isinstance(query, BoundStatement) and query.prepared_statement.query_string.startswith("SELECT token("):
            found.asked.append((query, named.get("paging_state") is not None, future))
        return future

    with monkeypatch.context() as patched:
        patched.setattr(Session, "execute_async", execute_async)
        yield found


@pytest.mark.parametrize("copies", COPIES)
def test_a_table_is_as_large_as_its_parts_on_all_nodes(sites: dict[int, Site], three: ThreeNodes, copies: int) -> None:
    """Would break: ranges are planned for one node's part of a table, and are three times too large."""
    site = sites[copies]
    estimate = (
        "SELECT range_start, range_end, partitions_count, mean_partition_size FROM system.size_estimates "
        "WHERE keyspace_name = %s AND table_name = 'songs'"
    )

    def parts() -> list[tuple[str, str, int, int]]:
        hosts = site.cassandra.session.cluster.metadata.all_hosts()
        return [tuple(r) for h in hosts for r in site.cassandra.session.execute(estimate, (site.keyspace,), host=h)]

    until(
        lambda: 0.8 * ROWS < sum(count for _, _, count, _ in parts()) < 1.2 * ROWS,
        60,
        "the nodes have written what they hold to disk",
    )
    truth, ranges = sum(count * size for _, _, count, size in parts()), {(int(a), int(z)) for a, z, _, _ in parts()}
    for at in ADDRESSES:
        with open_cassandra(three.settings(site.settings, site.keyspace, at)) as cassandra:

            def planned() -> list[SizeEstimate]:
                return size_estimates(cassandra.session, site.keyspace, ["songs"])["songs"]

            # The driver may still be connecting to a node; the others' parts are enlarged for it.
            until(lambda: {(e.start, e.end) for e in planned()} == ranges, 60, f"all nodes' parts are seen from {at}")
            assert 0.7 * truth < sum(e.bytes for e in planned()) < 1.4 * truth, f"seen from {at}"


@pytest.mark.parametrize("copies", COPIES)
def test_ranges_are_read_at_their_replicas(sites: dict[int, Site], copies: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: one node fetches each row from another, so that it is sent twice: half as many a second."""
    site = sites[copies]
    with reads_of_ranges(monkeypatch) as copied:
        assert site.backfill()["songs"].rows_written == ROWS
    site.check_done()
    site.check_equal("songs")
    with reads_of_ranges(monkeypatch) as compared:
        assert table_of(drift(site), "songs")["clean"]
    for found in (copied, compared):
        reads, rows, nodes = found.shares(copies)
        assert (reads, rows) == (1, 1)
        assert min(nodes[node] for node in ADDRESSES) > len(found.asked) / 5, nodes


def test_the_driver_s_own_policy_sends_two_of_three_reads_elsewhere(
    sites: dict[int, Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: the test above shows nothing."""
    monkeypatch.setattr(connecting, "RangeAwarePolicy", TokenAwarePolicy)
    with reads_of_ranges(monkeypatch) as found:
        sites[1].backfill()
    reads, rows, _ = found.shares(1)
    assert 0.1 < reads < 0.6
    assert 0.1 < rows < 0.6


def tls(settings: Settings, three: ThreeNodes, points: str, verify: str | None) -> Settings:
    changes = {"cassandra_contact_points": points, "cassandra_ssl_ca_path": three.root, "cassandra_ssl_verify": verify}
    return settings.model_copy(update=changes)


def nodes_in_use(settings: Settings) -> set[str]:
    """The nodes that a process with these settings uses, once each has been tried."""
    with open_cassandra(settings) as cassandra:
        unused_nodes(cassandra.session)
        return {host.address for host in cassandra.session.get_pool_state()}


def test_each_node_has_its_own_certificate(sites: dict[int, Site], three: ThreeNodes) -> None:
    """Would break: nodes that the first one leads to are not checked, or are refused though their certificates are good."""
    settings = sites[3].settings
    assert nodes_in_use(tls(settings, three, f"{ADDRESSES[0]},{THIRD_BY_NAME}", "full")) == set(ADDRESSES)
    assert nodes_in_use(tls(settings, three, ADDRESSES[2], "ca")) == set(ADDRESSES), "names are not asked for"
    with pytest.raises(Unreachable, match=r"its certificate is for another name; use the names of"):
        nodes_in_use(tls(settings, three, ADDRESSES[2], "full"))


def test_a_node_found_by_gossip_whose_certificate_is_for_another_name(
    sites: dict[int, Site], three: ThreeNodes, caplog: pytest.LogCaptureFixture
) -> None:
    """Would break: whoever takes a node's address gets the password; or the copy is slow, and nothing says why."""
    site = sites[1]
    settings = tls(site.settings, three, ADDRESSES[0], "full")
    assert nodes_in_use(settings) == set(ADDRESSES[:2])
    (line,) = [r.getMessage() for r in caplog.records if r.name == "sync.adapters.cassandra.connection.nodes"]
    assert line.startswith(
        f"Cassandra node {ADDRESSES[2]} is not used: its certificate is for another name; use the names of"
    )
    (warning,) = [p.text for p in preflight(settings, site.config).problems if p.table == "source"]
    assert warning.startswith(f"not used from here: {ADDRESSES[2]}: its certificate is for another name; use the names of")
    with site.twin("tls") as twin:
        twin.settings = tls(twin.settings, three, ADDRESSES[0], "full")
        twin.apply()
        twin.backfill()
        twin.check_equal("songs")


def at_passage(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], object]) -> None:
    """Do something when this process has read its n-th page."""
    passages, really = itertools.count(1), copy_ranges.failpoint

    def failpoint(name: str) -> None:
        if name == "backfill.read" and next(passages) == number:
            act()
        really(name)

    monkeypatch.setattr(copy_ranges, "failpoint", failpoint)


def test_a_copy_goes_on_when_a_node_dies(sites: dict[int, Site], three: ThreeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: one node of three dies, and the ranges that were read from it fail or lack rows."""
    three.start()
    with sites[3].twin("one_dead") as twin:
        twin.apply()
        runs = twin.begin()
        at_passage(monkeypatch, 12, three.nodes[2].kill)
        twin.copy(runs)
        twin.finish(runs)
        assert three.nodes[2].pid is None, "it died in the middle"
        twin.check_done(runs)
        twin.check_equal("songs")


def test_writers_go_on_when_a_node_is_dead(three: ThreeNodes, base_settings: Settings, tmp_path: Path) -> None:
    """Would break: despite a quorum, an application's writes are refused, unsure, or lost on one side."""
    three.lose(2)
    config = Config(schema_files=())
    with (
        open_cassandra(three.settings(base_settings, "system")) as cassandra,
        open_site(three.settings(base_settings, "system"), cassandra, tmp_path, replication(3)) as site,
    ):
        site.cql("CREATE TABLE {ks}.pairs (id uuid PRIMARY KEY, a text, b int)")
        site.configure()
        prepare(site.settings, config, "pairs")
        with DualWriteStore(site.settings, config) as store:
            for number in range(300):
                store.put("pairs", {"id": UUID(int=number % 200), "a": f"text {number}", "b": number})
            for number in range(0, 200, 10):
                store.delete("pairs", {"id": UUID(int=number)})
        drain_job(site.settings, config, "pairs", lambda: False)
        assert site.sql("SELECT count(*) FROM sync.intent") == [(0,)]
        site.backfill()
        found = table_of(drift(site), "pairs")
        assert (found["clean"], found["rows"]["same"]) == (True, 180), found
        site.check_equal("pairs")


@pytest.mark.parametrize("dead", [False, True])
def test_one_of_many_inserts_is_done(three: ThreeNodes, base_settings: Settings, tmp_path: Path, dead: bool) -> None:
    """Would break: each insert goes to another coordinator, which has a clock of its own, and two of them are the first."""
    three.start()
    if dead:
        three.lose(2)
    config = Config(schema_files=(), tables={"pairs": {"lightweight_transactions": True}})  # type: ignore[dict-item]
    with ExitStack() as stack:
        cassandra = stack.enter_context(open_cassandra(three.settings(base_settings, "system")))
        site = stack.enter_context(open_site(three.settings(base_settings, "system"), cassandra, tmp_path, replication(3)))
        site.cql("CREATE TABLE {ks}.pairs (id uuid PRIMARY KEY, a text, b int)")
        prepare(site.settings, config, "pairs")
        with DualWriteStore(site.settings, config) as one, DualWriteStore(site.settings, config) as other:
            for number in range(8):
                key = {"id": UUID(int=number)}

                def insert(n: int, key: dict[str, Any] = key) -> bool | None:
                    try:
                        return (one, other)[n % 2].insert("pairs", {**key, "b": n})
                    except WriteUnsure:
                        return None  # Cassandra lets one transaction of a partition through at a time, and gives up

                for _ in range(2):
                    with ThreadPoolExecutor(8) as executor:
                        given = list(executor.map(insert, range(8)))
                    assert given.count(True) == 1 or (not given.count(True) and None in given), given
                    held = (other.get("pairs", key) or {"b": None})["b"]
                    assert True not in given or held == given.index(True)
                    one.delete("pairs", key)
        site.sql(WINDOW_PASSES)
        drain_job(site.settings, config, "pairs", lambda: False)
        assert site.sql("SELECT count(*) FROM sync.intent") == [(0,)]
        site.check_equal("pairs")


def refused_for_a_quorum(twin: Site) -> bool:
    """Whether a command that is refused says so; before it knows that, a node does not answer in time."""
    refused = twin.run("backfill", "--workers", "0")
    assert refused.code == 1 and refused.err.count("\n") == 1, refused
    return "LOCAL_QUORUM" in refused.err


def test_a_copy_waits_for_a_quorum_and_goes_on(
    sites: dict[int, Site], three: ThreeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: two of three nodes die, and ranges fail, are done without their rows, or nothing says why."""
    three.lose(2)
    with sites[3].twin("two_dead") as twin, ThreadPoolExecutor(1) as executor:
        twin.apply()
        runs = twin.begin()
        at_passage(monkeypatch, 12, three.nodes[1].kill)
        copying = executor.submit(twin.copy, runs)
        try:
            words = "SELECT count(*) FROM sync.range WHERE error LIKE '%LOCAL_QUORUM%' AND state <> 'failed'"
            until(lambda: twin.sql(words) != [(0,)], 60, "a range waits, and says for what")
            assert not copying.done()
            until(
                lambda: refused_for_a_quorum(twin),
                120,
                "a command says what is missing, once the node knows the others are down",
            )
        finally:
            three.start()
        copying.result(120)
        twin.copy(runs)
        twin.finish(runs)
        twin.check_done(runs)
        twin.check_equal("songs")
