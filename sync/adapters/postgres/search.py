"""Vector search and retrieval in the target, in the source's terms, for comparing both."""

from __future__ import annotations

from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from sync.adapters.postgres.catalogue import identifier
from sync.adapters.postgres.connect import Connection
from sync.core.rows import TableMap

# Operator, and the source's similarity from its distance (Cassandra, "Vector search": cosine and dot are (1 + x) / 2).
_METRICS = {
    "cosine": ("<=>", "(2 - {}) / 2"),
    "dot_product": ("<#>", "(1 - {}) / 2"),
    "euclidean": ("<->", "1 / (1 + ({}) ^ 2)"),
}


def nearest(
    connection: Connection, table: TableMap, column: str, vector: list[float], limit: int, similarity: str, exact: bool
) -> list[tuple[tuple[Any, ...], float]]:
    """Keys and similarities of the nearest rows, nearest first; `exact` looks at every row instead of an index."""
    operator, formula = _METRICS[similarity]
    target = next(p.target for p in table.pairs if p.source.name == column)
    asked = sql.SQL("{}::" + target.type.name).format(sql.Literal("[" + ",".join(map(repr, vector)) + "]"))
    distance = sql.SQL("({} " + operator + " {})").format(sql.Identifier(target.name), asked)
    keys = sql.SQL(", ").join(sql.Identifier(p.target.name) for p in table.keys)
    statement = sql.SQL("SELECT {}, {} FROM {} WHERE {} IS NOT NULL ORDER BY {} LIMIT {}").format(
        keys, sql.SQL(formula).format(distance), identifier(table.target), sql.Identifier(target.name), distance, limit
    )
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL enable_indexscan = {}").format("off" if exact else "on"))
        rows = connection.execute(statement).fetchall()
    return [(tuple(row[:-1]), float(row[-1])) for row in rows]


def found_by_key(connection: Connection, table: TableMap, row: dict[str, Any]) -> bool:
    """Whether the row is there when asked for by its key."""
    where = sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(p.target.name), sql.Literal(row[p.source.name])) for p in table.keys
    )
    statement = sql.SQL("SELECT true FROM {} WHERE {}").format(identifier(table.target), where)
    return connection.execute(statement).fetchone() is not None


def found_by_content(connection: Connection, table: TableMap, row: dict[str, Any], column: str) -> bool | None:
    """Whether asking for a text map's content (`data @> …`, as GIN answers) finds the row; None where it is empty."""
    pair = next(p for p in table.pairs if p.source.name == column)
    content = row[column]
    if not content:
        return None
    key = sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(p.target.name), sql.Literal(row[p.source.name])) for p in table.keys
    )
    statement = sql.SQL("SELECT {} = {} FROM {} WHERE {} @> {} AND {}").format(
        sql.Identifier(pair.target.name),
        sql.Literal(Jsonb(dict(content))),
        identifier(table.target),
        sql.Identifier(pair.target.name),
        sql.Literal(Jsonb(dict(content))),
        key,
    )
    return connection.execute(statement).fetchone() == (True,)
