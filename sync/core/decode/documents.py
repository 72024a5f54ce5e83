"""From a target's columns back to a document's parts: its id, its text, the JSON of its fields."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from decimal import Decimal
from uuid import UUID

from sync.core.cql import DOCUMENT, DOCUMENT_ID, CqlType
from sync.core.decode.base import Decode
from sync.core.decode.numerics import numeric
from sync.core.decode.times import decode_timestamp
from sync.core.encode.base import INT64
from sync.core.encode.document_ids import cell_of
from sync.core.encode.fields import shortest_float
from sync.core.encode.json_text import quote
from sync.core.encode.jsonb import VERSION, plain_number
from sync.core.encode.numerics import decimal_parts
from sync.core.rows import PgType

_DOUBLE, _FLOAT = struct.Struct(">d"), struct.Struct(">f")


def document_part(cql: CqlType, pg: PgType) -> Decode:
    """The decoder into a collection's column."""
    if cql.name == DOCUMENT:
        return _json
    return _id(pg) if cql.name == DOCUMENT_ID else _FIELDS[pg.name]


def _json(cell: bytes) -> bytes:
    return cell.removeprefix(VERSION)


def _id(pg: PgType) -> Decode:
    if pg.name == "uuid":
        return lambda cell: cell_of(UUID(bytes=bytes(cell)))
    if pg.name in ("text", "varchar"):
        return lambda cell: cell_of(cell.decode())
    return lambda cell: cell_of(int.from_bytes(cell, "big", signed=True))


def _integer(cell: bytes) -> bytes:
    return str(int.from_bytes(cell, "big", signed=True)).encode()


def _number(cell: bytes) -> bytes:
    unscaled, scale = decimal_parts(numeric("decimal")(cell) or b"")
    return plain_number(Decimal(unscaled).scaleb(-scale))


def _tagged(tag: str, value: Callable[[bytes], str]) -> Decode:
    return lambda cell: f'{{"{tag}": {value(cell)}}}'.encode()


_FIELDS: dict[str, Decode] = {
    "jsonb": _json,
    "text": quote,
    "varchar": quote,
    **dict.fromkeys(("int2", "int4", "int8"), _integer),
    "numeric": _number,
    "float8": lambda cell: plain_number(Decimal(repr(_DOUBLE.unpack(cell)[0]))),
    "float4": lambda cell: plain_number(Decimal(shortest_float(_FLOAT.unpack(cell)[0]))),
    "bool": lambda cell: b"true" if cell == b"\x01" else b"false",
    "timestamptz": _tagged("$date", lambda cell: str(INT64.unpack(decode_timestamp(cell))[0])),
    "uuid": _tagged("$uuid", lambda cell: f'"{UUID(bytes=bytes(cell))}"'),
    "bytea": _tagged("$binary", lambda cell: f'"{base64.b64encode(cell).decode()}"'),
}
