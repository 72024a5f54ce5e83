"""Converts between an application's Python values and raw CQL cells, with the driver's own types."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sized
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from cassandra.metadata import Murmur3Token
from cassandra.util import Date, SortedSet, Time

from sync.adapters.cassandra.rows.cell_types import PROTOCOL, cell_type
from sync.core.cql import COLLECTIONS, CqlType
from sync.core.decode.normal_form import normalizer
from sync.core.documents.collections import FieldExtractor, document_cells
from sync.core.encode.base import NULL, Encoder, Reject
from sync.core.encode.document_ids import id_of
from sync.core.encode.rows import RowEncoder, encode_cell
from sync.core.key_forms import has_one_form, key_decoder
from sync.core.keys.json_form import key_json
from sync.core.mutations import Key, KnownKey, unpack_key
from sync.core.rows import SourceTable
from sync.core.schema.static_rows import SUFFIX, check_put, check_update
from sync.core.visible import key_text
from sync.errors import ValueUnreadable, WriteRefused

_SERIALIZE_ERRORS = (struct.error, TypeError, ValueError, AttributeError, OverflowError, KeyError)


class Cells:
    """One table's values as cells and back. Raises WriteRefused, naming the field, for what does not fit."""

    def __init__(self, table: SourceTable, encoder: RowEncoder | None) -> None:
        self._table, self._encoder = table, encoder
        keys = encoder.pairs[: encoder.key_count] if encoder else ()
        self._decoders = [key_decoder(pair.source, pair.target.type) for pair in keys]
        given = [c for c in table.columns if c.kind != "expiry"]
        self._types = {c.name: cell_type(c.type) for c in given}
        self._cql = {c.name: c.type for c in given}
        self._unfrozen = {c.name for c in table.columns if c.type.name in COLLECTIONS and not c.type.frozen}
        self._with_fields = {c.name for c in table.columns if _has_fields(c.type)}
        self._no_fields = {c.name: NULL * len(c.type.fields) for c in table.columns if c.type.fields and not c.type.frozen}
        # The target gets the same bytes, and must hold what the source will make of them.
        self._keep = {c.name: normalizer(c.type) for c in table.columns}
        self.key_names = tuple(c.name for c in table.primary_key)
        self.given_names = self.key_names  # as an application names them
        self.names = tuple(self._types)
        self._static = {c.name for c in table.columns if c.kind == "static"}
        self._no_keys = tuple(n for n in self.names if n not in self.key_names and n not in self._static)
        self.checks: Mapping[str, Callable[[bytes], str]] = {}
        """By column: why the source refuses a cell that the type allows and an index does not; empty if it accepts it."""

    def key(self, values: Mapping[str, Any]) -> Key:
        """The key in these values."""
        missing = [n for n in self.key_names if values.get(n) is None]
        if missing:
            raise WriteRefused(f"{self._table.name}: the key column {missing[0]} is missing")
        return self.key_of(tuple(self._cell(n, values[n]) or b"" for n in self.key_names))

    def first_columns(self, values: Mapping[str, Any]) -> Key:
        """What the keys of several rows have in common: their first columns, at least those of the partition key."""
        return self.key_of(tuple(self._cell(n, values[n]) or b"" for n in self.key_names if n in values))

    def key_of(self, cells: tuple[bytes, ...]) -> Key:
        """The key of these raw cells. Raises WriteRefused and Reject where the target cannot hold it."""
        return Key(self._table.name, cells, self._canonical(cells), self._token(cells))

    def key_without_target(self, cells: tuple[bytes, ...]) -> Key:
        """The key of raw cells that the target cannot hold: it has no canonical bytes."""
        return Key(self._table.name, cells, b"", self._token(cells))

    def _token(self, cells: tuple[bytes, ...]) -> int:
        return token_of(cells[: len(self._table.partition_key)])

    def _canonical(self, cells: tuple[bytes, ...]) -> bytes:
        if self._encoder is None:
            return b""
        try:
            return self._encoder.canonical_key(cells)
        except Reject:
            for name, encoder, cell in zip(self.key_names, self._encoder.encoders, cells, strict=False):
                self._encoded(name, encoder, cell)
            raise

    def _encoded(self, name: str, encoder: Encoder, cell: bytes) -> bytes:
        try:
            return encode_cell(encoder, cell)
        except Reject as reject:
            raise WriteRefused(f"{self._table.name}: the key column {name}: {reject}") from None

    def known_key(self, known: KnownKey) -> Key:
        """A key on record, from the source's own cells; if these are missing, from the one form that gives its bytes.

        Raises WriteRefused or ValueError if that is not proved: its bytes and its token must be the recorded ones.
        """
        cells = self._decoded(known.canonical) if known.source_key is None else unpack_key(known.source_key)
        key = self.key_of(cells)
        if key.canonical != known.canonical or known.token not in (None, key.token):
            raise ValueError(
                "this key is not proved to be the source's: another key has the same value in Postgres; it is left alone"
            )
        return key

    def _decoded(self, canonical: bytes) -> tuple[bytes, ...]:
        if self._encoder is None:
            raise ValueError(f"{self._table.name}: the target's columns are not known")
        cells = unpack_key(canonical)
        return tuple(decode(cell) or b"" for decode, cell in zip(self._decoders, cells, strict=True))

    @property
    def one_form(self) -> bool:
        """Whether no key column can hold the same value as two different cells."""
        return all(has_one_form(self._cql[name]) for name in self.key_names)

    def only_key(self, values: Mapping[str, Any]) -> Key:
        """The key; other columns are refused."""
        self._refuse_unknown({n: v for n, v in values.items() if n not in self.given_names}, "is not part of the key")
        return self.key(values)

    def row(self, values: Mapping[str, Any]) -> dict[str, bytes | None]:
        """Every column besides the key and static ones, which are a table of their own: one left out is null."""
        self._refuse_unknown({n: v for n, v in values.items() if n not in self._types}, "is not a column")
        self._refuse_static(values)
        cells = {n: self._cell(n, values.get(n)) for n in self._no_keys}
        check_put(self._table.name, cells, ())
        return cells

    def some(self, values: Mapping[str, Any]) -> dict[str, bytes | None]:
        """The given columns."""
        self._refuse_unknown({n: v for n, v in values.items() if n not in self._types}, "is not a column")
        self._refuse_unknown(
            {n: v for n, v in values.items() if n in self.key_names}, "is part of the key and cannot be updated"
        )
        if not values:
            raise WriteRefused(f"{self._table.name}: an update without columns")
        self._refuse_static(values)
        cells = {n: self._cell(n, v) for n, v in values.items()}
        check_update(self._table.name, cells)
        return cells

    def _refuse_static(self, values: Mapping[str, Any]) -> None:
        for name in self._static.intersection(values):
            if self._table.base:
                why = "is ignored, as sync.toml says: write it through your own client"
            else:
                why = f'is a static column: write it to "{self._table.name}{SUFFIX}", which has one row a partition'
            raise WriteRefused(f"{self._table.name}: {name} {why}")

    def cell(self, name: str, value: Any) -> bytes | None:
        """A value of one column."""
        if name not in self._types:
            raise WriteRefused(f"{self._table.name}: {name} is not a column")
        return self._cell(name, value)

    def values(self, cells: Mapping[str, bytes | None]) -> dict[str, Any]:
        """Cells as plain Python values. Raises ValueUnreadable if Python cannot represent one."""
        found = {}
        for name, cell in cells.items():
            try:
                found[name] = self._value(name, cell)
            except (OverflowError, ValueError) as error:  # UnicodeDecodeError is a ValueError
                raise ValueUnreadable(self._unreadable(name, cells, error)) from None
        return found

    def _value(self, name: str, cell: bytes | None) -> Any:
        return plain(self._types[name].from_binary(cell, PROTOCOL))

    def _unreadable(self, name: str, cells: Mapping[str, bytes | None], error: Exception) -> str:
        key = key_text(key_json(self._table.primary_key, [cells.get(n) for n in self.key_names]))
        why = " ".join(str(error).split())
        return f"{self._table.name}: {key}: {name}: Python cannot represent this {self._cql[name]} ({why})"

    def _refuse_unknown(self, values: Mapping[str, Any], why: str) -> None:
        for name in values:
            raise WriteRefused(f"{self._table.name}: {name} {why}")

    def _cell(self, name: str, value: Any) -> bytes | None:
        if value is None or (name in self._unfrozen and isinstance(value, Sized) and not len(value)):
            return None  # an empty collection that is not frozen is null (CQL, "Collections")
        try:
            shaped = _shaped(self._cql[name], value) if name in self._with_fields else _whole(self._cql[name], value)
            cell: bytes = self._types[name].serialize(shaped, PROTOCOL)
            if keep := self._keep[name]:
                cell = keep(cell)
        except _SERIALIZE_ERRORS as error:
            raise WriteRefused(
                f"{self._table.name}: {name} takes {self._cql[name]}, not this {type(value).__name__} ({error})"
            ) from None
        if name in self.checks and (reason := self.checks[name](cell)):
            raise WriteRefused(f"{self._table.name}: {name}: {reason}")
        return None if cell == self._no_fields.get(name) else cell


