"""Segments are taken before it is known from where on they are to be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sync.adapters.commitlog.collector import Collector
from sync.adapters.commitlog.feed import CommitLogFeed
from sync.core.capture.commitlog.place import Place
from sync.errors import Unreachable


class _Away:
    """A node that does not answer."""

    trouble = ""
    tables: tuple[()] = ()

    def beat(self) -> None:
        raise Unreachable("the node is away")


def segments(folder: Path) -> list[int]:
    return sorted(int(path.stem.rsplit("-", 1)[1]) for path in folder.glob("*.log"))


def test_segments_are_taken_while_postgres_does_not_say_where_to_go_on(tmp_path: Path) -> None:
    """Would break: a follower that waits for its place leaves the node alone, which refuses writes when `cdc_raw` is full."""
    raw, own = tmp_path / "cdc_raw", tmp_path / "own"
    raw.mkdir()
    away: Any = _Away()
    feed = CommitLogFeed("commitlog:x", Collector(raw, own, 1 << 30), away, away)
    for segment in (11, 12, 13):
        (raw / f"CommitLog-8-{segment}.log").write_bytes(b"x")
    with feed.collecting():
        assert (segments(raw), segments(own)) == ([], [11, 12, 13])
        batches = feed.batches(str(Place(12)))
        next(batches)
        assert segments(own) == [12, 13], "what is before the place has been read"
        batches.close()
        (raw / "CommitLog-8-14.log").write_bytes(b"x")
        feed._collector.sweep()
        assert segments(own) == [12, 13, 14], "it goes on, also when nobody reads any more"


def test_a_feed_that_is_not_asked_to_collect_does_so_while_it_reads(tmp_path: Path) -> None:
    """Would break: batches of a feed by itself find nothing."""
    raw, own = tmp_path / "cdc_raw", tmp_path / "own"
    raw.mkdir()
    away: Any = _Away()
    feed = CommitLogFeed("commitlog:x", Collector(raw, own, 1 << 30), away, away)
    (raw / "CommitLog-8-11.log").write_bytes(b"x")
    batches = feed.batches(None)
    next(batches)
    assert (segments(raw), segments(own)) == ([], [11])
    batches.close()
    with feed.collecting(), pytest.raises(Exception, match="followed by another process"):
        next(CommitLogFeed("commitlog:y", Collector(raw, own, 1 << 30), away, away).batches(None))
