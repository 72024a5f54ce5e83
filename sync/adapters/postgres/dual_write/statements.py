"""The statements of one table's forward writes and reconciles, made once from `sql/journal.sql`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from psycopg import sql

from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.dual_write.locks import has_partitions
from sync.adapters.postgres.schema.catalogue import identifier
from sync.adapters.postgres.schema.expiry import expiry_column, is_live
from sync.core.encode.rows import TOKEN_COLUMN, VERSION_COLUMN, RowEncoder
from sync.core.rows import ColumnPair, TableMap
from sync.core.versions import MAX_STAMPED

_SQL = queries("dual_write/journal")
_PARTITIONS = queries("dual_write/partitions")


class Statements:
    """Statements with named parameters: `c_<i>` for the i-th column's cell, the key's first, and those of the SQL file.

    The statements are bytes, not `sql.Composed`, which psycopg would put together again at every execution.
    """

    def __init__(self, table: TableMap, encoder: RowEncoder) -> None:
        self.pairs = encoder.pairs
        self.keys = encoder.pairs[: encoder.key_count]
        self.others = encoder.pairs[encoder.key_count :]
        self._updates: dict[tuple[str, ...], bytes] = {}
        self._parameters = {p.source.name: f"c_{i}" for i, p in enumerate(self.pairs)}
        version = sql.SQL("t.{}").format(column(VERSION_COLUMN))
        self._parts: dict[str, sql.Composable] = {
            "target": identifier(table.target),
            "version": version,
            "most": sql.Literal(MAX_STAMPED),
            "token": column(TOKEN_COLUMN),
            "version_column": column(VERSION_COLUMN),
            "columns": _list(column(p.target.name) for p in self.pairs),
            "values": _list(sql.Placeholder(self.parameter(p)) for p in self.pairs),
            "primary_key": _list(column(p.target.name) for p in self.keys),
            "same_key": sql.SQL(" AND ").join(
                sql.SQL("t.{} = {}").format(column(p.target.name), sql.Placeholder(self.parameter(p))) for p in self.keys
            ),
            "set_excluded": self._set_excluded(),
            "if_expired": self._if_expired(expiry_column(encoder)),
            "mended": sql.SQL(_SQL["mended"]),
            "settle": sql.SQL(_SQL["settle"]),
            "settled": sql.SQL(_SQL["settled"]).format(late=sql.SQL(_SQL["late"])),
        }
        deleted = _PARTITIONS if has_partitions(table) else {"tombstone": _SQL["tombstone"]}
        for part in ("covering", "uncovered", "tombstone"):
            self._parts[part] = sql.SQL(deleted.get(part, ""))
        for fragment in ("same", "stamped", "registered"):
            self._parts[fragment] = sql.SQL(_SQL[fragment]).format(**self._parts)

    def parameter(self, pair: ColumnPair) -> str:
        """The name of a column's parameter."""
        return self._parameters[pair.source.name]

    def update(self, given: list[ColumnPair]) -> bytes:
        """The guarded update of these columns."""
        names = tuple(p.source.name for p in given)
        if names not in self._updates:
            self._updates[names] = self._made("update", set_given=self.assignments(given))
        return self._updates[names]

    def assignments(self, given: list[ColumnPair]) -> sql.Composed:
        """What an update of these columns sets."""
        return _list(sql.SQL("{} = {}").format(column(p.target.name), sql.Placeholder(self.parameter(p))) for p in given)

    def additions(self, given: list[ColumnPair]) -> dict[str, sql.Composable]:
        """The parts of a statement that adds to these counters."""
        columns = [*self.keys, *given]
        add = sql.SQL("{0} = (coalesce(t.{0}, 0) + excluded.{0})::bigint")
        return {
            "given": _list(column(p.target.name) for p in columns),
            "given_values": _list(sql.Placeholder(self.parameter(p)) for p in columns),
            "set_added": _list(add.format(column(p.target.name)) for p in given),
        }

    @cached_property
    def open(self) -> bytes:
        """Stamp a write and commit its intent."""
        return self._made("open")

    @cached_property
    def put(self) -> bytes:
        """The guarded write of a whole row."""
        return self._made("put")

    @cached_property
    def delete(self) -> bytes:
        """The guarded delete."""
        return self._made("delete")

    @cached_property
    def known(self) -> bytes:
        """What the target knows of a key."""
        return self._made("known")

    @cached_property
    def set_row(self) -> bytes:
        """Set the row as the primary has it, if the key is unchanged."""
        return self._made("set_row")

    @cached_property
    def set_row_keeping(self) -> bytes:
        """The same, but columns that are null in the primary keep their value."""
        return sql.SQL(_SQL["set_row"]).format(**{**self._parts, "set_excluded": self._set_excluded(True)}).as_bytes()

    @cached_property
    def set_kept(self) -> bytes:
        """Keep the target's row though the primary has none, if the key is unchanged."""
        return self._made("set_kept")

    @cached_property
    def set_absent(self) -> bytes:
        """Delete the row, which the primary does not have, if the key is unchanged."""
        return self._made("set_absent")

    def made(self, text: str, **more: sql.Composable) -> bytes:
        """A statement of another file, filled in with this table's parts."""
        return sql.SQL(text).format(**{**self._parts, **more}).as_bytes()

    def _made(self, name: str, **more: sql.Composable) -> bytes:
        return self.made(_SQL[name], **more)

    def _set_excluded(self, keeping: bool = False) -> sql.Composable:
        one = sql.SQL("{0} = coalesce(excluded.{0}, t.{0})" if keeping else "{0} = excluded.{0}")
        own = (sql.SQL("{0} = excluded.{0}").format(column(n)) for n in (TOKEN_COLUMN, VERSION_COLUMN))
        return _list([*(one.format(column(p.target.name)) for p in self.others), *own])

    def _if_expired(self, expiry: str) -> sql.Composable:
        """What an insert does about a row with its key: it replaces one that has expired, and does nothing about another."""
        if not expiry:
            return sql.SQL("NOTHING")
        return sql.SQL("UPDATE SET {} WHERE NOT {}").format(self._set_excluded(), is_live(expiry))


def _list(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)


def column(name: str) -> sql.SQL:
    """A column's name in a statement with parameters, where a percent sign is written twice."""
    return sql.SQL('"' + name.replace('"', '""').replace("%", "%%") + '"')
