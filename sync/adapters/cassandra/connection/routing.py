"""Sends a read of a token range to a replica of the place where it begins, so that rows take no extra hop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cassandra.cluster import Session
from cassandra.metadata import Murmur3Token
from cassandra.policies import HostDistance, TokenAwarePolicy
from cassandra.pool import Host
from cassandra.query import BoundStatement

_PLACE, _FIRST, _SILENT = "_sync_place", "_sync_first", "_sync_silent"


def send_to(query: BoundStatement, keyspace: str, token: int) -> None:
    """Send a statement to a replica of this token; the driver itself routes only statements with a whole partition key."""
    setattr(query, _PLACE, (keyspace, token))


def send_elsewhere(query: BoundStatement) -> None:
    """Send a statement to another node first: the one that it went to did not answer in time.

    That node may hang: neither the driver nor the other nodes notice it at once, and the same replica would be asked again.
    """
    setattr(query, _SILENT, {*getattr(query, _SILENT, ()), getattr(query, _FIRST, None)})


class RangeAwarePolicy(TokenAwarePolicy):  # type: ignore[misc]
    """The driver's policy, except that reads of ranges go to local replicas of the range's place first."""

    def make_query_plan(self, working_keyspace: str | None = None, query: Any = None) -> Iterator[Host]:
        """The hosts, in the order in which to ask them."""
        place = getattr(query, _PLACE, None)
        if place is None:
            return iter(super().make_query_plan(working_keyspace, query))
        first = [h for h in self._replicas(*place) if h.is_up and self._child_policy.distance(h) == HostDistance.LOCAL]
        rest = self._child_policy.make_query_plan(working_keyspace, query)
        silent = getattr(query, _SILENT, ())
        plan = sorted([*first, *(h for h in rest if h not in first)], key=lambda host: host in silent)  # else in this order
        setattr(query, _FIRST, plan[0] if plan else None)
        return iter(plan)

    def _replicas(self, keyspace: str, token: int) -> list[Host]:
        ring = self._cluster_metadata.token_map
        return list(ring.get_replicas(keyspace, Murmur3Token(token))) if ring else []


def replica_boundaries(session: Session, keyspace: str, data_center: str) -> list[int]:
    """The tokens after which a keyspace's rows are on other nodes of a data centre than before.

    There are none if every node has all rows.
    """
    ring = session.cluster.metadata.token_map
    if ring is None:
        return []
    owners = [
        (token.value, {host for host in ring.get_replicas(keyspace, token) if host.datacenter == data_center})
        for token in ring.ring
    ]
    return [token for (token, here), (_, behind) in zip(owners, owners[1:] + owners[:1], strict=True) if here != behind]
