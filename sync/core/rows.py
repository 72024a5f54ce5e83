"""Tables, columns and how a source table maps onto its target: plain values, read from both catalogues."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from sync.core.cql import CqlType

OnReject = Literal["reject", "strip-nul", "null"]


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """A column of the source: `kind` is partition_key, clustering, regular, static, or expiry (`core.expiry`).

    `alias` is its default name in the target. A column with a `path` is not a column of the source, but a field of its
    document. `descending`: a clustering column by which rows come from the highest value to the lowest.
    """

    name: str
    type: CqlType
    kind: Literal["partition_key", "clustering", "regular", "static", "expiry"]
    alias: str = ""
    path: tuple[str, ...] = ()
    descending: bool = False

    @property
    def is_key(self) -> bool:
        """Whether it is part of the primary key."""
        return self.kind in ("partition_key", "clustering")

    @property
    def has_many_cells(self) -> bool:
        """Whether Cassandra keeps its elements or fields as cells of their own, each with its write time and TTL."""
        return self.type.name in ("map", "list", "set", "udt") and not self.type.frozen


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A source table as its catalogue describes it; key columns come first, in key order.

    `base`: the table whose static columns these are, each partition's as one row (`core.schema.static_rows`); else empty.
    """

    keyspace: str
    name: str
    columns: tuple[SourceColumn, ...]
    default_ttl: int = 0
    is_collection: bool = False
    is_compact: bool = False
    base: str = ""

    @property
    def section(self) -> str:
        """Where sync.toml says something about it."""
        return f'[tables."{self.name}"]' if self.base else f"[tables.{self.name}]"

    @property
    def stored(self) -> tuple[SourceColumn, ...]:
        """The columns that the source itself has."""
        return tuple(c for c in self.columns if not c.path and c.kind != "expiry")

    @property
    def partition_key(self) -> tuple[SourceColumn, ...]:
        return tuple(c for c in self.columns if c.kind == "partition_key")

    @property
    def primary_key(self) -> tuple[SourceColumn, ...]:
        return tuple(c for c in self.columns if c.is_key)


def has_counters(table: SourceTable) -> bool:
    """Whether it is a table of counters, which are incremented and never set (rule “counters”)."""
    return any(column.type.name == "counter" for column in table.columns)


def one_sided(table: SourceTable) -> str:
    """Why a table cannot be written on both sides; empty where it can."""
    if table.is_compact and any(column.kind == "regular" for column in table.columns):
        return (
            "COMPACT STORAGE cannot be written on both sides: a row without a value is no row there, but is one in Postgres; "
            "ALTER TABLE … DROP COMPACT STORAGE makes them rows"
        )
    return ""


@dataclass(frozen=True, slots=True)
class PgType:
    """A Postgres type: `name` as in pg_type (`int4`, `vector`), its OID, its modifier (-1: none), an array's element."""

    name: str
    oid: int = 0
    typmod: int = -1
    element: PgType | None = None
    sql: str = ""

    def __str__(self) -> str:
        return self.sql or self.name


@dataclass(frozen=True, slots=True)
class TargetColumn:
    """A column of the target; `required` where it does not accept null and has no default.

    `exact` is False if its collation considers texts of different bytes equal.
    """

    name: str
    type: PgType
    not_null: bool = False
    required: bool = False
    generated: bool = False
    exact: bool = True


@dataclass(frozen=True, slots=True)
class TargetTable:
    """A target table as its catalogue describes it.

    `expiry`: its column that says when a row expires, empty if it has none; `default_ttl`: after how many seconds a row does
    that is written without a TTL, 0 for never.
    """

    schema: str
    name: str
    columns: tuple[TargetColumn, ...]
    primary_key: tuple[str, ...]
    expiry: str = ""
    default_ttl: int = 0

    @property
    def without_expiry(self) -> TargetTable:
        """The table with the columns that an application reads and writes."""
        return replace(self, columns=tuple(c for c in self.columns if c.name != self.expiry)) if self.expiry else self

    def column(self, name: str) -> TargetColumn | None:
        """The column of that name, or None."""
        return next((c for c in self.columns if c.name == name), None)


@dataclass(frozen=True, slots=True)
class TableOptions:
    """What sync.toml says about one table; `expiry`: the target's column for it, empty if rows do not expire there.

    `base_ignore`: what is ignored of the table whose static columns these are.
    """

    target: str = ""
    rename: dict[str, str] = field(default_factory=dict)
    ignore: frozenset[str] = frozenset()
    on_reject: dict[str, OnReject] = field(default_factory=dict)
    keep_ttl: bool = False
    lightweight_transactions: bool = False
    fields: dict[str, str] = field(default_factory=dict)
    collection: bool = False
    expiry: str = ""
    base_ignore: frozenset[str] = frozenset()

    def target_name(self, column: SourceColumn) -> str:
        """What the target calls this column."""
        return self.rename.get(column.name, column.alias or column.name)


@dataclass(frozen=True, slots=True)
class ColumnPair:
    """One source column and the target column it fills."""

    source: SourceColumn
    target: TargetColumn
    on_reject: OnReject = "reject"


@dataclass(frozen=True, slots=True)
class TableMap:
    """A source table, its target and the pairs of columns, key columns first: the order of a row's canonical bytes.

    `keeps`: what expires in the source stays in the target (`ttl = "keep"`).
    """

    source: SourceTable
    target: TargetTable
    pairs: tuple[ColumnPair, ...]
    keeps: bool = False

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def keys(self) -> tuple[ColumnPair, ...]:
        return self.pairs[: len(self.source.primary_key)]


@dataclass(frozen=True, slots=True)
class Page:
    """`count` source rows, undecoded: from `offset` of `data`, cell after cell, each an int32 length and its bytes.

    The first cell of a row is its token; rows come in token order. `after` is the source's own mark of the place after the
    last row, where a later read may resume; None on the last page.
    """

    data: bytes
    offset: int
    count: int
    after: bytes | None = None

    @property
    def size(self) -> int:
        """Bytes of the rows."""
        return len(self.data) - self.offset

    @property
    def first_token(self) -> int:
        """The token of the first row."""
        return int.from_bytes(self.data[self.offset + 4 : self.offset + 12], "big", signed=True)
