"""Vector search and single rows in the source, for comparing them with the target's."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import partial

from cassandra.cluster import Session

from sync.adapters.cassandra.pages import quoted, token_of_partition
from sync.core.cql import CqlType
from sync.core.ring import MAX_TOKEN, MIN_TOKEN
from sync.core.rows import SourceTable
from sync.core.vector_index import not_indexable

_FUNCTION = re.compile(r"similarity_function\W+(\w+)", re.IGNORECASE)


def vector_similarity(session: Session, table: SourceTable, column: str) -> str | None:
    """The similarity function of the column's vector index (`cosine`, `dot_product`, `euclidean`), None without one."""
    metadata = session.cluster.metadata.keyspaces[table.keyspace].tables[table.name]
    for index in metadata.indexes.values():
        if str(index.index_options.get("target", "")).replace('"', "") == column:
            found = _FUNCTION.search(str(index.index_options))
            return found.group(1).lower() if found else "cosine"
    return None


def index_checks(session: Session, table: SourceTable) -> dict[str, Callable[[bytes], str]]:
    """By column, what says why its vector index refuses a cell, as the table's indexes are now."""
    vectors = [c.name for c in table.columns if c.type.name == "vector" and c.type.args == (CqlType("float"),)]
    found = {name: vector_similarity(session, table, name) for name in vectors}
    return {name: partial(not_indexable, similarity=similarity) for name, similarity in found.items() if similarity}


def sample_rows(session: Session, table: SourceTable, count: int, seed: int) -> list[dict[str, object]]:
    """Up to `count` different rows from all over the ring, as the driver decodes them; the same for the same seed."""
    token = token_of_partition(table)
    names = [c.name for c in table.stored]
    select = ", ".join(map(quoted, names))
    query = session.prepare(f"SELECT {select} FROM {quoted(table.keyspace)}.{quoted(table.name)} WHERE {token} >= ? LIMIT 1")
    chosen = random.Random(seed)
    found: dict[str, dict[str, object]] = {}
    for _ in range(count):
        row = session.execute(query, (chosen.randint(MIN_TOKEN + 1, MAX_TOKEN),)).one()
        if row is not None:
            values = dict(zip(names, row, strict=True))
            found[repr([values[c.name] for c in table.primary_key])] = values
    return list(found.values())


def nearest(
    session: Session, table: SourceTable, column: str, vector: list[float], limit: int, similarity: str
) -> list[tuple[tuple[object, ...], float]]:
    """Keys and similarities of the nearest rows, nearest first (Cassandra's similarity: (1 + cosine) / 2 for cosine)."""
    keys = ", ".join(quoted(c.name) for c in table.primary_key)
    name = f"{quoted(table.keyspace)}.{quoted(table.name)}"
    text = (
        f"SELECT {keys}, similarity_{similarity}({quoted(column)}, ?) FROM {name} "
        f"ORDER BY {quoted(column)} ANN OF ? LIMIT {limit}"
    )
    rows = session.execute(session.prepare(text), (vector, vector))
    return [(tuple(row[:-1]), float(row[-1])) for row in rows]
