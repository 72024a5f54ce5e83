"""A Data API collection as a table: its key, its document, its vector; and fields of the document as columns of their own.

The layout is the server's: `key tuple<tinyint, text>` holds the `_id`'s type and text, `doc_json` the document, and
`query_vector_value` the vector (docs/collections.md).
"""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any
from uuid import UUID

from sync.core.cql import DOCUMENT, DOCUMENT_ID, FIELD, CqlType
from sync.core.encode.base import Reject, join_cells, read_cells
from sync.core.encode.documents import VECTOR_FIELD, canonical, whole, without_vector
from sync.core.encode.jsonb import VERSION
from sync.core.rows import Page, SourceColumn, SourceTable

KEY_COLUMN, DOC_COLUMN, VECTOR_COLUMN = "key", "doc_json", "query_vector_value"
_MAX_DIGITS = 100
_SPECIAL = frozenset({VECTOR_FIELD, "$vectorize", "$lexical"})
_EXTENDED = frozenset({"$date", "$uuid", "$objectId", "$binary"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAYOUT = {
    KEY_COLUMN: ("partition_key", "frozen<tuple<tinyint, text>>"),
    DOC_COLUMN: ("regular", "text"),
    "tx_id": ("regular", "timeuuid"),
}
_FILTERS = {
    "exist_keys": "set<text>",
    "array_size": "map<text, int>",
    "array_contains": "set<text>",
    "array_equals": "map<text, text>",
    "sub_doc_equals": "map<text, text>",
    "query_bool_values": "map<text, tinyint>",
    "query_dbl_values": "map<text, decimal>",
    "query_text_values": "map<text, text>",
    "query_timestamp_values": "map<text, timestamp>",
    "query_null_values": "set<text>",
    "query_lexical_value": "text",
}
"""The columns that each collection has, and those that it may have besides its vector, with the server's types."""
_NAMES = re.compile(r"(?:&[.&]|[^.&])+|(?<=\.)(?=\.|$)|^(?=\.|$)")


def collection_table(keyspace: str, name: str, dimension: int | None) -> SourceTable:
    """A collection as a table of three columns, or two where it has no vector: then a `$vector` stays in its document."""
    columns = [
        SourceColumn(KEY_COLUMN, CqlType(DOCUMENT_ID), "partition_key", alias="_id"),
        SourceColumn(DOC_COLUMN, CqlType(DOCUMENT, dimension=dimension), "regular", alias="doc"),
    ]
    if dimension:
        vector = CqlType("vector", (CqlType("float"),), dimension)
        columns.append(SourceColumn(VECTOR_COLUMN, vector, "regular", alias="vector"))
    return SourceTable(keyspace, name, tuple(columns), is_collection=True)


def is_collection(columns: Sequence[SourceColumn], said: bool | None = None) -> bool:
    """Whether a table with these columns is a collection: the server's layout by names and types, and no column besides.

    `said`: what sync.toml says about it. True admits columns that no known version of the server makes, but no other key.
    """
    found = {c.name: (c.kind, str(c.type)) for c in columns}
    if said is False or any(found.get(name) != wanted for name, wanted in _LAYOUT.items()):
        return False
    keys = [c for c in columns if c.kind != "regular"]
    more = [c for c in columns if c.name not in _LAYOUT and not (c.name == VECTOR_COLUMN and c.type.name == "vector")]
    return len(keys) == 1 and (said is True or all(_FILTERS.get(c.name) == str(c.type) for c in more))


def with_fields(table: SourceTable, fields: Mapping[str, str]) -> SourceTable:
    """The table with these fields of its documents (path → Postgres type) as columns, each named by its path."""
    added = [
        SourceColumn(path, CqlType(FIELD, fields=(sql,)), "regular", path=segments(path)) for path, sql in fields.items()
    ]
    return replace(table, columns=table.stored + tuple(added))


def segments(path: str) -> tuple[str, ...]:
    """The names in a path: `a.b` is b within a; `&.` and `&&` are a dot and an ampersand, as in the Data API's paths."""
    return tuple(re.sub(r"&([.&])", r"\1", name) for name in _NAMES.findall(path))


def document_cells(table: SourceTable, values: Mapping[str, Any]) -> dict[str, bytes | None]:
    """An application's document as the cells of its text and its vector. Raises TypeError, ValueError, struct.error."""
    vector = values.get(VECTOR_FIELD)
    _check_names([name for name in values if name not in _SPECIAL])
    own = {name: _as_stored(value) for name, value in values.items() if name != VECTOR_FIELD}
    packed = None if vector is None else struct.pack(f">{len(vector)}f", *vector)
    if packed is not None and not _has_vector(table):
        own[VECTOR_FIELD], packed = packed, None
    text = json.dumps(own, default=_extended, ensure_ascii=False, allow_nan=False).encode()
    return {DOC_COLUMN: text, VECTOR_COLUMN: packed}


def _has_vector(table: SourceTable) -> bool:
    return any(column.name == VECTOR_COLUMN for column in table.columns)


def _as_stored(value: Any) -> Any:
    """The value with its numbers as the server keeps them: without trailing zeros, which jsonb would print."""
    if isinstance(value, Mapping):
        if len(value) != 1 or next(iter(value)) not in _EXTENDED:
            _check_names(value)
        return {name: _as_stored(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [_as_stored(v) for v in value]
    return int(Decimal(repr(value))) if isinstance(value, float) and value.is_integer() else value


def _check_names(names: Iterable[str]) -> None:
    """Raise ValueError for a name that the server accepts nowhere: a document with it could never be sent back."""
    for name in names:
        if not name or name.startswith("$"):
            raise ValueError(f"a field named {name!r}: a name is not empty and does not begin with $")


def _extended(value: Any) -> dict[str, Any]:
    """The Data API's form of what JSON has no type for."""
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.astimezone()
        return {"$date": (moment - _EPOCH) // timedelta(milliseconds=1)}
    if isinstance(value, UUID):
        return {"$uuid": str(value)}
    if type(value).__name__ == "ObjectId":
        return {"$objectId": str(value)}
    if isinstance(value, bytes):
        return {"$binary": base64.b64encode(value).decode()}
    raise TypeError(f"a document does not take a {type(value).__name__}")


def plain_extended(value: Any) -> Any:
    """A document as an application reads it: the Data API's forms of dates, uuids and bytes as Python's own."""
    if isinstance(value, list):
        return [plain_extended(v) for v in value]
    if not isinstance(value, dict):
        return value
    if list(value) == ["$date"]:
        return _EPOCH + timedelta(milliseconds=value["$date"])
    if list(value) == ["$uuid"]:
        return UUID(value["$uuid"])
    if list(value) == ["$binary"]:
        return base64.b64decode(value["$binary"])
    return {name: plain_extended(v) for name, v in value.items()}


def document_from_cells(table: SourceTable, cells: Mapping[str, bytes | None]) -> dict[str, Any]:
    """The document of a row's cells, which `FieldExtractor` took apart. Raises ValueError if that cannot be exact."""
    text = cells.get(DOC_COLUMN)
    if text is None:
        raise ValueError("what is not a column of the target is lost: the document cannot be rebuilt")
    found = json.loads(text.removeprefix(VERSION), parse_float=_exact, parse_int=_whole)
    for column in table.columns:
        fragment = cells.get(column.name) if column.path else None
        if fragment is not None:
            _put(found, column.path, json.loads(fragment, parse_float=_exact, parse_int=_whole))
    vector = cells.get(VECTOR_COLUMN) or _packed(found.get(VECTOR_FIELD))
    if vector:
        found[VECTOR_FIELD] = list(struct.unpack(f">{len(vector) // 4}f", vector))
    return dict(found)


def _packed(vector: Any) -> bytes | None:
    """The bytes of a vector that its document holds as `$binary`."""
    return base64.b64decode(vector["$binary"]) if isinstance(vector, dict) and list(vector) == ["$binary"] else None


def _put(document: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    within = document
    for name in path[:-1]:
        within = within.setdefault(name, {})
        if not isinstance(within, dict):
            raise ValueError(f"{name} is not an object in the document, but contains a field that is a column")
    within[path[-1]] = value


def _whole(text: str) -> int | float:
    """A number without a point; one of more digits than the API takes was written with an exponent, and is sent so again."""
    return int(text) if len(text) <= _MAX_DIGITS else _exact(text)


def _exact(text: str) -> float:
    """A number that goes through a float unchanged, which is how it is sent."""
    value = float(text)
    if not isfinite(value) or Decimal(repr(value)) != Decimal(text):
        raise ValueError("a number of more digits than can be sent")
    return value


class FieldExtractor:
    """Takes the fields that are columns out of the documents of rows; `selected` are the columns to read.

    For a table without such fields nothing changes.
    """

    def __init__(self, table: SourceTable, columns: tuple[str, ...]) -> None:
        paths = {c.name: c.path for c in table.columns if c.path}
        self._columns = columns
        self._fields = {name: paths[name] for name in columns if name in paths}
        self._parsed = without_vector if _has_vector(table) else whole
        own = [name for name in columns if name not in self._fields]
        # The document is read for its fields even if it is not copied itself.
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
            found = self._parsed(doc)
            taken = {name: _canonical(_taken(found, path)) for name, path in self._fields.items()}
            return {**cells, **taken, DOC_COLUMN: VERSION + canonical(found)}
        except Reject:
            # Left as it is: encoding it raises its own error.
            return {**cells, **dict.fromkeys(self._fields, doc)}


def _canonical(value: Any) -> bytes | None:
    return None if value is None else canonical(value)


def _taken(document: Any, path: tuple[str, ...]) -> Any:
    """The value there, taken out of the document; None if there is none. A null stays: it is not the same as no value."""
    within = document
    for name in path[:-1]:
        within = within.get(name) if isinstance(within, dict) else None
    if not isinstance(within, dict) or within.get(path[-1]) is None:
        return None
    return within.pop(path[-1])
