"""The order of a target's key as Cassandra keeps it: recorded in a comment on the primary key, and as SQL."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import errors, sql

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.schema.catalogue import identifier, regclass
from sync.core.encode.rows import TOKEN_COLUMN
from sync.core.reads.key_order import KeyColumn, KeyOrder, from_comment, target_key_order, to_comment
from sync.core.reads.query import Index
from sync.core.rows import TableMap, TargetColumn, TargetTable
from sync.errors import QueryNotSupported

log = logging.getLogger(__name__)
_SQL = queries("schema/key_order")
ANY_ORDER = "*"
"""Stands for the type of a column whose own order in Postgres is good enough: that of the partition key."""
_NATURAL = {
    **dict.fromkeys(("tinyint", "smallint", "int", "bigint", "varint", "decimal"), ("int2", "int4", "int8", "numeric")),
    **dict.fromkeys(("float", "double"), ("float4", "float8", "numeric")),
    "timestamp": ("timestamptz", "timestamp"),
    "date": ("date",),
    "time": ("time",),
    "boolean": ("bool",),
    "blob": ("bytea",),
}
"""By CQL type, the Postgres types that order the same values alike."""
_BYTES = "uuid_send({0}::uuid)"
_TIME = f"substr({_BYTES}, 7, 2) || substr({_BYTES}, 5, 2) || substr({_BYTES}, 1, 4)"
_LOW = f"substr({_BYTES}, 9)"
_ORDERS: dict[str, tuple[str, ...]] = {
    # By version; then those of version 1 by their time, others by their bytes (UUIDType of Cassandra).
    "uuid": (
        f"get_byte({_BYTES}, 6) >> 4",
        f"CASE WHEN get_byte({_BYTES}, 6) >> 4 = 1 THEN {_TIME} ELSE substr({_BYTES}, 1, 8) END",
        _LOW,
    ),
    # By time; the last eight bytes compare as signed ones (TimeUUIDType).
    "timeuuid": (_TIME, f"('x' || encode({_LOW}, 'hex'))::bit(64) # X'8080808080808080'"),
    "text": ('{0} COLLATE "C"',),
    "ascii": ('{0} COLLATE "C"',),
    "inet": ("substr(inet_send({0}), 5)",),  # by the address's bytes, of either family
}
"""By CQL type, what orders its values in Postgres as Cassandra does: `{0}` is the column, or a value."""
_HELD_BY = {
    "uuid": ("uuid", "text", "varchar"),
    "timeuuid": ("uuid", "text", "varchar"),
    "text": ("text", "varchar"),
    "ascii": ("text", "varchar"),
    "inet": ("inet",),
}


@dataclass(frozen=True, slots=True)
class ReadFacts:
    """What a table's reads depend on: the order of its key, its indexes, whether rows have tokens."""

    order: KeyOrder | None
    indexes: dict[str, Index]
    has_token: bool


def record_key_order(connection: Connection, *tables: TableMap) -> None:
    """Have the targets' primary keys say how Cassandra orders their rows, unless they do, or this role may not.

    A table that is locked, by the build of an index for example, is left to the next command.
    """
    recorded = _recorded(connection, [table.target for table in tables])
    for table in tables:
        statement = _comment(recorded.get(_regclass(table.target)), table.target, target_key_order(table))
        if statement is None:
            continue
        try:
            with connection.transaction():
                connection.execute("SELECT set_config('lock_timeout', '500', true)")
                connection.execute(statement)
        except errors.LockNotAvailable:
            log.info("%s: the order of its key is not recorded yet: the table is locked", table.name)


def comment_statement(connection: Connection, table: TargetTable, order: KeyOrder) -> sql.Composed | None:
    """The statement that records the order; None if it is recorded, or this role may not."""
    return _comment(_recorded(connection, [table]).get(_regclass(table)), table, order)


