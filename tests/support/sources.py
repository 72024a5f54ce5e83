"""Source tables for backfills: one row a partition (songs), and few wide partitions (notes)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

from cassandra.cluster import ResponseFuture
from cassandra.query import BatchStatement, BatchType, BoundStatement, PreparedStatement

from support.backfills import Site

SONGS = "CREATE TABLE {ks}.songs (id uuid PRIMARY KEY, title text, year int, made timestamp, tags map<text, text>)"
NOTES = "CREATE TABLE {ks}.notes (piece text, at int, pitch int, words text, PRIMARY KEY (piece, at))"


def song(i: int) -> tuple[Any, ...]:
    """The i-th song: id, title, year, made, tags; some without a title, some without tags."""
    made = datetime(2020, 1, 1) + timedelta(seconds=i)
    return (UUID(int=i * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128), f"song {i}" if i % 7 else None, i, made,
            {"n": str(i)} if i % 3 else None)  # fmt: skip


def make_corpus(site: Site, songs: int = 600, notes: int = 600) -> None:
    """Both tables in the source and in the target."""
    site.cql(SONGS)
    site.cql(NOTES)
    site.fill("INSERT INTO {ks}.songs (id, title, year, made, tags) VALUES (?, ?, ?, ?, ?)", map(song, range(songs)))
    some = ((f"piece {i % 3}", i, i % 88, "la " * (i % 40)) for i in range(notes))
    site.fill("INSERT INTO {ks}.notes (piece, at, pitch, words) VALUES (?, ?, ?, ?)", some)
    site.apply()


_BATCH, _IN_FLIGHT = 100, 24


def fill_raw(site: Site, statement: str, rows: Iterable[tuple[bytes, ...]]) -> None:
    """Run a prepared statement for each of many rows of cells, in batches: the driver has nothing to encode."""
    prepared = site.cassandra.session.prepare(statement.replace("{ks}", site.keyspace))
    waiting: deque[ResponseFuture] = deque()
    for batch in _batches(prepared, iter(rows)):
        waiting.append(site.cassandra.session.execute_async(batch, timeout=60))
        if len(waiting) >= _IN_FLIGHT:
            waiting.popleft().result()
    for future in waiting:
        future.result()


def _batches(prepared: PreparedStatement, rows: Iterator[tuple[bytes, ...]]) -> Iterator[BatchStatement]:
    while some := list(islice(rows, _BATCH)):
        batch = BatchStatement(BatchType.UNLOGGED)
        for cells in some:
            bound = BoundStatement(prepared)
            bound.values = list(cells)
            batch.add(bound)
        yield batch
