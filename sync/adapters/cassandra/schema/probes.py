"""Tries on the source whether it would take the statements of each flow: privileges, guardrails, functions it lacks.

Nothing is written: the only statement that could write names no row. `DELETE … USING TIMESTAMP … WHERE key IN ()` is
authorized, and checked against the guardrails, like any other.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from cassandra.query import BoundStatement

from sync.adapters.cassandra.connection.connect import WRITE_PROFILE, Cassandra, explain
from sync.adapters.cassandra.connection.pages import RAW_PROFILE, RangeReader, delete, named, quoted, select
from sync.adapters.cassandra.rows.cells import token_of
from sync.adapters.cassandra.rows.key_rows import KeyRows
from sync.adapters.cassandra.rows.rows import FAILURES, OLDEST, SourceRows, prepared
from sync.core.encode.base import INT64, read_cells
from sync.core.mutations import Key
from sync.core.rows import SourceTable
from sync.errors import SourceUnavailable

_TIMEOUT = 10.0


def some_keys(cassandra: Cassandra, table: SourceTable) -> list[Key]:
    """The key of a row, if there is one. Raises the driver's errors."""
    names = [quoted(c.name) for c in table.primary_key]
    page = cassandra.raw.execute(f"{select(table, names)} LIMIT 1", execution_profile=RAW_PROFILE).current_rows[0]
    found, at = [], page.offset
    for _ in range(page.count):
        cells, at = read_cells(page.data, at, len(names))
        raw = tuple(cell or b"" for cell in cells)
        if None not in cells:  # a partition's row of only static columns has no clustering key
            found.append(Key(table.name, raw, b"", token_of(raw[: len(table.partition_key)])))
    return found


def try_ranges(cassandra: Cassandra, table: SourceTable, columns: tuple[str, ...]) -> None:
    """Read by token, with the largest page. Raises SourceUnavailable and SourceTimeout."""
    RangeReader(cassandra.raw, table, columns, 1).try_out()


def try_keys(cassandra: Cassandra, table: SourceTable, columns: tuple[str, ...], keys: Sequence[Key], serial: bool) -> None:
    """Read rows by key with their write times, as a proof does. Raises SourceUnavailable."""
    for found in KeyRows(cassandra, table, columns, _TIMEOUT, serial).read_each(keys[:1]):
        if isinstance(found, str):
            raise SourceUnavailable(found)


def try_rows(rows: SourceRows, keys: Sequence[Key]) -> None:
    """Read rows by key, as a reconcile does that cannot read many at once. Raises SourceUnavailable."""
    for key in keys[:1]:
        rows.read(key)


def try_writes(cassandra: Cassandra, table: SourceTable, ahead_us: int) -> None:
    """Write with a timestamp `ahead_us` ahead of the clock, the latest of any: a source that takes it takes the present.

    Raises SourceUnavailable.
    """
    columns = [quoted(c.name) for c in table.stored if c.kind != "static"]
    prepared(
        cassandra.session,
        f"INSERT INTO {named(table)} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) USING TIMESTAMP ?",
    )
    _try_timestamp(cassandra, table, time.time_ns() // 1000 + ahead_us)


def try_increments(cassandra: Cassandra, table: SourceTable) -> None:
    """Increment counters. Raises SourceUnavailable."""
    added = ", ".join(f"{quoted(c.name)} = {quoted(c.name)} + 0" for c in table.columns if c.type.name == "counter")
    where = " AND ".join(f"{quoted(c.name)} IN ()" for c in table.primary_key)
    try:
        cassandra.session.execute(
            f"UPDATE {named(table)} SET {added} WHERE {where}", timeout=_TIMEOUT, execution_profile=WRITE_PROFILE
        )
    except FAILURES as error:
        raise SourceUnavailable(explain(error)) from None


def try_old_writes(cassandra: Cassandra, table: SourceTable) -> None:
    """Write with the oldest timestamp, as the canary does. Raises SourceUnavailable."""
    try:
        _try_timestamp(cassandra, table, OLDEST)
    except SourceUnavailable as error:
        raise SourceUnavailable(
            f"{error}; the canary writes at the oldest timestamp, and a repeated write keeps its own timestamp"
        ) from None


def _try_timestamp(cassandra: Cassandra, table: SourceTable, version: int) -> None:
    where = " AND ".join(f"{quoted(c.name)} IN ()" for c in table.partition_key)
    bound = BoundStatement(prepared(cassandra.session, f"{delete(table)} USING TIMESTAMP ? WHERE {where}"))
    bound.values = [INT64.pack(version)]
    try:
        cassandra.session.execute(bound, timeout=_TIMEOUT, execution_profile=WRITE_PROFILE)
    except FAILURES as error:
        raise SourceUnavailable(explain(error)) from None
