"""jsonb → maps, lists, sets, tuples, user types and vectors: the inverse of `core.encode.jsonb`.

A number may be written differently from how the encoder writes it, if Postgres considers it equal (1 is 1.0); a text that
represents another type (a timestamp, a UUID) must be the encoder's own, since to JSON any other text is another value.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from decimal import Decimal
from ipaddress import ip_address
from typing import Any, NoReturn
from uuid import UUID

from sync.core.cql import CqlType
from sync.core.decode.base import DECODE_ERRORS, Decode
from sync.core.decode.collection_cells import Pack, Place, collection, mapping
from sync.core.decode.numerics import number_cell, parse_number
from sync.core.decode.scalars import decode_ascii, decode_timeuuid, parse_duration
from sync.core.decode.times import parse_date, parse_time, parse_timestamp
from sync.core.encode.base import Reject, join_cells
from sync.core.encode.jsonb import VERSION, renderer
from sync.core.encode.scalars import encode_text

Read = Callable[[Any], bytes]
"""From a parsed JSON value, which is not null, to a cell; raises Reject."""
_LAYOUTS = {"float": struct.Struct(">f"), "double": struct.Struct(">d")}


class Number(str):
    """A number in JSON as it is written, so that no digit is lost; not a text in JSON."""


def jsonb(cql: CqlType, place: Place) -> Decode:
    """The decode function of jsonb into `cql`."""
    read = reader(cql, place)

    def decode(cell: bytes) -> bytes:
        if cell[:1] != VERSION:
            raise ValueError("another version of jsonb's bytes")
        return read(_DECODER.decode(cell[1:].decode()))

    return decode


def reader(cql: CqlType, place: Place) -> Read:
    """The function that reads a value of this type in this place."""
    if cql.name in ("text", "ascii"):
        return _text(cql)
    if cql.name == "map":
        return _map(cql, place)
    if cql.name in ("list", "set"):
        return _list(cql, place)
    if cql.name in ("tuple", "udt"):
        return _tuple(cql) if cql.name == "tuple" else _user_type(cql)
    if cql.name == "vector":
        return _vector(cql)
    if cql.name == "boolean":
        return lambda value: bytes((_shaped(cql, value, bool),))
    return _number(cql) if cql.name not in _STRINGS else _string(cql)


def _inner(cql: CqlType, place: Place) -> Read:
    return reader(cql, "fields" if place == "fields" else "collection")


def _shaped(cql: CqlType, value: Any, shape: type) -> Any:
    if type(value) is not shape:
        raise Reject(f"JSON that does not have the form of a {cql.name}")
    return value


def _text(cql: CqlType) -> Read:
    check: Read = decode_ascii if cql.name == "ascii" else bytes
    return lambda value: encode_text(check(_shaped(cql, value, str).encode()))


def _string(cql: CqlType) -> Read:
    """A value that is a text in JSON, written as the encoder writes it."""
    parse, write = _STRINGS[cql.name], renderer(cql, bytes)

    def read(value: Any) -> bytes:
        text = _shaped(cql, value, str)
        try:
            cell = parse(text)
            same = write(cell).decode() == f'"{text}"'
        except Reject:
            raise
        except DECODE_ERRORS:
            same = False
        if not same:
            raise Reject(f"a text in JSON that is not written as a {cql.name} is")
        return cell

    return read


def _number(cql: CqlType) -> Read:
    if cql.name in _LAYOUTS:
        return _floating(cql)
    return lambda value: number_cell(*parse_number(_shaped(cql, value, Number)), cql.name)


def _floating(cql: CqlType) -> Read:
    layout = _LAYOUTS[cql.name]

    def read(value: Any) -> bytes:
        text = _shaped(cql, value, Number)
        parse_number(text)
        try:
            cell = layout.pack(float(text))
            (held,) = layout.unpack(cell)
        except OverflowError:
            held = float("inf")
        if Decimal(repr(held)) != Decimal(text):
            raise Reject(f"a number in JSON that is not a {cql.name}: beyond its range, or finer")
        return cell

    return read


def _list(cql: CqlType, place: Place) -> Read:
    element, pack = _or_null(_inner(cql.args[0], place)), collection(cql, place)
    if cql.name == "set" and cql.args[0].name in _LAYOUTS:
        pack = _with_both_zeros(pack)
    return lambda value: pack([element(e) for e in _shaped(cql, value, list)])


def _with_both_zeros(pack: Pack) -> Pack:
    """A set may hold −0.0 and 0.0, which as numbers in JSON are 0.0 twice."""

    def packed(cells: list[bytes | None]) -> bytes:
        zeros = [i for i, cell in enumerate(cells) if cell is not None and not any(cell)]
        if len(zeros) == 2:
            cells[zeros[0]] = b"\x80" + (cells[zeros[0]] or b"")[1:]
        return pack(cells)

    return packed


def _map(cql: CqlType, place: Place) -> Read:
    key, value_of, pack = _key(cql.args[0], place), _or_null(_inner(cql.args[1], place)), mapping(cql, place)
    return lambda value: pack([(key(k), value_of(v)) for k, v in _shaped(cql, value, dict).items()])


def _key(cql: CqlType, place: Place) -> Callable[[str], bytes]:
    """A key that is not a text is the text of its JSON."""
    read = _inner(cql, place)
    if cql.name in ("text", "ascii") or cql.name in _STRINGS:
        return read

    def from_text(text: str) -> bytes:
        try:
            return read(_DECODER.decode(text))
        except json.JSONDecodeError:
            raise Reject(f"a key in JSON that is not written as a {cql.name} is") from None

    return from_text


def _or_null(read: Read) -> Callable[[Any], bytes | None]:
    return lambda value: None if value is None else read(value)


def _tuple(cql: CqlType) -> Read:
    parts = [_or_null(reader(arg, "fields")) for arg in cql.args]

    def read(value: Any) -> bytes:
        if len(_shaped(cql, value, list)) != len(parts):
            raise Reject(f"JSON that does not have the {len(parts)} fields of the source's tuple")
        return join_cells(part(v) for part, v in zip(parts, value, strict=True))

    return read


def _user_type(cql: CqlType) -> Read:
    parts = dict(zip(cql.fields, (_or_null(reader(arg, "fields")) for arg in cql.args), strict=True))

    def read(value: Any) -> bytes:
        if _shaped(cql, value, dict).keys() != parts.keys():
            raise Reject("JSON that does not have the fields of the source's user type")
        return join_cells(part(value[name]) for name, part in parts.items())

    return read


def _vector(cql: CqlType) -> Read:
    component = reader(cql.args[0], "collection")

    def read(value: Any) -> bytes:
        if len(_shaped(cql, value, list)) != cql.dimension:
            raise Reject(f"JSON that does not have the {cql.dimension} numbers of the source's vector")
        return b"".join(map(component, value))

    return read


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Reject("an object in JSON with a duplicate key")
    return found


def _refuse(_constant: str) -> NoReturn:
    raise Reject("NaN or Infinity in JSON")


def _uuid(text: str) -> bytes:
    return UUID(text).bytes


_DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=_refuse, object_pairs_hook=_object)
_STRINGS: dict[str, Callable[[str], bytes]] = {
    "uuid": _uuid,
    "timeuuid": lambda text: decode_timeuuid(_uuid(text)),
    "blob": lambda text: bytes.fromhex(text[2:]),
    "inet": lambda text: ip_address(text).packed,
    "timestamp": parse_timestamp,
    "date": parse_date,
    "time": parse_time,
    "duration": parse_duration,
}
