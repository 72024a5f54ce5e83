"""From a CQL cell to a Postgres cell: `encoder_for` picks the one encoder of a pair of types.

The encoded cells are what binary COPY sends, and a row's hash is taken over exactly them; Postgres computes the same over
`*_send()` of its columns.

arrays        list, set and vector to an array
base          what an encoder is
document_ids  the `_id` of a document
documents     documents of a collection to jsonb and columns
fields        a field of a document as a column
json_text     texts as Postgres's jsonb prints them
jsonb         maps, lists, sets, tuples and user types to jsonb
numerics      varint and decimal to numeric
pages         functions that walk a page of rows, generated for a table: they encode, or hash, each row
row_times     write times between a row's token and its columns
rows          a page of CQL rows to rows of binary COPY: by a generated function, or one by one with what is wrong
scalars       text, integers, floats, booleans, UUIDs, blobs, addresses, durations
texts         decimal to text, digit for digit
times         timestamps, dates and times of day
vectors       vector<float, n> to vector and halfvec
zeros         how many zeros a number takes in JSON
"""

from __future__ import annotations

from dataclasses import replace

from sync.core.cql import DOCUMENT, DOCUMENT_ID, EXPIRY, FIELD, CqlType
from sync.core.encode import arrays, fields, scalars, times
from sync.core.encode.base import EMPTY_IS_A_VALUE, Encode, Encoder, Reject, UnsupportedPair, elements
from sync.core.encode.document_ids import document_id
from sync.core.encode.documents import document
from sync.core.encode.jsonb import jsonb
from sync.core.encode.numerics import numeric
from sync.core.encode.scalars import INT_BYTES
from sync.core.encode.vectors import MAX_DIMENSION, vector, vector_prefix
from sync.core.rows import PgType

__all__ = ["Encoder", "Reject", "UnsupportedPair", "default_target", "encoder_for"]

_FIXED = {"uuid": ("uuid", 16), "timeuuid": ("uuid", 16), "double": ("float8", 8)}
_INTEGER_TARGETS = {
    "tinyint": ("int2", "int4", "int8"),
    "smallint": ("int2", "int4", "int8"),
    "int": ("int4", "int8"),
    "bigint": ("int8",),
    "counter": ("int8",),
}
_STRUCTURED = frozenset({"map", "list", "set", "tuple", "udt", "vector"})


def encoder_for(cql: CqlType, pg: PgType, strip_nul: bool = False) -> Encoder:
    """The encoder from `cql` into `pg`; with `strip_nul` it leaves U+0000 out of texts instead of rejecting them.

    Raises UnsupportedPair where there is none.
    """
    found = _scalar(cql, pg) or _structured(cql, pg, strip_nul) or _of_document(cql, pg, strip_nul)
    if found is None:
        raise UnsupportedPair(f"{cql} does not go into {pg}; it goes into {default_target(cql)}")
    encode, same = found
    if strip_nul and cql.name in ("text", "ascii"):
        encode, same = scalars.without_nul(encode), False
    return Encoder(cql, pg, encode, same, _width(cql), _prefix(cql, pg), cql.name not in EMPTY_IS_A_VALUE)


def _width(cql: CqlType) -> int | None:
    if cql.name == "vector":
        return 4 * (cql.dimension or 0)
    return INT_BYTES.get(cql.name) or {"uuid": 16, "timeuuid": 16, "boolean": 1, "double": 8, "float": 4}.get(cql.name)


def _prefix(cql: CqlType, pg: PgType) -> bytes | None:
    return vector_prefix(cql) if pg.name == "vector" else None


