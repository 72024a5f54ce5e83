"""The statements that do for many keys of a table at once what `Statements` do for one: their values go as arrays.

A statement's values are those of the one-key statement, key by key; here they are columns of `g`, a row for each key,
numbered from 1 (`g.n`). Every key is judged by itself: a statement says which of them it has done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import sql

from sync.adapters.postgres.connection.cell import Cell, CellArray
from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.dual_write.locks import has_partitions
from sync.adapters.postgres.dual_write.statements import Statements, column
from sync.core.encode.base import INT64
from sync.core.rows import ColumnPair, TableMap

_SQL = queries("dual_write/arrays")
_JOURNAL = queries("dual_write/journal")
_PARTITIONS = queries("dual_write/partitions")
_BYTES, _BIGINT, _TEXT = 17, 20, 25  # OIDs that every Postgres has
_KEY = {"key": ("bytea", _BYTES), "token": ("bigint", _BIGINT), "source_key": ("bytea", _BYTES)}
_OTHERS = {
    "version": ("bigint", _BIGINT),
    "row_version": ("bigint", _BIGINT),
    "tombstone": ("bigint", _BIGINT),
    "intents": ("text", _TEXT),
    "intent": ("bigint", _BIGINT),
    "above": ("bigint", _BIGINT),
    "kind": ("text", _TEXT),
    "state": ("text", _TEXT),
    "mutation": ("bytea", _BYTES),
}
_SETTLED = ("version", "row_version", "tombstone", "intents")


class ArrayStatement:
    """One statement, with the names and types of the values that it takes of each key."""

    def __init__(self, text: bytes, columns: Mapping[str, int], table: str) -> None:
        self.text, self._columns, self._table = text, columns, table

    def values(self, keys: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
        """The parameters, from those that each key would have alone; `more`: those that all of them share."""
        arrays = {name: CellArray([_cell(of[name]) for of in keys], oid) for name, oid in self._columns.items()}
        return {"table": self._table, **arrays, **more}


class ArrayStatements:
    """One table's statements for many keys."""

    def __init__(self, table: TableMap, statements: Statements) -> None:
        self._table, self._statements = table, statements
        fragments = _PARTITIONS if has_partitions(table) else {"tombstone": _JOURNAL["tombstone"]}
        same_key = (sql.SQL("t.{} = g.{}").format(column(p.target.name), self._name(p)) for p in statements.keys)
        self._parts: dict[str, sql.Composable] = {
            "same_key": sql.SQL(" AND ").join(same_key),
            "values": sql.SQL(", ").join(sql.SQL("g.{}").format(self._name(p)) for p in statements.pairs),
            **{name: sql.SQL(_by_row(fragments.get(name, ""))) for name in ("tombstone", "covering", "uncovered")},
            "written_key": sql.SQL(", ").join(sql.SQL("t.{}").format(column(p.target.name)) for p in statements.keys),
            "late": sql.SQL(_JOURNAL["late"]),
        }
        self._made: dict[str, ArrayStatement] = {}

    @property
    def takes_keys(self) -> bool:
        """Whether keys can go as arrays: an array of arrays is one array in Postgres."""
        return not any(p.target.type.element for p in self._statements.keys)

    @property
    def takes_rows(self) -> bool:
        """The same for whole rows."""
        return not any(p.target.type.element for p in self._statements.pairs)

    @property
    def put(self) -> ArrayStatement:
        """The guarded writes of whole rows, with the ends of their intents: how many were accepted (rules 6 and 12)."""
        return self.of("put", ("version", "intent"), self._statements.pairs)

    @property
    def open(self) -> ArrayStatement:
        """Stamp writes and commit their intents (rule 2)."""
        return self.of("open", ("kind", "mutation", "above"), self._statements.keys)

    def ask(
        self, connection: Connection, name: str, one: bytes, keys: Sequence[Mapping[str, Any]], **more: sql.Composable
    ) -> list[tuple[Any, ...]]:
        """What a statement that only reads says of each key; `one` is the same statement for one of them."""
        if len(keys) > 1 and self.takes_keys:
            many = self.of(name, (), self._statements.keys, **more)
            return connection.execute(many.text, many.values(keys), binary=True).fetchall()
        with connection.pipeline():
            asked = [connection.execute(one, values, binary=True) for values in keys]
        return [row for cursor in asked for row in cursor.fetchall()]

    @property
    def set_row(self) -> ArrayStatement:
        """Set rows as the primary has them, each if its key is unchanged (rule 15d): the numbers of those that were."""
        return self.of("set_row", _SETTLED, self._statements.pairs)

    @property
    def set_absent(self) -> ArrayStatement:
        """Delete rows that the primary does not have, each if its key is unchanged: the numbers of those that were."""
        return self.of("set_absent", _SETTLED, self._statements.keys)

    def of(self, name: str, given: tuple[str, ...], pairs: Sequence[ColumnPair], **more: sql.Composable) -> ArrayStatement:
        """A statement of `sql/arrays.sql`; `given`: what it takes of a key besides the key, and the cells of `pairs`."""
        if name not in self._made:
            of_key = {**_KEY, **{one: _OTHERS[one] for one in given}}
            types = {one: sql.SQL(kind) for one, (kind, _) in of_key.items()}
            columns = {one: oid for one, (_, oid) in of_key.items()}
            for pair in pairs:
                parameter, pg = self._statements.parameter(pair), pair.target.type
                # By its name alone, which has no modifier: a cast to varchar(5) would cut what an assignment refuses.
                types[parameter], columns[parameter] = column(pg.name), pg.oid
            parts = {**self._parts, "given": _given(types), **more}
            for part in ("same", "settled", "stamped"):
                parts[part] = sql.SQL(self._statements.made(_SQL[part], **parts).decode())
            self._made[name] = ArrayStatement(self._statements.made(_SQL[name], **parts), columns, self._table.name)
        return self._made[name]

    def _name(self, pair: ColumnPair) -> sql.SQL:
        return sql.SQL(self._statements.parameter(pair))


def _given(types: Mapping[str, sql.Composable]) -> sql.Composed:
    arrays = (sql.SQL("{}::{}[]").format(sql.Placeholder(name), kind) for name, kind in types.items())
    names = sql.SQL(", ").join(map(sql.SQL, [*types, "n"]))
    return sql.SQL("unnest({}) WITH ORDINALITY AS g ({})").format(sql.SQL(", ").join(arrays), names)


def _by_row(text: str) -> str:
    """A fragment of a statement for one key, for the keys in `g`."""
    return text.replace("%(key)s", "g.key").replace("%(token)s", "g.token").replace("%(version)s", "g.version")


def _cell(value: Any) -> bytes | None:
    if isinstance(value, Cell):
        return value.data
    if isinstance(value, int):
        return INT64.pack(value)
    return value.encode() if isinstance(value, str) else value
