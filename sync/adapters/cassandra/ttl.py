"""Rows that will expire: Cassandra's schema does not tell of a TTL given at the write, so a sample of rows does."""

from __future__ import annotations

from cassandra.cluster import Session

from sync.adapters.cassandra.pages import quoted
from sync.core.rows import SourceTable

SAMPLE = 1000
_NO_TTL = frozenset({"map", "list", "set", "counter", "udt"})


def expiring_columns(session: Session, table: SourceTable, sample: int = SAMPLE) -> list[str]:
    """Columns of which some of the first `sample` rows have a TTL. Collections are not asked: it breaks the driver."""
    asked = [c.name for c in table.columns if c.kind == "regular" and (c.type.name not in _NO_TTL or c.type.frozen)]
    if not asked:
        return []
    select = ", ".join(f"TTL({quoted(name)})" for name in asked)
    rows = session.execute(f"SELECT {select} FROM {quoted(table.keyspace)}.{quoted(table.name)} LIMIT {sample}")
    found = {name for row in rows for name, ttl in zip(asked, row, strict=True) if ttl is not None}
    return [name for name in asked if name in found]
