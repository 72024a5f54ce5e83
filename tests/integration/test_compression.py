"""What goes over the wire compressed, and what does not: the same pages either way, in both framings of the protocol."""

from __future__ import annotations

from typing import Any

import pytest
from cassandra.concurrent import execute_concurrent_with_args
from support.places import NewPlace, Place

from sync.adapters.cassandra.connection import connect as connecting
from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.adapters.cassandra.connection.pages import RangeReader
from sync.adapters.cassandra.schema.catalogue import read_tables
from sync.core.ring import WHOLE_RING

pytest_plugins = ("support.fixtures",)
ROWS = 2_000


@pytest.mark.parametrize("version", [4, 5])
def test_pages_are_the_same_with_and_without(new_place: NewPlace, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: the driver compresses on its own where lz4 is installed; pages of a compressed connection are misread."""
    with new_place() as place:
        _compare(place, version, monkeypatch)


def _compare(place: Place, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    place.cql("CREATE TABLE KS.songs (id int PRIMARY KEY, title text)")
    insert = place.cassandra.session.prepare(f'INSERT INTO "{place.keyspace}".songs (id, title) VALUES (?, ?)')
    execute_concurrent_with_args(place.cassandra.session, insert, [(i, "la" * 50) for i in range(ROWS)])
    of = connecting.Cluster

    def cluster(*given: Any, **more: Any) -> Any:
        return of(*given, **more, protocol_version=version)

    monkeypatch.setattr(connecting, "Cluster", cluster)
    found = {}
    for compression in ("none", "lz4"):
        settings = place.settings.model_copy(update={"cassandra_compression": compression})
        with open_cassandra(settings) as cassandra:
            table = read_tables(cassandra.session, place.keyspace)["songs"]
            pages = list(RangeReader(cassandra.raw, table, ("id", "title"), 1 << 16).pages(WHOLE_RING))
            (pool,) = cassandra.raw.get_pools()
            (kind,) = {connection._compression_type for connection in pool.get_connections()}
        found[compression] = (
            b"".join(bytes(page.data[page.offset :]) for page in pages),
            sum(page.count for page in pages),
            kind,
        )
    assert found["none"][:2] == found["lz4"][:2]
    assert {name: kind for name, (_, _, kind) in found.items()} == {"none": None, "lz4": "lz4"}
    assert found["none"][1] == ROWS
