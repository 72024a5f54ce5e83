"""Takes segments out of `cdc_raw` as they appear: a hard link in a folder of our own, then the name there is removed.

So a node never counts them against `cdc_total_space`, whether they are read at once or hours later: it neither refuses writes
nor removes segments that were not read. A segment is in at least one of the two folders at any moment.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sync.core.capture.commitlog.descriptor import segment_id
from sync.errors import SettingsError, SyncError
from sync.failpoints import failpoint

_PAUSE_SECONDS = 0.1
_WATCHING_SECONDS = 5.0
_RESTART = 1000
"""Ids count up by one a segment; a node that starts goes on at the clock's milliseconds. No run of a node has such a jump."""
_AFTER, _INDEX = ".after", "_cdc.idx"
_LEAST_SEGMENTS = 2
"""The one that is read, and the next: without it nobody knows that the first one is complete."""


class Collector:
    """The segments of one node. One process at a time has them: `opened` locks both folders.

    `raw`: the node's `cdc_raw_directory`. `own`: our folder, on the same file system and not below `raw`. `limit`: bytes in
    our folder above which segments are left in `raw`, where the node's own limit holds.
    """

    def __init__(self, raw: Path, own: Path, limit: int) -> None:
        self.raw, self.own, self._limit = raw, own, limit
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._trouble: Exception | None = None
        self._begin = 0
        self._newest: int | None = None
        self._swept = 0.0

    @contextmanager
    def opened(self, begin: int) -> Iterator[None]:
        """Collect in a thread until the end. Segments before the id `begin` have been read: they are only removed.

        Raises SettingsError if the folders cannot be used, SyncError if another process uses one of them.
        """
        self._begin, self._trouble, self._newest, self._swept = begin, None, None, -_WATCHING_SECONDS
        self._end.clear()
        check_folders(self.raw, self.own)
        self.own.mkdir(parents=True, exist_ok=True)
        with _locked(self.raw), _locked(self.own):
            self._remove_before(begin)  # the last follower may have ended before it did
            self.sweep()
            thread = threading.Thread(target=self._watch, name="commitlog-collector", daemon=True)
            thread.start()
            try:
                yield
            finally:
                self._end.set()
                thread.join()

    def check(self) -> None:
        """Raise what ended the thread, if anything did: SettingsError."""
        if self._trouble is not None:
            raise SettingsError(f"the commit log's folders: {self._trouble}") from self._trouble

    def ids(self) -> list[int]:
        """The ids of the collected segments, ascending."""
        return sorted(self._collected())

    def path(self, segment: int) -> Path | None:
        """A collected segment's file; None if it is not there."""
        return self._collected().get(segment)

    def follows(self, segment: int, before: int) -> bool:
        """Whether nothing can lie between two segments: their ids say so, or the node was restarted while we watched."""
        if segment == before + 1:
            return True
        with suppress(OSError, ValueError):
            return int((self.own / f"{segment}{_AFTER}").read_text()) == before
        return False

    def done(self, begin: int) -> None:
        """Remove the segments before the id `begin`: the place behind them is recorded."""
        if begin == self._begin:
            return
        with self._lock:
            self._begin = begin
            self._remove_before(begin)

    def _remove_before(self, begin: int) -> None:
        for segment, path in self._collected().items():
            if segment < begin:
                failpoint("commitlog.before_delete")
                path.unlink(missing_ok=True)
        for path in self.own.glob(f"*{_AFTER}"):
            if int(path.name.removesuffix(_AFTER)) < begin:
                path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Take what is in `raw` now. Raises OSError."""
        with self._lock:
            found = _segments(self.raw)
            collected = self._collected()
            if self._newest is None:
                self._newest = max(collected, default=None)
            size = sum(_size(path) for path in collected.values())
            for segment in sorted(found):
                size = self._take(segment, found[segment], collected, size)
            self._remove_indexes(_segments(self.raw))
            self._swept = time.monotonic()

    def _take(self, segment: int, path: Path, collected: dict[int, Path], size: int) -> int:
        """Take one segment, and return the size of what is collected then."""
        if segment >= self._begin and segment not in collected:
            if size >= self._limit and len(collected) > _LEAST_SEGMENTS:
                return size
            self._note(segment)
            failpoint("commitlog.before_link")
            with suppress(
                FileNotFoundError
            ):  # the node removes segments without changes, and the oldest if it is short of room
                os.link(path, self.own / path.name)
                collected[segment] = self.own / path.name
                size += _size(path)
            _sync_folder(self.own)
        failpoint("commitlog.after_link")
        path.unlink(missing_ok=True)
        failpoint("commitlog.after_unlink")
        self._newest = max(self._newest or 0, segment)
        return size

    def _note(self, segment: int) -> None:
        """Write down that a segment is the next one after a node's restart, if we have watched without a break."""
        watching = time.monotonic() - self._swept < _WATCHING_SECONDS
        if self._newest is not None and watching and segment - self._newest >= _RESTART:
            (self.own / f"{segment}{_AFTER}").write_text(str(self._newest))

    def _remove_indexes(self, left: dict[int, Path]) -> None:
        """The node writes a segment's `_cdc.idx` with each sync, also when its segment is no longer there. Where that is
        still there it stays: a node that starts removes segments without one."""
        for path in self.raw.glob(f"CommitLog-*{_INDEX}"):
            if segment_id(path.name.replace(_INDEX, ".log")) not in left:
                path.unlink(missing_ok=True)

    def _collected(self) -> dict[int, Path]:
        return _segments(self.own)

    def _watch(self) -> None:
        try:
            while not self._end.wait(_PAUSE_SECONDS):
                self.sweep()
        except OSError as error:
            self._trouble = error


def check_folders(raw: Path, own: Path) -> None:
    """Raise SettingsError if segments cannot be taken from `raw` to `own`."""
    if not raw.is_dir():
        raise SettingsError(f"--cdc-raw: no folder at {raw}; state the node's cdc_raw_directory (cassandra.yaml)")
    if not os.access(raw, os.W_OK | os.X_OK):
        raise SettingsError(f"--cdc-raw: {raw} cannot be written; run this as the user that Cassandra runs as")
    inner, outer = own.resolve(), raw.resolve()
    if inner == outer or outer in inner.parents:
        raise SettingsError(f"--folder: {own} is below {raw}, where all counts against cdc_total_space; state another folder")
    there = next(path for path in (inner, *inner.parents) if path.exists())
    if there.stat().st_dev != outer.stat().st_dev:
        raise SettingsError(f"--folder: {own} is on another file system than {raw}, and files cannot be linked between two")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """A lock on the folder itself: a file in `cdc_raw` would count against its space."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SyncError(f"{folder} is followed by another process already; end that one first") from None
        yield
    finally:
        os.close(handle)


def _segments(folder: Path) -> dict[int, Path]:
    found: dict[int, Path] = {}
    for path in folder.iterdir():
        number = segment_id(path.name)
        if number is not None:
            found[number] = path
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _sync_folder(folder: Path) -> None:
    """Make names durable before the other name of the same file is removed."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
