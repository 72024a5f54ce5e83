"""pgvector's vector and halfvec → vector<float, n>."""

from __future__ import annotations

import struct

from sync.core.cql import CqlType
from sync.core.decode.base import Decode
from sync.core.encode.base import Reject
from sync.core.encode.vectors import vector_prefix
from sync.core.rows import PgType


def vector(cql: CqlType, pg: PgType) -> Decode:
    """The decode function of `pg` (vector or halfvec) into `cql`."""
    header, wanted = vector_prefix(cql), cql.dimension or 0
    halves = struct.Struct(f">{wanted}e")
    floats = struct.Struct(f">{wanted}f")

    def decode(cell: bytes) -> bytes:
        if cell[:4] != header:
            raise Reject(f"a vector of {int.from_bytes(cell[:2], 'big')} dimensions, where the source has {wanted}")
        # Every half is a float exactly.
        return cell[4:] if pg.name == "vector" else floats.pack(*halves.unpack(cell[4:]))

    return decode
