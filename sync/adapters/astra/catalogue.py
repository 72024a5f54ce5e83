"""What a Data API keyspace holds: its tables, as the CQL tables that they are, and its collections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from sync.adapters.astra.api import Api
from sync.core.cql import CqlType
from sync.core.documents.collections import collection_table
from sync.core.rows import SourceColumn, SourceTable


def read_api(api: Api) -> dict[str, SourceTable]:
    """Every table and collection, by name. Raises SourceUnavailable, Unreachable."""
    tables = api.calls.read("listTables", api.database.list_tables)
    collections = api.calls.read("findCollections", api.database.list_collections)
    found = {t.name: _table(api.keyspace, t.name, t.definition.as_dict()) for t in tables}
    for each in collections:
        vector = each.definition.vector
        found[each.name] = collection_table(api.keyspace, each.name, vector.dimension if vector else None)
    return found


def _table(keyspace: str, name: str, definition: Mapping[str, Any]) -> SourceTable:
    key = definition["primaryKey"]
    partition, directions = list(key["partitionBy"]), dict(key.get("partitionSort") or {})
    clustering = list(directions)
    # Columns whose types the API does not know can be neither written nor read through it: they are left as they are.
    columns = {n: d for n, d in definition["columns"].items() if d["type"] != "UNSUPPORTED"}
    order = partition + clustering + [n for n in columns if n not in {*partition, *clustering}]
    made = (
        SourceColumn(n, cql_type(columns[n]), _kind(n, partition, clustering), descending=directions.get(n) == -1)
        for n in order
    )
    return SourceTable(keyspace, name, tuple(made))


def _kind(
    name: str, partition: list[str], clustering: list[str]
) -> Literal["partition_key", "clustering", "regular", "static"]:
    if name in partition:
        return "partition_key"
    return "clustering" if name in clustering else "regular"


def cql_type(column: Any) -> CqlType:
    """The CQL type of a column's definition."""
    if isinstance(column, str):
        return CqlType(column)
    kind = str(column["type"])
    if kind == "vector":
        return CqlType("vector", (CqlType("float"),), int(column["dimension"]))
    if kind in ("list", "set"):
        return CqlType(kind, (cql_type(column["valueType"]),))
    if kind == "map":
        return CqlType(kind, (cql_type(column["keyType"]), cql_type(column["valueType"])))
    return CqlType(kind)
