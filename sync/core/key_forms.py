"""Keys that one side distinguishes and the other does not: what a key column takes, so that no key is taken for another.

Cassandra distinguishes partitions by their bytes (1.0 and 1.00 are two), and rows within one by the order of their types
(there they are one). Postgres compares values. So a key column takes only one form of the values that Postgres considers
equal. A partition key's value must come back from it byte for byte; a clustering column's must come back equal to Cassandra.
Whatever does not is a reject: which rows these are depends on no other row, and on no order.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

from sync.core.cql import DOCUMENT_ID, CqlType
from sync.core.decode import decoder_for
from sync.core.decode.base import Decode
from sync.core.decode.numerics import varint_cell
from sync.core.decode.order import order_of
from sync.core.decode.texts import decimal_of_text
from sync.core.encode import default_target, encoder_for
from sync.core.encode.base import (
    INT32,
    Encode,
    Encoder,
    Reject,
    UnsupportedPair,
    elements,
    elements_of_tuple,
    join_cells,
    map_elements,
)
from sync.core.encode.numerics import decimal_digits, decimal_parts
from sync.core.encode.texts import decimal_text
from sync.core.rows import PgType, SourceColumn

_ONE_FORM = frozenset({
    "text", "ascii", "blob", "tinyint", "smallint", "int", "bigint", "uuid", "timeuuid", "timestamp", "date", "time", "inet",
})  # fmt: skip
"""Each value of these has one cell, in every target that takes it, and Postgres considers no two of them equal."""
_Canonicalize = Callable[[bytes], bytes]


def has_one_form(cql: CqlType) -> bool:
    """Whether every value of the type has one cell, so that its value alone identifies a key."""
    return cql.name in _ONE_FORM or cql.name == DOCUMENT_ID


def key_encoder(column: SourceColumn, pg: PgType) -> Encoder:
    """The encoder of a key column into `pg`: rejects what could be taken for another key. Raises UnsupportedPair."""
    base = _encoder(column, pg)
    if column.type.name in _ONE_FORM:
        return replace(base, encode=_never_empty(base.encode)) if base.empty_is_null else base
    decode, equal = key_decoder(column, pg), _equal(column)
    canonical = None if _is_text(column, pg) else canonicalizer(column.type)

    def encode(cell: bytes) -> bytes:
        made = base.encode(canonical(cell) if canonical else cell)
        if not equal(decode(made) or b"", cell):
            raise Reject(f"not the form of a {column.type} that {pg} gives back: as a key it would be taken for another")
        return made

    return replace(base, encode=_never_empty(encode), same=False, prefix=None)


def key_decoder(column: SourceColumn, pg: PgType) -> Decode:
    """The inverse of `key_encoder`. Raises UnsupportedPair."""
    return decimal_of_text if _is_text(column, pg) else decoder_for(column.type, pg)


def key_target(column: SourceColumn) -> str:
    """The Postgres type, as SQL, that holds this key column best. Raises UnsupportedPair."""
    return "text" if _tells_forms_apart(column) else default_target(column.type)


def key_note(column: SourceColumn, pg: PgType) -> str:
    """A warning about a key column's type, or nothing."""
    if column.kind != "partition_key" or not _holds_decimals(column.type):
        return ""
    if _is_text(column, pg):
        return (
            f"{column.name} ({column.type}) is in the partition key, where Cassandra distinguishes 1.0 from 1.00 and numeric "
            f"does not: Postgres holds it as {pg}, digit for digit"
        )
    if column.type.name == "decimal":
        return f"{column.name} is in the partition key: rows without exactly the decimals of {pg} are rejected"
    return (
        f"{column.name} is in the partition key: a row whose key holds a decimal with zeros at its end, or with an exponent, "
        f"is rejected, since {pg} does not tell 1.0 from 1.00"
    )


