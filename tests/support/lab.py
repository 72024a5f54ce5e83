"""The path of values through both real servers: bound as bytes, read raw, encoded, COPYed, read back and compared."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

import psycopg
from cassandra import InvalidRequest
from cassandra.cluster import NoHostAvailable, Session
from cassandra.cqltypes import lookup_casstype
from cassandra.query import BoundStatement
from cassandra.util import OrderedMapSerializedKey

from support import oracle
from support.cells import cell, split
from support.literals import literal
from support.reject_reasons import is_true
from support.values import keys
from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.connection.pages import RAW_PROFILE, RangeReader
from sync.adapters.cassandra.schema.catalogue import read_tables
from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.schema.catalogue import read_target
from sync.adapters.postgres.schema.row_digest_sql import canonical
from sync.core.cql import CqlType
from sync.core.encode.rows import COPY_HEADER, COPY_TRAILER, ENCODE_ERRORS, CheckedRow, RowEncoder
from sync.core.ring import plan_ranges
from sync.core.rows import ColumnPair, OnReject, PgType, SourceTable, TableMap
from sync.settings import Settings

VERSION = 1_700_000_000_000_000
_IN_FLIGHT = 200
REFUSED_BY_POSTGRES = (psycopg.DataError, psycopg.errors.ProtocolViolation, psycopg.errors.ProgramLimitExceeded)
_DRIVER_ERRORS = (ValueError, OverflowError, IndexError, TypeError, struct.error)
UNDECODABLE = object()
"""Stands for a cell that the driver itself cannot decode."""


@dataclass
class Source:
    """One Cassandra table `(k uuid, c …)` and its rows: raw cells, and values as the driver decodes them."""

    table: SourceTable
    raw: dict[UUID, bytes | None] = field(default_factory=dict)
    values: dict[UUID, Any] = field(default_factory=dict)

    @property
    def type(self) -> CqlType:
        """The type of the column under test."""
        return self.table.columns[-1].type


@dataclass
class Outcome:
    """What became of one row: by the slow path, and by the fast one (None where it raised)."""

    key: UUID
    checked: CheckedRow
    fast: bytes | None

    @property
    def cell(self) -> bytes | None:
        """The encoded cell under test."""
        assert self.checked.encoded is not None
        return split(self.checked.encoded, 2, 3)[0][2]


class Lab:
    """A keyspace and a database for one module of tests."""

    def __init__(self, cassandra: Cassandra, settings: Settings) -> None:
        self.cassandra, self.keyspace = cassandra, str(settings.astra_db_keyspace)
        self.postgres = connect(settings, autocommit=True)
        self.postgres.execute("CREATE EXTENSION IF NOT EXISTS vector")
        self.postgres.execute("SET timezone = 'UTC'")
        self._tables = 0
        self._sources: dict[tuple[str, Callable[[CqlType], list[Any]]], Source] = {}

    @property
    def session(self) -> Session:
        return self.cassandra.session

    def source(self, sql: str, make_values: Callable[[CqlType], list[Any]]) -> Source:
        """A table of a CQL type, filled with values; the same one for every target type."""
        if (sql, make_values) not in self._sources:
            source = self._create_source(sql)
            wanted = dict(zip(keys(), make_values(source.type), strict=False))
            accepted = self._insert(source.table, {k: cell(source.type, v) for k, v in wanted.items()})
            assert len(accepted) >= len(wanted) / 2, f"Cassandra refused most values of {sql}"
            self._read(source)
            self._sources[sql, make_values] = source
        return self._sources[sql, make_values]

    def _create_source(self, sql: str) -> Source:
        self._tables += 1
        name = f"t{self._tables}"
        self.session.execute(f"CREATE TABLE {self.keyspace}.{name} (k uuid PRIMARY KEY, c {sql})")
        return Source(read_tables(self.session, self.keyspace)[name])

    def _insert(self, table: SourceTable, rows: dict[UUID, bytes | None]) -> list[UUID]:
        """Insert the cells as they are; the keys of those that Cassandra accepts."""
        counter = table.columns[-1].type.name == "counter"
        statement = (
            f"UPDATE {self.keyspace}.{table.name} SET c = c + ? WHERE k = ?"
            if counter
            else f"INSERT INTO {self.keyspace}.{table.name} (c, k) VALUES (?, ?)"
        )
        prepared, accepted, waiting = self.session.prepare(statement), [], list(rows.items())
        while waiting:
            some, waiting = waiting[:_IN_FLIGHT], waiting[_IN_FLIGHT:]
            futures = []
            for key, value in some:
                bound = BoundStatement(prepared)
                bound.values = [value, key.bytes]
                futures.append((key, self.session.execute_async(bound)))
            for key, future in futures:
                try:
                    future.result()
                except (InvalidRequest, NoHostAvailable) as error:
                    assert "Connection" not in str(error), error
                else:
                    accepted.append(key)
        return accepted

    def _read(self, source: Source) -> None:
        """Each row's raw cell by a plain query, and its value by the driver's session, or by its types where that fails."""
        name = f"{self.keyspace}.{source.table.name}"
        source.raw = self.raw_cells(source.table)
        one = self.session.prepare(f"SELECT c FROM {name} WHERE k = ?")
        driver_type = one.result_metadata[0][3]
        with oracle.any_digits():
            plain = {k: _decoded(driver_type, c) for k, c in source.raw.items()}
            futures = {k: self.session.execute_async(one, (k,)) for k, v in plain.items() if v is None}
            for key, future in futures.items():
                plain[key] = future.result().one()[0]
            source.values = {k: v if v is UNDECODABLE else oracle.plain(source.type, v) for k, v in plain.items()}

    def raw_cells(self, table: SourceTable) -> dict[UUID, bytes | None]:
        """Each row's cell as Cassandra holds it."""
        statement = f"SELECT k, c FROM {self.keyspace}.{table.name}"
        raw = self.cassandra.raw.execute(statement, execution_profile=RAW_PROFILE).current_rows[0]
        found, at = {}, raw.offset
        for _ in range(raw.count):
            cells, at = split(raw.data, at, 2)
            found[UUID(bytes=cells[0] or b"")] = cells[1]
        return found

    @contextmanager
    def another(self, sql: str) -> Iterator[SourceTable]:
        """A temporary table of a CQL type: a thousand of them are more than a small server holds."""
        table = self._create_source(sql).table
        yield table
        self.session.execute(f"DROP TABLE {self.keyspace}.{table.name}")

    def write(self, table: SourceTable, rows: dict[UUID, bytes | None]) -> dict[UUID, bytes | None]:
        """Write these cells as they are: the rows that Cassandra refuses."""
        taken = set(self._insert(table, rows))
        return {key: value for key, value in rows.items() if key not in taken}

    def canonical_rows(self, target: str, encoder: RowEncoder) -> dict[UUID, bytes]:
        """By key: a row's canonical bytes as Postgres sends them."""
        row = canonical(encoder.pairs, target).as_string()
        rows = self.postgres.cursor(binary=True).execute(f"SELECT k, {row} FROM {target}".encode()).fetchall()
        return {key: bytes(sent) for key, sent in rows}

    def target(self, sql: str, extra: str = "") -> str:
        """A table (k uuid, c <sql>) in Postgres with the columns that a migration adds; its name."""
        self._tables += 1
        name = f"p{self._tables}"
        self.postgres.execute(
            f"CREATE TABLE {name} (_sync_token bigint, k uuid PRIMARY KEY, c {sql} {extra}, _sync_version bigint)"
        )
        return name

    def table_map(self, source: SourceTable, target: str, on_reject: OnReject = "reject") -> TableMap:
        """The mapping k → k, c → c."""
        found = read_target(self.postgres, target)
        assert found
        pairs = [ColumnPair(c, found.column(c.name) or found.columns[0]) for c in source.columns]
        return TableMap(source, found, (*pairs[:-1], replace(pairs[-1], on_reject=on_reject)))

    def outcomes(self, encoder: RowEncoder, source: SourceTable) -> Iterator[Outcome]:
        """Every row of the source over planned ranges, by both paths."""
        reader = RangeReader(self.cassandra.raw, source, encoder.columns, 1 << 20)
        for tokens in plan_ranges([], 1, at_least=4):
            for page in reader.pages(tokens):
                at, single = page.offset, []
                for checked in encoder.check_page(page.data, page.offset, page.count):
                    single.append(_fast(encoder, page.data, at))
                    _, at = split(page.data, at, 1 + len(encoder.columns))
                    yield Outcome(UUID(bytes=checked.key[0]), checked, single[-1])
                assert at == len(page.data)
                _check_whole_page(encoder, page.data, page.offset, single)

    def copy(self, target: str, encoder: RowEncoder, rows: list[bytes]) -> None:
        """COPY encoded rows as one batch. Raises what Postgres raises."""
        columns = ", ".join(encoder.copy_columns)
        with self.postgres.cursor().copy(f"COPY {target} ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
            for piece in (COPY_HEADER, *rows, COPY_TRAILER):
                copy.write(piece)

    def refuses(self, target: str, encoder: RowEncoder, row: bytes) -> bool:
        """Whether Postgres refuses this row."""
        try:
            with self.postgres.transaction(force_rollback=True):
                self.copy(target, encoder, [row])
        except REFUSED_BY_POSTGRES:
            return True
        return False

    def shown(self, target: str, pg: PgType) -> dict[UUID, tuple[Any, bytes | None]]:
        """By key: what Postgres shows of c, and the bytes of its send function."""
        send = self.postgres.execute("SELECT typsend::text FROM pg_type WHERE oid = %s", (pg.oid,)).fetchone()
        assert send
        sql = f"SELECT k, {oracle.expression(pg, 'c')}, {send[0]}(c) FROM {target}"
        rows = self.postgres.cursor(binary=True).execute(sql).fetchall()
        return {key: (value, None if sent is None else bytes(sent)) for key, value, sent in rows}

    def could_hold(self, target: str, cql: CqlType, pg: PgType, value: Any) -> bool:
        """Whether Postgres takes the value as SQL text and shows it unchanged."""
        key = uuid4()
        try:
            with oracle.any_digits(), self.postgres.transaction(force_rollback=True):
                text = literal(cql, pg, value)
                self.postgres.execute(f"INSERT INTO {target} (k, c) VALUES (%s, %s::text::{pg})", (key, text))
                found = oracle.seen(cql, pg, self.shown(target, pg)[key][0])
                return bool(oracle.comparable(cql, pg, found) == oracle.comparable(cql, pg, oracle.held(pg, value)))
        except (oracle.Unholdable, psycopg.DataError, psycopg.errors.ProgramLimitExceeded):
            return False


def _decoded(driver_type: Any, data: bytes | None) -> Any:
    """None where the driver's session can decode the cell, and so is used; else what the driver's types make of it.

    A session fails on nulls within collections, and on timestamps that datetime cannot hold: these stay ms.
    """
    name = driver_type.cass_parameterized_type(full=True)
    lenient = [lookup_casstype(re.sub(r"\bDateType\b", "LongType", name))] if "DateType" in name else []
    for decode in (driver_type, *lenient):
        try:
            value = decode.from_binary(data, 4)
        except _DRIVER_ERRORS:
            continue
        return None if decode is driver_type and not _null_within(value) else value
    return UNDECODABLE


def _null_within(value: Any) -> bool:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return False
    parts = [part for pair in value._items for part in pair] if isinstance(value, OrderedMapSerializedKey) else value
    return any(part is None or _null_within(part) for part in parts)


def _fast(encoder: RowEncoder, data: bytes, at: int, count: int = 1) -> bytes | None:
    try:
        return b"".join(encoder.encode_page(data, at, count))
    except ENCODE_ERRORS:
        return None


def _check_whole_page(encoder: RowEncoder, data: bytes, offset: int, single: list[bytes | None]) -> None:
    """A page encoded at once equals its rows encoded one by one; if one of them raises, the page raises."""
    whole = None if None in single else b"".join(s for s in single if s is not None)
    assert _fast(encoder, data, offset, len(single)) == whole


@contextmanager
def open_lab(cassandra: Cassandra, base: Settings) -> Iterator[Lab]:
    """A lab with a keyspace and a database of its own, dropped at the end."""
    name = f"types_{uuid4().hex[:12]}"
    simple = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    with connect(base, autocommit=True) as admin:
        cassandra.session.execute(f"CREATE KEYSPACE {name} WITH replication = {simple}")
        admin.execute(f"CREATE DATABASE {name}")
        lab = Lab(cassandra, base.model_copy(update={"astra_db_keyspace": name, "postgres_database": name}))
        try:
            yield lab
        finally:
            lab.postgres.close()
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
            cassandra.session.execute(f"DROP KEYSPACE {name}")


def check_reasons(outcome: Outcome, lab: Lab, target: str, cql: CqlType, pg: PgType, value: Any) -> None:
    """A reject has one true reason, and Postgres really could not hold the value."""
    (issue,) = outcome.checked.issues
    assert (issue.column, issue.action) == ("c", "reject")
    if value is UNDECODABLE:
        return
    with oracle.any_digits():
        assert is_true(issue.reason, cql, pg, value), f"{issue.reason!r} is not true of {_short(value)}"
        assert not lab.could_hold(target, cql, pg, value), f"{pg} could hold {_short(value)}: {issue.reason}"


def _short(value: Any) -> str:
    return repr(value)[:300]
