"""Filters, sorts and indexes of tables, as the server reads and describes them (TableFilterResolver, ListIndexesIntegrationTest)."""

from __future__ import annotations

from typing import Any

from cassandra.metadata import IndexMetadata

from support.dataapi.errors import ApiError
from support.dataapi.types import from_json
from sync.core.rows import SourceTable

_OPERATORS = {"$eq": "=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_TEXTS = ("text", "ascii")


def filter_of(table: SourceTable, where: Any) -> list[tuple[str, str, Any]]:
    """Column, operator of CQL, value. Binary values are compared by equality only."""
    kinds = {c.name: c.type for c in table.columns}
    found = []
    for name, asked in where.items():
        is_operators = isinstance(asked, dict) and "$binary" not in asked
        for operator, value in asked.items() if is_operators else [("$eq", asked)]:
            if isinstance(value, dict) and operator != "$eq":
                raise ApiError("UNSUPPORTED_FILTER_OPERATION", f"{operator} cannot be used with $binary: {name}", "FILTER")
            found.append((name, _OPERATORS[operator], from_json(name, kinds[name], value)))
    return found


def is_clustering(table: SourceTable, sort: Any) -> bool:
    """Whether the sort is by columns of the key, not by a vector."""
    return bool(sort) and set(sort) <= {c.name for c in table.primary_key}


def target_of(index: IndexMetadata) -> str:
    """The column of an index on plain values."""
    target = str(index.index_options.get("target", ""))
    return target[1:-1].replace('""', '"') if target.startswith('"') else target


def described(index: IndexMetadata, table: SourceTable) -> dict[str, Any]:
    """An index as listIndexes has it, with its options: those of texts always, others never."""
    options, kind = index.index_options, next((c.type for c in table.columns if c.name == target_of(index)), None)
    if kind is None or not str(options.get("class_name", "")).endswith("StorageAttachedIndex"):
        support = {"createIndex": False, "filter": False, "cqlDefinition": index.as_cql_query()}
        return {"name": index.name, "definition": {"column": "UNKNOWN", "apiSupport": support}, "indexType": "UNKNOWN"}
    if kind.name == "vector":
        made: dict[str, Any] = {"metric": options.get("similarity_function", "cosine"), "sourceModel": "other"}
        return {"name": index.name, "definition": {"column": target_of(index), "options": made}, "indexType": "vector"}
    texts = {
        "ascii": options.get("ascii") == "true",
        "caseSensitive": options.get("case_sensitive", "true") == "true",
        "normalize": options.get("normalize") == "true",
    }
    definition = {"column": target_of(index), "options": texts if kind.name in _TEXTS else {}}
    return {"name": index.name, "definition": definition, "indexType": "regular"}
