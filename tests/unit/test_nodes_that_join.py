"""A node joins or leaves while the others are queried: the driver changes its pools from another thread."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

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
