"""A follower beside a node: killed, restarted, twice, without room, with segments removed under it."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from cassandra import DriverException
from cassandra.cluster import Cluster, NoHostAvailable, Session
from support.commitlog import MemoryLedger, feed_of, follow, node, raw_folder
from support.commitlog_workload import Told, Workload, i, missing, told_by
from support.follower import load
from support.servers import ROOT

from sync import local
from sync.adapters.commitlog.collector import Collector
from sync.adapters.commitlog.reader import LogReader
from sync.core.capture.commitlog.place import Place
from sync.errors import PreflightError, SettingsError, SyncError
from sync.local.cassandra.config import TOOL_ARGUMENTS
from sync.local.cassandra.java import java_program
from sync.wiring.capture.commitlog import FOLDER

pytestmark = pytest.mark.slow
KEYSPACE = "ks"
BIG = 60_000
"""Bytes of a value: some fifteen fill a segment."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.CassandraServer]:
    found = node(
        tmp_path_factory.mktemp("followed") / "cassandra",
        commitlog_segment_size="1MiB", commitlog_total_space="64MiB", cdc_total_space="24MiB",
    )  # fmt: skip
    found.start()
    try:
        yield found
    finally:
        found.remove()


@pytest.fixture
def session(server: local.CassandraServer) -> Iterator[Session]:
    with Cluster([server.host], port=server.port) as cluster:
        found = cluster.connect()
        found.default_timeout = 60
        found.execute(
            f"CREATE KEYSPACE IF NOT EXISTS {KEYSPACE} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
        )
        found.set_keyspace(KEYSPACE)
        found.execute("CREATE TABLE IF NOT EXISTS sync_heartbeat (id uuid PRIMARY KEY) WITH cdc = true")
        yield found


def own_folder(server: local.CassandraServer) -> Path:
    return raw_folder(server).parent / FOLDER


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("CommitLog-*.log"), key=lambda path: path.name)


@contextmanager
def process(server: local.CassandraServer, ledger: Path, failpoints: str = "") -> Iterator[subprocess.Popen[str]]:
    """A follower in a process of its own, killed at the end."""
    asked = {
        "host": server.host, "port": str(server.port), "keyspace": KEYSPACE, "raw": str(raw_folder(server)),
        "own": str(own_folder(server)), "ledger": str(ledger),
    }  # fmt: skip
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "SYNC_FAILPOINTS": failpoints}
    command = [sys.executable, "-m", "support.follower", json.dumps(asked)]
    child = subprocess.Popen(command, env=env, text=True, stderr=subprocess.PIPE, cwd=ROOT)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def wait_told(ledger: Path, moment: float, child: subprocess.Popen[str], seconds: float = 120) -> dict[str, object]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = load(ledger)
        if float(str(state["told_until"])) >= moment:
            return state
        assert child.poll() is None, child.communicate()[1]
        time.sleep(0.2)
    raise AssertionError(f"not told: {load(ledger)['position']}, {load(ledger)['told_until']}")


def told_in(state: dict[str, object]) -> Told:
    def cells(text: str) -> tuple[bytes, ...]:
        return tuple(bytes.fromhex(cell) for cell in text.split("/")) if text else ()

    return {(t, cells(p), None if c is None else cells(c)) for t, p, c in state["keys"]}  # type: ignore[attr-defined]


POINTS = ("before_link", "after_link", "after_unlink", "before_batch", "after_record", "before_delete", "after_done")


def test_killed_at_every_step_it_loses_nothing(server: local.CassandraServer, session: Session, tmp_path: Path) -> None:
    """Would break: a follower that dies between two steps leaves a key behind, or calls for a full pass."""
    workload = Workload(session, 1, BIG)
    ledger = tmp_path / "ledger.json"
    with process(server, ledger) as child:
        workload.write(20)
        wait_told(ledger, time.time(), child)
    for point in POINTS:
        for passage in (1, 2):
            with process(server, ledger, f"commitlog.{point}=kill:{passage}") as child:
                deadline = time.monotonic() + 90
                while child.poll() is None:
                    assert time.monotonic() < deadline, f"it did not come to {point} {passage}"
                    if len(segments(raw_folder(server))) < 4:  # each of these followers takes a segment or two and dies
                        workload.write(5)
                    time.sleep(0.1)
                assert child.returncode == -9, child.communicate()[1]
    with process(server, ledger) as child:
        state = wait_told(ledger, time.time(), child)
    assert missing(workload.touched, told_in(state)) == set()
    assert state["gaps"] == []


