"""Tables whose keys are raw cells, in forms that no driver would write but a source may hold."""

from __future__ import annotations

from collections.abc import Iterable
from struct import pack

from cassandra.query import BoundStatement

from support.backfills import Site
from support.cells import varint, with_length


def decimal(unscaled: int, scale: int) -> bytes:
    return pack(">i", scale) + varint(unscaled)


def array(*cells: bytes) -> bytes:
    return pack(">i", len(cells)) + b"".join(map(with_length, cells))


def insert(site: Site, table: str, columns: Iterable[str], rows: Iterable[tuple[bytes, ...]]) -> None:
    """Write rows of raw cells."""
    names = list(columns)
    session = site.cassandra.session
    text = f"INSERT INTO {site.keyspace}.{table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    prepared = session.prepare(text)
    for cells in rows:
        bound = BoundStatement(prepared)
        bound.values = list(cells)
        session.execute(bound)
