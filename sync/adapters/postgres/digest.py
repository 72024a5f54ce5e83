"""SQL for a row's canonical bytes and for digests over a token range: the twin of what `core.encode.rows` makes.

A row's canonical bytes are, for each column in the mapping's order, an int32 length and the bytes of the type's `*_send`
function; a null is the length -1. The row's hash is their MD5; a digest is the count of rows and the sums of both halves of
their hashes modulo 2^64.
"""

from __future__ import annotations

from psycopg import sql

from sync.core.rows import ColumnPair, PgType

_NULL = r"'\xffffffff'::bytea"
_WIDTHS = {"uuid": 16, "bool": 1, "int2": 2, "int4": 4, "int8": 8, "float4": 4, "float8": 8,
           "timestamptz": 8, "timestamp": 8, "date": 4, "time": 8, "interval": 16}  # fmt: skip
_SEND = {"bool": "boolsend", "int2": "int2send", "int4": "int4send", "int8": "int8send", "float4": "float4send",
         "float8": "float8send", "varchar": "varcharsend", "text": "textsend", "bytea": "byteasend"}  # fmt: skip


def send_function(pg: PgType) -> str:
    """The name of the type's binary output function."""
    return "array_send" if pg.element else _SEND.get(pg.name, f"{pg.name}_send")


def canonical(pairs: tuple[ColumnPair, ...], alias: str) -> sql.Composed:
    """The expression of a row's canonical bytes, for the columns of `alias`."""
    return sql.SQL(" || ").join(_cell(pair, alias) for pair in pairs)


def _cell(pair: ColumnPair, alias: str) -> sql.Composed:
    pg = pair.target.type
    column = sql.Identifier(alias, pair.target.name)
    sent = sql.SQL("{}({})").format(sql.Identifier(send_function(pg)), column)
    if pg.name in _WIDTHS and pg.element is None:
        length: sql.Composable = sql.SQL("'\\x" + _WIDTHS[pg.name].to_bytes(4, "big").hex() + "'::bytea")
    elif pg.name in ("text", "varchar", "bytea"):
        length = sql.SQL("int4send(octet_length({}))").format(column)
    else:
        length = sql.SQL("int4send(octet_length({}))").format(sent)
    return sql.SQL("coalesce({} || {}, {})").format(length, sent, sql.SQL(_NULL))


def digest(pairs: tuple[ColumnPair, ...], table: sql.Identifier, where: sql.Composable) -> sql.Composed:
    """SELECT of the digest (count, sum, sum) of the rows of `table` that meet `where`."""
    return sql.SQL(
        "SELECT count(*), coalesce(sum(('x' || left(h, 16))::bit(64)::bigint::numeric), 0), "
        "coalesce(sum(('x' || right(h, 16))::bit(64)::bigint::numeric), 0) "
        "FROM (SELECT md5({}) AS h FROM {} AS t WHERE {}) AS hashed"
    ).format(canonical(pairs, "t"), table, where)
