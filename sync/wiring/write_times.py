"""Looks for cells that were written ahead of the clock, at a preflight and while ranges are copied."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cache

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.rows.cells import Cells
from sync.adapters.cassandra.rows.write_times import RawKey, WriteTimes, rows_ahead
from sync.adapters.postgres.backfill import ahead
from sync.adapters.postgres.connection.connect import Connection
from sync.core.encode.base import Reject
from sync.core.encode.rows import RowEncoder
from sync.core.keys.json_form import key_json
from sync.core.mutations import Key
from sync.core.ring import WHOLE_RING, TokenRange
from sync.core.rows import SourceTable, TableMap
from sync.core.schema.mapping import Problem
from sync.core.visible import key_text
from sync.errors import SourceTimeout, SourceUnavailable, WriteRefused
from sync.flows.copy_ranges import NoteRowsAhead
from sync.flows.preflight import PreflightReport
from sync.settings import Config

_PARTS = 64


def limit(config: Config) -> int:
    """The write time, in µs since 1970, above which a cell lies ahead of the clock: further than a writer's own clock may."""
    return time.time_ns() // 1000 + int(config.dual_write.max_clock_skew_seconds * 1e6)


def rows_ahead_noter(
    cassandra: Cassandra, connection: Connection, tables: Mapping[str, TableMap], config: Config
) -> NoteRowsAhead:
    """What records a range's rows ahead of the clock. It raises SourceTimeout, SourceUnavailable, TargetUnavailable."""

    @cache
    def times(name: str) -> WriteTimes:
        return WriteTimes(cassandra, tables[name].source)

    @cache
    def cells(name: str) -> Cells:
        return Cells(tables[name].source, RowEncoder(tables[name], 0))

    def look(name: str, tokens: TokenRange, alive: Callable[[], object]) -> None:
        if tables[name].source.is_collection:  # its writes take no timestamp of ours
            return
        for found in rows_ahead(times(name), tokens, limit(config)):
            alive()
            keys = [(key, version) for raw, version in found if (key := _key(cells(name), raw)) is not None]
            if keys:
                ahead.note(connection, tables[name], keys)

    return look


def _key(cells: Cells, raw: RawKey) -> Key | None:
    try:
        return cells.key_of(raw)
    except (Reject, WriteRefused):
        return None  # the target cannot hold it: a reject


_NAMED = 3
_EFFECT = "writes with the present time have no effect on such cells in Cassandra"
_THEN = "sync backfill records these rows, and writes through the store get later timestamps (docs/reliability.md)"
_UNTOLD = "a value there that was written ahead of the clock is not found (docs/reliability.md)"


def check_write_times(cassandra: Cassandra, table: SourceTable, config: Config, report: PreflightReport, whole: bool) -> None:
    """Warn of rows that were written ahead of the clock: in a sample or, exactly, in the whole table."""
    most = limit(config)
    try:
        times = WriteTimes(cassandra, table)
        looked = [] if whole else times.sample()
        parts = WHOLE_RING.split(_PARTS) if whole else []
        found = [row for row in looked if row[1] > most]
        found += [row for part in parts for rows in rows_ahead(times, part, most) for row in rows]
    except (SourceTimeout, SourceUnavailable) as error:
        report.problems.append(Problem("warning", table.name, f"could not look at write times: {error}"))
        return
    if times.unknown_columns:
        text = f"this server does not report when {', '.join(times.unknown_columns)} was written: {_UNTOLD}"
        report.problems.append(Problem("warning", table.name, text))
    if found:
        how = f"{len(found):,}" if whole else f"{len(found):,} of {len(looked):,} rows looked at"
        named = "; ".join(sorted(_shown(table, key) for key, _ in found)[:_NAMED]) + (" …" if len(found) > _NAMED else "")
        text = f"{how}{' rows' if whole else ''} were written ahead of the clock ({named}): {_EFFECT}; {_THEN}"
        report.problems.append(Problem("warning", table.name, text if whole else f"{text}; --write-times counts them all"))


def _shown(table: SourceTable, key: RawKey) -> str:
    return key_text(key_json(table.primary_key, key))