def _scalar(cql: CqlType, pg: PgType) -> tuple[Encode, bool] | None:
    pair = (cql.name, pg.name)
    if cql.name in ("text", "ascii") and pg.name in ("text", "varchar"):
        return scalars.text(pg)
    if pg.name in _INTEGER_TARGETS.get(cql.name, ()):
        return scalars.integer(cql.name, pg.name)
    if pg.name == "numeric" and (cql.name in ("varint", "decimal") or cql.name in _INTEGER_TARGETS):
        return numeric(pg, cql.name), False
    if cql.name in _FIXED and pg.name == _FIXED[cql.name][0]:
        return scalars.fixed(_FIXED[cql.name][1], cql.name)
    if cql.name == "float":
        return {"float4": scalars.fixed(4, "float"), "float8": (scalars.float_to_double, False)}.get(pg.name)
    if cql.name == "timestamp" and pg.name in ("timestamptz", "timestamp"):
        return times.timestamp(pg), False
    if cql.name == EXPIRY and pg.name == "timestamptz" and pg.typmod == -1:
        return times.expiry(pg), False
    if pair == ("time", "time"):
        return times.time(pg), False
    simple: dict[tuple[str, str], tuple[Encode, bool]] = {
        ("blob", "bytea"): (bytes, True),
        ("boolean", "bool"): (scalars.encode_boolean, True),
        ("date", "date"): (times.encode_date, False),
        ("inet", "inet"): (scalars.encode_inet, False),
        ("duration", "interval"): (scalars.encode_duration, False),
    }
    return simple.get(pair) if pg.typmod == -1 else None


def _of_document(cql: CqlType, pg: PgType, strip_nul: bool) -> tuple[Encode, bool] | None:
    """The same for the columns of a Data API collection."""
    if cql.name == DOCUMENT_ID:
        return document_id(pg), False
    if cql.name == DOCUMENT and pg.name == "jsonb":
        return document(cql.dimension is not None, strip_nul), False
    return (fields.field(pg, strip_nul), False) if cql.name == FIELD else None


def _structured(cql: CqlType, pg: PgType, strip_nul: bool) -> tuple[Encode, bool] | None:
    if cql.name not in _STRUCTURED:
        return None
    if pg.name == "jsonb":
        return jsonb(cql, strip_nul), False
    if cql.name == "vector" and pg.name in ("vector", "halfvec"):
        return vector(cql, pg), False
    if pg.element is None or cql.name not in ("list", "set", "vector"):
        return None
    if cql.name == "vector" and cql.args[0].name != "float":
        return None
    # An array's modifier is its elements': numeric(6,2)[], varchar(5)[].
    into = replace(pg.element, typmod=pg.typmod, sql=pg.sql.removesuffix("[]"))
    read = arrays.floats if cql.name == "vector" else elements
    return arrays.array(encoder_for(cql.args[0], into, strip_nul), read), False


_DEFAULTS = {
    "ascii": "text", "text": "text", "int": "integer", "bigint": "bigint", "smallint": "smallint", "tinyint": "smallint",
    "counter": "bigint", "varint": "numeric", "decimal": "numeric", "float": "real", "double": "double precision",
    "boolean": "boolean", "uuid": "uuid", "timeuuid": "uuid", "timestamp": "timestamptz", "date": "date", "time": "time",
    "duration": "interval", "inet": "inet", "blob": "bytea", DOCUMENT: "jsonb", DOCUMENT_ID: "text",
    EXPIRY: "timestamptz",
}  # fmt: skip


def default_target(cql: CqlType) -> str:
    """The Postgres type, as SQL, that holds this CQL type best. Raises UnsupportedPair where none does."""
    if cql.name == "vector" and cql.args[0].name != "float":
        raise UnsupportedPair(f"{cql}: only vectors of float are supported")
    if cql.name == "vector" and (cql.dimension or 0) <= MAX_DIMENSION:
        return f"vector({cql.dimension})"
    if cql.name == FIELD:
        return cql.fields[0]
    if cql.name in _STRUCTURED:
        jsonb(cql)  # raises for what JSON has no form for
        return "jsonb"
    if cql.name not in _DEFAULTS:
        raise UnsupportedPair(f"the type {cql} is not known")
    return _DEFAULTS[cql.name]
