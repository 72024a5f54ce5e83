"""SQL for a row's canonical bytes and for digests over a token range: the counterpart of `core.encode.rows`.

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


_CHEAP = frozenset({"text", "varchar", "bytea"})
"""Types whose length is known without sending the value."""


def send_function(pg: PgType) -> str:
    """The name of the type's binary output function."""
    return "array_send" if pg.element else _SEND.get(pg.name, f"{pg.name}_send")


def canonical(pairs: tuple[ColumnPair, ...], alias: str) -> sql.Composed:
    """The expression of a row's canonical bytes, for the columns of `alias`."""
    return sql.SQL(" || ").join(_cell(pair, alias) for pair in pairs)


def with_parameters(pairs: tuple[ColumnPair, ...]) -> sql.SQL:
    """`canonical` for `t` in a statement with parameters, where a percent sign is written twice."""
    return sql.SQL(canonical(pairs, "t").as_string().replace("%", "%%"))


def _cell(pair: ColumnPair, alias: str) -> sql.Composed:
    pg = pair.target.type
    column = sql.Identifier(alias, pair.target.name)
    sent = _sent(pair, alias)
    width = _width(pg)
    if width is not None:
        length: sql.Composable = sql.SQL("'\\x" + width.to_bytes(4, "big").hex() + "'::bytea")
    else:
        length = sql.SQL("int4send(octet_length({}))").format(sent if _is_costly(pg) else column)
    return _or_null(length, sent)


def _or_null(length: sql.Composable, sent: sql.Composable) -> sql.Composed:
    return sql.SQL("coalesce({} || {}, {})").format(length, sent, sql.SQL(_NULL))


def _sent(pair: ColumnPair, alias: str) -> sql.Composed:
    column = sql.Identifier(alias, pair.target.name)
    return sql.SQL("{}({})").format(sql.Identifier(send_function(pair.target.type)), column)


def _width(pg: PgType) -> int | None:
    """As how many bytes every value of the type is sent; None if that varies."""
    if pg.element:
        return None
    if pg.name in ("vector", "halfvec") and pg.typmod > 0:
        return 4 + pg.typmod * (4 if pg.name == "vector" else 2)
    return _WIDTHS.get(pg.name)


def _is_costly(pg: PgType) -> bool:
    """Whether the length of a value is known only by sending it."""
    return _width(pg) is None and (pg.element is not None or pg.name not in _CHEAP)


def source_of(
    pairs: tuple[ColumnPair, ...], table: sql.Identifier, where: sql.Composable, also: str = ""
) -> tuple[sql.Composed, sql.Composable]:
    """A row's canonical bytes, and the FROM clause they are computed from: the rows of `table` (`t`) that meet `where`.

    A value whose length is known only by sending it (jsonb, numeric, arrays) is sent once, not twice. `also`: a column that
    is needed besides.
    """
    costly = [p for p in pairs if _is_costly(p.target.type)]
    if not costly:
        return canonical(pairs, "t"), sql.SQL("{} AS t WHERE {}").format(table, where)
    sent = {p.target.name: sql.Identifier(f"sent {i}") for i, p in enumerate(costly)}
    given: list[sql.Composable] = [sql.SQL("{} AS {}").format(_sent(p, "t"), sent[p.target.name]) for p in costly]
    given += [sql.Identifier("t", name) for name in (*(p.target.name for p in pairs), *([also] if also else []))]
    # OFFSET 0 keeps Postgres from putting the function into both places again.
    rows = sql.SQL("(SELECT {} FROM {} AS t WHERE {} OFFSET 0) AS t").format(sql.SQL(", ").join(given), table, where)
    cells = [
        _or_null(sql.SQL("int4send(octet_length(t.{}))").format(sent[name]), sql.SQL("t.{}").format(sent[name]))
        if (name := p.target.name) in sent
        else _cell(p, "t")
        for p in pairs
    ]
    return sql.SQL(" || ").join(cells), rows


def digest(pairs: tuple[ColumnPair, ...], table: sql.Identifier, where: sql.Composable) -> sql.Composed:
    """SELECT of the digest (count, sum, sum) of the rows of `table` that meet `where`."""
    row, rows = source_of(pairs, table, where)
    # Without OFFSET 0 Postgres would compute each row's hash twice, once for each half.
    return sql.SQL(
        "SELECT count(*), coalesce(sum(('x' || left(h, 16))::bit(64)::bigint), 0), "
        "coalesce(sum(('x' || right(h, 16))::bit(64)::bigint), 0) FROM (SELECT md5({}) AS h FROM {} OFFSET 0) AS hashed"
    ).format(row, rows)
