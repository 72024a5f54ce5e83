"""Segments in their folders, without a node: taken, read to their end, removed, missed."""

from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.log_bytes import TABLE, entry, header, insert, marker, mutation, segment, table

from sync.adapters.commitlog.collector import Collector, check_folders
from sync.adapters.commitlog.reader import LogReader
from sync.core.capture.commitlog.place import Place
from sync.errors import SettingsError, SyncError


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "cdc_raw").mkdir()
    return tmp_path / "cdc_raw"


@pytest.fixture
def collector(raw: Path) -> Collector:
    return Collector(raw, raw.parent / "own", 1 << 30)


def rows(*numbers: int) -> bytes:
    """A section with a row of each of these partitions."""
    return b"".join(entry(mutation(insert(struct.pack(">i", n), n, "x"))) for n in numbers)


def put(raw: Path, number: int, *sections: bytes, room: int = 0, **parameters: Any) -> Path:
    path = raw / f"CommitLog-8-{number}.log"
    path.write_bytes(segment(*sections, number=number, room=room, **parameters))
    return path


def reader(collector: Collector, place: Place | None = None) -> LogReader:
    schema: Any = SimpleNamespace(tables={TABLE: table()}, watched=frozenset({TABLE}), refresh=list)
    beat: Any = SimpleNamespace(is_one=lambda update: False, keyspace="ks", name="heartbeats")
    found = LogReader(collector, schema, beat, place or Place(0))
    found.refresh()
    return found


def read(found: LogReader) -> list[int]:
    """The partitions that are told now."""
    while found.step(10**6):
        pass
    told = [struct.unpack(">i", change.partition[0])[0] for change in found.changes.values()]
    found.changes = {}
    return sorted(told)


def test_segments_are_taken_read_and_removed(raw: Path, collector: Collector) -> None:
    """Would break: what is in cdc_raw counts against the node's space; what was read stays for ever."""
    put(raw, 100, rows(1, 2), rows(3))
    put(raw, 101, rows(4), room=4096)
    (raw / "CommitLog-8-100_cdc.idx").write_text("1\nCOMPLETED")
    with collector.opened(0):
        found = reader(collector)
        assert read(found) == [1, 2, 3, 4] and not found.gaps
        assert list(raw.iterdir()) == []
        assert collector.ids() == [100, 101]
        collector.done(found.place.segment)
        assert collector.ids() == [101]
        put(raw, 100, rows(1, 2), rows(3))  # a node that starts puts the segments that it replays there again
        collector.sweep()
        assert collector.ids() == [101] and list(raw.iterdir()) == []
        found.close()


def test_a_live_segment_is_read_as_it_grows(raw: Path, collector: Collector) -> None:
    """Would break: a half-written marker or section is taken for damage, or for the end."""
    path = put(raw, 100, rows(1), room=4096)
    with collector.opened(0):
        found = reader(collector)
        assert read(found) == [1]
        own, end = collector.own / path.name, found.place.section
        more, data = rows(2), bytearray(own.read_bytes())
        whole = marker(end + 8 + len(more), end, 100)
        for part in (whole[:4] + bytes(4), whole):
            data[end : end + 8] = part
            data[end + 8 : end + 8 + len(more)] = more
            own.write_bytes(data)
            assert read(found) == ([2] if part == whole else [])
        assert not found.gaps
        found.close()


def test_a_place_within_a_section_leads_back(raw: Path, collector: Collector) -> None:
    """Would break: a follower that was killed reads a section of a million mutations from its beginning, or skips some."""
    put(raw, 100, rows(1, 2, 3, 4), room=4096)
    with collector.opened(0):
        first = reader(collector)
        first.step(2)
        assert len(first.changes) == 2
        second = reader(collector, first.place)
        assert read(second) == [3, 4]
        first.close()
        second.close()


