"""The source's indexes that a read may use."""

from __future__ import annotations

from cassandra.cluster import Session
from cassandra.metadata import IndexMetadata

from sync.core.reads.query import Index, has_ranges
from sync.core.rows import SourceTable

_STORAGE_ATTACHED = "StorageAttachedIndex"
_OWN_EQUALITY = ("case_sensitive", "normalize", "ascii", "index_analyzer", "query_analyzer")
"""Options with which an index finds texts that are not equal to the one asked for."""


def read_indexes(session: Session, table: SourceTable) -> dict[str, Index]:
    """By column, the index on its values, as the driver knows it now; none of vectors and collections."""
    keyspace = session.cluster.metadata.keyspaces.get(table.keyspace)
    known = keyspace.tables.get(table.name) if keyspace else None  # none of a table of static columns
    types = {c.name: c.type for c in table.columns if c.kind != "static" and not c.type.args}
    found: dict[str, Index] = {}
    for index in known.indexes.values() if known else ():
        column = str(index.index_options.get("target", ""))
        column = column[1:-1].replace('""', '"') if column.startswith('"') else column
        if column in types:
            found[column] = _index(index, types[column].name)
    return found


def _index(index: IndexMetadata, kind: str) -> Index:
    options = dict(index.index_options)
    if not str(options.get("class_name", "")).endswith(_STORAGE_ATTACHED):
        return Index(ranges=False, alone=True)
    own = [
        name
        for name in _OWN_EQUALITY
        if str(options.get(name, "")).lower() not in ("", "true" if name == "case_sensitive" else "false")
    ]
    return Index(has_ranges(kind), unlike=f"it compares texts in its own way ({', '.join(own)})" if own else "")
