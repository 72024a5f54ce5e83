"""What a worker does: claim a range, read its pages, load them in batches, until there is nothing left.

A batch ends once it has enough bytes. Its checkpoint is the token before the next row's, because a partition may continue
in the next batch, and the source's own mark of the place in that partition, where a worker that resumes continues
(docs/decisions/0021-a-checkpoint-within-a-partition.md).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass, field

from sync.core.ring import TokenRange
from sync.core.rows import Page
from sync.errors import (
    LeaseLost,
    NotNow,
    PlaceUnknown,
    SourceTimeout,
    SourceUnavailable,
    SyncError,
    TargetNotNow,
)
from sync.failpoints import failpoint
from sync.flows.observing import RangeSpan, Trace, untraced
from sync.flows.pacing import Pacer
from sync.flows.retry import pause, retry_until_stopped
from sync.ports import Batch, Lease, Ranges, Source, Target

log = logging.getLogger(__name__)


NoteRowsAhead = Callable[[str, TokenRange, Callable[[], object]], None]
"""Looks at write times: table, range, and what to call now and then to renew the lease."""


@dataclass(frozen=True, slots=True)
class CopyStream:
    """One stream of a worker: its own connection to the ledger, and the tables it may be asked to copy.

    `note_rows_ahead` notes the rows of a range that were written ahead of the clock, before the range is copied.
    """

    ranges: Ranges
    source: Callable[[str], Source]
    target: Callable[[Lease], Target]
    batch_bytes: int
    lease_seconds: float = 60
    note_rows_ahead: NoteRowsAhead | None = None
    pacer: Pacer = field(default_factory=Pacer)
    trace: Trace = untraced


class _HeldLease:
    """A lease, renewed while its worker reads or waits, and what is left of its range."""

    def __init__(self, stream: CopyStream, lease: Lease, left: TokenRange) -> None:
        self._ranges, self._pacer, self.lease, self.left = stream.ranges, stream.pacer, lease, left
        self._every = stream.pacer.every(stream.lease_seconds / 3, lease.rate)
        self._at = time.monotonic()
        self.rows = 0

    def keep_going(self) -> bool:
        """Renew the lease if it is time; False if the run is to stop. Raises LeaseLost."""
        if time.monotonic() - self._at < self._every and not self._pacer.is_due:
            return True
        self._at = time.monotonic()
        renewed = self._pacer.renew(self._ranges, self.lease)
        self.lease = renewed or self.lease
        return renewed is not None

    def renewing(self, pages: Iterator[Page]) -> Iterator[Page]:
        """The pages, with the lease renewed between them: a slow source must not cost it."""
        for page in pages:
            self.keep_going()
            yield page

    def loaded(self, batch: Batch) -> None:
        """Note a checkpoint: what is left begins there."""
        self.rows += batch.rows
        if self.left.start < batch.done_to < self.left.end:
            self.left = TokenRange(batch.done_to, self.left.end)


def copy_ranges(stream: CopyStream, runs: list[int], owner: str, stopped: Callable[[], bool]) -> int:
    """Copy ranges until there are none left or `stopped()`; how many were done.

    Raises TargetUnavailable: without the target there is neither ledger nor load, so the caller opens new connections.
    """
    done, failures = 0, 0
    stream.ranges.reclaim(runs, owner)
    while not stopped():
        lease = stream.ranges.claim(runs, owner)
        if lease is None:
            break
        try:
            with stream.trace(lease) as span:
                done += _copy(stream, lease, stopped, span)
            failures = 0
        except LeaseLost as error:
            log.warning("%s", error, extra=of_range(lease))
        except PlaceUnknown as error:
            log.warning("%s: it resumes at a partition's start: %s", lease.table, error, extra=of_range(lease))
            stream.ranges.discard_position(lease)
            break  # the server disconnects on such a mark, and the driver does not reconnect: the next job does
        except (SourceUnavailable, TargetNotNow) as error:
            failures += 1
            log.warning("%s", retry_message(lease.table, error, isinstance(error, NotNow)), extra=of_range(lease))
            (stream.ranges.wait if isinstance(error, NotNow) else stream.ranges.fail)(lease, str(error))
            stream.pacer.idle()
            pause(failures, stopped)
            stream.pacer.begin()
    return done


def _copy(stream: CopyStream, lease: Lease, stopped: Callable[[], bool], span: RangeSpan) -> int:
    if lease.todo is None:
        stream.target(lease).load(lease, Batch((), lease.whole.end, last=True))
        span.ended("done", rows=0)
        return 1
    held = _HeldLease(stream, lease, lease.todo)
    try:
        done = _copy_pages(stream, held, stopped)
        span.ended("done" if done else "left", rows=held.rows)
        log.info("%s: a range is %s", lease.table, "copied" if done else "left", extra=of_range(lease))
        return done
    except SourceTimeout as error:
        span.failed(error)
        _timed_out(stream.ranges, lease, held.left, error)
        return 0


def _copy_pages(stream: CopyStream, held: _HeldLease, stopped: Callable[[], bool]) -> int:
    lease = held.lease
    a_second = max(1, int(lease.rate)) if lease.rate else None  # with a rate, reading must not come in bursts
    target = stream.target(lease)

    def paced() -> bool:
        # While holding the lease: a stream that waits has a share of the rate, too.
        return stream.pacer.wait(lambda: not stopped() and held.keep_going()) and not stopped()

    if not paced():
        stream.ranges.release_range(lease)
        return 0
    if stream.note_rows_ahead is not None and not _is_begun(lease):
        # However long that takes, a batch is loaded after it, whose checkpoint says that it was done.
        stream.note_rows_ahead(lease.table, held.left, held.keep_going)
    pages = held.renewing(stream.source(lease.table).pages(held.left, a_second, lease.position))
    for batch in batches(pages, lease.whole.end, stream.batch_bytes, a_second):
        failpoint("backfill.read")
        keep_going = target.load(lease, batch)
        held.loaded(batch)
        stream.pacer.spend(batch.rows, held.lease.rate)
        if not batch.last and not (keep_going and paced()):
            stream.ranges.release_range(lease)
            return 0
    return 1


def _is_begun(lease: Lease) -> bool:
    """Whether the range has a checkpoint."""
    return lease.position is not None or lease.todo is None or lease.todo.start > lease.whole.start


def batches(pages: Iterator[Page], end: int, batch_bytes: int, batch_rows: int | None = None) -> Iterator[Batch]:
    """Pages grouped into batches of about `batch_bytes` or `batch_rows`; the last one, possibly empty, ends the range."""
    held: list[Page] = []
    for page in pages:
        if not page.count:
            continue
        if sum(p.size for p in held) >= batch_bytes or (batch_rows and sum(p.count for p in held) >= batch_rows):
            yield Batch(tuple(held), page.first_token - 1, last=False, position=held[-1].after)
            held = []
        held.append(page)
    yield Batch(tuple(held), end, last=True)


def of_range(lease: Lease) -> dict[str, str]:
    """What a log record about a range has in addition."""
    return {"table": lease.table, "range": f"({lease.whole.start}, {lease.whole.end}]", "worker": lease.owner}


def retry_message(table: str, error: SyncError, endless: bool) -> str:
    """The message about a range that is retried (`endless`: without limit), with the server's own words."""
    where = "Postgres: " if isinstance(error, TargetNotNow) else ""
    return f"{table}: {where}{error}; {'retrying until it can' if endless else 'retrying'}"