@pytest.mark.parametrize("kind", ["LZ4Compressor", "DeflateCompressor", "ZstdCompressor"])
def test_compressed_sections(raw: Path, collector: Collector, kind: str) -> None:
    """Would break: a node with commitlog_compression; one whose bytes changed on the disk."""
    import zlib

    import zstandard
    from lz4 import block

    data = rows(1, 2)
    packed = {
        "LZ4Compressor": block.compress(data),
        "DeflateCompressor": zlib.compress(data),
        "ZstdCompressor": zstandard.ZstdCompressor(write_content_size=False).compress(data),
    }[kind]
    size = struct.pack(">I", len(data))
    put(raw, 100, size + packed, compressionClass=f"org.apache.cassandra.io.compress.{kind}")
    put(raw, 101, size + packed[: len(packed) // 2], compressionClass=kind)
    put(raw, 102, size + packed, compressionClass=kind)
    with collector.opened(0):
        found = reader(collector)
        assert read(found) == [1, 2]
        assert [gap.table for gap in found.gaps.values()] == [None]
        found.close()


def test_a_segment_that_is_missing_is_a_gap(raw: Path, collector: Collector) -> None:
    """Would break: what a node removed for want of room is never looked for."""
    put(raw, 100, rows(1))
    put(raw, 102, rows(2), room=4096)
    with collector.opened(0):
        found = reader(collector)
        assert read(found) == [1, 2]
        assert ["100 and 102" in why for _, why in found.gaps] == [True]
        found.close()


def test_a_restart_that_was_watched_is_no_gap_and_others_are(raw: Path, collector: Collector) -> None:
    """Would break: each restart of a node asks for a full pass; or a segment that came and went does not."""
    put(raw, 100, rows(1))
    with collector.opened(0):
        put(raw, 5100, rows(2))
        collector.sweep()
        put(raw, 5103, rows(3), room=4096)  # three more of the same run: two were missed
        collector.sweep()
        assert [collector.follows(*pair) for pair in ((5100, 100), (5103, 5100), (5103, 100))] == [True, False, False]
    again = Collector(raw, collector.own, 1 << 30)
    put(raw, 9000, rows(4), room=4096)
    with again.opened(5103):  # nobody watched
        assert not again.follows(9000, 5103)


def test_a_segment_that_somebody_removes_is_a_gap_once(raw: Path, collector: Collector) -> None:
    """Would break: the feed stands still, or tells of the gap for ever."""
    path = put(raw, 100, rows(1))
    with collector.opened(0):
        place = Place(100, 40, 0)
        (collector.own / path.name).unlink()
        found = reader(collector, place)
        assert read(found) == [] and read(found) == []
        assert len(found.gaps) == 1
        put(raw, 101, rows(2), room=4096)
        collector.sweep()
        assert read(found) == [2]
        assert len(found.gaps) == 1
        found.close()


def test_what_is_behind_the_last_section_is_a_gap(raw: Path, collector: Collector) -> None:
    """Would break: a marker that was overwritten by zeros hides the rest of a segment."""
    path = put(raw, 100, rows(1), rows(2))
    data = bytearray(path.read_bytes())
    at = len(header(number=100)) + 8 + len(rows(1))
    data[at : at + 8] = bytes(8)
    path.write_bytes(data)
    put(raw, 101, rows(3), room=4096)
    with collector.opened(0):
        found = reader(collector)
        assert read(found) == [1, 3]
        assert ["behind its last section" in why for _, why in found.gaps] == [True]
        found.close()


def test_segments_above_the_limit_stay_where_they_are(raw: Path) -> None:
    """Would break: a follower that cannot record fills the disk; or waits for a segment that it does not take."""
    for number in range(100, 106):
        put(raw, number, rows(number))
        (raw / f"CommitLog-8-{number}_cdc.idx").write_text("1")
    collector = Collector(raw, raw.parent / "own", 10)
    with collector.opened(0):
        assert collector.ids() == [100, 101, 102]
        assert len(list(raw.glob("*.log"))) == len(list(raw.glob("*.idx"))) == 3
        found = reader(collector)
        for _ in range(6):
            read(found)
            collector.done(found.place.segment)
            collector.sweep()
        assert collector.ids() == [103, 104, 105] or collector.ids() == [104, 105] or collector.ids() == [105]
        assert not found.gaps
        found.close()


def test_two_at_once_and_wrong_folders_are_refused(raw: Path, collector: Collector) -> None:
    """Would break: two followers take segments from each other; a folder that counts against cdc_total_space."""
    other = Collector(raw, raw.parent / "other", 1 << 30)
    with collector.opened(0), pytest.raises(SyncError, match="another process"), other.opened(0):
        pass
    with other.opened(0):  # free again
        pass
    for own in (raw, raw / "below"):
        with pytest.raises(SettingsError, match="is below"):
            check_folders(raw, own)
    with pytest.raises(SettingsError, match="no folder at"):
        check_folders(raw / "none", raw.parent / "own")
    with pytest.raises(SettingsError, match="another file system"):
        check_folders(raw, Path("/dev/shm/own"))
