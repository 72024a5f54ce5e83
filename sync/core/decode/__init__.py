"""From a Postgres cell to a CQL cell: `decoder_for` picks the one decoder of a pair of types, the inverse of `encoder_for`.

Once Postgres is primary, whole rows go back to Cassandra: what a type's `*_send` gives becomes the cell that Cassandra
keeps. For every cell that the encoder takes, encoding what was decoded gives the same bytes again. A value that Postgres
holds and the source cannot (finer, longer, of another form) is a Reject, never rounded.

arrays            array to list, set or vector
base              what a decoder is
collection_cells  lists, sets and maps as CQL cells
documents         a target's columns to a document's parts
jsonb             jsonb to maps, lists, sets, tuples, user types and vectors
normal_form       a cell as Cassandra stores it: sets and maps sorted, without duplicates
numerics          numeric, and JSON's numbers, to varint, decimal and integers
order             the order in which Cassandra keeps elements
rows              a row's canonical bytes to the cells of its columns
scalars           texts, integers, floats, UUIDs, addresses, durations
texts             text to decimal
times             timestamps, dates and times of day
vectors           vector and halfvec to vector<float, n>
"""

from __future__ import annotations

from sync.core.cql import COLLECTIONS, DOCUMENT, DOCUMENT_ID, EXPIRY, FIELD, CqlType
from sync.core.decode import scalars, times
from sync.core.decode.arrays import array
from sync.core.decode.base import DECODE_ERRORS, Decode, fixed
from sync.core.decode.collection_cells import Place
from sync.core.decode.documents import document_part
from sync.core.decode.jsonb import jsonb
from sync.core.decode.numerics import numeric
from sync.core.decode.vectors import vector
from sync.core.encode import encoder_for
from sync.core.encode.base import Reject, UnsupportedPair
from sync.core.encode.scalars import INT_BYTES
from sync.core.rows import PgType

__all__ = ["Decode", "Reject", "UnsupportedPair", "decoder_for"]

_NO_ELEMENTS = bytes(4)


def decoder_for(cql: CqlType, pg: PgType) -> Decode:
    """The decoder from `pg` into `cql`, for exactly the pairs that `encoder_for` takes. Raises UnsupportedPair.

    It gives None, which is null, for what Cassandra cannot distinguish from null: a collection that is not frozen and has
    no elements, a user type that is not frozen and has no fields set.
    """
    encoder_for(cql, pg)
    decode = _decoder(cql, pg, "column")
    nothing = _same_as_null(cql)

    def checked(cell: bytes) -> bytes | None:
        try:
            found = decode(cell)
        except Reject:
            raise
        except DECODE_ERRORS:
            raise Reject(f"what is no {pg} for a {cql}") from None
        return None if found == nothing else found

    return checked


def _decoder(cql: CqlType, pg: PgType, place: Place) -> Decode:
    if cql.name in (DOCUMENT, DOCUMENT_ID, FIELD):
        return document_part(cql, pg)
    if pg.element is not None:
        return array(cql, _decoder(cql.args[0], pg.element, "collection"))
    if pg.name == "jsonb":
        return jsonb(cql, place)
    if pg.name in ("vector", "halfvec"):
        return vector(cql, pg)
    if pg.name == "numeric":
        return numeric(cql.name)
    if cql.name in INT_BYTES:
        return scalars.integer(cql.name)
    if (cql.name, pg.name) == ("float", "float8"):
        return scalars.double_to_float
    return _SCALARS[cql.name]


def _same_as_null(cql: CqlType) -> bytes | None:
    if cql.frozen:
        return None
    if cql.name in COLLECTIONS:
        return _NO_ELEMENTS
    return b"\xff\xff\xff\xff" * len(cql.args) if cql.name == "udt" else None


_SCALARS: dict[str, Decode] = {
    "text": bytes,
    "ascii": scalars.decode_ascii,
    "blob": bytes,
    "boolean": fixed(1, "boolean"),
    "float": fixed(4, "float"),
    "double": fixed(8, "double"),
    "uuid": fixed(16, "uuid"),
    "timeuuid": scalars.decode_timeuuid,
    "timestamp": times.decode_timestamp,
    EXPIRY: times.decode_expiry,
    "date": times.decode_date,
    "time": times.decode_time,
    "duration": scalars.decode_duration,
    "inet": scalars.decode_inet,
}
