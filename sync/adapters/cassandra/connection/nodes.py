"""Nodes of a cluster that cannot be used from here, and why: the driver silently continues with the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from cassandra.cluster import Session
from cassandra.policies import HostDistance, SimpleConvictionPolicy
from cassandra.pool import Host

from sync.core.cutover.followers import Node

log = logging.getLogger(__name__)
_ALL_TRIED_SECONDS = 3.0  # longer than a handshake takes; a node that hangs is not waited for


class RecordingConvictionPolicy(SimpleConvictionPolicy):  # type: ignore[misc]
    """The driver's policy, which also remembers why a node could not be connected to.

    A bad certificate of a node that the cluster names is logged at once: somebody may be impersonating the node.
    """

    def __init__(self, host: Host, explain: Callable[[BaseException], str]) -> None:
        super().__init__(host)
        self.why: Exception | None = None
        self._explain = explain

    def add_failure(self, connection_exc: Exception) -> bool:
        """Record the failure; returns whether the node is down now."""
        is_new, self.why = self.why is None, connection_exc
        if is_new and self.host.datacenter and is_about_certificate(connection_exc):  # a contact point's error is raised
            log.warning("Cassandra node %s is not used: %s", self.host.address, self._explain(connection_exc))
        return bool(super().add_failure(connection_exc))

    def reset(self) -> None:
        """Forget the failure: the node is up."""
        self.why = None


def is_about_certificate(error: Exception) -> bool:
    """Whether a connection failed because the node's certificate is not trusted, or is for another name."""
    return "certificate" in str(error).lower()


def unused_nodes(session: Session) -> list[tuple[str, Exception]]:
    """The nodes of the data centre in use that could not be connected to, by address, with the driver's errors."""
    deadline = time.monotonic() + _ALL_TRIED_SECONDS
    while _untried(session) and time.monotonic() < deadline:
        time.sleep(0.02)
    found = [(host.address, host.conviction_policy.why) for host in _without_pool(session)]
    return sorted(((address, why) for address, why in found if why is not None), key=lambda one: one[0])


def await_node(session: Session, host: Host) -> None:
    """Wait until there are connections to this node, or it is known that there are none.

    The driver connects to nodes that are no contact points behind a caller's back; until then a request to one of them fails
    with "Host has been marked down or removed".
    """
    deadline = time.monotonic() + _ALL_TRIED_SECONDS
    while host not in session.get_pool_state() and time.monotonic() < deadline:
        if host.conviction_policy.why is not None or host.is_up is False:
            return
        time.sleep(0.02)


def all_nodes(session: Session) -> list[Node]:
    """Every node of the cluster, also those that are down, as the node says that this process hears of the cluster from."""
    cluster = session.cluster
    return [
        Node(str(host.host_id), host.address, cluster.profile_manager.distance(host) == HostDistance.LOCAL)
        for host in cluster.metadata.all_hosts()
    ]


def _untried(session: Session) -> list[Any]:
    return [host for host in _without_pool(session) if host.conviction_policy.why is None and host.is_up is not False]


def _without_pool(session: Session) -> list[Any]:
    cluster, connected = session.cluster, session.get_pool_state()
    near = (h for h in cluster.metadata.all_hosts() if cluster.profile_manager.distance(h) == HostDistance.LOCAL)
    return [host for host in near if host not in connected]
