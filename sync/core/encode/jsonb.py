"""Maps, lists, sets, tuples and UDTs → jsonb, in the very text Postgres prints, so that hashes agree.

`jsonb_send` is a byte 1 and jsonb's own text: object keys by length, then bytes; `", "` and `": "`; numbers as numeric
prints them. Values take the form of Cassandra's `SELECT JSON` (CQL documentation, "JSON support"): blobs as `"0x…"`,
timestamps as `"2011-02-03 04:05:00.000Z"`, keys that are not text as the text of their JSON.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from decimal import Decimal
from ipaddress import IPv6Address, ip_address
from math import isfinite
from uuid import UUID

from sync.core.cql import DOCUMENT, DOCUMENT_ID, FIELD, CqlType
from sync.core.encode import zeros
from sync.core.encode.base import (
    EMPTY_IS_A_VALUE,
    INT64,
    Encode,
    Reject,
    UnsupportedPair,
    elements,
    fields,
    map_elements,
)
from sync.core.encode.document_ids import id_form
from sync.core.encode.json_text import Render, quote, text_map, unquote
from sync.core.encode.numerics import MAX_INTEGER_DIGITS, MAX_SCALE, check_digits, decimal_digits, decimal_parts
from sync.core.encode.scalars import INT_BYTES, encode_text, read_vints
from sync.core.encode.times import format_clock, format_date, format_timestamp, time_of_day

VERSION = b"\x01"
_TOO_LONG = "a number in JSON beyond numeric's range"


def jsonb(cql: CqlType, strip_nul: bool = False) -> Encode:
    """The encode function of `cql` into jsonb; with `strip_nul`, texts lose their NUL characters."""
    render, check = renderer(cql, _stripped_text if strip_nul else _text), zeros.checking(cql)

    def encode(cell: bytes) -> bytes:
        if check is not None:
            check(cell)
        return VERSION + render(cell)

    return encode


def json_text(cql: CqlType, cell: bytes) -> str:
    """A cell as JSON text. Raises Reject, UnsupportedPair."""
    return renderer(cql, _text)(cell).decode()


def renderer(cql: CqlType, text: Render) -> Render:
    """The function that writes a cell of this type as JSON. Raises UnsupportedPair for a type JSON has no form for."""
    if cql.name in ("text", "ascii"):
        return text
    if cql.name in (DOCUMENT, FIELD):
        return lambda cell: cell.removeprefix(VERSION)  # it is JSON
    if cql.name == "map":
        return _map(cql, text)
    if cql.name in ("list", "set"):
        return _list(_or_null(cql.args[0], text))
    if cql.name in ("tuple", "udt"):
        return _fields(cql, text)
    if cql.name == "vector":
        return _vector(cql)
    if cql.name in INT_BYTES:
        return _integer
    scalar = _SCALARS.get(cql.name)
    if scalar is None:
        raise UnsupportedPair(f"{cql} has no form in JSON")
    return scalar


def _text(cell: bytes) -> bytes:
    return quote(encode_text(cell))


def _stripped_text(cell: bytes) -> bytes:
    return _text(cell.replace(b"\x00", b""))


def _string(read: Callable[[bytes], str]) -> Render:
    return lambda cell: b'"' + read(cell).encode() + b'"'


def _integer(cell: bytes) -> bytes:
    return decimal_digits(int.from_bytes(cell, "big", signed=True)).encode()


def _varint(cell: bytes) -> bytes:
    check_digits(int.from_bytes(cell, "big", signed=True), 0)
    digits = _integer(cell)
    if len(digits) - digits.startswith(b"-") > MAX_INTEGER_DIGITS:
        raise Reject(_TOO_LONG)
    return digits


def _decimal(cell: bytes) -> bytes:
    unscaled, scale = decimal_parts(cell)
    if unscaled == 0:
        scale = max(scale, 0)
    if scale > MAX_SCALE:
        raise Reject(_TOO_LONG)
    check_digits(unscaled, scale)
    return plain_number(Decimal((unscaled < 0, tuple(map(int, decimal_digits(abs(unscaled)))), -scale)))


def plain_number(value: Decimal) -> bytes:
    """A number without exponent, as numeric prints it; numeric has no negative zero."""
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int):
        raise Reject("NaN or Infinity in JSON")
    if -exponent > MAX_SCALE or value.adjusted() >= MAX_INTEGER_DIGITS:
        raise Reject(_TOO_LONG)
    return f"{abs(value) if value.is_zero() else value:f}".encode()


def _floating(layout: struct.Struct) -> Render:
    def render(cell: bytes) -> bytes:
        (value,) = layout.unpack(cell)
        if not isfinite(value):
            raise Reject("NaN or Infinity in JSON")
        return plain_number(Decimal(repr(value)))

    return render


def _address(cell: bytes) -> str:
    address = ip_address(cell)
    # Written out here: Python's own text of such addresses changed with 3.13, and hashes must not.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return f"::ffff:{mapped}" if mapped else str(address)


def _duration(cell: bytes) -> str:
    months, days, nanoseconds = read_vints(cell, 3)
    sign = "-" if min(months, days, nanoseconds) < 0 else ""
    return f"{sign}{abs(months)}mo{abs(days)}d{abs(nanoseconds)}ns"


def _map(cql: CqlType, text: Render) -> Render:
    key, value = _key(cql.args[0], text), _or_null(cql.args[1], text)

    def render(cell: bytes) -> bytes:
        flat = map_elements(cell)
        pairs = {key(k): value(v) for k, v in zip(flat[::2], flat[1::2], strict=True)}
        if 2 * len(pairs) != len(flat):
            raise Reject("two keys of a map that become one key in JSON")
        return _object(list(pairs.items()))

    plain = cql.args == (CqlType("text"), CqlType("text"))
    return text_map(render) if plain else render


def _by_length(pair: tuple[bytes, bytes]) -> tuple[int, bytes]:
    return len(pair[0]), pair[0]


def _key(cql: CqlType, text: Render) -> Callable[[bytes | None], bytes]:
    """The function that writes a key, which must be a string: text keeps its quotes, all else is put into them."""
    render, empty_is_a_value = renderer(cql, text), cql.name in EMPTY_IS_A_VALUE
    if cql.name in ("float", "double"):
        render = _signed_zero(render)

    def as_key(cell: bytes | None) -> bytes:
        if cell is None or not (cell or empty_is_a_value):
            raise Reject("a null key in a map, which JSON cannot hold")
        rendered = render(cell)
        return rendered if rendered.startswith(b'"') else quote(rendered)

    return as_key


def _object(pairs: list[tuple[bytes, bytes]]) -> bytes:
    # jsonb orders by the unescaped key; escaped ones are unescaped for the comparison only.
    pairs.sort(key=lambda pair: _by_length((unquote(pair[0]), b"")))
    return b"{" + b", ".join([k + b": " + v for k, v in pairs]) + b"}"


def _signed_zero(render: Render) -> Render:
    """A key is text, which can tell −0.0 from 0.0 as Cassandra does; a JSON number in Postgres cannot."""
    return lambda cell: b"-0.0" if cell == b"\x80" + bytes(len(cell) - 1) else render(cell)


def _or_null(cql: CqlType, text: Render) -> Callable[[bytes | None], bytes]:
    render, empty_is_a_value = renderer(cql, text), cql.name in EMPTY_IS_A_VALUE
    return lambda cell: b"null" if cell is None or not (cell or empty_is_a_value) else render(cell)


def _list(element: Callable[[bytes | None], bytes]) -> Render:
    return lambda cell: b"[" + b", ".join([element(e) for e in elements(cell)]) + b"]"


def _fields(cql: CqlType, text: Render) -> Render:
    parts = [_or_null(a, text) for a in cql.args]

    def values(cell: bytes) -> list[bytes]:
        return [part(f) for part, f in zip(parts, fields(cell, len(parts)), strict=True)]

    if cql.name == "tuple":
        return lambda cell: b"[" + b", ".join(values(cell)) + b"]"
    names = [quote(f.encode()) for f in cql.fields]
    return lambda cell: _object(list(zip(names, values(cell), strict=True)))


def _vector(cql: CqlType) -> Render:
    if cql.args[0].name != "float":
        raise UnsupportedPair(f"{cql} has no form in JSON")
    render_float = _floating(_FLOAT)
    return lambda cell: b"[" + b", ".join([render_float(cell[i : i + 4]) for i in range(0, len(cell), 4)]) + b"]"


_FLOAT, _DOUBLE = struct.Struct(">f"), struct.Struct(">d")
_SCALARS: dict[str, Render] = {
    DOCUMENT_ID: lambda cell: quote(id_form(cell).encode()),
    "varint": _varint,
    "decimal": _decimal,
    "float": _floating(_FLOAT),
    "double": _floating(_DOUBLE),
    "boolean": lambda cell: b"true" if cell[0] else b"false",
    "uuid": _string(lambda cell: str(UUID(bytes=cell))),
    "timeuuid": _string(lambda cell: str(UUID(bytes=cell))),
    "blob": _string(lambda cell: "0x" + cell.hex()),
    "inet": _string(_address),
    "timestamp": _string(lambda cell: format_timestamp(INT64.unpack(cell)[0])),
    "date": _string(lambda cell: format_date(int.from_bytes(cell, "big") - 2**31)),
    "time": _string(lambda cell: format_clock(time_of_day(cell), 9)),
    "duration": _string(_duration),
}
