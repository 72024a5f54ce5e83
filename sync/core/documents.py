"""A Data API collection as a table: its key, its document, its vector; and fields of the document as columns of their own.

The layout is the server's: `key tuple<tinyint, text>` holds the `_id`'s type and text, `doc_json` the document, and
`query_vector_value` the vector (docs/collections.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from sync.core.cql import DOCUMENT, DOCUMENT_ID, FIELD, CqlType
from sync.core.encode.base import Reject, join_cells
from sync.core.encode.document_ids import id_cell, id_form
from sync.core.encode.documents import canonical, without_vector
from sync.core.encode.jsonb import VERSION
from sync.core.encode.rows import read_cells
from sync.core.rows import ColumnPair, Page, SourceColumn, SourceTable

KEY_COLUMN, DOC_COLUMN, VECTOR_COLUMN = "key", "doc_json", "query_vector_value"
_NAMES = re.compile(r"(?:&[.&]|[^.&])+|(?<=\.)(?=\.|$)|^(?=\.|$)")


def collection_table(keyspace: str, name: str, dimension: int | None) -> SourceTable:
    """A collection as a table of three columns, or two where it has no vector."""
    columns = [
        SourceColumn(KEY_COLUMN, CqlType(DOCUMENT_ID), "partition_key", alias="_id"),
        SourceColumn(DOC_COLUMN, CqlType(DOCUMENT), "regular", alias="doc"),
    ]
    if dimension:
        vector = CqlType("vector", (CqlType("float"),), dimension)
        columns.append(SourceColumn(VECTOR_COLUMN, vector, "regular", alias="vector"))
    return SourceTable(keyspace, name, tuple(columns), is_collection=True)


def with_fields(table: SourceTable, fields: Mapping[str, str]) -> SourceTable:
    """The table with these fields of its documents (path → Postgres type) as columns, each named by its path."""
    added = [
        SourceColumn(path, CqlType(FIELD, fields=(sql,)), "regular", path=segments(path)) for path, sql in fields.items()
    ]
    return replace(table, columns=table.columns + tuple(added))


def segments(path: str) -> tuple[str, ...]:
    """The names in a path: `a.b` is b within a; `&.` and `&&` are a point and an ampersand, as in the Data API's paths."""
    return tuple(re.sub(r"&([.&])", r"\1", name) for name in _NAMES.findall(path))


def target_value(pair: ColumnPair, value: Any) -> Any:
    """What the target's column holds for a value of the source: another one for the `_id` of a document alone.

    None for an `_id` that it cannot hold.
    """
    if pair.source.type.name != DOCUMENT_ID:
        return value
    kind, text = value
    try:
        if pair.target.type.name == "uuid":
            return UUID(text)
        return id_form(id_cell(kind, text)) if pair.target.type.name in ("text", "varchar") else int(text)
    except (Reject, ValueError):
        return None


class Unfolded:
    """Rows as they are read, with the fields that are columns taken out of the document: `selected` are to be read.

    For a table without such fields nothing changes.
    """

    def __init__(self, table: SourceTable, columns: tuple[str, ...]) -> None:
        paths = {c.name: c.path for c in table.columns if c.path}
        self._columns = columns
        self._fields = {name: paths[name] for name in columns if name in paths}
        own = [name for name in columns if name not in self._fields]
        # The document is read for its fields even where it is not carried itself.
        self.selected = tuple(own if not self._fields or DOC_COLUMN in own else [*own, DOC_COLUMN])

    def page(self, page: Page) -> Page:
        """The page with a cell for each column."""
        if not self._fields:
            return page
        rows, at, width = [], page.offset, 1 + len(self.selected)
        for _ in range(page.count):
            (token, *cells), at = read_cells(page.data, at, width)
            found = self.cells(dict(zip(self.selected, cells, strict=True)))
            rows.append(join_cells([token, *(found[name] for name in self._columns)]))
        return Page(b"".join(rows), 0, page.count)

    def cells(self, cells: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
        """A row's cells by column."""
        if not self._fields:
            return dict(cells)
        doc = cells[DOC_COLUMN]
        if doc is None:
            return {**cells, **dict.fromkeys(self._fields)}
        try:
            found = without_vector(doc)
            taken = {name: _canonical(_taken(found, path)) for name, path in self._fields.items()}
            return {**cells, **taken, DOC_COLUMN: VERSION + canonical(found)}
        except Reject:
            # As it is, it tells its own fault when it is encoded.
            return {**cells, **dict.fromkeys(self._fields, doc)}


def _canonical(value: Any) -> bytes | None:
    return None if value is None else canonical(value)


def _taken(document: Any, path: tuple[str, ...]) -> Any:
    """The value there, taken out of the document; None where there is none. A null stays: it is not the same as none."""
    within = document
    for name in path[:-1]:
        within = within.get(name) if isinstance(within, dict) else None
    if not isinstance(within, dict) or within.get(path[-1]) is None:
        return None
    return within.pop(path[-1])
