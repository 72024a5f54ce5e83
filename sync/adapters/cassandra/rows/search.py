"""Vector search and single rows in the source, for comparing them with the target's."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from cassandra.cluster import Session
from cassandra.query import BoundStatement, PreparedStatement

from sync.adapters.cassandra.connection.pages import RAW_PROFILE, quoted, select, token_of_partition
from sync.core.cql import CqlType
from sync.core.documents.collections import FieldExtractor
from sync.core.encode.base import INT64, read_cells
from sync.core.expiry import EXPIRY_NAME
from sync.core.ring import MAX_TOKEN, MIN_TOKEN
from sync.core.rows import SourceTable
from sync.core.schema.static_rows import RowFilter
from sync.core.schema.vector_index import not_indexable

Cells = Mapping[str, bytes | None]
_FUNCTION = re.compile(r"similarity_function\W+(\w+)", re.IGNORECASE)


def vector_similarity(session: Session, table: SourceTable, column: str) -> str | None:
    """The similarity function of the column's vector index (`cosine`, `dot_product`, `euclidean`), None without one."""
    if table.base:
        return None
    metadata = session.cluster.metadata.keyspaces[table.keyspace].tables[table.name]
    for index in metadata.indexes.values():
        if str(index.index_options.get("target", "")).replace('"', "") == column:
            found = _FUNCTION.search(str(index.index_options))
            return found.group(1).lower() if found else "cosine"
    return None


def index_checks(session: Session, table: SourceTable) -> dict[str, Callable[[bytes], str]]:
    """By column, a function that says why its vector index, as it is now, refuses a cell."""
    vectors = [c.name for c in table.columns if c.type.name == "vector" and c.type.args == (CqlType("float"),)]
    found = {name: vector_similarity(session, table, name) for name in vectors}
    return {name: partial(not_indexable, similarity=similarity) for name, similarity in found.items() if similarity}


def sample_rows(raw: Session, table: SourceTable, columns: Sequence[str], count: int, seed: int) -> list[Cells]:
    """Up to `count` different rows from all over the ring, as raw cells by column, the same for the same seed."""
    token, extractor = token_of_partition(table), FieldExtractor(table, tuple(c for c in columns if c != EXPIRY_NAME))
    rows = RowFilter(table, extractor.selected)
    query = raw.prepare(f"{select(table, map(quoted, extractor.selected))} WHERE {token} >= ? LIMIT 1")
    chosen = random.Random(seed)
    found: dict[tuple[bytes | None, ...], Cells] = {}
    for _ in range(count):
        for cells in _rows(raw, query, [INT64.pack(chosen.randint(MIN_TOKEN + 1, MAX_TOKEN))], len(extractor.selected)):
            if not rows.keeps(cells):
                continue
            row = extractor.cells(dict(zip(extractor.selected, cells, strict=True)))
            found[tuple(row[c.name] for c in table.primary_key)] = row
    return list(found.values())


def nearest(
    raw: Session, table: SourceTable, column: str, vector: Sequence[float], limit: int, similarity: str
) -> list[float]:
    """The similarities of the nearest rows, nearest first (Cassandra's similarity: (1 + cosine) / 2 for cosine)."""
    name = f"{quoted(table.keyspace)}.{quoted(table.name)}"
    text = f"SELECT similarity_{similarity}({quoted(column)}, ?) FROM {name} ORDER BY {quoted(column)} ANN OF ? LIMIT {limit}"
    asked = struct.pack(f">{len(vector)}f", *vector)
    return [struct.unpack(">f", score or b"")[0] for (score,) in _rows(raw, raw.prepare(text), [asked, asked], 1)]


def nearest_rows(
    raw: Session,
    table: SourceTable,
    column: str,
    asked: bytes,
    limit: int,
    similarity: str,
    where: tuple[str, Sequence[bytes | None]] = ("", ()),
) -> list[tuple[Cells, float]]:
    """The rows nearest to a vector's cell, as raw cells with their similarity. Raises the driver's errors.

    `where` are conditions, as `search_terms` makes them.
    """
    names = [c.name for c in table.columns]
    selected = ", ".join([*map(quoted, names), f"similarity_{similarity}({quoted(column)}, ?)"])
    name = f"{quoted(table.keyspace)}.{quoted(table.name)}"
    query = raw.prepare(f"SELECT {selected} FROM {name}{where[0]} ORDER BY {quoted(column)} ANN OF ? LIMIT {limit}")
    found = _rows(raw, query, [asked, *where[1], asked], len(names) + 1)
    return [(dict(zip(names, cells, strict=False)), struct.unpack(">f", cells[-1] or b"")[0]) for cells in found]


def _rows(raw: Session, query: PreparedStatement, values: Sequence[bytes | None], width: int) -> Iterator[list[bytes | None]]:
    """The rows of one page as cells: Python may be unable to represent their values."""
    bound = BoundStatement(query)
    bound.values = list(values)
    page = raw.execute(bound, execution_profile=RAW_PROFILE).current_rows[0]
    at = page.offset
    for _ in range(page.count):
        cells, at = read_cells(page.data, at, width)
        yield cells
