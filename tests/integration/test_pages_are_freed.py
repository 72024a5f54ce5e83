"""The memory of a request and its page is free as soon as nobody needs it, not when the garbage collector comes."""

from __future__ import annotations

import gc

from cassandra.cluster import ResponseFuture
from cassandra.concurrent import execute_concurrent_with_args
from support.places import NewPlace

from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.adapters.cassandra.connection.pages import RangeReader
from sync.adapters.cassandra.schema.catalogue import read_tables
from sync.core.ring import WHOLE_RING
from sync.core.rows import Page

pytest_plugins = ("support.fixtures",)
ROWS, ROW_BYTES, PAGE_BYTES = 2_000, 200, 1 << 14


def _kept() -> int:
    return sum(type(each) in (Page, ResponseFuture) for each in gc.get_objects())


def test_no_page_is_kept_by_its_request_nor_that_by_its_timer(new_place: NewPlace) -> None:
    """Would break: a request and its timer refer to each other, and pages of a megabyte pile up: a worker grows to 200 MB."""
    with new_place() as place:
        place.cql("CREATE TABLE KS.songs (id int PRIMARY KEY, title text)")
        insert = place.cassandra.session.prepare(f'INSERT INTO "{place.keyspace}".songs (id, title) VALUES (?, ?)')
        execute_concurrent_with_args(place.cassandra.session, insert, [(i, "l" * ROW_BYTES) for i in range(ROWS)])
        with open_cassandra(place.settings) as cassandra:
            table = read_tables(cassandra.session, place.keyspace)["songs"]
            reader = RangeReader(cassandra.raw, table, ("id", "title"), PAGE_BYTES)
            before, pages = _kept(), 0
            gc.disable()
            try:
                for page in reader.pages(WHOLE_RING):
                    pages += page.count > 0
                del page
                assert pages > ROWS * ROW_BYTES // PAGE_BYTES
                assert _kept() - before <= 2
            finally:
                gc.enable()
