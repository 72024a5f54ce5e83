"""Keys of DataStax's change data capture: an Avro record of the primary key's columns becomes changed keys.

The record is read by position, so its field names do not matter: it has the columns in the key's order, those of the
partition key as they are, clustering columns as a union with null (docs/decisions/0035-changes-through-pulsar.md).
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any
from uuid import UUID

from sync.core.capture.changes import ChangedKey
from sync.core.rows import SourceColumn, SourceTable, has_counters

_PLAIN = {
    "text": "string", "ascii": "string", "blob": "bytes", "boolean": "boolean", "tinyint": "int", "smallint": "int",
    "int": "int", "bigint": "long", "float": "float", "double": "double", "timestamp": "long", "date": "int", "time": "long",
    "uuid": "string", "timeuuid": "string", "inet": "string", "varint": "bytes",
}  # fmt: skip
"""By CQL type, the Avro type that carries it in a key, without its logical type."""
_EPOCH_DAY = 1 << 31
_LAYOUTS = {"int": ">i", "bigint": ">q", "float": ">f", "double": ">d", "timestamp": ">q"}
_ERRORS = (ValueError, TypeError, KeyError, OverflowError, struct.error)


class NotAKey(Exception):
    """A record is not the key of the table: the message says which column, never its value."""


def refusal(table: SourceTable) -> str:
    """Why the feed cannot tell of every change of this table; empty if it can."""
    if has_counters(table):
        return f"{table.name} holds counters, of whose changes the feed does not tell"
    if table.is_collection:
        return f"{table.name} is a collection of the Data API, whose key is a tuple: the feed leaves out such tables"
    for column in table.primary_key:
        if column.type.name not in _PLAIN and column.type.name != "decimal":
            return f"{table.name}: {column.name} is a {column.type} in the key: the feed leaves out such tables"
        if column.type.name == "time" and column.kind == "partition_key":
            return f"{table.name}: {column.name} is a time in the partition key: the feed cuts it to microseconds"
    return ""


def key_schema(table: SourceTable) -> dict[str, Any]:
    """The Avro schema of the table's keys, without logical types; for a table without a `refusal`."""
    fields = [{"name": f"c{at}", "type": _avro(column, at)} for at, column in enumerate(table.primary_key)]
    return {"type": "record", "name": "key", "fields": fields}


def _avro(column: SourceColumn, at: int) -> Any:
    kind: Any = _PLAIN.get(column.type.name) or {
        "type": "record",
        "name": f"d{at}",
        "fields": [{"name": "bigint", "type": "bytes"}, {"name": "scale", "type": "int"}],
    }
    return kind if column.kind == "partition_key" else ["null", kind]


def changed_keys(
    table: SourceTable, record: Mapping[str, Any], timestamp: int | None, happened_at: float
) -> tuple[ChangedKey, ...]:
    """The keys that a record of `key_schema` may mean: nearly always one.

    An IPv4 address may be one of four bytes or an IPv6 address that maps it, which the feed shows alike: both are told.
    Raises NotAKey.
    """
    columns = table.primary_key
    forms = [_forms(column, record.get(f"c{at}")) for at, column in enumerate(columns)]
    width = len(table.partition_key)
    partition, clustering = forms[:width], forms[width:]
    missing = next((c.name for c, f in zip(columns, partition, strict=False) if f is None), "")
    if missing:
        raise NotAKey(f"{table.name}: {missing} is null")
    found: list[Sequence[bytes] | None] = (
        [None] if any(f is None for f in clustering) else list(product(*[f for f in clustering if f is not None]))
    )
    return tuple(
        ChangedKey(table.name, whole, None if rest is None else tuple(rest), timestamp, happened_at)
        for whole in product(*[f for f in partition if f is not None])
        for rest in found
    )


def _forms(column: SourceColumn, value: Any) -> tuple[bytes, ...] | None:
    """The cells that a value may stand for; None if it does not tell the cell. Raises NotAKey."""
    if value is None or column.type.name == "time":
        return None
    try:
        if column.type.name == "inet":
            return _addresses(value)
        return (_CELLS[column.type.name](value),)
    except _ERRORS:
        raise NotAKey(f"{column.name} does not hold a {column.type}") from None


def _addresses(value: str) -> tuple[bytes, ...]:
    found = ipaddress.ip_address(value.partition("%")[0])
    return (found.packed, b"\0" * 10 + b"\xff\xff" + found.packed) if found.version == 4 else (found.packed,)


def _packer(layout: str) -> Callable[[Any], bytes]:
    return struct.Struct(layout).pack


def _small(size: int) -> Callable[[int], bytes]:
    """Of a tinyint or smallint: the agent shows negative ones as the unsigned number of the same bits."""
    half = 1 << (8 * size - 1)

    def cell(value: int) -> bytes:
        if not -half <= value < 2 * half:
            raise ValueError(value)
        return (value & (2 * half - 1)).to_bytes(size, "big")

    return cell


def _varint(value: bytes) -> bytes:
    if not value:
        raise ValueError(value)
    return bytes(value)


_CELLS: dict[str, Callable[[Any], bytes]] = {
    **{name: _packer(layout) for name, layout in _LAYOUTS.items()},
    "text": str.encode,
    "ascii": lambda value: value.encode("ascii"),
    "blob": bytes,
    "boolean": lambda value: b"\x01" if value else b"\x00",
    "tinyint": _small(1),
    "smallint": _small(2),
    "date": lambda days: (days + _EPOCH_DAY).to_bytes(4, "big"),
    "uuid": lambda value: UUID(value).bytes,
    "timeuuid": lambda value: UUID(value).bytes,
    "varint": _varint,
    "decimal": lambda value: struct.pack(">i", value["scale"]) + _varint(value["bigint"]),
}
