"""What makes a table impossible in Postgres, whatever it holds: columns, key width and names; and names that are possible."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace

from sync.core.encode import UnsupportedPair, default_target
from sync.core.rows import SourceColumn, SourceTable, TableOptions

MAX_NAME_BYTES = 63
MAX_COLUMNS, OWN_COLUMNS, MAX_KEY_COLUMNS = 1600, 2, 32
_MAX_INDEX_BYTES, _MAX_ROW_BYTES, _ROW_HEAD_BYTES, _POINTER_BYTES = 2704, 8160, 24, 18
STATE_SCHEMA = "sync"
_RESERVED = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid", "_sync_token", "_sync_version"})
"""Columns that every Postgres table has, and those that a migration adds while it runs."""
_FIXED_BYTES = {
    "smallint": 2, "integer": 4, "bigint": 8, "boolean": 1, "real": 4, "double precision": 8, "uuid": 16, "date": 4,
    "time": 8, "timestamptz": 8, "timestamp with time zone": 8, "interval": 16,
}  # fmt: skip


def migrated_columns(source: SourceTable, options: TableOptions) -> list[SourceColumn]:
    """The columns that the target gets."""
    return [c for c in source.columns if c.name not in options.ignore and c.kind != "static"]


def reserved(name: str) -> bool:
    """Whether Postgres or the migration has a column of that name itself."""
    return name in _RESERVED


def too_long(name: str) -> bool:
    """Whether Postgres would cut the name."""
    return len(name.encode()) > MAX_NAME_BYTES


def impossible(source: SourceTable, options: TableOptions) -> Iterator[str]:
    """Why Postgres can have no such table, with the limit."""
    columns = migrated_columns(source, options)
    fix = f"ignore some of them under {source.section} in sync.toml, or leave the table out with exclude"
    if len(columns) > MAX_COLUMNS - OWN_COLUMNS:
        yield (
            f"{len(columns):,} columns: a Postgres table has {MAX_COLUMNS:,} at most, {OWN_COLUMNS} of which the migration "
            f"needs; {fix}"
        )
    key = source.primary_key
    if len(key) > MAX_KEY_COLUMNS:
        yield f"{len(key)} key columns: a Postgres index has {MAX_KEY_COLUMNS} at most; leave the table out with exclude"
    if (width := sum(_vector_bytes(c) for c in key)) > _MAX_INDEX_BYTES:
        yield (
            f"the vectors in its key take {width:,} bytes: an entry of a Postgres index has {_MAX_INDEX_BYTES:,} at most; "
            "leave the table out with exclude"
        )


def _vector_bytes(column: SourceColumn) -> int:
    return 8 + 4 * (column.type.dimension or 0) if column.type.name == "vector" else 0


def widest_row(source: SourceTable, options: TableOptions) -> int:
    """The least number of bytes of a row whose columns are all filled, however much Postgres stores elsewhere."""
    columns = migrated_columns(source, options)
    return _ROW_HEAD_BYTES + len(columns) // 8 + sum(map(_least_bytes, columns))


def _least_bytes(column: SourceColumn) -> int:
    """The bytes of a value within its row; one of variable length counts as a pointer, since it can be stored elsewhere."""
    try:
        return _FIXED_BYTES.get(default_target(column.type), _POINTER_BYTES)
    except UnsupportedPair:
        return 0


def too_wide(source: SourceTable, options: TableOptions) -> str:
    """A warning about a table whose rows may be too wide; empty if none can be."""
    width = widest_row(source, options)
    if width <= _MAX_ROW_BYTES:
        return ""
    return (
        f"a row with all of its columns takes {width:,} bytes, Postgres's rows {_MAX_ROW_BYTES:,} at most: wider ones are "
        f"rejected; ignore columns under {source.section} in sync.toml"
    )


def other_names(source: SourceTable, options: TableOptions) -> TableOptions:
    """The options with another name for every column and table whose name Postgres cannot use."""
    taken = {options.target_name(c) for c in migrated_columns(source, options)}
    rename = dict(options.rename)
    for column in migrated_columns(source, options):
        name = options.target_name(column)
        if reserved(name) or too_long(name):
            rename[column.name] = _other(name, taken)
            taken.add(rename[column.name])
    target = options.target or source.name
    *schema, name = target.split(".", 1)
    cut = ".".join([*schema, _other(name, set())]) if too_long(name) else options.target
    return replace(options, rename=rename, target=cut)


def _other(name: str, taken: Iterable[str]) -> str:
    """A name like this one that is free and short enough."""
    for number in range(1, 10_000):
        end = f"_{number}"
        made = name.encode()[: MAX_NAME_BYTES - len(end)].decode(errors="ignore") + end
        if made not in taken:
            return made
    return name


def said(source: SourceTable, before: TableOptions, after: TableOptions) -> str:
    """What sync.toml must say for the other names; empty if nothing has changed."""
    lines = []
    if before.target != after.target:
        lines.append(f"target = {json.dumps(after.target)}")
    if before.rename != after.rename:
        pairs = ", ".join(f"{json.dumps(column)} = {json.dumps(name)}" for column, name in after.rename.items())
        lines.append(f"rename = {{ {pairs} }}")
    return f"{' and '.join(lines)} under {source.section} in sync.toml" if lines else ""