def _comment(found: tuple[str, str | None, bool] | None, table: TargetTable, order: KeyOrder) -> sql.Composed | None:
    wanted = to_comment(order)
    if found is None or found[1] == wanted or not found[2]:
        return None
    return sql.SQL("COMMENT ON CONSTRAINT {} ON {} IS {}").format(
        sql.Identifier(found[0]), identifier(table), sql.Literal(wanted)
    )


def _recorded(connection: Connection, tables: Sequence[TargetTable]) -> dict[str, tuple[str, str | None, bool]]:
    """By table: its primary key's name and comment, and whether this role may write one."""
    rows = connection.execute(_SQL["recorded"], {"tables": [_regclass(table) for table in tables]}).fetchall()
    return {str(name): (str(key), comment, bool(may)) for name, key, comment, may in rows}


def read_facts(connection: Connection, table: TargetTable) -> ReadFacts:
    """What reads of this table depend on."""
    named = {"table": _regclass(table)}
    recorded = _recorded(connection, [table]).get(named["table"])
    indexes = {
        str(name): Index(bool(ranges))
        for name, ranges in connection.execute(_SQL["indexes"], named).fetchall()
        if name != table.expiry
    }
    has_token = connection.execute(_SQL["has_token"], {**named, "token": TOKEN_COLUMN}).fetchone() == (True,)
    return ReadFacts(from_comment(recorded[1]) if recorded else None, indexes, has_token)


def _regclass(table: TargetTable) -> str:
    return regclass(f"{table.schema}.{table.name}")


def order_terms(table: TargetTable, column: KeyColumn, value: sql.Composable | None = None) -> list[sql.Composed]:
    """What orders a key column's values as Cassandra does: of the column, or of a value.

    Raises QueryNotSupported if nothing does: for collections, and for a target of another type.
    """
    if column.type == ANY_ORDER:
        return [sql.SQL("{}").format(sql.Identifier(column.name) if value is None else value)]
    target = table.column(column.name)
    kind = target.type.name if target else "nothing"
    if kind not in (_NATURAL.get(column.type) or _HELD_BY.get(column.type, ())):
        raise QueryNotSupported(
            f"{table.name}: Postgres does not order {column.name} ({kind}) as Cassandra orders {column.type}: "
            "read single rows, or write the query in SQL"
        )
    shown = sql.Identifier(column.name) if value is None else sql.SQL("{}::{}").format(value, sql.SQL(kind))
    return [sql.SQL("({})").format(sql.SQL(term).format(shown)) for term in _ORDERS.get(column.type, ("{0}",))]


def comparison(table: TargetTable, column: KeyColumn | TargetColumn, operator: str, value: sql.Composable) -> sql.Composed:
    """A column compared with a value: by its place in Cassandra's order if it is a column of the key."""
    if isinstance(column, TargetColumn):
        return sql.SQL("{} {} {}").format(sql.Identifier(column.name), sql.SQL(operator), value)
    mine, its = order_terms(table, column), order_terms(table, column, value)
    return sql.SQL("({}) {} ({})").format(sql.SQL(", ").join(mine), sql.SQL(operator), sql.SQL(", ").join(its))


def after_key(table: TargetTable, columns: list[KeyColumn], values: list[sql.Composable], is_reversed: bool) -> sql.Composed:
    """The rows that come after the one with these values of the columns."""
    parts = []
    for at, column in enumerate(columns):
        operator = "<" if column.descending != is_reversed else ">"
        equal = [comparison(table, c, "=", v) for c, v in zip(columns[:at], values, strict=False)]
        parts.append(sql.SQL("({})").format(sql.SQL(" AND ").join([*equal, comparison(table, column, operator, values[at])])))
    return sql.SQL("({})").format(sql.SQL(" OR ").join(parts)) if parts else sql.SQL("false").format()


def order_by(table: TargetTable, columns: list[KeyColumn], is_reversed: bool) -> list[sql.Composed]:
    """The ORDER BY terms of these columns."""
    return [
        sql.SQL("{} {}").format(term, sql.SQL("DESC" if column.descending != is_reversed else "ASC"))
        for column in columns
        for term in order_terms(table, column)
    ]
