"""A document's key, its limits, and the columns that its fields are indexed by."""

from __future__ import annotations

import base64
import struct
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from support.dataapi import jackson
from support.dataapi.errors import ApiError

MAX_CHARACTERS, MAX_DEPTH, MAX_STRING_BYTES, MAX_ITEMS = 4_000_000, 16, 8_000, 1_000
_SPECIAL = ("$vector", "$vectorize", "$lexical")
_EXTENDED = ("$date", "$uuid", "$objectId", "$binary")


def key_of(identifier: Any) -> tuple[int, str]:
    """The key's type and text."""
    if isinstance(identifier, bool):
        return 3, str(identifier).lower()
    if identifier is None:
        return 4, "null"
    if isinstance(identifier, int | Decimal):
        return 2, jackson.number(identifier) if isinstance(identifier, Decimal) else str(identifier)
    if isinstance(identifier, str) and identifier:
        return 1, identifier
    if isinstance(identifier, dict) and len(identifier) == 1:
        ((kind, value),) = identifier.items()
        if kind == "$date":
            return 5, str(int(value))
        if kind == "$uuid":
            return 1, str(uuid.UUID(value))
        if kind == "$objectId":
            return 1, str(value).lower()
    raise ApiError("SHRED_BAD_DOCID_TYPE", f"Bad type for '_id' field: {type(identifier).__name__}", "DOCUMENT")


def vector_of(document: dict[str, Any]) -> list[float] | None:
    """The vector, of either form."""
    value = document.get("$vector")
    if isinstance(value, dict):
        data = base64.b64decode(value["$binary"])
        return list(struct.unpack(f">{len(data) // 4}f", data))
    return None if value is None else [float(v) for v in value]


def check(document: dict[str, Any], dimension: int | None, new: bool) -> None:
    """Raise ApiError for what the server refuses in a document that is inserted (`new`), replaced or upserted."""
    if len(jackson.dumps(document)) > MAX_CHARACTERS:
        raise _limit(f"document size exceeds maximum allowed ({MAX_CHARACTERS})")
    _check(document, 1, "")
    vector = vector_of(document)
    if vector is not None and dimension is None and new:  # a replacement is not checked: its vector stays in the document
        raise ApiError("VECTOR_SEARCH_NOT_SUPPORTED", "Vector search is not enabled for the collection", "SCHEMA")
    if vector is not None and dimension is not None and len(vector) != dimension:
        raise ApiError("INVALID_VECTOR_LENGTH", f"{dimension} numbers are needed, not {len(vector)}", "DOCUMENT")


def _limit(text: str) -> ApiError:
    return ApiError("SHRED_DOC_LIMIT_VIOLATION", f"Document size limitation violated: {text}.", "DOCUMENT")


def _check(value: Any, depth: int, name: str) -> None:
    if depth > MAX_DEPTH:
        raise _limit(f"document depth exceeds maximum allowed ({MAX_DEPTH})")
    if isinstance(value, dict):
        if len(value) == 1 and next(iter(value)) in _EXTENDED:
            return
        for field, within in value.items():
            if not field:
                raise ApiError("SHRED_BAD_FIELD_NAME", "field name '' is empty", "DOCUMENT")
            if field.startswith("$") and not (depth == 1 and field in _SPECIAL):
                raise ApiError("SHRED_BAD_FIELD_NAME", f"field name '{field}' starts with '$'", "DOCUMENT")
            if not (depth == 1 and field in ("_id", *_SPECIAL)):
                _check(within, depth + 1, field)
    elif isinstance(value, list):
        if len(value) > MAX_ITEMS:
            raise _limit(f"number of elements (field '{name}') exceeds maximum allowed ({MAX_ITEMS})")
        for within in value:
            _check(within, depth + 1, name)
    elif isinstance(value, str) and len(value.encode()) > MAX_STRING_BYTES:
        raise _limit(f"indexed String value (field '{name}') length exceeds maximum allowed ({MAX_STRING_BYTES} bytes)")


def shredded(document: dict[str, Any]) -> dict[str, Any]:
    """The columns that filters use; what no test filters by, `array_contains`, stays empty."""
    found: dict[str, Any] = {
        "exist_keys": set(), "array_size": {}, "query_bool_values": {}, "query_dbl_values": {}, "query_text_values": {},
        "query_timestamp_values": {}, "query_null_values": set(),
    }  # fmt: skip
    for name, value in document.items():
        _shred(found, name, value)
    return found


def _shred(found: dict[str, Any], path: str, value: Any) -> None:
    found["exist_keys"].add(path)
    if path.startswith("$"):
        return
    if isinstance(value, bool):
        found["query_bool_values"][path] = int(value)
    elif value is None:
        found["query_null_values"].add(path)
    elif isinstance(value, int | Decimal):
        found["query_dbl_values"][path] = Decimal(value)
    elif isinstance(value, str):
        found["query_text_values"][path] = value
    elif isinstance(value, list):
        found["array_size"][path] = len(value)
    elif set(value) == {"$date"}:
        found["query_timestamp_values"][path] = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(value["$date"]))
    elif not set(value) & set(_EXTENDED):
        for name, within in value.items():
            _shred(found, f"{path}.{name.replace('&', '&&').replace('.', '&.')}", within)
