"""Shadow reads: a share of the reads is asked of the other side, too, behind the caller's back, and the answers are compared.

The caller has its answer by then. One thread asks the other side and compares, one reads again the keys that seemed to
differ and records what it finds (second_look); both take no more than they have room for. What is not compared is counted.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import random
from threading import Lock
from typing import Any, TypeVar

import psycopg
from psycopg_pool import PoolTimeout

from sync.adapters.postgres.connection.refusals import error_text
from sync.adapters.postgres.drift import shadow_ledger
from sync.adapters.postgres.drift.shadow_ledger import MAX_KEYS, Difference
from sync.adapters.postgres.dual_write.parameters import connection_of
from sync.core.drift.answers import Row
from sync.core.drift.results import KeyVerdict
from sync.core.drift.verdicts import FINDINGS
from sync.core.encode.base import Reject
from sync.core.mutations import Key
from sync.errors import SourceUnavailable, SyncError, TargetUnavailable, ValueUnreadable
from sync.ports import Primary
from sync.settings import Config
from sync.stores.both_sides.background import Background, Ended
from sync.stores.both_sides.first_look import ShadowRead, different_keys
from sync.stores.both_sides.second_look import SecondLook
from sync.stores.both_sides.source import SourceSide
from sync.stores.both_sides.table_flows import TableFlows
from sync.stores.both_sides.target import TargetSide
from sync.stores.one_side.postgres import PostgresStore
from sync.stores.one_side.renamed import ApplicationNames, RenamedStore

log = logging.getLogger(__name__)
T = TypeVar("T")
MAX_WAITING = 100
"""So many reads may wait to be compared; what comes then is skipped."""
MAX_ROWS = 1000
"""So many rows may the answers that wait have together, and so many suspects may wait; a longer answer is skipped."""
_PAUSE_SECONDS, _END_SECONDS = 5.0, 1.0
_OTHER: dict[Primary, Primary] = {"astra": "postgres", "postgres": "astra"}
_AWAY = (SourceUnavailable, TargetUnavailable, PoolTimeout)
_ERRORS = (SyncError, Reject, psycopg.Error, PoolTimeout)


@dataclass(frozen=True, slots=True)
class _Answered:
    """A read, the primary that has answered it, and the rows; None if Python could not represent a value."""

    asked: ShadowRead[Any]
    primary: Primary
    rows: Sequence[Row] | None


@dataclass(frozen=True, slots=True)
class _Suspect:
    """A key in which the answers differed; `asked`: its own read, if only one side could answer that."""

    key: Key
    asked: ShadowRead[Any] | None = None


class ShadowReads:
    """Compares a share of a store's reads. Safe to use from many threads."""

    def __init__(self, config: Config, side: TargetSide, source: SourceSide, flows: Callable[[str], TableFlows]) -> None:
        self._tuning, self._side, self._source, self._flows = config.dual_write, side, source, flows
        self._counts, self._differences = Counter[str](), list[Difference]()
        self._lock, self._opening = Lock(), Lock()
        self._held, self._away_until, self._recorded_at = 0, 0.0, 0.0
        self._copied, self._asked = set[str](), dict[str, float]()
        self._store: PostgresStore | None = None
        self._names = ApplicationNames(config)
        idle = config.dual_write.heartbeat_seconds
        self._reads = Background[_Answered]("sync-shadow", MAX_WAITING, self._compare, idle)
        self._suspects = Background[_Suspect]("sync-shadow-look", MAX_ROWS, self._look, idle)
        self._second = SecondLook(config, source, self._suspects.pause)

    def ask(self, asked: ShadowRead[T], store: Any) -> T:
        """The answer of the primary's store, as it is; a share of the answers is compared afterwards."""
        if not self.is_chosen():
            return asked.read(store)
        try:
            answer = asked.read(store)
        except ValueUnreadable:
            self.compare(asked, store, None)
            raise
        self.compare(asked, store, asked.rows(answer))
        return answer

    def is_chosen(self) -> bool:
        """Whether the next read belongs to the share that is compared."""
        return random() < self._tuning.shadow_reads

    def compare(self, asked: ShadowRead[Any], store: Any, rows: Sequence[Row] | None) -> None:
        """Have an answer of the primary's store compared, in the background; None if Python cannot represent it."""
        self._suspects.begin()  # it records the counts
        if not (self._may_ask and self._hold(rows)):
            self._count("skipped")
            return
        primary: Primary = "postgres" if isinstance(store, PostgresStore | RenamedStore) else "astra"
        # The caller may change its answer. What it changes within a value only costs a second look.
        copied = None if rows is None else [dict(row) for row in rows]
        if self._reads.offer([_Answered(asked, primary, copied)]):
            self._release(rows)
            self._count("skipped")

    def end(self) -> None:
        """Give up what is not compared, record the counts, and close the connection; that takes a second or two at most."""
        for thread in (self._reads, self._suspects):  # the second one records the counts of both
            self._count("skipped", len(thread.end()))
            thread.join(time.monotonic() + _END_SECONDS)
        if self._store:
            self._store.pool.close(_END_SECONDS)

    def _hold(self, rows: Sequence[Row] | None) -> bool:
        """Whether there is room for these rows, which are held then."""
        number = len(rows or ())
        with self._lock:
            if self._held + number > MAX_ROWS:
                return False
            self._held += number
            return True

    def _release(self, rows: Sequence[Row] | None) -> None:
        with self._lock:
            self._held -= len(rows or ())

    @property
    def _may_ask(self) -> bool:
        """Whether both sides are there, as far as is known, and the primary is not about to change."""
        if time.monotonic() < self._away_until or not self._side.is_registered:
            return False
        registration = self._side.registration
        return not registration.breaker.is_open and registration.epoch.state == "open"

    def _count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self._counts[what] += number

    def _skip(self, number: int, error: Exception) -> None:
        """Count what an error has kept from being compared; if a side is unreachable, ask nothing more for a while."""
        self._count("skipped", number)
        if isinstance(error, _AWAY):
            self._away_until = time.monotonic() + _PAUSE_SECONDS
        log.warning("shadow reads: %d not compared: %s", number, error_text(error))

    # the first look: both answers, as the application sees them

    def _compare(self, batch: list[_Answered]) -> None:
        for answered in batch:
            self._release(answered.rows)
            if self._reads.is_ended or not self._may_ask:
                self._count("skipped")
                continue
            try:
                found = self._suspects_of(answered)
            except _ERRORS as error:
                self._skip(1, error)
                continue
            if found:
                self._count("skipped", self._suspects.offer(found))
            else:
                self._count("skipped" if found is None else "compared")

    def _suspects_of(self, answered: _Answered) -> list[_Suspect] | None:
        """The keys in which the answers differ; None if they cannot be compared, or not yet."""
        asked, primary, rows = answered.asked, answered.primary, answered.rows
        if not self._is_copied(asked.table):
            return None
        flows = self._flows(asked.table)
        theirs = self._rows(asked, _OTHER[primary])
        if rows is None and theirs is None:
            return []
        if rows is None or theirs is None:  # what only one side can answer is a difference, if it is known of which key
            return [_Suspect(flows.cells.key(key), asked) for key in asked.keys if len(asked.keys) == 1] or None
        return [_Suspect(key) for key in different_keys(flows, {primary: rows, _OTHER[primary]: theirs}, asked.whole)]

    def _rows(self, asked: ShadowRead[Any], side: Primary) -> Sequence[Row] | None:
        try:
            return asked.rows(
                asked.read(self._source.store if side == "astra" else self._names.of(self._target, asked.table))
            )
        except ValueUnreadable:
            return None

    @property
    def _target(self) -> PostgresStore:
        """The store over Postgres, with one connection of its own: callers never wait for it."""
        with self._opening:
            if self._store is None:
                self._store = self._side.store.aside()
            return self._store

    def _is_copied(self, table: str) -> bool:
        """Whether the target has had all rows of the table; if not, that is asked again every few seconds."""
        if self._side.primary == "postgres" or table in self._copied:
            return True
        if time.monotonic() < self._asked.get(table, 0.0) + _PAUSE_SECONDS:
            return False
        self._asked[table] = time.monotonic()
        with connection_of(self._target.pool) as connection:
            if shadow_ledger.is_copied(connection, table):
                self._copied.add(table)
        return table in self._copied

    # the second look: the stored rows

    def _look(self, batch: list[_Suspect]) -> None:
        by_table: dict[str, list[_Suspect]] = {}
        for suspect in batch:
            by_table.setdefault(suspect.key.table, []).append(suspect)
        for table, found in by_table.items():
            try:
                self._look_at(self._flows(table), found)
            except Ended:
                self._count("skipped", len(found))
            except _ERRORS as error:
                self._skip(len(found), error)
        if (
            self._differences
            or self._suspects.is_ended
            or time.monotonic() > self._recorded_at + self._tuning.heartbeat_seconds
        ):
            self._record()

    def _look_at(self, flows: TableFlows, found: list[_Suspect]) -> None:
        verdicts: dict[Key, KeyVerdict] = {}
        if self._is_recorded():
            keys = list(dict.fromkeys(suspect.key for suspect in found))
            verdicts = {v.key: v for v in self._second.verdicts(flows, self._target.pool, keys) if v.verdict != "unknown"}
        if not self._is_recorded():
            verdicts = {}
        different: dict[Key, Difference] = {}
        for suspect in found:
            verdict = verdicts.get(suspect.key)
            self._count("compared" if verdict else "skipped")
            if verdict and verdict.verdict in FINDINGS:
                different[suspect.key] = Difference(flows.mapped, suspect.key, verdict.verdict, verdict.columns)
            elif verdict and verdict.verdict == "same" and suspect.asked and self._is_one_sided(suspect.asked):
                different[suspect.key] = Difference(flows.mapped, suspect.key, "unreadable")
        self._count("differing", len(different))
        self._differences = [*self._differences, *different.values()][-MAX_KEYS:]

    def _is_one_sided(self, asked: ShadowRead[Any]) -> bool:
        """Whether Python can represent the answer of one side only."""
        return (self._rows(asked, "astra") is None) is not (self._rows(asked, "postgres") is None)

    def _is_recorded(self) -> bool:
        """Whether every write that was accepted has an intent, as far as is known: otherwise a difference says nothing."""
        if not self._may_ask or self._side.registration.write_behind.unrecorded_count:
            return False
        tuning = self._tuning
        with connection_of(self._target.pool) as connection:
            return not shadow_ledger.is_unrecorded(connection, tuning.heartbeat_seconds, tuning.writer_lease_seconds)

    def _record(self) -> None:
        """Record what was counted and found; what Postgres does not take now is kept for the next time."""
        self._recorded_at = time.monotonic()
        if not self._side.is_registered or self._side.registration.breaker.is_open:
            return
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if not counts.total():
            return
        try:
            registration = self._side.registration
            with connection_of(self._target.pool) as connection:
                shadow_ledger.record(connection, registration.writer.id, registration.epoch.epoch, counts, self._differences)
            self._differences = []
        except _ERRORS as error:
            with self._lock:
                self._counts.update(counts)
            log.warning("shadow reads: the counts are not recorded yet: %s", error_text(error))
