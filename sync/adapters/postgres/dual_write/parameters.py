"""Keys and rows as the parameters of a table's statements, and connections as its journal needs them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg_pool import PoolTimeout

from sync.adapters.postgres.backfill import rejects
from sync.adapters.postgres.backfill.loader import REFUSALS
from sync.adapters.postgres.connection.cell import Cell
from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.pool import Pool
from sync.adapters.postgres.connection.refusals import unavailable
from sync.adapters.postgres.dual_write.statements import Statements
from sync.core.encode.base import Reject
from sync.core.encode.rows import Issue, RowEncoder, encode_cell
from sync.core.mutations import Key, Mutation


class Parameters:
    """Makes the named parameters of one table's `Statements` from raw CQL cells."""

    def __init__(self, statements: Statements, encoder: RowEncoder) -> None:
        self._statements, self._encoder = statements, encoder
        self._by_name = {p.source.name: (p, e) for p, e in zip(encoder.pairs, encoder.encoders, strict=True)}

    def key(self, key: Key) -> dict[str, Any]:
        """The parameters that name a key. Raises Reject for a key that the target cannot hold."""
        values: dict[str, Any] = {
            "table": key.table, "key": key.canonical, "token": key.token, "source_key": rejects.packed(key.cells),
        }  # fmt: skip
        for pair, cell in zip(self._statements.keys, key.cells, strict=True):
            values[self._statements.parameter(pair)] = self._cell(pair.source.name, cell)
        return values

    def partition(self, mutation: Mutation) -> dict[str, Any]:
        """The parameters of a partition's delete: its keys' first columns, `b_<i>` for the ends of a range. Raises Reject."""
        key, pairs = mutation.key, self._statements.keys
        values: dict[str, Any] = {
            "table": key.table, "key": key.canonical, "token": key.token, "source_key": rejects.packed(key.cells),
        }  # fmt: skip
        for pair, cell in zip(pairs, key.cells, strict=False):
            values[self._statements.parameter(pair)] = self._cell(pair.source.name, cell)
        for at, end in enumerate(mutation.cells.values()):
            values[f"b_{at}"] = self._cell(pairs[len(key.cells)].source.name, end)
        return values

    def row(self, key: Key, cells: Mapping[str, bytes | None]) -> dict[str, Any]:
        """The key and the given cells; columns that are not given are null. Raises Reject."""
        return self.given(key, {p.source.name: cells.get(p.source.name) for p in self._statements.others})

    def given(self, key: Key, cells: Mapping[str, bytes | None]) -> dict[str, Any]:
        """The key and only the given cells. Raises Reject."""
        values = self.key(key)
        for name, cell in cells.items():
            if name in self._by_name:
                values[self._statements.parameter(self._by_name[name][0])] = self._cell(name, cell)
        return values

    def checked_row(self, key: Key, cells: Mapping[str, bytes | None]) -> tuple[dict[str, Any] | None, list[Issue]]:
        """A row by the rules of sync.toml: None if it is rejected, and what was found and done."""
        made, issues = self._encoder.check_cells(cells)
        if any(issue.action == "reject" for issue in issues):
            return None, issues
        values = self.key(key)
        for pair in self._statements.others:
            cell = made[pair.source.name]
            values[self._statements.parameter(pair)] = Cell(cell, pair.target.type.oid)
        return values, issues

    def _cell(self, name: str, cell: bytes | None) -> Cell:
        pair, encoder = self._by_name[name]
        if cell is None or (not cell and encoder.empty_is_null):
            if pair.target.not_null:
                raise Reject(f"null, which {pair.target.name} does not accept")
            return Cell(None, pair.target.type.oid)
        return Cell(encode_cell(encoder, cell), pair.target.type.oid)


@contextmanager
def connection_of(pool: Pool) -> Iterator[Connection]:
    """A connection of the pool. Raises TargetUnavailable if there is none in time, or it breaks."""
    try:
        with pool.connection() as connection:
            yield connection
    except REFUSALS:
        raise  # a row that Postgres cannot hold: some of these count as operational errors
    except (psycopg.Error, PoolTimeout) as error:
        raise unavailable(error) from None
