"""A field of a document as a column of its own: from the JSON of its value to the target's cell.

Each column type takes one form of JSON, so that the value can be put back into the document as it was: text takes strings,
number types take numbers, boolean true and false, timestamptz `{"$date": …}`, uuid `{"$uuid": …}`, bytea `{"$binary": …}`,
and jsonb anything.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

from sync.core.encode.base import INT64, Encode, Reject, UnsupportedPair
from sync.core.encode.documents import careful_json
from sync.core.encode.jsonb import VERSION
from sync.core.encode.numerics import numeric
from sync.core.encode.scalars import text as text_encoder
from sync.core.encode.times import timestamp
from sync.core.rows import PgType

_DOUBLE, _FLOAT = struct.Struct(">d"), struct.Struct(">f")
_WHOLE = re.compile(r"-?\d+")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_WIDTHS = {"int2": 2, "int4": 4, "int8": 8}
_MAX_DIGITS = 4000


def field(pg: PgType, strip_nul: bool = False) -> Encode:
    """The encode function of a field into `pg`. Raises UnsupportedPair."""
    if pg.name == "jsonb":
        return lambda cell: VERSION + (careful_json(cell, has_vector=False, strip_nul=True) if strip_nul else cell)
    make = _MAKERS.get(pg.name)
    if make is None or pg.element is not None:
        raise UnsupportedPair(f"a field of a document does not go into {pg}; it goes into {', '.join(_MAKERS)} or jsonb")
    return make(pg)


def _read(cell: bytes, what: str) -> Any:
    try:
        return json.loads(cell)
    except ValueError:
        raise Reject(f"a document that is not JSON, where {what} is needed") from None


def _text(pg: PgType) -> Encode:
    encode = text_encoder(pg)[0]

    def text(cell: bytes) -> bytes:
        value = _read(cell, "a string")
        if not isinstance(value, str):
            raise Reject("a field that is not a string")
        return encode(value.encode())

    return text


def _integer(pg: PgType) -> Encode:
    width = _WIDTHS[pg.name]

    def integer(cell: bytes) -> bytes:
        text = cell.decode()
        if not _WHOLE.fullmatch(text):
            raise Reject("a field that is not a whole number")
        try:
            return int(text[:40]).to_bytes(width, "big", signed=True)
        except OverflowError:
            raise Reject(f"a field beyond the range of {pg}") from None

    return integer


def _numeric(pg: PgType) -> Encode:
    encode = numeric(pg, "decimal")

    def number(cell: bytes) -> bytes:
        found = Decimal(_number(cell)).as_tuple()
        unscaled = int("".join(map(str, found.digits))) * (-1 if found.sign else 1)
        scale = -int(found.exponent)
        width = unscaled.bit_length() // 8 + 1
        return encode(scale.to_bytes(4, "big", signed=True) + unscaled.to_bytes(width, "big", signed=True))

    return number


def _number(cell: bytes) -> str:
    text = cell.decode()
    if not _NUMBER.fullmatch(text):
        raise Reject("a field that is not a number")
    if len(text) > _MAX_DIGITS:
        raise Reject("a number of too many digits")
    return text


def _floating(layout: struct.Struct) -> Callable[[PgType], Encode]:
    def make(pg: PgType) -> Encode:
        def number(cell: bytes) -> bytes:
            text = _number(cell)
            try:
                packed = layout.pack(float(text))
            except OverflowError:
                raise Reject(f"a number beyond the range of {pg}") from None
            # What comes back is the shortest text of these bytes: it must be the number that was there.
            (back,) = layout.unpack(packed)
            if Decimal(_shortest(layout, back)) != Decimal(text):
                raise Reject(f"a number that {pg} does not hold exactly; numeric does")
            return packed

        return number

    return make


def _shortest(layout: struct.Struct, value: float) -> str:
    return repr(value) if layout is _DOUBLE else shortest_float(value)


def shortest_float(value: float) -> str:
    """The shortest text of a float of four bytes."""
    packed = _FLOAT.pack(value)
    return next(text for digits in range(1, 18) if _FLOAT.pack(float(text := f"{value:.{digits}g}")) == packed)


def _boolean(_: PgType) -> Encode:
    def boolean(cell: bytes) -> bytes:
        if cell not in (b"true", b"false"):
            raise Reject("a field that is neither true nor false")
        return b"\x01" if cell == b"true" else b"\x00"

    return boolean


def _tagged(tag: str, make: Callable[[PgType], Callable[[Any], bytes]]) -> Callable[[PgType], Encode]:
    """The encoder of JSON's extended types: an object of one name."""

    def outer(pg: PgType) -> Encode:
        convert = make(pg)

        def encode(cell: bytes) -> bytes:
            value = _read(cell, tag)
            if not isinstance(value, dict) or list(value) != [tag]:
                raise Reject(f'a field that is not a {{"{tag}": …}}')
            try:
                return convert(value[tag])
            except Reject:
                raise
            except (ValueError, TypeError, AttributeError, struct.error, binascii.Error):
                raise Reject(f'a field whose {{"{tag}": …}} cannot be read') from None

        return encode

    return outer


def _moment(pg: PgType) -> Callable[[Any], bytes]:
    encode = timestamp(pg)
    return lambda milliseconds: encode(INT64.pack(milliseconds))


_MAKERS: dict[str, Callable[[PgType], Encode]] = {
    "text": _text,
    "varchar": _text,
    **dict.fromkeys(_WIDTHS, _integer),
    "numeric": _numeric,
    "float8": _floating(_DOUBLE),
    "float4": _floating(_FLOAT),
    "bool": _boolean,
    "timestamptz": _tagged("$date", _moment),
    "uuid": _tagged("$uuid", lambda _: lambda text: UUID(text).bytes),
    "bytea": _tagged("$binary", lambda _: lambda text: base64.b64decode(text, validate=True)),
}
