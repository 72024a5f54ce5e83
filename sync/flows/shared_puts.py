"""Puts of whole rows of one table by many threads share batches, while the source is primary (rule 48).

A put that finds few under way goes by itself, as it would without others. The rest wait, and the first whose turn it is
writes those that wait with `ForwardBatch`, in its own thread. Each caller gets its own row's answer, and does by itself what
could not be done together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import inf
from threading import Lock, get_ident, main_thread

from sync.core.mutations import Mutation
from sync.errors import EpochChanged, SyncError, WriteUnsure
from sync.flows.dual_write import ForwardWrite
from sync.flows.dual_write_batch import Ends, ForwardBatch
from sync.flows.gathering import Gathering, Limit, Member
from sync.ports import MAX_LOCKS, Intent

AT_ONCE = 3
"""At least as many may be under way: while one batch waits for Cassandra, others keep Postgres busy."""
BATCH_BYTES = 8_000_000
"""A batch is in memory several times, as are those of other threads."""
PATIENCE_SECONDS = 0.25
"""So long at most does a put wait for a place, and so long does one that is under way take another's."""
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 60.0
Rest = Callable[[], bool]
"""What is left to do of a put by its own caller: it returns or raises the put's answer."""
_WRITTEN: Rest = partial(bool, True)


class _Put(Member):
    """A put whose caller waits for it."""

    __slots__ = ("put", "rest", "told")

    def __init__(self, put: Mutation) -> None:
        super().__init__(get_ident())
        self.put, self.told = put, Lock()
        self.rest: Rest | None = None
        self.told.acquire()

    def tell(self, rest: Rest | None = None) -> None:
        """Its turn has come: to lead, or to do the rest. A second time is no harm."""
        self.rest = rest or self.rest
        if self.told.locked():
            self.told.release()

    def interrupted(self) -> bool:
        """The answer where whoever led it was interrupted. Always raises WriteUnsure."""
        raise WriteUnsure(
            f"{self.put.key.table}: the call that wrote this row with others was interrupted; it may have been written, and "
            "will be reconciled"
        )


