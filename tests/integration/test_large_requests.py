"""Requests of megabytes, and others on the same connection meanwhile."""

from __future__ import annotations

from support.places import Place
from support.prepared_places import home_of

from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.settings import Config

pytest_plugins = ("support.fixtures",)
home = home_of(Config(schema_files=()), large="id int PRIMARY KEY, a blob")


def test_a_large_row_does_not_refuse_the_other_requests(home: Place) -> None:
    """Would break: while one row of 5 MB is on its way, every other request fails: "the connection is overloaded"."""
    with open_cassandra(home.settings) as opened:
        insert = opened.session.prepare(f'INSERT INTO "{home.keyspace}".large (id, a) VALUES (?, ?)')
        read = opened.session.prepare(f'SELECT id FROM "{home.keyspace}".large WHERE id = ?')
        futures = []
        for n in range(8):
            futures.append(opened.session.execute_async(insert, (n, bytes(5_000_000))))
            futures += [opened.session.execute_async(read, (n,)) for _ in range(50)]
        for future in futures:
            future.result()
        assert {row.id for n in range(8) for row in opened.session.execute(read, (n,))} == set(range(8))
