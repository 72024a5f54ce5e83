"""Changed keys as JSON lines: `{"table": "songs", "key": {"id": …}}`, or `"partition"` in the place of `"key"`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sync.core.capture.changes import ChangedKey
from sync.core.keys.json_form import key_cells
from sync.core.rows import SourceColumn, SourceTable
from sync.core.words import listed

_FIELDS = {"table", "key", "partition", "timestamp"}
_BIGGEST = (1 << 63) - 1


def changed_key(line: bytes, tables: Mapping[str, SourceTable], now: float) -> ChangedKey:
    """What one line tells; `now`: the moment at which it was read, in seconds since 1970.

    A table that is not among these is told by its name alone. Raises ValueError, in words without the line's values.
    """
    given = _object(line)
    if unknown := sorted(given.keys() - _FIELDS):
        raise ValueError(f"it has {listed([json.dumps(name) for name in unknown])}, which is not one of {_named(_FIELDS)}")
    name, timestamp = given.get("table"), given.get("timestamp")
    if not isinstance(name, str):
        raise ValueError('"table" must be the name of a table')
    if ("key" in given) == ("partition" in given):
        raise ValueError('it must have either "key" or "partition"')
    if timestamp is not None and (type(timestamp) is not int or not 0 <= timestamp <= _BIGGEST):
        raise ValueError('"timestamp" must be a whole number: microseconds since 1970')
    table = tables.get(name)
    if table is None:
        return ChangedKey(name, (), None, timestamp, now)
    partition = table.partition_key
    if "partition" in given:
        return ChangedKey(name, _cells(partition, given["partition"], "partition"), None, timestamp, now)
    cells = _cells(table.primary_key, given["key"], "key")
    return ChangedKey(name, cells[: len(partition)], cells[len(partition) :], timestamp, now)


def _object(line: bytes) -> dict[str, Any]:
    try:
        given = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(given, dict):
        raise ValueError("it is not a JSON object")
    return given


def _cells(columns: Sequence[SourceColumn], given: Any, what: str) -> tuple[bytes, ...]:
    names = [column.name for column in columns]
    if not isinstance(given, dict) or given.keys() != set(names):
        raise ValueError(f'"{what}" must be an object with {listed(names)}, and nothing else')
    cells: tuple[bytes, ...] = ()
    for column in columns:
        try:
            (cell,) = key_cells([column], given)
        except (ValueError, TypeError, KeyError, ArithmeticError, AttributeError, RecursionError):
            kind = type(given[column.name]).__name__
            raise ValueError(
                f"{column.name} is a {column.type}, in the form that docs/types.md gives; not this {kind}"
            ) from None
        cells = (*cells, cell)
    return cells


def _named(names: set[str]) -> str:
    return ", ".join(json.dumps(name) for name in sorted(names))
