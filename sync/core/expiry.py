"""When rows expire: with `ttl = "expire"` the target has a column for it, filled from the TTL of a row's cells.

In a mapping it is one more column of the source, of the kind `expiry`, which the source itself does not have. Its cell is a
moment, in milliseconds since 1970, or null for a row that never expires; or it says why that cannot be told.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sync.core.cql import EXPIRY, CqlType
from sync.core.documents.collections import with_fields
from sync.core.encode.base import INT64
from sync.core.rows import SourceColumn, SourceTable, TableOptions
from sync.core.schema.static_rows import without_ignored
from sync.errors import WriteRefused

EXPIRY_NAME = "ttl()"
"""The column's name among the source's, which no unquoted column can have."""
TOLERANCE_MS = 5000
"""Cassandra reports whole seconds by the clock of a node; the two sides' moments may differ by so much."""
_SLOW_SECONDS = 1.0
MAX_TTL = 630_720_000
"""The longest TTL that Cassandra takes, in seconds: twenty years."""
_COMMENT = "A row expires at this moment; default_time_to_live = {}"
_RECORDED = re.compile(_COMMENT.replace("{}", r"(\d+)"))
NEVER, UNKNOWN = 2**63 - 1, -(2**63)


def expires_late(cells: Mapping[str, bytes | None], seconds: float) -> bool:
    """Whether a row expires later in Cassandra than it should: its TTL counts from when the write is executed."""
    return EXPIRY_NAME in cells and seconds > _SLOW_SECONDS


def migrated(table: SourceTable, options: TableOptions) -> SourceTable:
    """The table with what sync.toml makes of its columns: fields of its documents, its rows' expiry, ignored static ones."""
    return with_expiry(with_fields(without_ignored(table, options), options.fields), options.expiry)


def with_expiry(table: SourceTable, target: str) -> SourceTable:
    """The table with a column for its rows' expiry, which the target calls so; without one if that is empty."""
    columns = tuple(c for c in table.columns if c.kind != "expiry")
    if target:
        columns += (SourceColumn(EXPIRY_NAME, CqlType(EXPIRY), "expiry", alias=target),)
    return table if columns == table.columns else replace(table, columns=columns)


def expires(table: SourceTable) -> bool:
    """Whether its rows' expiry is migrated."""
    return any(c.kind == "expiry" for c in table.columns)


def seconds_of(table: str, ttl: Any) -> int:
    """The TTL. Raises WriteRefused for what is not one."""
    if isinstance(ttl, bool) or not isinstance(ttl, int) or not 0 <= ttl <= MAX_TTL:
        raise WriteRefused(f"{table}: a TTL is a whole number of seconds from 0 (never) to {MAX_TTL:,}, not {ttl!r}")
    return ttl


def expiry_comment(default_ttl: int) -> str:
    """The comment on the target's column of moments, by which a store finds it when the migration is over."""
    return _COMMENT.format(default_ttl)


def expiry_ttl(comment: str | None) -> int | None:
    """The default TTL that such a comment records, 0 for none; None for any other comment."""
    found = _RECORDED.fullmatch(comment or "")
    return int(found[1]) if found else None


def moment_after(seconds: int, now: float | None = None) -> int:
    """The moment, ms since 1970, at which Cassandra lets a row expire that is written now with this TTL."""
    return (int(time.time() if now is None else now) + seconds) * 1000


def seconds_left(moment: int, now: float | None = None) -> int:
    """The TTL that lets a row which is written now expire at this moment; 0 or less if it has."""
    return -(-moment // 1000) - int(time.time() if now is None else now)


def expiry_of(cells: Mapping[str, bytes | None] | None) -> int | None:
    """The moment at which a row with these cells expires; None if it does not, or if that is not known."""
    cell = cells.get(EXPIRY_NAME) if cells else None
    return INT64.unpack(cell)[0] if cell and len(cell) == INT64.size else None


def packed(cell: bytes | None) -> bytes:
    """The cell in eight bytes, to be kept with a row's hash."""
    return INT64.pack(NEVER if cell is None else UNKNOWN) if cell is None or len(cell) != INT64.size else cell


def is_same_moment(one: int | None, other: int | None) -> bool:
    """Whether two rows expire at the same moment, as far as that can be told."""
    if one is None or other is None:
        return one is other
    return abs(one - other) <= TOLERANCE_MS
