"""The driver's types of a table that no session describes: that of a Data API, for which there may be no CQL at all."""

from __future__ import annotations

from typing import Any

from cassandra import cqltypes

from sync.core.cql import CqlType
from sync.core.rows import SourceTable


def driver_types(table: SourceTable) -> dict[str, Any]:
    """The driver's type of each column that it has one for; others can be neither written nor read."""
    return {c.name: found for c in table.columns if (found := _driver_type(c.type)) is not None}


def _driver_type(kind: CqlType) -> Any:
    if kind.name == "vector":
        return cqltypes.VectorType.apply_parameters([_driver_type(kind.args[0]), kind.dimension], None)
    base = cqltypes._cqltypes.get("text" if kind.name == "varchar" else kind.name)
    inner = [_driver_type(a) for a in kind.args]
    if base is None or None in inner:
        return None
    return base.apply_parameters(inner) if inner else base
