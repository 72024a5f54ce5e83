"""Intents as an operator sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.rows import dict_row

from sync.adapters.postgres.connection.connect import Connection
from sync.core.cql import CqlType
from sync.core.decode import decoder_for
from sync.core.encode import encoder_for
from sync.core.keys.json_form import cell_json, key_json, unknown_key
from sync.core.mutations import unpack_key
from sync.core.rows import PgType, SourceTable, TargetTable

_LIST = """
SELECT id, table_name AS table, key, source_key, kind, state, owner, attempts, error,
       extract(epoch FROM clock_timestamp() - created_at)::float8 AS age_seconds
FROM (
    SELECT id, table_name, key, source_key, kind, state, owner, attempts, error, created_at FROM sync.intent
    UNION ALL  -- rule 50: they get a number with their recheck
    SELECT NULL, table_name, key, NULL, 'recheck', 'finished', 'SQL', 0, NULL, changed_at FROM sync.sql_change
) AS found WHERE %(table)s::text IS NULL OR table_name = %(table)s
ORDER BY attempts DESC, id LIMIT %(limit)s
"""
_RETRY = """
UPDATE sync.intent SET lease_until = NULL, lease_owner = NULL
WHERE lease_until IS NOT NULL AND (%(table)s::text IS NULL OR table_name = %(table)s)
"""
# The source types that fill a column of the target, the widest last; with several, the value shows which of them it is.
_SOURCES = {
    "int2": ("smallint",), "int4": ("int",), "int8": ("bigint",), "numeric": ("varint", "decimal"),
    "float4": ("float",), "float8": ("float", "double"), "bool": ("boolean",), "text": ("text",), "varchar": ("text",),
    "bytea": ("blob",), "uuid": ("uuid",), "inet": ("inet",), "date": ("date",), "time": ("time",),
    "timestamptz": ("timestamp",), "timestamp": ("timestamp",),
}  # fmt: skip


def list_intents(connection: Connection, table: str | None, limit: int) -> list[dict[str, Any]]:
    """Intents, those that failed most first; `key` are the canonical bytes, `source_key` the source's own, if known.

    What SQL has changed, and no worker has made an intent of yet, is the last, without an id.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_LIST, {"table": table, "limit": limit}).fetchall()


def shown_key(
    source: SourceTable | None,
    target: TargetTable | None,
    renamed: Mapping[str, str],
    canonical: bytes,
    source_key: bytes | None,
) -> dict[str, Any]:
    """A key in its JSON form: by the source's types if they are remembered, else by those of the target's columns.

    `renamed`: the source's names of the target's columns, if they differ.
    """
    if source is not None and source_key is not None:
        return key_json(source.primary_key, unpack_key(source_key))
    found = [target.column(name) for name in target.primary_key] if target else []
    columns, cells = [c for c in found if c], unpack_key(canonical)
    own = unpack_key(source_key) if source_key is not None else ()
    if len(columns) != len(cells):  # this is not the intent's table: its key is another one
        return unknown_key(canonical)
    owns = own if len(own) == len(cells) else (None,) * len(cells)
    return {
        renamed.get(c.name, c.name): _by_target(c.type, cell, raw) for c, cell, raw in zip(columns, cells, owns, strict=True)
    }


def _by_target(pg: PgType, cell: bytes, raw: bytes | None) -> Any:
    """A key's value by the type of its column in the target; its own cell in the source shows which type it has there."""
    names = _SOURCES.get(pg.name, ())
    for name in names:
        cql = CqlType(name)
        try:
            if name == names[-1] or (raw is not None and encoder_for(cql, pg).encode(raw) == cell):
                return cell_json(cql, decoder_for(cql, pg)(cell))
        except (ValueError, IndexError, ArithmeticError):
            continue
    return cell_json(CqlType("blob"), cell)


def retry(connection: Connection, table: str | None) -> int:
    """Let intents that wait for their next try be due at once; returns how many."""
    return connection.execute(_RETRY, {"table": table}).rowcount
