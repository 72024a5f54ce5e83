"""Whether a table is still the same: one that was created again, or lost a column and got it back, looks as before."""

from __future__ import annotations

from collections.abc import Iterator

from cassandra import DriverException
from cassandra.cluster import NoHostAvailable, Session

from sync.adapters.cassandra.connection.connect import Cassandra, explain
from sync.adapters.cassandra.connection.pages import RAW_PROFILE
from sync.core.encode.base import read_cells
from sync.errors import Unreachable

_TABLES = "SELECT table_name, id FROM system_schema.tables WHERE keyspace_name = %s"
_DROPPED = "SELECT table_name, column_name, dropped_time FROM system_schema.dropped_columns WHERE keyspace_name = %s"


def identities(cassandra: Cassandra, keyspace: str) -> dict[str, str]:
    """By table: its id, and its dropped columns, each with the time of the drop in ms since 1970. Raises Unreachable."""
    try:
        found = {str(name): [str(made)] for name, made in cassandra.session.execute(_TABLES, (keyspace,))}
        dropped = sorted(_dropped(cassandra.raw, keyspace))
    except (DriverException, NoHostAvailable) as error:
        raise Unreachable(f"the source's schema cannot be read: {explain(error)}") from None
    for table, column, at in dropped:
        found.setdefault(table, []).append(f"{column} dropped {at}")
    return {name: "; ".join(parts) for name, parts in found.items()}


def _dropped(raw: Session, keyspace: str) -> Iterator[tuple[str, str, int]]:
    """Read as bytes: DROP … USING TIMESTAMP takes times beyond Python's, and decoding one closes the driver's connection."""
    for page in raw.execute(_DROPPED, (keyspace,), execution_profile=RAW_PROFILE):
        at = page.offset
        for _ in range(page.count):
            (table, column, when), at = read_cells(page.data, at, 3)
            yield (table or b"").decode(), (column or b"").decode(), int.from_bytes(when or b"", "big", signed=True)
