"""What belongs to a table in the source and is not migrated: views of it, and indexes that applications may search by."""

from __future__ import annotations

from collections.abc import Iterator

from cassandra.cluster import Session

from sync.core.rows import SourceTable


def views_and_indexes(session: Session, table: SourceTable) -> Iterator[str]:
    """What an operator must know about them: a line for views, a line for indexes."""
    known = session.cluster.metadata.keyspaces[table.keyspace].tables.get(table.name)
    if known is None or table.is_collection:
        return
    if views := sorted(known.views):
        yield (
            f"materialized views {', '.join(views)} are not migrated: Postgres has none of them; read the table instead, or "
            "CREATE VIEW there"
        )
    vectors = [c.name for c in table.columns if c.type.name == "vector"]
    by_value = sorted(name for name, index in known.indexes.items() if not _is_of(index.index_options.get("target"), vectors))
    if by_value:
        yield (
            f"indexes {', '.join(by_value)} are not migrated: CREATE INDEX in Postgres for what the application searches by"
        )


def _is_of(target: object, columns: list[str]) -> bool:
    """Whether an index's target, such as `values(tags)`, is one of these columns."""
    name = str(target).rsplit("(", 1)[-1].rstrip(")").strip('"')
    return name in columns
