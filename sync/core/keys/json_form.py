"""A row's key as JSON: the one form that every command and report shows, and that can be read back to the key's bytes.

A column's value has the JSON that Cassandra's `fromJson()` takes for its type: integers, varints, floats and booleans as they
are, text as it is, everything else as text (a decimal digit for digit). A value that this form cannot give back byte for byte
is `{"$cell": "0x…"}`, the cell itself; a cell of no bytes is `""`. docs/types.md, "Keys in JSON", lists them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from math import copysign, isfinite
from typing import Any

from sync.core.cql import DOCUMENT_ID, CqlType
from sync.core.decode.base import DECODE_ERRORS
from sync.core.decode.collection_cells import collection, mapping
from sync.core.decode.jsonb import Number, reader
from sync.core.decode.numerics import number_cell
from sync.core.encode.base import EMPTY_IS_A_VALUE, Reject, UnsupportedPair, elements, fields, join_cells, map_elements
from sync.core.encode.document_ids import cell_of
from sync.core.encode.fields import shortest_float
from sync.core.encode.jsonb import json_text
from sync.core.encode.scalars import INT_BYTES
from sync.core.encode.texts import decimal_text
from sync.core.rows import ColumnPair, SourceColumn

CELL, WHOLE = "$cell", "$key"
"""The names under which a cell, or a whole key, is shown by its bytes."""
_LONGEST = 65_535  # bytes of a key; a report may show other columns, too, and digits take quadratic time
_FLOATING = {"float": struct.Struct(">f"), "double": struct.Struct(">d")}
_ERRORS = (*DECODE_ERRORS, Reject, UnsupportedPair, ArithmeticError, RecursionError)


def key_json(columns: Sequence[SourceColumn], cells: Sequence[bytes | None]) -> dict[str, Any]:
    """A key's cells in their JSON forms, by the source's names of its columns, in key order."""
    return {column.name: cell_json(column.type, cell) for column, cell in zip(columns, cells, strict=False)}


def show_key(pairs: Sequence[ColumnPair], cells: Sequence[bytes | None]) -> dict[str, Any]:
    """The same by pairs of columns."""
    return key_json([pair.source for pair in pairs], cells)


def key_cells(columns: Sequence[SourceColumn], key: Mapping[str, Any]) -> tuple[bytes, ...]:
    """The cells of a key from its JSON forms. Raises ValueError (Reject) and KeyError for anything else."""
    return tuple(_cell(column.type, key[column.name]) for column in columns)


def unknown_key(canonical: bytes) -> dict[str, Any]:
    """The form of a key of which only the target's bytes are known."""
    return {WHOLE: f"0x{canonical.hex()}"}


def cell_json(cql: CqlType, cell: bytes | None) -> Any:
    """One value in its JSON form; None is null."""
    if cell is None:
        return None
    if not cell and cql.name != "blob":
        return ""
    try:
        value = _value(cql, cell)
        if _cell(cql, value) == cell:
            return value
    except _ERRORS:
        pass
    return {CELL: f"0x{cell.hex()}"}


def _value(cql: CqlType, cell: bytes) -> Any:
    if cql.name == "decimal":
        if len(cell) > _LONGEST:
            raise Reject("a number longer than any key")
        return decimal_text(cell).decode()
    if cql.name in _FLOATING:
        return _number(cql.name, cell)
    if cql.name in ("list", "set"):
        return [_inner(cql.args[0], e) for e in elements(cell)]
    if cql.name == "vector":
        return [_number("float", cell[at : at + 4]) for at in range(0, len(cell), 4)]
    if cql.name == "map":
        flat = map_elements(cell)
        names = [_inner(cql.args[0], name) for name in flat[::2]]
        return dict(zip(map(_name, names), (_inner(cql.args[1], v) for v in flat[1::2]), strict=True))
    if cql.name in ("tuple", "udt"):
        found = [_inner(arg, f) for arg, f in zip(cql.args, fields(cell, len(cql.args)), strict=True)]
        return found if cql.name == "tuple" else dict(zip(cql.fields, found, strict=True))
    return json.loads(json_text(cql, cell))


def _inner(cql: CqlType, cell: bytes | None) -> Any:
    """A value within another; if JSON cannot show it, or its cell is empty, the whole is shown by its bytes."""
    if cell is None:
        return None
    if not cell and cql.name not in EMPTY_IS_A_VALUE:
        raise Reject("an empty cell within a value")
    return _value(cql, cell)


def _name(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _number(name: str, cell: bytes) -> float | str:
    (value,) = _FLOATING[name].unpack(cell)
    if not isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if not value and copysign(1, value) < 0:
        return "-0.0"  # a number in jsonb has no sign where it is 0
    return float(shortest_float(value)) if name == "float" else float(value)


def _cell(cql: CqlType, value: Any) -> bytes:
    if isinstance(value, dict) and value.keys() == {CELL}:
        return bytes.fromhex(value[CELL].removeprefix("0x"))
    if value == "":
        return b""
    read = _READERS.get(cql.name)
    if read is not None:
        return read(cql, value)
    if isinstance(value, int) and not isinstance(value, bool):
        value = Number(value)
    return reader(cql, "collection")(value)


def _part(cql: CqlType, value: Any) -> bytes | None:
    return None if value is None else _cell(cql, value)


def _decimal(_: CqlType, value: Any) -> bytes:
    sign, digits, exponent = Decimal(value).as_tuple()
    unscaled = int("".join(map(str, digits)))
    return number_cell(-unscaled if sign else unscaled, -int(exponent), "decimal")


def _map(cql: CqlType, value: Any) -> bytes:
    key, held = cql.args
    plain = key.name not in INT_BYTES and key.name not in _STRUCTURED
    names = [_cell(key, name if plain else json.loads(name)) for name in value]
    return mapping(cql, "collection")(zip(names, (_part(held, v) for v in value.values()), strict=True))


def _floating(cql: CqlType, value: Any) -> bytes:
    return _FLOATING[cql.name].pack(float(value))


_STRUCTURED = frozenset({"varint", "boolean", "list", "set", "map", "tuple", "udt", "vector"})
_READERS: dict[str, Callable[[CqlType, Any], bytes]] = {
    DOCUMENT_ID: lambda _, value: cell_of(value),
    "decimal": _decimal,
    "float": _floating,
    "double": _floating,
    "list": lambda cql, value: collection(cql, "collection")([_part(cql.args[0], v) for v in value]),
    "set": lambda cql, value: collection(cql, "collection")([_part(cql.args[0], v) for v in value]),
    "vector": lambda cql, value: b"".join(_floating(cql.args[0], v) for v in value),
    "map": _map,
    "tuple": lambda cql, value: join_cells(_part(arg, v) for arg, v in zip(cql.args, value, strict=True)),
    "udt": lambda cql, value: join_cells(_part(arg, value[f]) for f, arg in zip(cql.fields, cql.args, strict=True)),
}
