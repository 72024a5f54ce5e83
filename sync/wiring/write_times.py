"""Looks for cells that were written ahead of the clock, at a preflight and while ranges are copied."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.rows.cells import Cells
from sync.adapters.cassandra.rows.write_times import RawKey, WriteTimes, rows_ahead, terms_with_rows
from sync.adapters.postgres.backfill import ahead
from sync.adapters.postgres.connection.connect import Connection
from sync.core.encode.base import Reject
from sync.core.encode.row_times import AheadRow, RowTimes
from sync.core.encode.rows import RowEncoder
from sync.core.keys.json_form import key_json
from sync.core.mutations import Key
from sync.core.ring import WHOLE_RING, TokenRange
from sync.core.rows import SourceTable, TableMap
from sync.core.schema.mapping import Problem
from sync.core.visible import key_text
from sync.errors import SourceTimeout, SourceUnavailable, WriteRefused
from sync.flows.preflight import PreflightReport
from sync.settings import Config

_PARTS, _AT_ONCE = 64, 5000


def limit(config: Config) -> int:
    """The write time, in µs since 1970, above which a cell lies ahead of the clock: further than a writer's own clock may."""
    return time.time_ns() // 1000 + int(config.dual_write.max_clock_skew_seconds * 1e6)


class RowsAhead:
    """Records rows that were written ahead of the clock. Raises SourceTimeout, SourceUnavailable and TargetUnavailable.

    Of most tables the write times are read with the rows (`terms`): the source need not read a range twice.
    """

    def __init__(self, cassandra: Cassandra, connection: Connection, tables: Mapping[str, TableMap], config: Config) -> None:
        self._cassandra, self._connection, self._tables, self._config = cassandra, connection, tables, config
        self._terms, self._times = dict[str, list[str]](), dict[str, WriteTimes]()

    def terms(self, name: str) -> list[str]:
        """What to select with each row; empty if the range is looked at before it is copied."""
        if name not in self._terms:
            self._terms[name] = terms_with_rows(self._cassandra, self._tables[name].source)
        return self._terms[name]

    def row_times(self, name: str) -> RowTimes | None:
        """What looks at the terms of each row."""
        terms = self.terms(name)
        return RowTimes(len(terms), len(self._tables[name].keys), lambda: limit(self._config)) if terms else None

    def look(self, name: str, tokens: TokenRange, alive: Callable[[], object]) -> None:
        """Look at a range of a table whose write times are not read with the rows."""
        source = self._tables[name].source
        if source.is_collection or self.terms(name):  # a collection's writes take no timestamp of ours
            return
        if name not in self._times:
            self._times[name] = WriteTimes(self._cassandra, source)
        for found in rows_ahead(self._times[name], tokens, limit(self._config)):
            alive()
            self.note(name, found)

    def note(self, name: str, found: Sequence[AheadRow]) -> None:
        """Record rows, some thousands at a time: a batch of narrow rows has a hundred thousand."""
        cells = Cells(self._tables[name].source, RowEncoder(self._tables[name], 0)) if found else None
        for at in range(0, len(found), _AT_ONCE):
            some = found[at : at + _AT_ONCE]
            keys = [(key, version) for raw, version in some if cells and (key := _key(cells, raw)) is not None]
            if keys:
                ahead.note(self._connection, self._tables[name], keys)


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
