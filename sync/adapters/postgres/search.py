"""Vector search and retrieval in the target, in the source's terms, for comparing both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from sync.adapters.postgres.catalogue import identifier
from sync.adapters.postgres.connect import Connection
from sync.core.documents import target_value
from sync.core.rows import TableMap, TargetColumn

# Operator, and the source's similarity from its distance (Cassandra, "Vector search": cosine and dot are (1 + x) / 2).
_METRICS = {
    "cosine": ("<=>", "(2 - {}) / 2"),
    "dot_product": ("<#>", "(1 - {}) / 2"),
    "euclidean": ("<->", "1 / (1 + ({}) ^ 2)"),
}


def vector_text(vector: Sequence[float]) -> str:
    """A vector as pgvector reads it."""
    return "[" + ",".join(repr(float(v)) for v in vector) + "]"


def similarity_sql(column: TargetColumn, metric: str, vector: Sequence[float]) -> tuple[sql.Composed, sql.Composed]:
    """The distance to order by, and the source's similarity, of a column from a vector."""
    operator, formula = _METRICS[metric]
    asked = sql.SQL("{}::" + column.type.name).format(sql.Literal(vector_text(vector)))
    distance = sql.SQL("({} " + operator + " {})").format(sql.Identifier(column.name), asked)
    return distance, sql.SQL(formula).format(distance)


def nearest(
    connection: Connection, table: TableMap, column: str, vector: list[float], limit: int, similarity: str, exact: bool
) -> list[tuple[tuple[Any, ...], float]]:
    """Keys and similarities of the nearest rows, nearest first; `exact` looks at every row instead of an index."""
    target = next(p.target for p in table.pairs if p.source.name == column)
    distance, asked = similarity_sql(target, similarity, vector)
    keys = sql.SQL(", ").join(sql.Identifier(p.target.name) for p in table.keys)
    statement = sql.SQL("SELECT {}, {} FROM {} WHERE {} IS NOT NULL ORDER BY {} LIMIT {}").format(
        keys, asked, identifier(table.target), sql.Identifier(target.name), distance, limit
    )
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL enable_indexscan = {}").format("off" if exact else "on"))
        rows = connection.execute(statement).fetchall()
    return [(tuple(row[:-1]), float(row[-1])) for row in rows]


def found_by_key(connection: Connection, table: TableMap, row: dict[str, Any]) -> bool:
    """Whether the row is there when asked for by its key."""
    where = sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(p.target.name), sql.Literal(target_value(p, row[p.source.name])))
        for p in table.keys
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
