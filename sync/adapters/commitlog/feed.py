"""The feed: batches of what a node's commit log told, with the place behind them."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext

from sync.adapters.commitlog.collector import Collector
from sync.adapters.commitlog.heartbeat import Heartbeat
from sync.adapters.commitlog.reader import LogReader
from sync.adapters.commitlog.schema import NodeSchema
from sync.core.capture.changes import ChangeBatch
from sync.core.capture.commitlog.place import Place, place_of
from sync.errors import SettingsError, Unreachable
from sync.failpoints import failpoint

log = logging.getLogger(__name__)
MAX_CHANGES = 1000
_IDLE_SECONDS, _BATCH_SECONDS, _PAUSE_SECONDS = 1.0, 0.25, 0.05
_SCHEMA_SECONDS = 30.0


class CommitLogFeed:
    """A feed of one node (see `core.capture.changes`). `name`: `commitlog:` and the node's host id."""

    def __init__(self, name: str, collector: Collector, schema: NodeSchema, beat: Heartbeat) -> None:
        self.name = name
        self.trouble = ""
        """Why nothing is told at the moment; empty if nothing is wrong."""
        self.mutations = 0
        self._collector, self._schema, self._beat = collector, schema, beat
        self._is_collecting = False

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Take segments from now on, though it is not known yet from where on they are to be read: a node that is left alone
        with them refuses writes. Raises what `batches` raises."""
        with self._collector.opened(0):
            self._is_collecting = True
            try:
                yield
            finally:
                self._is_collecting = False

    def batches(self, position: str | None) -> Generator[ChangeBatch, None, None]:
        """Batches from behind `position` on, at least one a second, until closed. Asking for the next one says that the last
        one is recorded: the segments before it are removed then.

        Raises SettingsError if the folders cannot be used, SyncError if another process uses them or the log cannot be read.
        """
        place = _place(position)
        with nullcontext() if self._is_collecting else self._collector.opened(place.segment):
            self._collector.done(place.segment)
            reader = LogReader(self._collector, self._schema, self._beat, place)
            try:
                yield from self._read(reader)
            finally:
                reader.close()

    def _read(self, reader: LogReader) -> Iterator[ChangeBatch]:
        begun = time.monotonic()
        read_schema = -_SCHEMA_SECONDS
        while True:
            self._collector.check()
            busy = False
            try:
                self._beat.beat()
                if time.monotonic() - read_schema >= _SCHEMA_SECONDS:
                    reader.refresh()
                    read_schema = time.monotonic()
                busy = reader.step(MAX_CHANGES)
                self._say(f"the heartbeat is refused: {self._beat.trouble}" if self._beat.trouble else "")
            except Unreachable as error:
                self._say(str(error))
            waited = time.monotonic() - begun
            if len(reader.changes) >= MAX_CHANGES or waited >= (
                _BATCH_SECONDS if reader.changes or reader.gaps else _IDLE_SECONDS
            ):
                yield self._batch(reader)
                self._recorded(reader)
                begun = time.monotonic()
            elif not busy:
                time.sleep(_PAUSE_SECONDS)

    def _say(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            log.warning("%s: %s; nothing counts as told until it is over", self.name, trouble)
        self.trouble = trouble

    def _batch(self, reader: LogReader) -> ChangeBatch:
        self.mutations = reader.mutations
        changes, gaps = tuple(reader.changes.values()), tuple(reader.gaps.values())
        failpoint("commitlog.before_batch")
        return ChangeBatch(changes, gaps, str(reader.place), reader.told_until)

    def _recorded(self, reader: LogReader) -> None:
        failpoint("commitlog.after_record")
        if self._schema.tables:
            self._schema.remember()
        reader.taken()
        self._collector.done(reader.place.segment)
        failpoint("commitlog.after_done")


def _place(position: str | None) -> Place:
    try:
        return place_of(position) if position else Place(0)
    except ValueError:
        raise SettingsError(f"the recorded position {position!r} is none of a commit log") from None
