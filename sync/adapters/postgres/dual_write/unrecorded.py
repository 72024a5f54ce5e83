"""Writes that Postgres does not know of yet: bounded, and one per key if nothing must be sent again (rule 31)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import groupby, islice
from threading import Lock

from sync.adapters.postgres.backfill.loader import REFUSALS
from sync.adapters.postgres.connection.refusals import error_text
from sync.core.mutations import Kind, Mutation
from sync.errors import BatchTimedOut
from sync.failpoints import failpoint
from sync.ports import TableJournal, Written

log = logging.getLogger(__name__)
_BATCH, _BATCH_BYTES = 1000, 8_000_000
_ENTRY_BYTES = 1000
"""The memory that an entry takes in addition to its bytes; a test measures it."""
_PARTS = 8
"""Of a batch that took too long: each of them waits as long if Postgres is sick, so that they must soon be single writes."""
_Handle = tuple[str, bytes, int, str] | int
_Entry = tuple[TableJournal, Written]
_Listed = tuple[_Handle, TableJournal, Written]


class Unrecorded:
    """Writes that are still to be recorded.

    Of one that the primary acknowledged, the key is enough; one that may still arrive is sent again, so its values are kept.
    `gone` is called for each that is no longer kept. Safe to use from many threads; `record` is for one.
    """

    def __init__(self, max_bytes: int, gone: Callable[[Written], None]) -> None:
        self._max_bytes, self._gone = max_bytes, gone
        self._entries: dict[_Handle, _Entry] = {}
        self._number = self._bytes = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def is_full(self) -> bool:
        """Whether no more may be kept."""
        return self._bytes >= self._max_bytes

    def add(self, journal: TableJournal, written: Written) -> None:
        """Keep a write; of two acknowledged ones of a key, only the newer."""
        if written.state == "finished":
            kept = ("delete", "recheck_partition")  # a partition has no row that could be read by its key
            kind: Kind = written.mutation.kind if written.mutation.kind in kept else "recheck"
            written = Written(Mutation(kind, written.mutation.key, {}), written.version, "finished")
        with self._lock:
            was_full, handle = self.is_full, self._handle(written)
            if known := self._entries.get(handle):
                older, written = sorted((known[1], written), key=lambda each: each.version)
                self._gone(older)
            else:
                self._bytes += _size(written.mutation)
            self._entries[handle] = journal, written
            if self.is_full and not was_full:
                log.error("%d writes are not recorded: until Postgres takes them, new writes are refused", len(self))

    def _handle(self, written: Written) -> _Handle:
        if written.state == "finished":
            key = written.mutation.key
            return key.table, key.canonical, key.token, written.mutation.kind
        self._number += 1
        return self._number

    def record(self, between: Callable[[], object]) -> set[str]:
        """Record all that is there now, in batches, with a call of `between` after each; returns their tables.

        A write that Postgres refuses is left to the next call, and holds up no other. Raises TargetUnavailable.
        """
        tables: set[str] = set()
        with self._lock:
            found = [(handle, journal, written) for handle, (journal, written) in self._entries.items()]
        found.sort(key=lambda each: each[1].table)
        for journal, listed in groupby(found, key=lambda each: each[1]):
            tables.add(journal.table)
            while batch := _batch(listed):
                self._record(journal, batch)
                between()
        return tables

    def _record(self, journal: TableJournal, batch: list[_Listed]) -> None:
        """Record a batch, in parts if one of its writes is refused, or if it takes too long."""
        failpoint("write_behind.before_record")
        try:
            journal.record([written for _, _, written in batch])
        except REFUSALS as error:
            if len(batch) == 1:
                log.error(
                    "%s: a write cannot be recorded: %s; this writer cannot sign off, and blocks a cut-over",
                    journal.table, error_text(error),
                )  # fmt: skip
                return
            self._record_parts(journal, batch, 2)
            return
        except BatchTimedOut:
            self._record_parts(journal, batch, _PARTS)
            return
        failpoint("write_behind.recorded")
        with self._lock:
            for handle, _, written in batch:
                if self._entries[handle][1] is written:  # else a newer one of the key was added meanwhile
                    del self._entries[handle]
                    self._bytes -= _size(written.mutation)
                    self._gone(written)

    def _record_parts(self, journal: TableJournal, batch: list[_Listed], parts: int) -> None:
        size = -(-len(batch) // parts)
        for at in range(0, len(batch), size):
            self._record(journal, batch[at : at + size])


def _batch(listed: Iterator[_Listed]) -> list[_Listed]:
    """The next writes that are recorded together; a write alone may be larger than a batch."""
    batch, size = [], 0
    for each in islice(listed, _BATCH):
        batch.append(each)
        size += _size(each[2].mutation)
        if size >= _BATCH_BYTES:
            break
    return batch


def _size(mutation: Mutation) -> int:
    return _ENTRY_BYTES + mutation.bytes