def test_a_random_workload_is_told_and_done_segments_are_removed(server: local.CassandraServer, session: Session) -> None:
    """Would break: a key that is touched and not told; a folder that grows for ever."""
    workload, ledger = Workload(session, 2, BIG), MemoryLedger()
    with feed_of(server, KEYSPACE) as feed:
        follow(feed, ledger)
        ledger.gaps.clear()  # what tests before this one left
        for _ in range(4):
            workload.write(40)
            follow(feed, ledger)
        left = list(raw_folder(server).iterdir())
        for _ in range(5):  # the node writes an index with each sync, also behind the last look
            if left:
                follow(feed, ledger)
                left = list(raw_folder(server).iterdir())
    assert missing(workload.touched, told_by(ledger)) == set()
    assert ledger.gaps == []
    assert len(segments(own_folder(server))) <= 3  # the one that is read, the next, and one whose place is recorded
    assert left == []


def test_two_at_once_the_second_refuses(server: local.CassandraServer, session: Session, tmp_path: Path) -> None:
    """Would break: two followers take segments from each other."""
    with feed_of(server, KEYSPACE) as feed, feed_of(server, KEYSPACE, tmp_path / "other") as other:
        first = feed.batches(None)
        next(first)
        for second in (feed_of(server, KEYSPACE), None):
            if second is None:
                with pytest.raises(SyncError, match="followed by another process"):
                    next(other.batches(None))
            else:
                with second as same, pytest.raises(SyncError, match="followed by another process"):
                    next(same.batches(None))
        first.close()
        batches = feed.batches(None)  # free again
        next(batches)
        batches.close()


