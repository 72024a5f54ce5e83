"""A source table as JSON and back: what a process needs of the source's catalogue while the source is unreachable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sync.core.cql import CqlType
from sync.core.rows import SourceColumn, SourceTable


def table_to_json(table: SourceTable) -> dict[str, Any]:
    """The table as plain values."""
    values = asdict(table)
    return values if table.base else {name: value for name, value in values.items() if name != "base"}  # as before it was


def table_from_json(values: Mapping[str, Any]) -> SourceTable:
    """The table of these values. Raises KeyError and TypeError for values that `table_to_json` did not make."""
    columns = tuple(
        SourceColumn(c["name"], _type(c["type"]), c["kind"], c["alias"], tuple(c["path"]), c.get("descending", False))
        for c in values["columns"]
    )
    return SourceTable(**{**values, "columns": columns})


def _type(values: Mapping[str, Any]) -> CqlType:
    args = tuple(_type(arg) for arg in values["args"])
    return CqlType(values["name"], args, values["dimension"], tuple(values["fields"]), values["frozen"])
