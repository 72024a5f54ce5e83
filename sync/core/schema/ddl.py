"""SQL that makes a source table's target, and completes it."""

from __future__ import annotations

from sync.core.cql import CqlType
from sync.core.encode import default_target
from sync.core.key_forms import key_target
from sync.core.rows import SourceColumn, SourceTable, TableOptions, TargetTable
from sync.core.schema import limits
from sync.core.schema.static_rows import CONSTRAINT


def create_table(source: SourceTable, name: str, options: TableOptions) -> str:
    """CREATE TABLE for a target that holds the source table. Raises UnsupportedPair."""
    columns = [_column_ddl(c, options) for c in limits.migrated_columns(source, options)]
    key = ", ".join(pg_quoted(options.target_name(c)) for c in source.primary_key)
    table = ".".join(pg_quoted(part) for part in name.split(".", 1))
    check = f", {_some_static(source, options)}" if source.base else ""
    return f"CREATE TABLE {table} ({', '.join(columns)}, PRIMARY KEY ({key}){check})"


def _some_static(source: SourceTable, options: TableOptions) -> str:
    """The check that a row of static columns has a value, without which the source has no such row."""
    static = (c for c in limits.migrated_columns(source, options) if not c.is_key)
    some = " OR ".join(f"{pg_quoted(options.target_name(c))} IS NOT NULL" for c in static)
    return f"CONSTRAINT {pg_quoted(CONSTRAINT)} CHECK ({some})"


def missing_columns(source: SourceTable, target: TargetTable, options: TableOptions) -> list[str]:
    """ALTER TABLE for every column that the source has and the target lacks; never for a part of the key."""
    table = f"{pg_quoted(target.schema)}.{pg_quoted(target.name)}"
    lacking = [
        c
        for c in limits.migrated_columns(source, options)
        if c not in source.primary_key and target.column(options.target_name(c)) is None
    ]
    added = [f"ALTER TABLE {table} ADD COLUMN {_column_ddl(c, options)}" for c in lacking]
    if not added or not source.base:
        return added
    before = f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {pg_quoted(CONSTRAINT)}"
    return [*added, before, f"ALTER TABLE {table} ADD {_some_static(source, options)}"]


def _column_ddl(column: SourceColumn, options: TableOptions) -> str:
    kind = key_target(column) if column.is_key else default_target(column.type)
    return f"{pg_quoted(options.target_name(column))} {kind}"


def pg_quoted(name: str) -> str:
    """A Postgres identifier, quoted: a source may name a column `order`."""
    return '"' + name.replace('"', '""') + '"'


def vector_dimension(tables: list[SourceTable], name: str = "embeddings") -> int | None:
    """The dimension of the vector column of the source's table `name`, for migrations/002."""
    types: list[CqlType] = [c.type for t in tables if t.name == name for c in t.columns if c.type.name == "vector"]
    return types[0].dimension if types else None