@pytest.mark.parametrize("place", ["cdc_raw", "own"])
def test_a_segment_that_is_removed_is_a_gap(server: local.CassandraServer, session: Session, place: str) -> None:
    """Would break: somebody tidies up, and the changes in it are never looked for."""
    workload, ledger = Workload(session, 3, BIG), MemoryLedger()
    with feed_of(server, KEYSPACE) as feed:
        follow(feed, ledger)
        ledger.gaps.clear()
        folder = raw_folder(server)
        while len(segments(folder)) < 5:
            workload.write(20)
        if place == "own":
            folder = own_folder(server)
            batches = feed.batches(ledger.position)  # takes them, and reads no further than the first batch
            next(batches)
            batches.close()
        # The last is made before it is needed, and the node still writes the one before it.
        complete = segments(folder)[:-2]
        complete[len(complete) // 2].unlink()
        follow(feed, ledger)
    assert [gap.table for gap in ledger.gaps] == [None]
    assert "missing" in ledger.gaps[0].why


def test_a_node_that_restarts_beside_its_follower_leaves_no_gap(
    server: local.CassandraServer, session: Session, tmp_path: Path
) -> None:
    """Would break: each restart of a node asks for a full pass; or its segments of before are read as new ones."""
    workload, ledger = Workload(session, 4, BIG), tmp_path / "ledger.json"
    with process(server, ledger) as child:
        workload.write(30)
        wait_told(ledger, time.time(), child)
        for way in (server.stop, server.kill):
            way()
            time.sleep(1.5)
            server.start()
            until_it_writes(workload)
            workload.write(30)
            state = wait_told(ledger, time.time(), child)
    assert missing(workload.touched, told_in(state)) == set()
    assert [gap for gap in state["gaps"] if "missing" in gap] == []  # type: ignore[attr-defined]


def until_it_writes(workload: Workload) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            workload.write(1)
            return
        except (DriverException, NoHostAvailable) as error:
            assert time.monotonic() < deadline, error
        time.sleep(0.5)


def test_a_follower_that_was_away_while_the_node_restarted_records_a_gap(
    server: local.CassandraServer, session: Session
) -> None:
    """Would break: ids begin anew with the clock, so that nobody can say that nothing lay between."""
    ledger = MemoryLedger()
    with feed_of(server, KEYSPACE) as feed:
        follow(feed, ledger)
        ledger.gaps.clear()
    server.stop()
    server.start()
    with feed_of(server, KEYSPACE) as feed:
        follow(feed, ledger)
    assert [gap.table for gap in ledger.gaps] == [None]


def set_block_writes(server: local.CassandraServer, value: str) -> None:
    command = [
        str(java_program()),
        f"@{server.folder / TOOL_ARGUMENTS}",
        "org.gridkit.jvmtool.SJK",
        "mx",
        "-p",
        str(server.pid),
    ]
    command += ["-b", "org.apache.cassandra.db:type=Commitlog", "-ms", "-f", "CDCBlockWrites", "-v", value]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    Path(f"/tmp/.java_pid{server.pid}").unlink(missing_ok=True)
    assert done.returncode == 0, done


def test_a_full_cdc_raw_that_blocks_loses_nothing(server: local.CassandraServer, session: Session) -> None:
    """Would break: what was acknowledged before the node refused is not told, or the node goes on refusing."""
    workload, ledger = Workload(session, 5, 3 * BIG), MemoryLedger()
    with feed_of(server, KEYSPACE) as feed:
        follow(feed, ledger)
        ledger.gaps.clear()
    with pytest.raises(DriverException):
        workload.write(2000)
    with feed_of(server, KEYSPACE) as feed:
        batches = feed.batches(ledger.position)
        ledger.record(next(batches))
        batches.close()
        until_it_writes(workload)
        follow(feed, ledger)
    assert missing(workload.touched, told_by(ledger)) == set()


def test_a_full_cdc_raw_that_drops_is_a_gap(server: local.CassandraServer, session: Session) -> None:
    """Would break: the node removes the oldest segments without a word."""
    workload, ledger = Workload(session, 6, 3 * BIG), MemoryLedger()
    with feed_of(server, KEYSPACE) as feed:
        follow(feed, ledger)
        ledger.gaps.clear()
        set_block_writes(server, "false")
        try:
            workload.write(500)
            follow(feed, ledger)
        finally:
            set_block_writes(server, "true")
    assert missing(workload.touched, told_by(ledger))
    assert [gap.table for gap in ledger.gaps] == [None]


def test_a_folder_at_its_limit_leaves_segments_to_the_node(server: local.CassandraServer, session: Session) -> None:
    """Would break: a follower that cannot record fills the disk."""
    workload, ledger = Workload(session, 7, BIG), MemoryLedger()
    with feed_of(server, KEYSPACE, max_bytes=3 << 20) as feed:
        follow(feed, ledger)
        ledger.gaps.clear()
        with closing(feed.batches(ledger.position)) as batches:
            next(batches)  # and nothing is recorded meanwhile
            workload.write(300)
            time.sleep(1)
            assert len(segments(own_folder(server))) <= 4
            assert len(segments(raw_folder(server))) >= 2
        follow(feed, ledger)
    assert missing(workload.touched, told_by(ledger)) == set()
    assert ledger.gaps == []


def test_truncate_and_a_table_made_again_are_gaps_of_their_table(server: local.CassandraServer, session: Session) -> None:
    """Would break: rows that are gone from the source without a mutation of their own stay in the target."""
    session.execute("CREATE TABLE again (k int PRIMARY KEY, v int) WITH cdc = true")
    session.execute("CREATE TABLE emptied (k int PRIMARY KEY, v int) WITH cdc = true")
    ledger = MemoryLedger()
    with feed_of(server, KEYSPACE) as feed:
        session.execute("INSERT INTO again (k, v) VALUES (1, 1)")
        follow(feed, ledger)
        ledger.gaps.clear()
        session.execute("TRUNCATE emptied")
        session.execute("INSERT INTO again (k, v) VALUES (2, 1)")
        session.execute("DROP TABLE again")
        session.execute("CREATE TABLE again (k int PRIMARY KEY, v text) WITH cdc = true")
        session.execute("INSERT INTO again (k, v) VALUES (3, 'x')")
        follow(feed, ledger)
        assert {gap.table for gap in ledger.gaps} == {"again", "emptied"}
        assert ((i(3),), ()) in ledger.keys("again")
        ledger.gaps.clear()
        follow(feed, ledger)
        assert ledger.gaps == []


def test_what_cannot_be_followed_is_refused(server: local.CassandraServer, session: Session, tmp_path: Path) -> None:
    """Would break: a feed that is silent because it cannot know."""
    session.execute("CREATE TABLE nothing (k int PRIMARY KEY)")
    with (
        pytest.raises(PreflightError, match=r"without cdc = true: nothing; ALTER TABLE ks\.nothing"),
        feed_of(server, KEYSPACE),
    ):
        pass
    session.execute("DROP TABLE nothing")
    session.execute(f"ALTER KEYSPACE {KEYSPACE} WITH durable_writes = false")
    try:
        with pytest.raises(PreflightError, match="durable_writes"), feed_of(server, KEYSPACE):
            pass
    finally:
        session.execute(f"ALTER KEYSPACE {KEYSPACE} WITH durable_writes = true")
    with pytest.raises(SettingsError, match="is below"), feed_of(server, KEYSPACE, raw_folder(server) / "own"):
        pass
    raw = raw_folder(server)
    raw.rename(raw.with_name("away"))
    try:
        with pytest.raises(SettingsError, match="no folder at"), feed_of(server, KEYSPACE):
            pass
    finally:
        raw.with_name("away").rename(raw)


def test_bytes_that_changed_on_the_disk_are_never_a_silent_loss(
    server: local.CassandraServer, session: Session, tmp_path: Path
) -> None:
    """Would break: a crash, or a key that is lost without a gap."""
    workload, ledger = Workload(session, 8, 2000), MemoryLedger()
    with feed_of(server, KEYSPACE) as feed:
        follow(feed, ledger)
        workload.write(1200)
        batches = feed.batches(ledger.position)
        next(batches)
        kept = tmp_path / "kept"
        shutil.copytree(own_folder(server), kept)
        follow_rest = read_all(feed, kept, tmp_path)
        batches.close()
        whole = told_by(follow_rest)
        assert len(segments(kept)) >= 2 and len(whole) > 100 and not follow_rest.gaps
        draw, losses = random.Random(9), 0
        for trial in range(50):
            folder = tmp_path / f"trial{trial}"
            shutil.copytree(kept, folder)
            flip(draw, segments(folder)[:-1])
            found = read_all(feed, folder, tmp_path)
            lost = missing(whole, told_by(found))
            losses += bool(lost)
            waits = found.position != follow_rest.position  # at a marker that may be half written, until the node goes on
            assert found.gaps or waits or not lost, (trial, lost)
            shutil.rmtree(folder)
    assert losses > 3


def flip(draw: random.Random, paths: list[Path]) -> None:
    """Change bytes of one of the files: some single ones, or a run of zeros."""
    path = draw.choice(paths)
    data = bytearray(path.read_bytes())
    used = len(bytes(data).rstrip(b"\0"))
    at = draw.randrange(used)
    if draw.random() < 0.3:
        length = min(
            draw.randrange(1, 5000), used - at - 1
        )  # up to the end it would be a shorter segment's, to the node as well
        data[at : at + length] = bytes(length)
    else:
        for place in (at, *(draw.randrange(used) for _ in range(draw.randrange(3)))):
            data[place] ^= draw.randrange(1, 256)
    path.write_bytes(data)


def read_all(feed: object, folder: Path, tmp_path: Path) -> MemoryLedger:
    """All that a reader finds in a folder of segments."""
    raw = tmp_path / "no_raw"
    raw.mkdir(exist_ok=True)
    ledger = MemoryLedger()
    reader = LogReader(Collector(raw, folder, 8 << 30), feed._schema, feed._beat, Place(0))  # type: ignore[attr-defined]
    try:
        reader.refresh()
        while reader.step(10**9):
            pass
        ledger.changes, ledger.gaps = list(reader.changes.values()), list(reader.gaps.values())
        ledger.position = str(reader.place)
    finally:
        reader.close()
    return ledger
