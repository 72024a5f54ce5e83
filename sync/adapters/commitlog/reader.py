"""Goes through the segments of a node from a place on, and collects what they tell."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from sync.adapters.commitlog.collector import Collector
from sync.adapters.commitlog.heartbeat import Heartbeat
from sync.adapters.commitlog.schema import NodeSchema
from sync.adapters.commitlog.segments import Section, SegmentFile
from sync.core.capture.changes import ChangedKey, Gap
from sync.core.capture.commitlog.descriptor import Damaged, SegmentRefused
from sync.core.capture.commitlog.mutations import Mutation, Update, read_mutation
from sync.core.capture.commitlog.place import Place
from sync.core.capture.commitlog.sections import entries
from sync.core.capture.commitlog.told import LOCAL, greatest, told, truncated
from sync.errors import SyncError

MUTATIONS = 5_000
"""Read in one go, whatever they tell: a heartbeat is due, and the one who waits for a batch."""
_REFRESH_SECONDS = 1.0
_Key = tuple[str, tuple[bytes, ...], tuple[bytes, ...] | None]


class LogReader:
    """Reads on from a place. `changes` and `gaps`: what was read since `taken`. `told_until`: when the last heartbeat that
    was read had been sent."""

    def __init__(
        self, collector: Collector, schema: NodeSchema, beat: Heartbeat, place: Place, clock: Callable[[], float] = time.time
    ) -> None:
        self._collector, self._schema, self._beat, self._clock = collector, schema, beat, clock
        self.segment, self._marker, self._within = place.segment, place.section, place.within
        self.told_until = 0.0
        self.changes: dict[_Key, ChangedKey] = {}
        self.gaps: dict[tuple[str | None, str], Gap] = {}
        self.mutations = 0
        self._file: SegmentFile | None = None
        self._section: Section | None = None
        self._refreshed = 0.0
        self._dropped: set[bytes] = set()
        self._gone = 0
        self._seek: frozenset[bytes] = frozenset()

    @property
    def place(self) -> Place:
        """Behind what was read."""
        return Place(self.segment, self._marker, self._within)

    def close(self) -> None:
        """Close the open file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def taken(self) -> None:
        """What was read until now has been handed on."""
        self.changes, self.gaps = {}, {}

    def refresh(self) -> None:
        """Read the schema again. Raises Unreachable."""
        self._refreshed = time.monotonic()
        for name, why in self._schema.refresh():
            self._lose(name, why)
        self._seek = self._schema.watched | {
            identity
            for identity, table in self._schema.tables.items()
            if (table.keyspace, table.name) == (self._beat.keyspace, self._beat.name)
        }

    def step(self, limit: int) -> bool:
        """Read until there are `limit` changes, MUTATIONS more are read or the section ends; False if there is nothing new.

        Raises SyncError for what this reader cannot read, Unreachable if the schema is needed and the node does not answer.
        """
        if self._section is None:
            moved = self._load()
            if self._section is None:
                return moved
        until = self.mutations + MUTATIONS
        try:
            for at, data in entries(self._section.data, self._within, self._section.last):
                self._entry(data)
                self._within = at
                self.mutations += 1
                if len(self.changes) >= limit or self.mutations >= until:
                    return True
        except Damaged as error:
            self._lose(None, f"segment {self.segment}: {error}")
        self._marker, self._within, self._section = self._section.end, 0, None
        return True

    def _load(self) -> bool:
        """Make the section at the place the present one, or go on to the next segment; False if there is nothing yet."""
        before = self.segment
        if not self._open():
            return self.segment != before
        assert self._file is not None
        try:
            for complete in (False, True):
                wrong = ""
                if complete and not self._is_complete():
                    return False
                try:
                    self._section = self._file.section(self._marker)
                except Damaged as error:  # or half written: a complete one is not
                    wrong = str(error)
                if self._section is not None:
                    return True
            if wrong := wrong or self._file.rest(self._marker):
                self._lose(None, f"segment {self.segment}: {wrong}")
        except SegmentRefused as error:
            raise SyncError(f"the commit log cannot be read: {error}") from None
        return self._next()

    def _is_complete(self) -> bool:
        """Whether the node has gone on: a later segment has something, which is synced after all that is before it."""
        later = (segment for segment in self._collector.ids() if segment > self.segment)
        return any(_started(self._collector, segment) for segment in later)

    def _open(self) -> bool:
        if self._file is not None:
            return True
        if not self.segment:  # the beginning of all
            self._go_to(min(self._collector.ids(), default=0))
        with suppress(FileNotFoundError):
            path = self._collector.path(self.segment)
            self._file = SegmentFile(path) if path else None
        if self._file is None and self.segment:
            self._find_again()
        return self._file is not None

    def _find_again(self) -> None:
        """The segment at the place was removed by somebody: a gap, and on with the next one as soon as there is one."""
        self._collector.sweep()
        if self._collector.path(self.segment):
            return
        if self._gone != self.segment:
            self._lose(None, f"segment {self.segment} was removed before it had been read")
            self._gone = self.segment
        self._go_to(min((segment for segment in self._collector.ids() if segment > self.segment), default=self.segment))

    def _go_to(self, segment: int) -> None:
        if segment != self.segment:
            self.segment, self._marker, self._within = segment, 0, 0

    def _next(self) -> bool:
        """Go on to the next segment; a gap if there may have been others between."""
        self.close()
        self._collector.sweep()
        before = self.segment
        following = min(segment for segment in self._collector.ids() if segment > before)
        if not self._collector.follows(following, before):
            self._lose(None, f"segments between {before} and {following} of the commit log are missing")
        self._go_to(following)
        return True

    def _entry(self, data: bytes | None) -> None:
        if data is None:
            self._lose(None, f"segment {self.segment}: a mutation has a wrong checksum")
            return
        try:
            mutation = read_mutation(data, self._schema.tables, self._seek)
            if mutation.unknown or mutation.strange:
                mutation = self._again(data, mutation)
        except Damaged as error:
            self._lose(None, f"segment {self.segment}: {error}")
            return
        for update in mutation.updates:
            self._update(update)
        if data[1:17] == LOCAL:
            for table in truncated(data, self._schema.tables, self._schema.watched):
                self._lose(table.name, f"TRUNCATE {table.name}")

    def _again(self, data: bytes, mutation: Mutation) -> Mutation:
        """A mutation with what the present schema does not have, after a look at the node's."""
        fresh = time.monotonic() - self._refreshed < _REFRESH_SECONDS
        if mutation.unknown in self._dropped or (mutation.strange and fresh):
            return mutation
        self.refresh()
        mutation = read_mutation(data, self._schema.tables, self._seek)
        if mutation.unknown:  # dropped, as the node itself does not know it: `refresh` has found whether it was followed
            self._dropped.add(mutation.unknown)
        return mutation

    def _update(self, update: Update) -> None:
        if self._beat.is_one(update):
            sent = self._beat.sent_at(update)
            self.told_until = max(self.told_until, sent or 0.0)
            return
        if update.table.id not in self._schema.watched:
            return
        for one in told(update, self._clock()):
            if isinstance(one, Gap):
                self.gaps[one.table, one.why] = one
                continue
            key = (one.table, one.partition, one.clustering)
            was = self.changes.get(key)
            self.changes[key] = one if was is None else replace(one, timestamp=greatest(was.timestamp, one.timestamp))

    def _lose(self, table: str | None, why: str) -> None:
        self.gaps[table, why] = Gap(table, self._clock(), why)


def _started(collector: Collector, segment: int) -> bool:
    path = collector.path(segment)
    if path is None:
        return False
    file = SegmentFile(path)
    try:
        return file.started()
    finally:
        file.close()