class SharedPuts:
    """Writes rows that the same flows have made of their values."""

    def __init__(self, one: ForwardWrite, batch: ForwardBatch, most: int) -> None:
        """`most`: how many may be under way at once where they do not wait for each other."""
        self.one, self._batch, self._takes_rows = one, batch, batch.journal.takes_rows
        self._gathering = Gathering[_Put](Limit(min(AT_ONCE, most), most), PATIENCE_SECONDS)
        self._alone_until, self._pause, self._guard = -inf, _PAUSE_SECONDS, Lock()
        self._held: dict[bytes, float] = {}
        """Until when keys go alone that went with one that was locked."""
        self._prune_at = -inf

    def write(self, put: Mutation) -> bool:
        """As ForwardWrite.write, of a whole row."""
        if self.is_apart or self.goes_alone(put) or get_ident() == main_thread().ident:
            return self._alone(put)  # the main thread runs handlers of signals, which may raise within a lock's own code
        mine, has_written = _Put(put), False
        try:
            if self._gathering.enter(mine):
                has_written = self._alone(put)
                return has_written
            # Not for as long as it takes: whoever was to tell this one may have been interrupted before it did.
            while not mine.told.acquire(timeout=self._gathering.patience):
                self._gathering.has_waited(mine)
                if mine.state in ("leads", "apart"):
                    break
            rest = self._turn(mine)
            has_written = rest is _WRITTEN
        finally:
            if called := self._gathering.leave(mine, has_written):
                called.tell()
        return rest()

    def _turn(self, mine: _Put) -> Rest:
        """What is left to one whose turn has come."""
        if mine.state == "leads":
            return self._lead(mine)
        if mine.state == "apart":
            return partial(self._alone, mine.put)
        return mine.rest or mine.interrupted

    def _alone(self, put: Mutation) -> bool:
        try:
            return self.one.write(put)
        except WriteUnsure:
            self._side_is_slow()
            raise

    def _lead(self, mine: _Put) -> Rest:
        """Write those that wait, and tell the others what is left to them. Returns what is left to this one."""
        led, rests = [mine], list[Rest]()
        try:
            joins = Joins()
            joins.add(mine.put)
            self._gathering.take(led, MAX_LOCKS, lambda one: joins.add(one.put))
            if len(led) == 1:
                self._alone(mine.put)
            else:
                rests = self._written([each.put for each in led])
        finally:
            try:
                _tell(led, rests)
            except BaseException:  # a second interruption: nobody may be left waiting
                _tell(led, rests)
                raise
        return rests[0] if rests else _WRITTEN

    @property
    def is_apart(self) -> bool:
        """Whether each put goes by itself at the moment, however many come."""
        return not self._takes_rows or self._batch.journal.is_away or time.monotonic() < self._alone_until

    def goes_alone(self, put: Mutation) -> bool:
        """Whether this one goes by itself at the moment: it went with a row that was locked, and may be that row."""
        until = self._held.get(put.key.canonical)
        return until is not None and time.monotonic() < until

    def together(self, puts: Sequence[Mutation]) -> Ends:
        """As ForwardBatch.begin. Raises EpochChanged before anything is written."""
        try:
            ends = self._batch.begin(puts, waits=False)
        except EpochChanged:
            self._disband()  # each waits for the switch by itself
            raise
        if ends.is_slow or any(isinstance(error, WriteUnsure) for error in ends.errors.values()):
            self._side_is_slow()
        elif ends.alone:
            self._alone_until = max(self._alone_until, time.monotonic() + _PAUSE_SECONDS)
            self._disband()
        if ends.halves:
            self._hold(puts[number].key.canonical for number in ends.halves)
        return ends

    def _side_is_slow(self) -> None:
        """A side is slow or away, perhaps for few keys or for many rows at once: for a while all go alone."""
        now = time.monotonic()
        if now >= self._alone_until:  # it is not the same time as before
            again = now < self._alone_until + _LONGEST_PAUSE_SECONDS
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS) if again else _PAUSE_SECONDS
        self._alone_until = now + self._pause
        self._disband()

    def _hold(self, keys: Iterable[bytes]) -> None:
        now = time.monotonic()
        with self._guard:
            if now >= self._prune_at:
                self._held = {key: until for key, until in self._held.items() if until > now}
                self._prune_at = now + _PAUSE_SECONDS
            self._held.update(dict.fromkeys(keys, now + _PAUSE_SECONDS))

    def _written(self, puts: Sequence[Mutation]) -> list[Rest]:
        """Write them together; what is left of each."""
        try:
            ends = self.together(puts)
        except EpochChanged:  # that is every one's own answer, and each gets it by itself
            ends = Ends(alone=list(range(len(puts))))
        alone = frozenset(ends.alone)

        def rest(number: int, put: Mutation) -> Rest:
            if error := ends.errors.get(number):
                return partial(_fail, error)
            if number in alone:
                return partial(self._alone, put)
            if intent := ends.halves.get(number):
                return partial(self._second_half, put, intent)
            return _WRITTEN

        return [rest(number, put) for number, put in enumerate(puts)]

    def _disband(self) -> None:
        for each in self._gathering.disband():
            each.tell()

    def _second_half(self, put: Mutation, intent: Intent) -> bool:
        self.one.second_half(put, intent)
        return True


class Joins:
    """Which puts go together: no two of the same key, those of a key in their order, the first and BATCH_BYTES at most."""

    def __init__(self) -> None:
        self._keys, self._bytes = set[bytes](), 0

    def add(self, put: Mutation) -> bool:
        """Whether it joins."""
        key, more = put.key.canonical, put.bytes
        if key in self._keys:
            return False
        self._keys.add(key)  # whether it joins or not: no later put of the key may pass it
        if self._bytes and self._bytes + more > BATCH_BYTES:
            return False
        self._bytes += more
        return True


def _tell(led: Sequence[_Put], rests: Sequence[Rest]) -> None:
    """Tell those that were led what is left to them; without `rests` the leader was interrupted, nobody knows where."""
    for number, each in enumerate(led[1:], 1):
        each.tell(rests[number] if rests else None)


def _fail(error: SyncError) -> bool:
    raise error
