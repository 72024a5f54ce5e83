"""Every process that writes to both sides is registered in Postgres, with a heartbeat (rules 28 to 30).

The heartbeat also records what could not be recorded when Postgres was away: marks that are still kept aside.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections import deque
from collections.abc import Callable
from itertools import islice
from threading import Event, Lock, Thread
from typing import Any, Literal

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import PoolTimeout

from sync.adapters.postgres.breaker import Breaker
from sync.adapters.postgres.connect import Connection
from sync.adapters.postgres.journal import Writer
from sync.adapters.postgres.parameters import connection_of
from sync.adapters.postgres.pool import Pool
from sync.core.mutations import Key, Mutation
from sync.core.versions import SLOTS, stamp
from sync.errors import PreflightError, TargetUnavailable
from sync.failpoints import failpoint
from sync.ports import Intent, TableJournal
from sync.settings import DualWriteTuning

log = logging.getLogger(__name__)
_REGISTER = """
INSERT INTO sync.writer (id, slot, host, pid, epoch, state)
SELECT %(id)s, free.slot, %(host)s, %(pid)s, (SELECT max(epoch) FROM sync.epoch), 'active'
FROM (SELECT s AS slot FROM generate_series(0, %(slots)s - 1) AS s
      WHERE s NOT IN (SELECT slot FROM sync.writer WHERE state <> 'signed_off') ORDER BY s LIMIT 1) AS free
