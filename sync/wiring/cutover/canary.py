"""The canary: can rows go from Postgres back to the source? It writes nothing that anybody can read (decision 0017)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Lock

from psycopg.errors import UndefinedColumn

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.rows.cells import cells_of
from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.refusals import error_text
from sync.adapters.postgres.drift.keys import TargetKeys
from sync.core.cutover.gates import CanaryFact
from sync.core.decode.rows import RowDecoder
from sync.core.drift.verdicts import TargetRow
from sync.core.encode.rows import RowEncoder
from sync.core.keys.unused_key import unused_key
from sync.core.mutations import Key, Mutation
from sync.core.rows import TableMap, has_counters
from sync.errors import SyncError
from sync.ports import Read
from sync.settings import Config
from sync.wiring.backfill.worker import rows_by_key

_ROWS, _TRIES, _PAUSE_SECONDS = 5, 4, 0.05
_KEYS_TRIED = 5
_TABLES_AT_ONCE = 8


def run_canary(
    cassandra: Cassandra, connection: Connection, tables: Sequence[TableMap], config: Config, send: bool
) -> list[CanaryFact]:
    """Compare some rows of each table; if no table fails, and with `send`, try whether the source takes such rows.

    Several tables at once: most of the time goes by while the source answers. They take turns at the connection to Postgres:
    through a pooler each statement is a transaction of several messages.
    """
    turn = Lock()
    with ThreadPoolExecutor(_TABLES_AT_ONCE) as executor:
        ways = list(executor.map(lambda table: _Way(cassandra, connection, table, config, turn), tables))
        facts = list(executor.map(lambda way: _guarded(way, way.compare), ways))
        if not send or any(fact.error for fact in facts):
            return facts
        sent = list(executor.map(lambda way: _guarded(way, way.send), ways))
    return [replace(after, rows=fact.rows) for fact, after in zip(facts, sent, strict=True)]


def _guarded(way: _Way, step: Callable[[], CanaryFact]) -> CanaryFact:
    try:
        return step()
    except UndefinedColumn as error:  # before the first backfill
        return CanaryFact(way.name, 0, f"{error_text(error)}: sync backfill adds the migration's columns")
    except (SyncError, ValueError) as error:
        return CanaryFact(way.name, 0, " ".join(str(error).split()))


class _Way:
    """One table's way from Postgres to the source and back."""

    def __init__(self, cassandra: Cassandra, connection: Connection, table: TableMap, config: Config, turn: Lock) -> None:
        self.name = table.name
        self._turn = turn
        self._table = table
        self._encoder = RowEncoder(table, 0)
        self._decoder = RowDecoder(table, self._encoder.compared)
        self._cells = cells_of(table.source, self._encoder)
        self._rows = rows_by_key(cassandra, table.source, config, lazy=True)
        with turn:
            self._target = TargetKeys(connection, table, self._encoder)
        options = config.options(table.name)
        self._expires = options.keep_ttl or bool(options.expiry)  # a row that has expired on one side proves nothing
        self._back: Mutation | None = None

    def compare(self) -> CanaryFact:
        """Compare some rows on both sides. Raises ValueError if an unchanged one differs, or if none stays unchanged."""
        rows = self._sample()
        unclear = self._unlike(rows)
        back = len(rows) - len(unclear) + sum(map(self._is_back, unclear))
        if rows and not back and not self._expires:
            raise ValueError(f"none of {len(rows)} rows stayed unchanged for long enough: run it again")
        return CanaryFact(self.name, back)

    def send(self) -> CanaryFact:
        """Have the source take a row of the canary's own, or add 0 to counters. Raises ValueError if it does not."""
        if has_counters(self._table.source):
            return self._count_nothing()
        own = self._own()
        if own is None:
            return CanaryFact(self.name, 0)
        outcome, error = self._rows.try_write(own)
        if outcome != "written":
            raise ValueError(f"the source did not take a row: {error}")
        return CanaryFact(self.name, 0, sent=True)

    def _count_nothing(self) -> CanaryFact:
        """Have the source add 0 to the counters that it shows of a row that came back."""
        amounts = {name: 0 for name, cell in self._back.cells.items() if cell is not None} if self._back else {}
        if not self._back or not amounts:
            return CanaryFact(self.name, 0)
        outcome, error = self._rows.increment(self._back.key, amounts)
        if outcome != "written":
            raise ValueError(f"the source did not take an increment by 0: {error}")
        return CanaryFact(self.name, 0, sent=True)

    def _own(self) -> Mutation | None:
        """A row that came back, under an unused key; None if there is no such row or key."""
        for _ in range(_KEYS_TRIED if self._back else 0):
            assert self._back is not None
            cells = unused_key(self._table.source, self._back.key.cells)
            if cells is None:
                return None
            key = self._cells.key_without_target(cells)
            if self._rows.read(key).cells is None:
                return Mutation("put", key, self._back.cells)
        return None

    def _sample(self) -> dict[Key, bytes | None]:
        """Some rows of the target, from a random place on the ring onwards, wrapping around; None: it may be changing."""
        with self._turn:
            found = self._target.sample(random.randint(-(2**63), 2**63 - 1), _ROWS)
        return {self._cells.key_of(self._decoder.key(canonical)): row for canonical, row in found.items()}

    def _look(self, key: Key) -> TargetRow:
        with self._turn:
            return self._target.look([key])[0]

    def _unlike(self, rows: Mapping[Key, bytes | None]) -> list[Key]:
        """The keys of those that one read of the source, of all at once, does not show to be the same on both sides."""
        held = {key: row for key, row in rows.items() if row is not None}
        reads = dict(zip(held, self._rows.read_many(list(held)), strict=True)) if held else {}
        return [key for key in rows if key not in held or self._unlike_read(key, held[key], reads[key])]

    def _is_back(self, key: Key) -> bool:
        """Whether the row is the same on both sides; False for one that is gone, or keeps being written."""
        for attempt in range(_TRIES):
            held = self._look(key)
            if held.row is None:
                return False
            problem = "" if held.intents else self._unlike_read(key, held.row, self._rows.read(key))
            if not problem and not held.intents:
                return True
            if problem and self._look(key) == held:
                if self._expires:
                    return False
                raise ValueError(problem)
            time.sleep(_PAUSE_SECONDS * 2**attempt)
        return False

    def _unlike_read(self, key: Key, row: bytes, read: Read) -> str:
        """How a row of Postgres differs from what was read of the source; empty if it is the same."""
        cells = self._decoder.cells(row)
        if not self._table.source.is_collection:  # the API makes the cells of documents
            lost = self._different(cells, row)
            if lost:
                return f"a row cannot be converted back: {lost}"
        if read.cells is None:
            return "a row of Postgres is not in the source"
        self._back = Mutation("put", key, self._decoder.others(row))
        different = self._different(read.cells, row)
        return f"a row came back with another {different}" if different else ""

    def _different(self, cells: Mapping[str, bytes | None], row: bytes) -> str:
        """The columns in which the source's cells and a row of Postgres differ."""
        made = self._encoder.canonical_row(cells)
        return (
            "value, one that Postgres cannot hold" if made is None else ", ".join(self._encoder.different_columns(made, row))
        )
