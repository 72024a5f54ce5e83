"""The target's side of a comparison: digests and hashes of token ranges, by the index on the token column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import sql

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.refusals import target_errors
from sync.adapters.postgres.schema.catalogue import TABLES_AT_ONCE, identifier
from sync.adapters.postgres.schema.expiry import expiry_column, is_live, moment
from sync.adapters.postgres.schema.row_digest_sql import canonical, digest, source_of
from sync.core.decode.rows import RowDecoder
from sync.core.drift.digest import Digest
from sync.core.encode.rows import TOKEN_COLUMN, RowEncoder
from sync.core.expiry import NEVER
from sync.core.keys.json_form import show_key, unknown_key
from sync.core.mutations import unpack_key
from sync.core.ring import MIN_TOKEN, TokenRange
from sync.core.rows import TableMap


class TargetDigests:
    """Digests of one table over one connection."""

    def __init__(self, connection: Connection, table: TableMap, encoder: RowEncoder) -> None:
        self._connection, self.table = connection, identifier(table.target)
        self._pairs, self._keys = encoder.compared, encoder.pairs[: encoder.key_count]
        self._expiry = expiry_column(encoder)
        self._name, self._decoder = table.name, RowDecoder(table, encoder.pairs)

    def digest(self, tokens: TokenRange) -> Digest:
        """The digest of the rows in a range, in one snapshot."""
        row = self._connection.execute(digest(self._pairs, self.table, self._within(tokens))).fetchone()
        assert row is not None
        return Digest.of(*(int(value) for value in row))

    def hashes(self, tokens: TokenRange) -> dict[bytes, bytes]:
        """Canonical key of each row in a range, and what is compared of it: its hash, and when it expires, if rows do."""
        row, rows = source_of(self._pairs, self.table, self._within(tokens), self._expiry)
        ends = sql.SQL(" || int8send(coalesce({}, {}))").format(moment(self._expiry), NEVER) if self._expiry else sql.SQL("")
        hashed = sql.SQL("decode(md5({}), 'hex'){}").format(row, ends)
        statement = sql.SQL("SELECT {}, {} FROM {}").format(canonical(self._keys, "t"), hashed, rows)
        with self._connection.cursor(binary=True) as cursor:
            return {bytes(key): bytes(hashed) for key, hashed in cursor.execute(statement)}

    def _within(self, tokens: TokenRange) -> sql.Composable:
        """The rows of a range that readers see: one that has expired is not there, whoever deletes it, and when."""
        return sql.SQL("{} AND {}").format(within(tokens), is_live(self._expiry)) if self._expiry else within(tokens)

    def show_key(self, canonical: bytes) -> dict[str, Any]:
        """A key's canonical bytes in JSON form, with the source's columns."""
        try:
            return show_key(self._keys, self._decoder.key(canonical))
        except ValueError:  # written by hand, and not a key of the source
            return unknown_key(canonical)

    def refused(self) -> frozenset[tuple[bytes | None, ...]]:
        """The raw keys of the table's recorded rejects."""
        found = self._connection.execute(
            "SELECT DISTINCT source_key FROM sync.reject WHERE table_name = %s AND action = 'reject'", (self._name,)
        )
        return frozenset(unpack_key(bytes(row[0])) for row in found.fetchall())


def without_tokens(connection: Connection, tables: Sequence[TableMap]) -> list[TableMap]:
    """Those of these tables that have rows without a token: usually none. Raises TargetUnavailable."""
    found: list[TableMap] = []
    for at in range(0, len(tables), TABLES_AT_ONCE):
        part = tables[at : at + TABLES_AT_ONCE]
        one = sql.SQL("EXISTS (SELECT FROM {} WHERE {} IS NULL)")
        each = sql.SQL(", ").join(one.format(identifier(t.target), sql.Identifier(TOKEN_COLUMN)) for t in part)
        with target_errors():
            row = connection.execute(sql.SQL("SELECT {}").format(each)).fetchone() or ()
        found += [table for table, has_some in zip(part, row, strict=True) if has_some]
    return found


def count_strays(connection: Connection, table: TableMap) -> int:
    """How many of the target's rows have no token, and nobody will send them: written by hand, in no range."""
    statement = sql.SQL(
        "SELECT count(*) FROM {target} AS t WHERE t.{token} IS NULL AND NOT EXISTS (SELECT FROM sync.intent AS i "
        "WHERE i.table_name = {name} AND sha256(i.key) = sha256({key}) AND i.key = {key}) "
        "AND NOT EXISTS (SELECT FROM sync.sql_change AS c WHERE c.table_name = {name} AND c.key = {key})"
    ).format(
        target=identifier(table.target),
        token=sql.Identifier(TOKEN_COLUMN),
        name=sql.Literal(table.name),
        key=canonical(tuple(table.keys), "t"),
    )
    row = connection.execute(statement).fetchone()
    return int(row[0]) if row else 0


def within(tokens: TokenRange) -> sql.Composed:
    """The condition that a row's token lies in a range, in a form that the index on it serves."""
    above = ">=" if tokens.start == MIN_TOKEN else ">"
    return sql.SQL("t.{0} " + above + " {1} AND t.{0} <= {2}").format(
        sql.Identifier(TOKEN_COLUMN), sql.Literal(tokens.start), sql.Literal(tokens.end)
    )