class DocumentCells(Cells):
    """The keys of a Data API collection; its documents may not be written over CQL, which would break its filters."""

    def __init__(self, table: SourceTable, encoder: RowEncoder | None) -> None:
        super().__init__(table, encoder)
        self.given_names = ("_id",)

    def key(self, values: Mapping[str, Any]) -> Key:
        """The key of the document: its `_id`."""
        if "_id" not in values:
            raise WriteRefused(f"{self._table.name}: the key column _id is missing")
        try:
            return self.key_of((id_of(values["_id"]),))
        except Reject as reject:
            raise WriteRefused(f"{self._table.name}: _id: {reject}") from None
        except ValueError as error:
            raise WriteRefused(f"{self._table.name}: {error}") from None

    def row(self, values: Mapping[str, Any]) -> dict[str, bytes | None]:
        """Always raises WriteRefused."""
        raise WriteRefused(f"{self._table.name} is a collection: the Data API writes it; set ASTRA_DB_API_ENDPOINT")

    some = row

    def document(self, values: Mapping[str, Any]) -> dict[str, bytes | None]:
        """The cells that the Data API would make of this document, after fields that have columns are taken out of it."""
        try:
            made = document_cells(self._table, values)
        except (TypeError, ValueError, struct.error) as error:
            raise WriteRefused(f"{self._table.name}: {error}") from None
        names = tuple(c.name for c in self._table.columns if c not in self._table.primary_key)
        return {name: cell for name, cell in FieldExtractor(self._table, names).cells(made).items() if name in names}


