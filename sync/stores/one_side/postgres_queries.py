"""What an application reads of Postgres besides single rows: rows of a partition, by an index, or all, page by page.

Each page is a statement of its own, which begins after the last row of the page before: no transaction stays open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from psycopg import sql

from sync.adapters.postgres.schema.catalogue import identifier
from sync.adapters.postgres.schema.expiry import is_live
from sync.adapters.postgres.schema.key_order import ReadFacts, after_key, comparison, order_by
from sync.adapters.postgres.schema.read_plans import ReadPlans
from sync.core.encode.rows import TOKEN_COLUMN
from sync.core.reads.cursor import Place
from sync.core.reads.key_order import KeyColumn, KeyOrder
from sync.core.reads.query import Condition, OrderBy, Query
from sync.core.rows import TargetColumn, TargetTable
from sync.errors import QueryNotSupported
from sync.stores.one_side.values import adapted_key
from sync.stores.rows import Page

Fetch = Callable[[sql.Composed, Mapping[str, Any]], list[dict[str, Any]]]
"""Runs a statement; its rows as the store's own values, with `_sync_token` where it is selected."""
_TOKEN = sql.Identifier(TOKEN_COLUMN)
_KEYS_AT_ONCE = 1000
_IN_ARRAYS = frozenset({
    "uuid", "text", "varchar", "int2", "int4", "int8", "numeric", "float4", "float8", "bool", "bytea", "date", "time",
    "timestamp", "timestamptz", "inet",
})  # fmt: skip
"""Types of keys that are looked up many at once; others are looked up one by one."""


