"""What a writer buffers: ends and marks of intents, writes that have no intent yet, tables that need a reconcile."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Literal

from sync.adapters.postgres.dual_write.unrecorded import Unrecorded
from sync.adapters.store_metrics import store_metrics
from sync.adapters.suspension import SuspensionDetector
from sync.adapters.witness import Witness
from sync.core.mutations import Key, Mutation
from sync.core.versions import stamp
from sync.errors import Suspended
from sync.failpoints import failpoint
from sync.ports import Intent, TableJournal, Written

_MAX_MARKS = 1000
_MAX_BYTES = 128_000_000
_FAR_US, _MAX_FAR = 60_000_000, 1000
State = Literal["finished", "unsure"]
_End = Literal["finished", "unsure", "settled"]
_Mark = tuple[TableJournal, Intent, _End, str, Key | None]


class WriteBehind:
    """Safe to use from many threads; `record` and `notify_left` are for the heartbeat's thread alone."""

    def __init__(
        self,
        accepts: bool,
        notify: Callable[[str], object],
        witness: Witness | None = None,
        max_bytes: int = _MAX_BYTES,
        suspension: SuspensionDetector | None = None,
    ) -> None:
        self._may_accept, self._notify, self._witness = accepts, notify, witness or Witness(None)
        self._suspension = suspension or SuspensionDetector()
        self.slot, self.floor = 0, 0
        self._promised = self._closed = False
        self._accepting = 0
        self._to_notify: set[str] = set()
        self._marks: deque[_Mark] = deque()
        self._unrecorded = Unrecorded(max_bytes, self._forget)
        self._accepted: dict[tuple[str, bytes], tuple[int, int]] = {}  # the newest stamp of a key, and how many there are
        self._seen = 0
        self._far: dict[tuple[str, bytes], int] = {}
        self._max_far = _MAX_FAR
        self._lock = Lock()

    def needs_reconcile(self, table: str) -> None:
        """An intent of this table is left to reconciliation: workers are notified soon, once for many intents."""
        with self._lock:
            self._to_notify.add(table)

    def promise(self, to_wait: bool) -> None:
        """Accept nothing without an intent from now on, or accept again (rule 30).

        While the primary may change, only Postgres knows which it is: a writer that promised keeps the promise until Postgres
        tells it that the switch is over; while it is cut off, it cannot know.
        """
        with self._lock:
            self._promised = to_wait

    def close(self) -> None:
        """Accept nothing more without an intent: nobody would record it (rule 29)."""
        with self._lock:
            self._closed = True

    def begin_accepting(self) -> bool:
        """Whether a write may be made without an intent while Postgres is away (rule 28); if so, `end_accepting` must follow.

        Raises Suspended if this process was suspended, and Postgres has not answered it since, but soon may.
        """
        # Before the promise is checked: Postgres's answer also brings news of the epoch.
        if not self._suspension.is_confirmed:
            if self._suspension.awaits_answer:
                raise Suspended
            return False
        with self._lock:
            allowed = self._may_accept and not self._promised and not self._closed and not self._unrecorded.is_full
            allowed = allowed and self._witness.accepts()
            self._accepting += allowed
            return allowed

    def gaps(self) -> int:
        """How often this process was suspended. If that has risen during a write, the write may be too late (rule 30)."""
        return self._suspension.gaps()

    def end_accepting(self) -> None:
        """A write without an intent is remembered, or was not made."""
        with self._lock:
            self._accepting -= 1

    @property
    def unrecorded_count(self) -> int:
        """Writes that Postgres does not know of: made, or being made."""
        with self._lock:
            return len(self._unrecorded) + self._accepting

    def stamp(self, key: Key) -> int:
        """A version made without Postgres: above all that this process knows of the key, and no lower than its last floor."""
        with self._lock:
            name = (key.table, key.canonical)
            newest, count = self._accepted.get(name, (0, 0))
            far = (self._far.get(name, 0), self._far.get(_partition(key), 0)) if self._far else ()
            known = max(self._seen, newest, *far)
            made = stamp(max(time.time_ns() // 1000, self.floor, known + 1), self.slot)
            self._accepted[name] = made, count + 1
            return made

    def forget(self, key: Key) -> None:
        """Forget a stamp of the key that was not used, or is recorded elsewhere."""
        with self._lock:
            self._forget_stamp(key)

    def _forget(self, written: Written) -> None:
        self.forget(written.mutation.key)

    def _forget_stamp(self, key: Key) -> None:
        newest, count = self._accepted.pop((key.table, key.canonical), (0, 0))
        if count > 1:
            self._accepted[key.table, key.canonical] = newest, count - 1

    def accepted(self, key: Key) -> int:
        """The newest stamp of the key that the journal does not know of yet, or 0."""
        return self._accepted.get((key.table, key.canonical), (0, 0))[0] if self._accepted else 0

    def accepted_in(self, table: str) -> int:
        """The newest stamp of any key of the table that the journal does not know of yet, or 0."""
        with self._lock:
            return max((newest for (of, _), (newest, _) in self._accepted.items() if of == table), default=0)

    def observe(self, version: int, key: Key, in_partition: bool = False) -> None:
        """The journal gave this version: what is stamped without the journal must exceed it (rule 2).

        One far ahead of the clock had to exceed a cell of its key that was; it counts for that key only, or, of a delete of
        its partition, for all keys of that.
        """
        with self._lock:
            now = time.time_ns() // 1000
            if version > now + _FAR_US:
                name = _partition(key) if in_partition else (key.table, key.canonical)
                self._far[name] = max(version, self._far.get(name, 0))
                if len(self._far) > self._max_far:  # those that the clock has long overtaken no longer matter
                    self._far = {name: known for name, known in self._far.items() if known > now - _FAR_US}
                    self._max_far = max(_MAX_FAR, 2 * len(self._far))
            else:
                self._seen = max(self._seen, version)

    def add_unrecorded(self, journal: TableJournal, mutation: Mutation, version: int, state: State) -> None:
        """Remember a write that has no intent: if it is lost with this process, the writer is unclean (rule 29)."""
        with self._lock:
            self._accepting += 1  # so that the witness is not told meanwhile that all is recorded
            self._witness.accepts()  # of what was not begun as such: an intent that a worker has removed
        try:
            self._unrecorded.add(journal, Written(mutation, version, state))
        finally:
            self.end_accepting()
        store_metrics().accepted()

    def mark_later(
        self, journal: TableJournal, intent: Intent, state: State, error: str, partition: Key | None = None
    ) -> None:
        """Keep a mark for the next quarter of a second, or until Postgres takes it.

        If it is lost with the process, no harm is done: the intent stays, and is claimed. `partition`: it is the recheck of
        this one; if it is no longer there, a worker took this writer for dead, and another one is recorded (rule 47).
        """
        self._marks.append((journal, intent, state, error, partition))

    def remove_later(self, journal: TableJournal, intent: Intent) -> None:
        """Remove the intent soon: both sides have the write."""
        self._marks.append((journal, intent, "settled", "", None))

    @property
    def has_marks(self) -> bool:
        """Whether there is something for `mark` to do."""
        return bool(self._marks)

    def notify_left(self) -> None:
        """Notify workers once of each table that has something left."""
        with self._lock:
            tables, self._to_notify = self._to_notify, set()
        for table in tables:
            self._notify(table)

    def record(self, between: Callable[[], object] = lambda: None) -> None:
        """Record what was buffered during an outage of Postgres, writes without intent first; calls `between` after batches.

        Raises TargetUnavailable.
        """
        self._record_all(between)
        self.mark()
        self._record_all(between)  # partitions whose marks came too late

    def _record_all(self, between: Callable[[], object]) -> None:
        for table in self._unrecorded.record(between) if self._unrecorded else ():
            self.needs_reconcile(table)
        with self._lock:
            if not self._unrecorded and not self._accepting:
                self._witness.recorded()

    def mark(self) -> None:
        """Tell the journal what became of writes, many at once. Raises TargetUnavailable."""
        left = len(
            self._marks
        )  # what comes in meanwhile is left to the next call: under load this would not end, and there would be no heartbeat
        while left > 0:
            # By index: other threads add to the deque, which must not happen while it is copied as a whole.
            marks = [self._marks[i] for i in range(min(left, _MAX_MARKS))]
            left -= len(marks)
            alike: dict[tuple[TableJournal, _End, str], list[tuple[Intent, Key | None]]] = {}
            for journal, intent, state, error, partition in marks:
                alike.setdefault((journal, state, error), []).append((intent, partition))
            failpoint("write_behind.before_mark")
            for (journal, end, error), intents in alike.items():
                self._end(journal, end, error, intents)
            failpoint("write_behind.marked")
            for _ in marks:
                self._marks.popleft()

    def _end(self, journal: TableJournal, end: _End, error: str, intents: list[tuple[Intent, Key | None]]) -> None:
        if end == "settled":
            journal.remove([intent for intent, _ in intents])
            return
        found = journal.mark([intent for intent, _ in intents], end, error)
        for intent, partition in intents:
            if partition and intent.id not in found:
                self.add_unrecorded(journal, Mutation("recheck_partition", partition, {}), self.stamp(partition), "unsure")
        self.needs_reconcile(journal.table)


def _partition(key: Key) -> tuple[str, bytes]:
    return key.table, b"partition %d" % key.token