def _encoder(column: SourceColumn, pg: PgType) -> Encoder:
    if _is_text(column, pg):
        return Encoder(column.type, pg, decimal_text)
    if _tells_forms_apart(column) and pg.name == "numeric" and pg.typmod < 4:
        raise UnsupportedPair(
            f"a {column.type} of the partition key does not go into {pg}: Cassandra distinguishes 1.0 from 1.00 there, and "
            f"{pg} does not; use text, which does, or numeric(p, s) where every key has s decimals"
        )
    return encoder_for(column.type, pg)


def _tells_forms_apart(column: SourceColumn) -> bool:
    return column.kind == "partition_key" and column.type.name == "decimal"


def _is_text(column: SourceColumn, pg: PgType) -> bool:
    return _tells_forms_apart(column) and pg.name in ("text", "varchar") and pg.typmod == -1


def _holds_decimals(cql: CqlType) -> bool:
    return cql.name == "decimal" or any(map(_holds_decimals, cql.args))


def _never_empty(encode: Encode) -> Encode:
    def checked(cell: bytes) -> bytes:
        if not cell:
            raise Reject("empty, which is null in Postgres, and part of the key")
        return encode(cell)

    return checked


def _equal(column: SourceColumn) -> Callable[[bytes, bytes], bool]:
    """Whether two cells of a key column are one key to Cassandra."""
    if column.kind == "partition_key":
        return lambda a, b: a == b
    order = order_of(column.type)
    return lambda a, b: bool(order(a) == order(b))


def canonicalizer(cql: CqlType) -> _Canonicalize | None:
    """The function that gives values that Postgres considers equal one form; None if each has only one.

    Where Cassandra distinguishes them (0.0 and -0.0), the form is that of another value, which `key_encoder` detects.
    """
    if cql.name in _CANONICALIZERS:
        return _CANONICALIZERS[cql.name]
    inner = [canonicalizer(arg) for arg in cql.args]
    if not any(inner):
        return None
    if cql.name == "vector":
        single = _CANONICALIZERS["float"]
        return lambda cell: b"".join([single(cell[at : at + 4]) for at in range(0, len(cell), 4)])
    parts = [_unless_null(canonical) for canonical in inner]
    if cql.name in ("list", "set"):
        return lambda cell: cell[:4] + join_cells(map(parts[0], elements(cell)))
    if cql.name == "map":
        return lambda cell: cell[:4] + join_cells(parts[i % 2](c) for i, c in enumerate(map_elements(cell)))
    return lambda cell: join_cells(part(c) for part, c in zip(parts, elements_of_tuple(cell), strict=False))


def _unless_null(canonical: _Canonicalize | None) -> Callable[[bytes | None], bytes | None]:
    return lambda cell: canonical(cell) if canonical and cell else cell


def _decimal(cell: bytes) -> bytes:
    """The cell without trailing zeros after the point."""
    unscaled, scale = decimal_parts(cell)
    if scale > 0:
        digits = decimal_digits(abs(unscaled))
        zeros = min(scale, len(digits) - len(digits.rstrip("0"))) if unscaled else scale
        unscaled, scale = unscaled // 10**zeros if unscaled else 0, scale - zeros
    return INT32.pack(scale if unscaled else 0) + varint_cell(unscaled)


def _floating(layout: struct.Struct, nan: bytes) -> _Canonicalize:
    """One NaN, and one zero."""

    def canonical(cell: bytes) -> bytes:
        (value,) = layout.unpack(cell)
        if value != value:
            return nan
        return cell if value else bytes(layout.size)

    return canonical


_CANONICALIZERS: dict[str, _Canonicalize] = {
    "decimal": _decimal,
    "varint": lambda cell: varint_cell(int.from_bytes(cell, "big", signed=True)),
    "boolean": lambda cell: b"\x01" if len(cell) == 1 and cell != b"\x00" else cell,
    "float": _floating(struct.Struct(">f"), b"\x7f\xc0\x00\x00"),
    "double": _floating(struct.Struct(">d"), b"\x7f\xf8" + bytes(6)),
}
