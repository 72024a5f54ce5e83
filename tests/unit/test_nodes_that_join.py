"""A node joins or leaves while the others are queried: the driver changes its pools from another thread."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

from sync.adapters.cassandra.connection.nodes import await_node
from sync.adapters.cassandra.schema.catalogue import size_estimates


class Joining:
    """A session whose pools grow at each question, as the driver's do when a node comes up."""

    def __init__(self) -> None:
        self.pools = {n: SimpleNamespace(host=n) for n in range(2)}

    def get_pools(self) -> Any:
        return self.pools.values()

    def execute_async(self, *_asked: Any, host: int) -> Future[list[Any]]:
        self.pools[host + 10] = SimpleNamespace(host=host + 10)
        found: Future[list[Any]] = Future()
        found.set_result([("songs", str(host * 100), str(host * 100 + 100), 7, 3)])
        return found


def test_sizes_are_asked_for_while_a_node_joins() -> None:
    """Would break: preflight ends with "dictionary changed size during iteration"."""
    found: Any = size_estimates(Joining(), "keyspace", ["songs"])  # type: ignore[arg-type]
    assert sum(estimate.bytes for estimate in found["songs"]) >= 2 * 7 * 3


class NodeOf(str):
    """A node by its address, as the driver's session knows it."""

    is_up: bool | None = None
    conviction_policy = SimpleNamespace(why=None)


class Connecting:
    """A session that has connections to its node when it is asked for the third time."""

    def __init__(self) -> None:
        self.asked = 0

    def get_pool_state(self) -> dict[str, Any]:
        self.asked += 1
        return {"10.0.0.3": {}} if self.asked > 2 else {}


def test_a_node_that_the_driver_is_connecting_to_is_waited_for() -> None:
    """Would break: a follower beside a node that is no contact point ends at its start: "Host has been marked down"."""
    session, down = Connecting(), NodeOf("10.0.0.4")
    await_node(session, NodeOf("10.0.0.3"))  # type: ignore[arg-type]
    assert session.asked == 3
    down.is_up = False
    await_node(session, down)  # type: ignore[arg-type]
    assert session.asked == 4, "one that is down is not waited for"
