"""A key that no row has: a test write to the source must not touch a row of the application."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from uuid import uuid1, uuid4

from sync.core.encode.document_ids import TEXT, id_cell
from sync.core.rows import SourceTable

_FRESH: dict[str, Callable[[], bytes]] = {
    "uuid": lambda: uuid4().bytes,
    "timeuuid": lambda: uuid1().bytes,
    "text": lambda: f"sync-canary-{uuid4()}".encode(),
    "ascii": lambda: f"sync-canary-{uuid4()}".encode(),
    "blob": lambda: secrets.token_bytes(16),
    "varint": lambda: b"\x01" + secrets.token_bytes(16),
    "bigint": lambda: secrets.token_bytes(8),
    "timestamp": lambda: secrets.token_bytes(8),
    "int": lambda: secrets.token_bytes(4),
    "date": lambda: secrets.token_bytes(4),
}
"""Types with so many values that a random one is unused, and what makes the raw cell of such a value."""


def unused_key(table: SourceTable, cells: tuple[bytes, ...]) -> tuple[bytes, ...] | None:
    """The raw cells of a key like this one, with fresh values wherever their type has enough; None if no type has."""
    if table.is_collection:
        return (id_cell(TEXT, f"sync-canary-{uuid4()}"),)
    types = [column.type.name for column in table.primary_key]
    if not any(name in _FRESH for name in types):
        return None
    return tuple(_FRESH[name]() if name in _FRESH else cell for name, cell in zip(types, cells, strict=True))
