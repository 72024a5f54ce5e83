"""Between an application's Python values and raw CQL cells, by the driver's own types."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from cassandra.cluster import Session
from cassandra.metadata import Murmur3Token
from cassandra.query import PreparedStatement

from sync.adapters.cassandra.pages import quoted
from sync.adapters.cassandra.rows import prepared
from sync.core.encode.rows import RowEncoder
from sync.core.mutations import Key, unpack_cells
from sync.core.rows import SourceTable
from sync.errors import WriteRefused

_SERIALIZE_ERRORS = (struct.error, TypeError, ValueError, AttributeError, OverflowError, KeyError)


class Cells:
    """One table's values as cells and back. Raises WriteRefused, naming the field, for what does not fit."""

    def __init__(self, session: Session, table: SourceTable, encoder: RowEncoder | None) -> None:
        self._table, self._encoder = table, encoder
        self._protocol = session.cluster.protocol_version
        self._types = {m.name: m.type for m in insert_statement(session, table).column_metadata}
        self.key_names = tuple(c.name for c in table.primary_key)
        self.names = tuple(self._types)

    def key(self, values: Mapping[str, Any]) -> Key:
        """The key in these values."""
        missing = [n for n in self.key_names if values.get(n) is None]
        if missing:
            raise WriteRefused(f"{self._table.name}: the key column {missing[0]} is missing")
        return self._key(tuple(self._cell(n, values[n]) or b"" for n in self.key_names))

    def _key(self, cells: tuple[bytes, ...]) -> Key:
        token = Murmur3Token.from_key(routing_key(cells[: len(self._table.partition_key)])).value
        canonical = self._encoder.canonical_key(cells) if self._encoder else b""
        return Key(self._table.name, cells, canonical, int(token))

    def known_key(self, canonical: bytes, mutation: bytes | None, read: Callable[[bytes], list[Any]]) -> Key:
        """The key of an intent: from the raw cells in its mutation, or from the values that `read` finds in its bytes."""
        if mutation is not None:
            return self._key(unpack_cells(mutation)[0])
        values = dict(zip(self.key_names, map(_for_driver, read(canonical)), strict=True))
        return self.key(values)

    def only_key(self, values: Mapping[str, Any]) -> Key:
        """The key, where nothing else may be given."""
        self._refuse_unknown({n: v for n, v in values.items() if n not in self.key_names}, "is not part of the key")
        return self.key(values)

    def row(self, values: Mapping[str, Any]) -> dict[str, bytes | None]:
        """Every column that is no key: what is left out is null."""
        self._refuse_unknown({n: v for n, v in values.items() if n not in self._types}, "is no column")
        return {n: self._cell(n, values.get(n)) for n in self._types if n not in self.key_names}

    def some(self, values: Mapping[str, Any]) -> dict[str, bytes | None]:
        """The given columns."""
        self._refuse_unknown({n: v for n, v in values.items() if n not in self._types}, "is no column")
        self._refuse_unknown(
            {n: v for n, v in values.items() if n in self.key_names}, "is part of the key and cannot be updated"
        )
        if not values:
            raise WriteRefused(f"{self._table.name}: an update of no column")
        return {n: self._cell(n, v) for n, v in values.items()}

    def values(self, cells: Mapping[str, bytes | None]) -> dict[str, Any]:
        """Cells as plain Python values."""
        return {n: plain(self._types[n].from_binary(c, self._protocol)) for n, c in cells.items()}

    def _refuse_unknown(self, values: Mapping[str, Any], why: str) -> None:
        for name in values:
            raise WriteRefused(f"{self._table.name}: {name} {why}")

    def _cell(self, name: str, value: Any) -> bytes | None:
        if value is None:
            return None
        try:
            cell: bytes = self._types[name].serialize(value, self._protocol)
        except _SERIALIZE_ERRORS as error:
            kind = self._types[name].cql_parameterized_type()
            raise WriteRefused(
                f"{self._table.name}: {name} takes {kind}, not this {type(value).__name__} ({error})"
            ) from None
        return cell


def insert_statement(session: Session, table: SourceTable) -> PreparedStatement:
    """INSERT of every column: what the driver knows of their types. Raises SourceUnavailable."""
    names = [quoted(c.name) for c in table.columns]
    marks = ", ".join("?" * len(names))
    name = f"{quoted(table.keyspace)}.{quoted(table.name)}"
    return prepared(session, f"INSERT INTO {name} ({', '.join(names)}) VALUES ({marks})")


def routing_key(cells: tuple[bytes, ...]) -> bytes:
    """The bytes that the partitioner hashes: the one cell, or each with its int16 length and a zero byte."""
    if len(cells) == 1:
        return cells[0]
    return b"".join(len(c).to_bytes(2, "big") + c + b"\x00" for c in cells)


def plain(value: Any) -> Any:
    """A driver's value as plain Python: its own map, set and date types become dict, set and the standard library's."""
    if isinstance(value, Mapping):
        return {plain(k): plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC)  # the driver means UTC and does not say so
    if hasattr(value, "_fields"):
        return {n: plain(v) for n, v in zip(value._fields, value, strict=True)}
    return value


def _for_driver(value: Any) -> Any:
    """A value that psycopg read, as the driver takes it."""
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)
    return str(value) if isinstance(value, IPv4Address | IPv6Address) else value