def _timed_out(ranges: Ranges, lease: Lease, left: TokenRange, error: SourceTimeout) -> None:
    """A range that is too much for one request becomes two; one of a single token is retried as it is."""
    if left.end - left.start < 2:
        ranges.fail(lease, str(error))
        return
    middle = left.start + (left.end - left.start) // 2
    log.warning("%s: %s; the range is split in two", lease.table, error, extra=of_range(lease))
    ranges.split(lease, middle, str(error))


def copy_in_streams(
    open_stream: Callable[[], AbstractContextManager[CopyStream]],
    streams: int,
    runs: list[int],
    worker: str,
    stopped: Callable[[], bool],
) -> int:
    """Copy with several streams at once, so that reading, encoding and loading overlap; how many ranges were done."""

    def work(owner: str, stop: Callable[[], bool]) -> int:
        with open_stream() as stream:
            return copy_ranges(stream, runs, owner, stop)

    return in_streams(work, streams, worker, stopped)


def in_streams(work: Callable[[str, Callable[[], bool]], int], streams: int, worker: str, stopped: Callable[[], bool]) -> int:
    """Do this work in several threads at once, each an owner of its own; the sum of what they return.

    If the target's connection breaks, a stream starts again. The first error that this does not cure is raised at the end.
    """
    failed = threading.Event()

    def stop() -> bool:
        return failed.is_set() or stopped()

    def run(number: int) -> int:
        try:
            return retry_until_stopped(lambda: work(f"{worker}/{number}", stop), stop)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(streams, thread_name_prefix="stream") as pool:
        begun = [pool.submit(copy_context().run, run, number) for number in range(streams)]
        return sum(each.result() for each in begun)
