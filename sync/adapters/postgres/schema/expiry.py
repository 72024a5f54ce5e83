"""The target's column that says when a row expires: found by a comment on it, which outlives the migration, and as SQL."""

from __future__ import annotations

from psycopg import sql

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.queries import queries
from sync.core.encode.rows import RowEncoder
from sync.core.expiry import expiry_comment
from sync.core.rows import SourceTable, TargetTable

_SQL = queries("schema/expiry")


def expiry_column(encoder: RowEncoder) -> str:
    """The target's column; empty if the table's rows do not expire."""
    return encoder.pairs[-1].target.name if encoder.expires else ""


def is_live(column: str, alias: str = "t") -> sql.Composed:
    """The condition that a row has not expired; true without such a column."""
    if not column:
        return sql.SQL("{}").format(sql.SQL("true"))
    return sql.SQL("({0} IS NULL OR {0} > statement_timestamp())").format(sql.Identifier(alias, column))


def moment(column: str, alias: str = "t") -> sql.Composed:
    """When a row expires, ms since 1970; null if it does not."""
    if not column:
        return sql.SQL("{}").format(sql.SQL("NULL::bigint"))
    return sql.SQL("CASE WHEN isfinite({0}) THEN floor(extract(epoch FROM {0}) * 1000)::bigint END").format(
        sql.Identifier(alias, column)
    )


def statements(connection: Connection, source: SourceTable, target: TargetTable, column: str) -> list[sql.Composed]:
    """What makes the column known, and expired rows quick to find: its comment and its index, unless they are there."""
    asked = {"table": f'"{target.schema}"."{target.name}"', "column": column}
    comment, is_indexed = connection.execute(_SQL["known"], asked).fetchone() or (None, True)
    table, found = sql.Identifier(target.schema, target.name), []
    wanted = expiry_comment(source.default_ttl)
    if comment != wanted:
        text = sql.SQL("COMMENT ON COLUMN {}.{} IS {}")
        found.append(text.format(table, sql.Identifier(column), sql.Literal(wanted)))
    if not is_indexed:
        found.append(sql.SQL("CREATE INDEX ON {} ({})").format(table, sql.Identifier(column)))
    return found
