"""A cluster of three nodes: what a table's size is, where its ranges are read, and what goes on while nodes are away."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from cassandra.cluster import ResponseFuture, Session
from cassandra.concurrent import execute_concurrent
from cassandra.policies import TokenAwarePolicy
from cassandra.query import BatchStatement, BatchType, BoundStatement
from support.backfills import Site, open_site
from support.drift import drift
from support.running import until
from support.three_nodes import ADDRESSES, RING, ThreeNodes, replication

from sync.adapters.cassandra import connect as connecting
from sync.adapters.cassandra.catalogue import size_estimates
from sync.adapters.cassandra.connect import open_cassandra
from sync.core.encode.base import INT64, read_cells
from sync.settings import Settings

pytest_plugins = ("support.fixtures",)
ROWS = 30_000
COPIES = (1, 3)
SPACE = 2**64 // ROWS
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
    """In batches, which is the quicker way, though not Cassandra's own."""
    insert = site.cassandra.session.prepare(f"INSERT INTO {site.keyspace}.songs (id, title, artist, seconds) VALUES (?, ?, ?, ?)")

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
    """The reads of ranges: what they asked for, of whom, and what they were given."""

    asked: list[tuple[BoundStatement, bool, ResponseFuture]] = field(default_factory=list)

    def shares(self, copies: int) -> tuple[float, float, Counter[str]]:
        """Of the reads, and of the rows, the share that a replica answered; and how many reads each node answered."""
        reads, rows, last, coordinators = [], [], dict[int, int](), Counter[str]()
        for query, goes_on, future in self.asked:
            tokens, node = _tokens(future), future.coordinator_host.address
            coordinators[node] += 1
            begin = last[id(query)] if goes_on and id(query) in last else INT64.unpack(query.values[0])[0] + 1
            reads.append(node in replicas(begin, copies))
            rows += [node in replicas(token, copies) for token in tokens]
            if tokens:
                last[id(query)] = tokens[-1]
        return sum(reads) / len(reads), sum(rows) / len(rows), coordinators


def replicas(token: int, copies: int) -> set[str]:
    """Who has the rows of a token, by the ring that the nodes were started with."""
    at = bisect.bisect_left(RING, (token,))
    return {ADDRESSES[RING[(at + i) % len(RING)][1]] for i in range(copies)}


def _tokens(future: ResponseFuture) -> list[int]:
    """Of the rows of a page, whose first cell is the token."""
    page, found = future.result().current_rows[0], []
    at = page.offset
    for _ in range(page.count):
        cells, at = read_cells(page.data, at, 5)
        found.append(INT64.unpack(cells[0])[0])
    return found


@contextmanager
def reads_of_ranges(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reads]:
    """All of this process's, as the driver sent them."""
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
    """Would break: ranges are planned for one node's part of a table, and are too large by the number of nodes."""
    site = sites[copies]
    estimate = "SELECT partitions_count, mean_partition_size FROM system.size_estimates WHERE keyspace_name = %s AND table_name = 'songs'"

    def parts() -> list[tuple[int, int]]:
        hosts = site.cassandra.session.cluster.metadata.all_hosts()
        return [tuple(r) for h in hosts for r in site.cassandra.session.execute(estimate, (site.keyspace,), host=h)]

    until(lambda: 0.8 * ROWS < sum(count for count, _ in parts()) < 1.2 * ROWS, 60, "the nodes have written what they hold to disk")
    truth = sum(count * size for count, size in parts())
    for at in ADDRESSES:
        with open_cassandra(three.settings(site.settings, site.keyspace, at)) as cassandra:
            planned = sum(e.bytes for e in size_estimates(cassandra.session, site.keyspace, "songs"))
            assert 0.7 * truth < planned < 1.4 * truth, f"seen from {at}"


@pytest.mark.parametrize("copies", COPIES)
def test_ranges_are_read_at_their_replicas(sites: dict[int, Site], copies: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: each row is fetched by one node from another, and sent twice: half as many a second."""
    site = sites[copies]
    for work in (site.backfill, lambda: drift(site)):
        with reads_of_ranges(monkeypatch) as found:
            result = work()
        at_replicas, rows, coordinators = found.shares(copies)
        print(at_replicas, rows, coordinators, len(found.asked))
        if work == site.backfill:
            assert result["songs"].rows_written == ROWS
        else:
            assert result["verdict"] == "equal", result
        assert at_replicas == 1
        assert rows > 0.95
        assert min(coordinators[node] for node in ADDRESSES) > len(found.asked) / 5, coordinators
    site.check_equal("songs")
    site.check_done()


def test_the_driver_s_own_policy_sends_two_of_three_reads_elsewhere(
    sites: dict[int, Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: the test above shows nothing."""
    monkeypatch.setattr(connecting, "RangeAwarePolicy", TokenAwarePolicy)
    with reads_of_ranges(monkeypatch) as found:
        sites[1].backfill()
    at_replicas, rows, _ = found.shares(1)
    assert 0.1 < at_replicas < 0.6
    assert 0.1 < rows < 0.6
