"""Reads of token ranges go to the nodes that have the rows, in pages that those can read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from cassandra.metadata import Murmur3Token
from cassandra.policies import HostDistance, RoundRobinPolicy
from cassandra.query import SimpleStatement

from sync.adapters.cassandra.connection.pages import PageSize
from sync.adapters.cassandra.connection.routing import RangeAwarePolicy, replica_boundaries, send_elsewhere, send_to
from sync.core.rows import Page


class _Nodes(RoundRobinPolicy):  # type: ignore[misc]
    """All nodes in turn; some are another data centre's."""

    far: tuple[str, ...] = ()

    def distance(self, host: Any) -> int:
        return int(HostDistance.REMOTE if host.name in self.far else HostDistance.LOCAL)


class _Node(NamedTuple):
    """A node of a data centre."""

    name: str
    datacenter: str


class _Host(SimpleNamespace):
    __hash__ = object.__hash__  # type: ignore[assignment]


def _ring(*names: str) -> tuple[RangeAwarePolicy, list[Any]]:
    """A ring of three nodes, a third each, whose rows have one replica."""
    hosts = [_Host(name=name, is_up=True) for name in names]
    tokens = [Murmur3Token(t) for t in (-3_000, 0, 3_000)]
    owners = dict(zip(tokens, hosts, strict=True))
    token_map = SimpleNamespace(get_replicas=lambda _ks, token: [owners[next((t for t in tokens if token <= t), tokens[0])]])
    policy = RangeAwarePolicy(_Nodes())
    policy.populate(SimpleNamespace(metadata=SimpleNamespace(token_map=token_map)), hosts)
    return policy, hosts


def _first(policy: RangeAwarePolicy, token: int | None) -> str:
    query = SimpleStatement("SELECT")
    if token is not None:
        send_to(query, "ks", token)
    plan = [host.name for host in policy.make_query_plan(None, query)]
    assert sorted(plan) == ["a", "b", "c"], "every node once, for when the first one fails"
    return str(plan[0])


@pytest.mark.parametrize(("token", "node"), [(-5_000, "a"), (-3_000, "a"), (-1, "b"), (1, "c"), (9_000, "a")])
def test_a_range_is_read_at_its_replica(token: int, node: str) -> None:
    """Would break: three quarters of all rows are fetched by a node from another one, and sent twice."""
    policy, _ = _ring("a", "b", "c")
    assert {_first(policy, token) for _ in range(6)} == {node}


def test_a_node_that_is_down_or_far_is_not_asked_first() -> None:
    """Would break: reads wait for a node that is gone, or go to another data centre because it has the rows."""
    policy, (_, b, _) = _ring("a", "b", "c")
    b.is_up = False
    assert len({_first(policy, -1) for _ in range(6)}) > 1, "in turn, as the driver does"
    b.is_up = True
    policy._child_policy.far = ("b",)
    assert len({_first(policy, -1) for _ in range(6)}) > 1


def test_a_node_that_did_not_answer_is_asked_last() -> None:
    """Would break: a node that hangs is asked again and again, because it is the range's replica, until the range has failed."""
    policy, _ = _ring("a", "b", "c")
    query, asked = SimpleStatement("SELECT"), []
    send_to(query, "ks", -1)
    for _ in range(3):
        plan = [host.name for host in policy.make_query_plan(None, query)]
        assert sorted(plan) == ["a", "b", "c"]
        asked.append(plan[0])
        send_elsewhere(query)
    assert asked[0] == "b"
    assert sorted(asked) == ["a", "b", "c"]


def test_rows_of_other_nodes_begin_at_seams() -> None:
    """Would break: a range is cut where nothing changes, or not where it does."""
    names = {0: "a", 10: "b", 20: "b", 30: "c"}
    ring = SimpleNamespace(
        ring=[Murmur3Token(t) for t in names], get_replicas=lambda _ks, t: [_Node(names[t.value], "dc1"), _Node("x", "dc2")]
    )
    session: Any = SimpleNamespace(cluster=SimpleNamespace(metadata=SimpleNamespace(token_map=ring)))
    assert replica_boundaries(session, "ks", "dc1") == [0, 20, 30]
    assert replica_boundaries(session, "ks", "dc2") == []


def test_other_statements_are_sent_as_ever() -> None:
    """Would break: our policy changes what the driver routes itself."""
    policy, _ = _ring("a", "b", "c")
    assert {_first(policy, None) for _ in range(9)} == {"a", "b", "c"}


def test_pages_shrink_where_one_was_too_much_and_grow_again() -> None:
    """Would break: after one bad partition, a whole table is read in pages of one row; or that partition is tried forever."""
    size, page = PageSize(200, 10_000), Page(bytes(1000), 0, 10)
    assert size.rows() == 200
    assert [size.too_much(rows) for rows in (200, 25, 3)] == [True, True, True]
    assert size.rows() == 1
    assert not size.too_much(1)
    for _ in range(8 * 14):
        size.enough(page, 1 << 20)
    assert size.rows() == 10_000
    assert size.rows(7) == 7
