"""Vector search and retrieval in the target, in the source's terms, for comparing both."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from sync.adapters.postgres.connection.cell import Cell, register
from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.dual_write.parameters import Parameters
from sync.adapters.postgres.dual_write.statements import Statements, column
from sync.adapters.postgres.schema.catalogue import identifier
from sync.adapters.postgres.schema.expiry import is_live
from sync.core.encode.rows import RowEncoder
from sync.core.mutations import Key
from sync.core.rows import TableMap, TargetColumn

_SQL = queries("drift/search")

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


_PLAN = """
SELECT set_config('enable_indexscan', %s, true), set_config('enable_seqscan', 'on', true),
       set_config('hnsw.ef_search', greatest(coalesce(current_setting('hnsw.ef_search', true), '40')::int, 40)::text, true)
"""
"""Settings that decide how a search is done; a role's own may turn the index off, or let it miss most of the rows."""


def search_widely(connection: Connection, limit: int) -> None:
    """Until the transaction ends, have HNSW indexes find `limit` rows where there are so many.

    By itself a scan ends after `hnsw.ef_search` rows, 40 by default, and a filter takes rows out of these.
    """
    connection.execute(_SQL["widely"], {"limit": limit})


def nearest(
    connection: Connection, table: TableMap, column: str, vector: Sequence[float], limit: int, similarity: str, exact: bool
) -> list[float]:
    """The similarities of the nearest rows, nearest first; `exact` reads every row instead of using an index."""
    target = next(p.target for p in table.pairs if p.source.name == column)
    distance, asked = similarity_sql(target, similarity, vector)
    statement = sql.SQL("SELECT {} FROM {} AS t WHERE {} IS NOT NULL AND {} ORDER BY {} LIMIT {}").format(
        asked, identifier(table.target), sql.Identifier(target.name), _is_live(table), distance, limit
    )
    with connection.transaction(), connection.cursor(binary=True) as cursor:
        cursor.execute(_PLAN, ("off" if exact else "on",))
        return [float(row[0]) for row in cursor.execute(statement)]


def _is_live(table: TableMap) -> sql.Composed:
    return is_live(next((p.target.name for p in table.pairs if p.source.kind == "expiry"), ""))


class Retrieval:
    """Rows of one table, retrieved as an application would, with values as the encoder makes them of cells."""

    def __init__(self, connection: Connection, table: TableMap, encoder: RowEncoder) -> None:
        register(connection)
        self._connection = connection
        self._statements = Statements(table, encoder)
        self._parameters = Parameters(self._statements, encoder)
        self._targets = {p.source.name: p.target for p in table.pairs}
        self._by_key = self._statements.made(_SQL["by_key"])

    def by_key(self, key: Key) -> bool:
        """Whether the row is found by its key."""
        return self._connection.execute(self._by_key, self._parameters.key(key)).fetchone() is not None

    def by_content(self, key: Key, name: str, content: bytes) -> bool:
        """Whether a search for a map's content (`data @> …`, by GIN) finds the row; `content` is the encoded map."""
        target = self._targets[name]
        parts = {"column": column(target.name), "content": sql.Placeholder("content")}
        values = {**self._parameters.key(key), "content": Cell(content, target.type.oid)}
        row = self._connection.execute(self._statements.made(_SQL["by_content"], **parts), values).fetchone()
        return row == (True,)