RETURNING slot, (SELECT max(floor) FROM sync.epoch)
"""
_HEARTBEAT = """
UPDATE sync.writer SET heartbeat_at = clock_timestamp(), unrecorded = %s, failures = %s,
    epoch = (SELECT max(epoch) FROM sync.epoch),
    clock_skew_us = %s - (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
WHERE id = %s
RETURNING (SELECT max(floor) FROM sync.epoch)
"""
_RING_SECONDS = 0.25
_MOST_MARKS = 1000
State = Literal["finished", "unsure"]
_Mark = tuple[TableJournal, Intent, State, str]
_Unrecorded = tuple[TableJournal, Mutation, int, State]


class Registration:
    """This process as a writer: its slot, its heartbeat, and the marks it keeps aside while Postgres is away."""

    def __init__(self, pool: Pool, tuning: DualWriteTuning, ring: Callable[[str], object]) -> None:
        self._pool, self._tuning, self._ring = pool, tuning, ring
        self._to_ring: set[str] = set()
        self._aside: deque[_Mark] = deque()
        self._unrecorded: deque[_Unrecorded] = deque()
        self.breaker = Breaker(tuning.breaker_failures)
        self._seen = 0
        self._accepted: dict[tuple[str, bytes], int] = {}
        self._lock, self._end = Lock(), Event()
        name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
        slot, self._floor = self._register(name)
        self.writer = Writer(name, slot, int(tuning.most_skew_seconds * 1_000_000), tuning.writer_lease_seconds)
        self._thread = Thread(target=self._beat, name="sync-heartbeat", daemon=True)
        self._thread.start()

    def _register(self, name: str) -> tuple[int, int]:
        values = {"id": name, "host": socket.gethostname(), "pid": os.getpid(), "slots": SLOTS}
        with connection_of(self._pool) as connection, connection.transaction():
            # One at a time: two writers must never share a slot.
            connection.execute("LOCK TABLE sync.writer IN SHARE ROW EXCLUSIVE MODE")
            row = connection.execute(_REGISTER, values).fetchone()
        if row is None:
            raise PreflightError(f"all {SLOTS} writer slots are taken: `sync writers` shows by whom")
        return int(row[0]), int(row[1])

    def left(self, table: str) -> None:
        """An intent of this table is left to reconciliation: ring for it, soon and once for many."""
        with self._lock:
            self._to_ring.add(table)

    @property
    def accepts(self) -> bool:
        """Whether writes go on while the journal is away (rule 28)."""
        return self._tuning.journal_away == "accept"

    def stamp(self, key: Key) -> int:
        """A version made without Postgres: above all that this process knows of the key, and above the floor it last saw."""
        with self._lock:
            known = max(self._seen, self._accepted.get((key.table, key.canonical), 0))
            made = stamp(max(time.time_ns() // 1000, self._floor, known + 1), self.writer.slot)
            self._accepted[key.table, key.canonical] = made
            return made

    def accepted(self, key: Key) -> int:
        """The newest stamp of the key that is not recorded yet, or 0: the journal does not know of it."""
        return self._accepted.get((key.table, key.canonical), 0) if self._accepted else 0

    def seen(self, version: int) -> None:
        """The journal gave this version: what is stamped without it must exceed it (rule 2)."""
        with self._lock:
            self._seen = max(self._seen, version)

    def unrecorded(self, journal: TableJournal, mutation: Mutation, version: int, state: State) -> None:
        """Remember a write that has no intent: lost with this process, it makes the writer unclean (rule 29)."""
        with self._lock:
            self._unrecorded.append((journal, mutation, version, state))

    def later(self, journal: TableJournal, intent: Intent, state: State, error: str) -> None:
        """Keep a mark for the next quarter of a second, or until Postgres takes it.

        Lost with the process it is no loss: the intent stays, and is claimed.
        """
        with self._lock:
            self._aside.append((journal, intent, state, error))

    def sign_off(self) -> None:
        """End the registration; what is kept aside is recorded first, or the writer stays registered and is claimed from."""
        self._end.set()
        self._thread.join()
        try:
            self._heartbeat()
            self._ring_for_left()
            with self._pool.connection() as connection:
                connection.execute("UPDATE sync.writer SET state = 'signed_off' WHERE id = %s", (self.writer.id,))
        except (TargetUnavailable, psycopg.Error, PoolTimeout) as error:
            log.warning("this writer could not sign off: %s", error)

    def _beat(self) -> None:
        due = 0.0
        while not self._end.wait(_RING_SECONDS):
            try:
                if time.monotonic() >= due:
                    due = time.monotonic() + self._tuning.heartbeat_seconds
                    self._heartbeat()
                elif self._aside and not self.breaker.is_open:
                    self._mark()
            except (TargetUnavailable, psycopg.Error, PoolTimeout) as error:
                log.warning("no heartbeat: %s", " ".join(str(error).split()))
            self._ring_for_left()

    def _heartbeat(self) -> None:
        with self._pool.connection() as connection:
            values = (len(self._unrecorded), Jsonb(self.breaker.causes), time.time_ns() // 1000, self.writer.id)
            row = connection.execute(_HEARTBEAT, values).fetchone()
        self._floor = int(row[0]) if row else self._floor
        self.breaker.reset()
        self._record()

    def _ring_for_left(self) -> None:
        with self._lock:
            tables, self._to_ring = self._to_ring, set()
        for table in tables:
            self._ring(table)

    def _record(self) -> None:
        """Record what was kept while Postgres was away, the writes without intent first."""
        while self._unrecorded:
            journal, mutation, version, state = self._unrecorded[0]
            failpoint("aside.before_record")
            journal.record(mutation, version, state)
            failpoint("aside.recorded")
            self.left(journal.table)
            with self._lock:
                self._unrecorded.popleft()
                if self._accepted.get((mutation.key.table, mutation.key.canonical)) == version:
                    del self._accepted[mutation.key.table, mutation.key.canonical]
        self._mark()

    def _next_marks(self) -> list[_Mark]:
        with self._lock:
            return list(islice(self._aside, _MOST_MARKS))

    def _mark(self) -> None:
        while marks := self._next_marks():
            alike: dict[tuple[TableJournal, State, str], list[Intent]] = {}
            for journal, intent, state, error in marks:
                alike.setdefault((journal, state, error), []).append(intent)
            failpoint("aside.before_mark")
            for (journal, state, error), intents in alike.items():
                journal.mark(intents, state, error)
                self.left(journal.table)
            failpoint("aside.marked")
            for _ in marks:
                self._aside.popleft()


_LIST = """
SELECT id, host, pid, slot, epoch, state, unrecorded, clock_skew_us, failures,
       extract(epoch FROM clock_timestamp() - heartbeat_at)::float8 AS heartbeat_age_seconds
FROM sync.writer WHERE state <> 'signed_off' ORDER BY id
"""


def list_writers(connection: Connection) -> list[dict[str, Any]]:
    """The writers that have not signed off."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_LIST).fetchall()


def fence(connection: Connection, writer: str) -> None:
    """Declare a silent writer unclean (rule 30): its open intents are free, and a drift pass must look for the rest."""
    found = connection.execute("UPDATE sync.writer SET state = 'unclean' WHERE id = %s AND state = 'active'", (writer,))
    if not found.rowcount:
        raise PreflightError(f"no active writer {writer!r}; `sync writers` lists them")
