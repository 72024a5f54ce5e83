"""What a worker does: claim a range, read its pages, load them in batches, until there is nothing left.

A batch ends where enough bytes have come together. Its checkpoint is the token before the next row's, because a partition
may go on in the next batch: whoever resumes reads that one partition again, and the merge skips what is there.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass

from sync.core.rows import Page
from sync.errors import LeaseLost, SourceTimeout, SourceUnavailable, TargetUnavailable, Unreachable
from sync.failpoints import failpoint
from sync.ports import Batch, Lease, Ranges, Source, Target

log = logging.getLogger(__name__)
_LONGEST_PAUSE = 15.0
_MOST_RECONNECTS = 12  # about two minutes: a restart, or a suspended compute that wakes


@dataclass(frozen=True, slots=True)
class Lane:
    """One stream of a worker: its own connection to the ledger, and the tables it may be asked to copy."""

    ranges: Ranges
    source: Callable[[str], Source]
    target: Callable[[Lease], Target]
    batch_bytes: int


def copy_ranges(lane: Lane, runs: list[int], owner: str, stopped: Callable[[], bool]) -> int:
    """Copy ranges until there are none left or `stopped()`; how many were done.

    Raises TargetUnavailable: without the target there is neither ledger nor load, so the caller opens new connections.
    """
    done = failures = 0
    while not stopped():
        lease = lane.ranges.claim(runs, owner)
        if lease is None:
            break
        try:
            done += _copy(lane, lease, stopped)
            failures = 0
        except LeaseLost as error:
            log.warning("%s", error)
        except SourceTimeout as error:
            _timed_out(lane.ranges, lease, error)
        except SourceUnavailable as error:
            failures += 1
            log.warning("%s: %s; trying again", lease.table, error)
            lane.ranges.fail(lease, str(error))
            _pause(failures, stopped)
    return done


def _copy(lane: Lane, lease: Lease, stopped: Callable[[], bool]) -> int:
    if lease.todo is None:
        lane.target(lease).load(lease, Batch((), lease.whole.end, last=True))
        return 1
    pages = _paced(lane.source(lease.table).pages(lease.todo), lease.rate)
    target = lane.target(lease)
    for batch in batches(pages, lease.whole.end, lane.batch_bytes):
        failpoint("backfill.read")
        go_on = target.load(lease, batch)
        if not batch.last and (stopped() or not go_on):
            lane.ranges.give_back(lease)
            return 0
    return 1


def batches(pages: Iterator[Page], end: int, batch_bytes: int) -> Iterator[Batch]:
    """Pages put together to batches of about `batch_bytes`; the last one, possibly empty, ends the range."""
    held: list[Page] = []
    for page in pages:
        if not page.count:
            continue
        if sum(p.size for p in held) >= batch_bytes:
            yield Batch(tuple(held), page.first_token - 1, last=False)
            held = []
        held.append(page)
    yield Batch(tuple(held), end, last=True)


def _paced(pages: Iterator[Page], rows_per_second: float | None) -> Iterator[Page]:
    """The pages, not faster than so many rows per second."""
    due = time.monotonic()
    for page in pages:
        if rows_per_second:
            time.sleep(max(0.0, due - time.monotonic()))
            due = max(due, time.monotonic() - 1.0) + page.count / rows_per_second
        yield page


def _pause(failures: int, stopped: Callable[[], bool]) -> None:
    """Wait longer after each failure in a row: what is overloaded or restarting needs time, not questions."""
    until = time.monotonic() + min(2.0**failures / 2, _LONGEST_PAUSE)
    while time.monotonic() < until and not stopped():
        time.sleep(0.1)


def _timed_out(ranges: Ranges, lease: Lease, error: SourceTimeout) -> None:
    """A range that is too much for one request becomes two; one of a single token is tried again as it is."""
    left = lease.todo
    if left is None or left.width < 2:
        ranges.fail(lease, str(error))
        return
    middle = left.start + (left.end - left.start) // 2
    log.warning("%s: %s; the range is split in two", lease.table, error)
    ranges.split(lease, middle, str(error))


def copy_in_lanes(
    open_lane: Callable[[], AbstractContextManager[Lane]],
    lanes: int,
    runs: list[int],
    worker: str,
    stopped: Callable[[], bool],
) -> int:
    """Copy with several lanes at once, so that reading, encoding and loading overlap; how many ranges were done.

    A lane whose target connection breaks opens a new one. The first error that is not cured by that is raised at the end.
    """
    failed = threading.Event()

    def stop() -> bool:
        return failed.is_set() or stopped()

    def run(number: int) -> int:
        try:
            return _lane(open_lane, runs, f"{worker}/{number}", stop)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(lanes, thread_name_prefix="lane") as pool:
        return sum(pool.map(run, range(lanes)))


def _lane(
    open_lane: Callable[[], AbstractContextManager[Lane]], runs: list[int], owner: str, stopped: Callable[[], bool]
) -> int:
    for failures in itertools.count(1):
        try:
            with open_lane() as lane:
                return copy_ranges(lane, runs, owner, stopped)
        except (TargetUnavailable, Unreachable) as error:
            if stopped() or failures > _MOST_RECONNECTS:
                raise
            log.warning("Postgres: %s; connecting again", error)
            _pause(failures, stopped)
    raise AssertionError("unreachable")
