"""Indexes that a read may need: those of the source that the target lacks, and the statements that make them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from psycopg import sql

from sync.adapters.cassandra.connection.pages import quoted
from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.schema.catalogue import identifier
from sync.adapters.postgres.schema.key_order import read_facts
from sync.core.rows import SourceTable, TableMap, TargetTable
from sync.core.schema.mapping import Problem


def missing_indexes(connection: Connection, table: TableMap, indexed: Sequence[str]) -> Iterator[Problem]:
    """A warning for each of the source's indexes of which the target has none."""
    if table.source.is_collection or not indexed:
        return
    there, names = read_facts(connection, table.target).indexes, {p.source.name: p.target.name for p in table.pairs}
    for column in indexed:
        if column in names and names[column] not in there:
            why = f"Cassandra has an index of {column}, and Postgres has none: a find by it is refused after the cut-over"
            yield Problem("warning", table.name, f"{why}; {create_index(table.target, names[column])}")


def create_index(table: TargetTable, column: str) -> str:
    """The statement that makes an index of the target by which a column is found."""
    statement = sql.SQL("CREATE INDEX CONCURRENTLY ON {} ({});")
    return statement.format(identifier(table), sql.Identifier(column)).as_string(None)


def create_source_index(table: SourceTable, column: str) -> str:
    """The same of the source, for Cassandra 5 and Astra."""
    name = f"{quoted(table.keyspace)}.{quoted(table.name)}"
    return f"CREATE CUSTOM INDEX ON {name} ({quoted(column)}) USING 'StorageAttachedIndex';"
