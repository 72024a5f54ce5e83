"""What a worker does for a drift report: claim a range, hash it on both sides, and where the digests differ, settle each key.

The source is streamed once. The hash and the raw key of each row stay in memory until the range has its verdict; a range
of too many rows is cut after those that were read, so that memory is bounded (invariant 7).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from threading import Semaphore
from time import monotonic, sleep
from typing import Literal, Protocol

from sync.core.drift.compare import MAX_FINDINGS, Comparison
from sync.core.drift.range_hashes import RangeHashes, Raw
from sync.core.drift.results import MAX_TRIES, KeyVerdict, RangeResult
from sync.core.drift.verdicts import FINDINGS, UNSETTLED
from sync.core.encode.rows import RowEncoder
from sync.core.mutations import Key
from sync.core.ring import TokenRange
from sync.errors import LeaseLost, NotNow, SourceTimeout, SourceUnavailable, TargetNotNow, TargetUnavailable
from sync.failpoints import failpoint
from sync.flows.copy_ranges import of_range, retry_message
from sync.flows.observing import RangeSpan, StopRequested, Trace, untraced
from sync.flows.recheck import KeysOfBothSides, Recheck, RecheckPolicy
from sync.flows.retry import pause_after
from sync.flows.verify import Digests
from sync.ports import Lease, Source

log = logging.getLogger(__name__)
_LONGEST_PAUSE = 4.0
_RENEW_SECONDS = 2.0
_SETTLED_TOGETHER = 10_000


class CheckLedger(Protocol):
    """The ledger as a check needs it."""

    def claim(self, run_ids: list[int], owner: str) -> Lease | None: ...
    def reclaim(self, runs: list[int], owner: str) -> None: ...
    def wait(self, lease: Lease, error: str) -> None: ...
    def renew(self, lease: Lease) -> Lease | None: ...
    def release_range(self, lease: Lease) -> None: ...
    def fail(self, lease: Lease, error: str) -> None: ...
    def split(self, lease: Lease, middle: int, error: str) -> None: ...
    def cut(self, lease: Lease, end: int) -> Lease: ...
    def done(self, lease: Lease, checked: RangeResult) -> None: ...


class TableKeys(KeysOfBothSides, Protocol):
    """Single keys of one table, and how they are made."""

    def of_source(self, raw: Raw) -> Key: ...
    def of_target(self, canonical: bytes, tokens: TokenRange) -> Key: ...
    def restamp(self, keys: Sequence[Key]) -> int: ...


@dataclass(frozen=True, slots=True)
class Sides:
    """Both sides of one table; `keeps`: what expires in the source stays in the target."""

    source: Source
    target: Digests
    keys: Callable[[], TableKeys]
    encoder: RowEncoder
    keeps: bool = False


@dataclass(frozen=True, slots=True)
class CheckStream:
    """One stream of a worker; `sides` opens a table, `repairs` says whether its findings are to be reconciled.

    There are more streams than turns: a stream that waits for keys to settle lets another one read meanwhile; `waits` is
    called when one starts to wait.
    """

    ranges: CheckLedger
    sides: Callable[[str], Sides]
    repairs: Callable[[str], bool]
    policy: RecheckPolicy
    range_rows: int
    turn: Semaphore
    lease_seconds: float = 60
    waits: Callable[[], object] = lambda: None
    trace: Trace = untraced


class _TooManyRows(Exception):
    """The target holds far more rows of the range than the source."""


class _HeldLease:
    """A lease that is renewed while its worker reads or waits."""

    def __init__(self, stream: CheckStream, lease: Lease) -> None:
        self._ranges, self._turn, self._lease, self._at = stream.ranges, stream.turn, lease, monotonic()
        self._waits = stream.waits
        self._every = min(stream.lease_seconds / 3, _RENEW_SECONDS)

    def renew_if_due(self) -> None:
        """Renew if it is time. Raises LeaseLost, and StopRequested if the run is to stop."""
        if monotonic() - self._at >= self._every:
            self._at = monotonic()
            if self._ranges.renew(self._lease) is None:
                raise StopRequested

    def wait(self, seconds: float) -> None:
        """Sleep, renewing the lease, and let another stream have the turn meanwhile."""
        self.renew_if_due()
        until = monotonic() + seconds
        if seconds <= 0:
            return
        self._turn.release()
        self._waits()
        try:
            while (left := until - monotonic()) > 0:
                sleep(min(left, 0.1))
                self.renew_if_due()
        finally:
            self._retake_turn()

    def _retake_turn(self) -> None:
        """Get the turn back; the others may take long, and the lease must not expire meanwhile."""
        lost: Exception | None = None
        while not self._turn.acquire(timeout=1):
            try:
                self.renew_if_due()
            except (LeaseLost, TargetUnavailable, StopRequested) as error:
                lost = error
        if lost:
            raise lost


def check_ranges(stream: CheckStream, runs: list[int], owner: str, stopped: Callable[[], bool]) -> int:
    """Check ranges until there are none left or `stopped()`; how many were done. Raises TargetUnavailable."""
    done, failures = 0, 0
    stream.ranges.reclaim(runs, owner)
    while not stopped():
        with stream.turn:
            lease = stream.ranges.claim(runs, owner)
            if lease is None:
                break
            outcome = _attempt(stream, lease)
        if outcome == "stopped":
            break
        done += outcome == "done"
        failures = failures + 1 if outcome == "failed" else 0
        if failures:
            sleep(min(pause_after(failures), _LONGEST_PAUSE))
    return done


def _attempt(stream: CheckStream, lease: Lease) -> Literal["done", "failed", "stopped", "lost", "split"]:
    try:
        with stream.trace(lease) as span:
            _check(stream, lease, span)
    except StopRequested:
        stream.ranges.release_range(lease)
        return "stopped"
    except LeaseLost as error:
        log.warning("%s", error, extra=of_range(lease))
        return "lost"
    except SourceTimeout as error:
        _too_much(stream.ranges, lease, str(error))
        return "split"
    except (SourceUnavailable, TargetNotNow) as error:
        log.warning("%s", retry_message(lease.table, error, isinstance(error, NotNow)), extra=of_range(lease))
        (stream.ranges.wait if isinstance(error, NotNow) else stream.ranges.fail)(lease, str(error))
        return "failed"
    log.info("%s: a range is checked", lease.table, extra=of_range(lease))
    return "done"


def _too_much(ranges: CheckLedger, lease: Lease, error: str) -> None:
    """Split a range that is too much for one request, but not endlessly: if the source hangs, size is not the reason."""
    whole = lease.whole
    if whole.end - whole.start < 2 or lease.attempts >= MAX_TRIES:
        ranges.fail(lease, error)
    else:
        log.warning("%s: %s; the range is split in two", lease.table, error, extra=of_range(lease))
        ranges.split(lease, _middle(whole), error)


def _middle(tokens: TokenRange) -> int:
    return tokens.start + (tokens.end - tokens.start) // 2


def _check(stream: CheckStream, lease: Lease, span: RangeSpan) -> None:
    begun, sides = monotonic(), stream.sides(lease.table)
    held_lease, found = _HeldLease(stream, lease), RangeHashes(sides.encoder)
    try:
        lease = _read(stream, lease, sides, held_lease, found)
        failpoint("drift.read")
        checked = RangeResult(lease.whole)
        _compare(stream, lease, sides, held_lease, found, checked)
        checked.rows.check()
    except _TooManyRows as error:
        stream.ranges.split(replace(lease, attempts=0), _middle(lease.whole), str(error))
        span.ended("split")
        return
    except AssertionError as error:  # a side contradicts itself: nothing of the range is proved (invariant 5)
        checked = RangeResult(lease.whole, Comparison(source=found.count, unknown=found.count), error=str(error))
    checked.seconds = monotonic() - begun
    failpoint("drift.before_done")
    stream.ranges.done(lease, checked)
    span.ended("done", rows=checked.rows.source, differing=checked.rows.differing, repaired=checked.repaired)


def _read(stream: CheckStream, lease: Lease, sides: Sides, held_lease: _HeldLease, found: RangeHashes) -> Lease:
    """Stream the source; if there are too many rows, the range ends with the last partition that was read whole."""
    for page in sides.source.pages(lease.whole):
        held_lease.renew_if_due()
        if not page.count:
            continue
        if found.count >= stream.range_rows and (end := found.cut_before(page.first_token)) is not None:
            return stream.ranges.cut(lease, end)
        found.add(page)
    return lease


def _compare(
    stream: CheckStream, lease: Lease, sides: Sides, held_lease: _HeldLease, found: RangeHashes, checked: RangeResult
) -> None:
    target = sides.target.digest(lease.whole)
    rows = checked.rows
    if not sides.encoder.expires and target == found.digest():
        rows.source = rows.target = rows.same = found.count
        assert target.count == found.count, "rows of equal digests do not add up"
        return
    if target.count > found.count + 2 * stream.range_rows and lease.whole.end - lease.whole.start >= 2:
        raise _TooManyRows(f"the target holds {target.count} rows of a range in which the source has {found.count}")
    held = dict(sides.target.hashes(lease.whole))
    same, raw = found.compare(held)
    assert same + len(raw) == found.count, "rows of the source do not add up"
    rows.source, rows.same, rows.target = found.count, same, same
    failpoint("drift.suspects")
    keys = sides.keys()
    only_there = sorted(held.keys() - {keys.of_source(cells).canonical for cells in raw})
    del held
    found.clear()
    recheck = Recheck(keys, sides.encoder, stream.policy, stream.repairs(lease.table), held_lease.wait, sides.keeps)
    for suspects in _parts([*raw, *only_there]):
        source_keys = [keys.of_source(s) for s in suspects if isinstance(s, tuple)]
        target_only = _only_in_target(lease, keys, [s for s in suspects if isinstance(s, bytes)], checked)
        _tally(recheck, source_keys, target_only, checked)


def _parts(suspects: list[Raw | bytes]) -> Iterator[list[Raw | bytes]]:
    """The suspects in parts that are settled together: what is known of each is far larger than its key."""
    for at in range(0, len(suspects), _SETTLED_TOGETHER):
        yield suspects[at : at + _SETTLED_TOGETHER]


def _only_in_target(lease: Lease, keys: TableKeys, target_only: list[bytes], checked: RangeResult) -> list[Key]:
    """Keys of the target that the source does not have in the range; those of another range get their right token."""
    found: list[Key] = []
    strangers: list[Key] = []
    for canonical in target_only:
        try:
            key = keys.of_target(canonical, lease.whole)
        except ValueError as error:
            # A key that cannot be asked for in the source is not proved to be extra.
            judged = KeyVerdict(Key(lease.table, (), canonical, 0), "unknown", error=str(error), held=True)
            _count(checked, judged, False)
            continue
        (found if key.token in lease.whole else strangers).append(key)
    if strangers:
        keys.restamp(strangers)
    return found


def _tally(recheck: Recheck, source_keys: list[Key], target_only: list[Key], checked: RangeResult) -> None:
    """Count the verdicts of the keys that the source's stream had, and of those that only the target had."""
    in_source = dict.fromkeys(target_only, False) | dict.fromkeys(source_keys, True)
    count = 0
    for judged in recheck.verdicts([*source_keys, *target_only]):
        assert judged.key in in_source, "a verdict on a key that was not asked for"
        count += 1
        _count(checked, judged, in_source[judged.key])
    asked = len(source_keys) + len(target_only)
    assert count == asked, f"{asked} keys to settle, {count} settled"


def _count(checked: RangeResult, judged: KeyVerdict, in_source: bool) -> None:
    rows, verdict = checked.rows, judged.verdict
    if verdict != "gone":
        name = verdict.replace(" ", "_")
        setattr(rows, name, getattr(rows, name) + 1)
    # Rows come and go while a range is read: what counts is what the source had at the verdict.
    rows.source += (verdict not in ("gone", "extra", "kept")) - in_source
    rows.target += verdict in ("same", "extra", "different", "kept") or (verdict in UNSETTLED and judged.held)
    checked.repaired += judged.repaired
    checked.kept_columns += verdict == "same" and bool(judged.columns)
    if verdict in ("same", "gone"):
        checked.settled += 1
        checked.slowest_settled = max(checked.slowest_settled, judged.settled_after)
    if verdict in (*FINDINGS, "unknown") and len(checked.kept) < MAX_FINDINGS:
        checked.kept.append(judged)
