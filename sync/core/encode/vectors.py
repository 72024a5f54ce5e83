"""vector<float, n> → pgvector's vector(n) and halfvec(n): int16 dimension, int16 zero, then the components."""

from __future__ import annotations

import struct
from math import isfinite

from sync.core.cql import CqlType
from sync.core.encode.base import INT16, Encode, Reject, UnsupportedPair
from sync.core.rows import PgType

MAX_DIMENSION = 16_000


def vector(cql: CqlType, pg: PgType) -> Encode:
    """The encode function from `cql` into `pg` (vector or halfvec)."""
    dimension = cql.dimension or 0
    if cql.args[0].name != "float":
        raise UnsupportedPair(f"{cql}: only vectors of float go into {pg.name}")
    if pg.typmod not in (-1, dimension):
        raise UnsupportedPair(f"{cql} has {dimension} dimensions, {pg} has {pg.typmod}")
    if dimension > MAX_DIMENSION:
        raise UnsupportedPair(f"{cql} has more than the {MAX_DIMENSION} dimensions pgvector holds")
    header = vector_prefix(cql)
    return _vector(header, 4 * dimension) if pg.name == "vector" else _halfvec(header, 4 * dimension)


def vector_prefix(cql: CqlType) -> bytes:
    """What precedes the components: the dimension and two bytes of zero."""
    return INT16.pack(cql.dimension or 0) + b"\x00\x00"


def _check(cell: bytes, width: int) -> None:
    if len(cell) != width:
        raise Reject(f"a vector of {len(cell) // 4} dimensions where the column has {width // 4}")
    if not all(map(isfinite, struct.unpack(f">{width // 4}f", cell))):
        raise Reject("NaN or Infinity in a vector, which pgvector cannot hold")


def _vector(header: bytes, width: int) -> Encode:
    def encode(cell: bytes) -> bytes:
        _check(cell, width)
        return header + cell

    return encode


def _halfvec(header: bytes, width: int) -> Encode:
    def encode(cell: bytes) -> bytes:
        import numpy as np  # a quarter of a second that only halfvec has to pay

        _check(cell, width)
        with np.errstate(over="ignore"):
            halves = np.frombuffer(cell, ">f4").astype(">f2")
        if not np.isfinite(halves).all():
            raise Reject("a component beyond ±65,504, the range of halfvec")
        return header + halves.tobytes()

    return encode