class TableReads:
    """Reads of one table. `fetch` may raise TargetUnavailable and ValueUnreadable."""

    def __init__(self, table: TargetTable, facts: ReadFacts, columns: sql.Composed, fetch: Fetch) -> None:
        self._table, self._facts, self._fetch = table, facts, fetch
        self._columns, self._plans = columns, ReadPlans(table, facts)

    @property
    def key(self) -> KeyOrder:
        """The table's key. Raises QueryNotSupported if its order was never recorded."""
        return self._plans.key

    def query(self, where: Mapping[str, Any], order_by: OrderBy | None, limit: int | None) -> Query:
        """The checked query. Raises QueryNotSupported."""
        return self._plans.query(where, order_by, limit)

    def filters(self, where: Mapping[str, Any]) -> tuple[list[sql.Composed], dict[str, Any]]:
        """The terms of a search's conditions and their values. Raises QueryNotSupported, WriteRefused."""
        return self._terms(self._plans.filters(where))

    def rows_of_partition(self, where: Mapping[str, Any]) -> tuple[list[sql.Composed], dict[str, Any]]:
        """The terms of a delete's conditions and their values. Raises QueryNotSupported, WriteRefused."""
        return self._terms(self._plans.rows_of_partition(where))

    def get_many(self, keys: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
        """The rows of these keys, whose values are parameters already, in their order."""
        kinds = [self._column(name).type.name for name in self._table.primary_key]
        size = _KEYS_AT_ONCE if all(kind in _IN_ARRAYS for kind in kinds) else 1
        found: list[dict[str, Any] | None] = []
        for at in range(0, len(keys), size):
            part = keys[at : at + size]
            rows = {row.pop("_nth"): row for row in self._fetch(*self._by_keys(part, kinds))}
            found += [rows.get(nth) for nth in range(1, len(part) + 1)]
        return found

    def _by_keys(self, keys: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> tuple[sql.Composed, dict[str, Any]]:
        """One statement for these keys, which also returns each row's place among them."""
        names = self._table.primary_key
        if len(keys) == 1:
            terms = [sql.SQL("{} = {}").format(sql.Identifier(n), sql.Placeholder(f"k{at}")) for at, n in enumerate(names)]
            values = {f"k{at}": keys[0][n] for at, n in enumerate(names)}
            return sql.SQL("SELECT 1 AS _nth, {}").format(self._rows_where(terms)), values
        arrays, given = [], {}
        for at, (name, kind) in enumerate(zip(names, kinds, strict=True)):
            arrays.append(sql.SQL("{}::{}[]").format(sql.Placeholder(f"k{at}"), sql.SQL(kind)))
            given[f"k{at}"] = [str(key[name]) if kind == "inet" else key[name] for key in keys]
        asked = sql.SQL(", ").join(sql.Identifier(f"_k{at}") for at in range(len(names)))
        terms = [sql.SQL("{} = {}").format(sql.Identifier(n), sql.Identifier(f"_k{at}")) for at, n in enumerate(names)]
        source = sql.SQL("unnest({}) WITH ORDINALITY AS _g ({}, _nth) CROSS JOIN LATERAL (SELECT {}) AS _r").format(
            sql.SQL(", ").join(arrays), asked, self._rows_where(terms)
        )
        return sql.SQL("SELECT _nth, _r.* FROM {}").format(source), given

    def _rows_where(self, terms: Sequence[sql.Composable]) -> sql.Composed:
        live = [is_live(self._table.expiry)] if self._table.expiry else []
        where = sql.SQL(" AND ").join([*terms, *live])
        return sql.SQL("{} FROM {} AS t WHERE {}").format(self._columns, identifier(self._table), where)

    def find(self, query: Query, after: Place | None, page_rows: int) -> Iterator[Page]:
        """The pages of a query, in Cassandra's order, from after a place."""
        terms, values = self._terms(query.conditions)
        order = self._plans.order(with_partition=not query.in_partition)
        with_token = self._facts.has_token and not query.in_partition
        if not query.in_partition:
            self._check_order(after)
        return self._pages(_Read(terms, values, order, query.reversed, with_token), after, page_rows, query.limit)

    def scan(self, after: Place | None, page_rows: int) -> Iterator[Page]:
        """The pages of all rows: those with a token in its order, as in Cassandra, then those without, by key."""
        self._check_order(after)
        read = _Read([], {}, self._plans.order(with_partition=True), False, self._facts.has_token)
        return self._pages(read, after, page_rows, None)

    def _check_order(self, after: Place | None) -> None:
        if after is not None and after.token is not None and not self._facts.has_token:
            raise QueryNotSupported(
                f"{self._table.name}: this cursor is a place in the order of tokens, which `sync finish` removed: begin again"
            )

    def _terms(self, conditions: Sequence[Condition]) -> tuple[list[sql.Composed], dict[str, Any]]:
        terms: list[sql.Composed] = []
        values: dict[str, Any] = {}
        for at, condition in enumerate(conditions):
            by = self._plans.compared(condition)
            terms.append(comparison(self._table, by, condition.operator, sql.Placeholder(f"w{at}")))
            values[f"w{at}"] = adapted_key(self._table, self._column(condition.column), condition.value)
        return terms, values

    def _column(self, name: str) -> TargetColumn:
        return self._plans.column(name)

    def _pages(self, read: _Read, after: Place | None, rows: int, limit: int | None) -> Iterator[Page]:
        left, phases = limit, [True, False] if read.with_token else [False]
        if after is not None and read.with_token and after.token is None:
            phases = [False]
        for with_token in phases:
            for page in self._phase(read, with_token, after, rows, left):
                yield page
                left = None if left is None else left - len(page)
            after = None  # the next phase begins at its start
            if left == 0:
                return

    def _phase(self, read: _Read, with_token: bool, after: Place | None, rows: int, limit: int | None) -> Iterator[Page]:
        """The rows with a token, in its order, or those without; all rows of a table that has none."""
        given, left, names = after, limit, [c.name for c in self.key.columns]
        while left is None or left > 0:
            size = rows if left is None else min(rows, left)
            # One more than a page has says whether there is another.
            found = self._fetch(*self._statement(read, with_token, after, given, size + 1))
            if not found:
                return
            has_more = len(found) > size
            del found[size:]
            page: Page = (
                [(row.pop(TOKEN_COLUMN), row) for row in found] if read.with_token else [(None, row) for row in found]
            )
            yield page
            if not has_more:
                return
            left = None if left is None else left - len(page)
            token, row = page[-1]
            after = Place(token, tuple(row[name] for name in names))

    def _statement(
        self, read: _Read, with_token: bool, after: Place | None, given: Place | None, size: int
    ) -> tuple[sql.Composed, dict[str, Any]]:
        terms, values, table = list(read.terms), dict(read.values), self._table
        if read.with_token:
            terms.append(sql.SQL("{} IS {}").format(_TOKEN, sql.SQL("NOT NULL" if with_token else "NULL")))
        if after is not None:
            terms += self._after(read, with_token, after, given, values)
        order = order_by(table, read.order, read.reversed)
        order = [sql.SQL("{}").format(_TOKEN), *order] if with_token else order
        by = sql.SQL(" ORDER BY {}").format(sql.SQL(", ").join(order)) if order else sql.SQL("")
        token = sql.SQL("{}, ").format(_TOKEN) if read.with_token else sql.SQL("")
        rows = self._rows_where(terms or [sql.SQL("true")])
        return sql.SQL("SELECT {}{}{} LIMIT {}").format(token, rows, by, sql.Placeholder("n")), values | {"n": size}

    def _after(
        self, read: _Read, with_token: bool, after: Place, given: Place | None, values: dict[str, Any]
    ) -> list[sql.Composed]:
        if not with_token:
            return [after_key(self._table, read.order, self._values(read.order, after, "a", values), read.reversed)]
        values["t"] = after.token
        strict = after_key(self._table, read.order, self._values(read.order, after, "a", values), read.reversed)
        token = sql.Placeholder("t")
        if after is not given:
            return [sql.SQL("{0} >= {1} AND ({0} > {1} OR {2})").format(_TOKEN, token, strict)]
        # Another side may have ordered partitions of one token otherwise: only the place's own partition is passed over.
        partition, clustering = list(self.key.partition), list(self.key.clustering)
        same = [
            sql.SQL("{} = {}").format(sql.Identifier(c.name), v)
            for c, v in zip(partition, self._values(partition, after, "a", values), strict=True)
        ]
        later = after_key(self._table, clustering, self._values(clustering, after, "a", values), read.reversed)
        others = sql.SQL("NOT ({})").format(sql.SQL(" AND ").join(same))
        return [sql.SQL("{0} >= {1} AND ({0} > {1} OR {2} OR {3})").format(_TOKEN, token, others, later)]

    def _values(
        self, columns: Sequence[KeyColumn], place: Place, prefix: str, values: dict[str, Any]
    ) -> list[sql.Composable]:
        """Placeholders for a place's values of these columns, which are added to `values`."""
        names = [c.name for c in self.key.columns]
        for name, value in zip(names, place.key, strict=True):
            values[f"{prefix}{names.index(name)}"] = adapted_key(self._table, self._column(name), value)
        return [sql.Placeholder(f"{prefix}{names.index(c.name)}") for c in columns]


class _Read:
    """What all pages of a query have in common: conditions, their values, the order, and whether that is by token first."""

    def __init__(
        self, terms: list[sql.Composed], values: dict[str, Any], order: list[KeyColumn], is_reversed: bool, with_token: bool
    ) -> None:
        self.terms, self.values, self.order = terms, values, order
        self.reversed, self.with_token = is_reversed, with_token
