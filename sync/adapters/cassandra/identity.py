"""Which tables these are: a table that was made again, or a column that was dropped, looks as it did."""

from __future__ import annotations

from cassandra import DriverException
from cassandra.cluster import NoHostAvailable, Session

from sync.adapters.cassandra.connect import explain
from sync.errors import Unreachable

_TABLES = "SELECT table_name, id FROM system_schema.tables WHERE keyspace_name = %s"
_DROPPED = "SELECT table_name, column_name, dropped_time FROM system_schema.dropped_columns WHERE keyspace_name = %s"


def identities(session: Session, keyspace: str) -> dict[str, str]:
    """By table: its id, and the columns that it lost, each with when. Raises Unreachable."""
    try:
        found = {str(name): [str(made)] for name, made in session.execute(_TABLES, (keyspace,))}
        dropped = sorted((str(t), str(column), str(at)) for t, column, at in session.execute(_DROPPED, (keyspace,)))
    except (DriverException, NoHostAvailable) as error:
        raise Unreachable(f"the source's schema cannot be read: {explain(error)}") from None
    for table, column, at in dropped:
        found.setdefault(table, []).append(f"{column} dropped {at}")
    return {name: "; ".join(parts) for name, parts in found.items()}