def cells_of(table: SourceTable, encoder: RowEncoder | None) -> Cells:
    """The converter for a table's values, or for a collection's."""
    return (DocumentCells if table.is_collection else Cells)(table, encoder)


def token_of(partition: tuple[bytes, ...]) -> int:
    """The token of a partition, from the raw cells of its key."""
    return int(Murmur3Token.from_key(routing_key(partition)).value)


def routing_key(cells: tuple[bytes, ...]) -> bytes:
    """The bytes that the partitioner hashes: the one cell, or each with its int16 length and a zero byte."""
    if len(cells) == 1:
        return cells[0]
    return b"".join(len(c).to_bytes(2, "big") + c + b"\x00" for c in cells)


def plain(value: Any) -> Any:
    """A driver's value as plain Python: its map, set, date and time types become dict, list and Python's own.

    Raises ValueError for a date of a year that Python does not know.
    """
    if isinstance(value, Mapping):
        return {plain(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | SortedSet | set):
        return [plain(v) for v in value]
    if isinstance(value, Date | Time):
        return value.date() if isinstance(value, Date) else value.time()
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC)  # the driver means UTC and does not say so
    if hasattr(value, "_fields"):
        return {n: plain(v) for n, v in zip(value._fields, value, strict=True)}
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    return value


def _has_fields(kind: CqlType) -> bool:
    return kind.name == "udt" or any(map(_has_fields, kind.args))


def _shaped(kind: CqlType, value: Any) -> Any:
    """The value with its user types as tuples: `get` returns them as dicts, which the driver does not take."""
    if value is None or isinstance(value, str) or not _has_fields(kind):
        return value
    if kind.name == "udt":
        return _field_values(kind, value)
    if kind.name == "map":
        return {k: _shaped(kind.args[1], v) for k, v in value.items()}
    kinds = kind.args if kind.name == "tuple" else kind.args * len(value)
    return tuple(_shaped(k, v) for k, v in zip(kinds, value, strict=False))


def _whole(kind: CqlType, value: Any) -> Any:
    """The value, a whole Decimal as an integer where the column takes only those: Postgres returns a varint as a Decimal."""
    return int(value) if kind.name == "varint" and isinstance(value, Decimal) and value == int(value) else value


def _field_values(kind: CqlType, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    for name in value.keys() - set(kind.fields):
        raise ValueError(f"it has no field {name}")
    return tuple(_shaped(arg, value.get(name)) for name, arg in zip(kind.fields, kind.args, strict=True))
