"""Whether this process sees values as they are, on both sides: checked before they are copied, compared or reconciled.

A mask or a policy may be put on a table at any time, so every job checks, and a copy or a proof checks again at its end.
"""

from __future__ import annotations

from collections.abc import Iterable

from cassandra import DriverException
from cassandra.cluster import NoHostAvailable

from sync.adapters.cassandra.connection.connect import Cassandra, explain
from sync.adapters.cassandra.schema.visibility import masked_columns
from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.schema.visibility import hidden
from sync.core.rows import SourceTable, TableMap
from sync.errors import PreflightError, SourceUnavailable


def check_source(cassandra: Cassandra, tables: Iterable[TableMap]) -> None:
    """Raise PreflightError, naming tables and columns, if masks would be read as values; SourceUnavailable."""
    given = list(tables)
    found = {keyspace: masks(cassandra, keyspace) for keyspace in {t.source.keyspace for t in given}}
    said = [
        masked_text(cassandra, t.source, found[t.source.keyspace], [p.source.name for p in t.pairs if not p.source.path])
        for t in given
    ]
    if any(said):
        raise PreflightError("\n".join(text for text in said if text))


def masks(cassandra: Cassandra, keyspace: str) -> dict[str, set[str]]:
    """By table, the columns that are masked for this role. Raises SourceUnavailable."""
    try:
        return masked_columns(cassandra, keyspace)
    except (DriverException, NoHostAvailable) as error:
        raise SourceUnavailable(f"whether columns are masked is not known: {explain(error)}") from None


def masked_text(cassandra: Cassandra, table: SourceTable, masked: dict[str, set[str]], carried: Iterable[str]) -> str:
    """The error for a table whose columns `carried` are read; empty if none of them is masked."""
    columns = [name for name in carried if name in masked.get(table.base or table.name, ())]
    if not columns:
        return ""
    user = cassandra.settings.cassandra_username
    keys = {c.name for c in table.primary_key}
    other = "" if keys & set(columns) else f", or leave them out with ignore under {table.section} in sync.toml"
    return (
        f"{table.name}: {', '.join(columns)}: masked for the role {user}, which would read masks in place of values; "
        f"GRANT UNMASK ON TABLE {table.keyspace}.{table.base or table.name} TO {user}{other}"
    )


def check_target(connection: Connection, tables: Iterable[TableMap]) -> None:
    """Raise PreflightError, naming the table, if this role would not see rows of the target, or see others instead."""
    found = hidden(connection, [f"{t.target.schema}.{t.target.name}" for t in tables])
    if found:
        raise PreflightError("\n".join(found.values()))


def check_visibility(cassandra: Cassandra, connection: Connection, tables: Iterable[TableMap]) -> None:
    """Check both sides. Raises PreflightError and SourceUnavailable."""
    given = list(tables)
    check_source(cassandra, given)
    check_target(connection, given)
