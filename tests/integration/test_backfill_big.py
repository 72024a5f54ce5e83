"""Large data: a partition of 200,000 rows, a range that is too much for one request, vectors by the ten thousand."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psutil
import pytest
from cassandra.query import BatchStatement, BatchType
from support.backfills import Site, worker_that_dies
from support.running_commands import Running
from support.sources import NOTES, SONGS, song

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.connection.pages import RangeReader
from sync.core.ring import WHOLE_RING, TokenRange
from sync.core.rows import Page
from sync.errors import SourceTimeout
from sync.settings import Settings

pytestmark = pytest.mark.slow

WIDE = 200_000
MAX_RSS = 200 << 20


@pytest.fixture
def site(settings: Settings, cassandra: Cassandra, tmp_path: Path) -> Iterator[Site]:
    opened = Site(settings, cassandra, tmp_path)
    yield opened
    opened.close()


def _fill_partition(site: Site, rows: int) -> None:
    """Write one partition of this many rows, in batches."""
    insert = site.cassandra.session.prepare(
        f"INSERT INTO {site.keyspace}.notes (piece, at, pitch, words) VALUES (?, ?, ?, ?)"
    )
    waiting = []
    for first in range(0, rows, 500):
        batch = BatchStatement(BatchType.UNLOGGED)
        for at in range(first, min(first + 500, rows)):
            batch.add(insert, ("wide", at, at % 88, "la"))
        waiting.append(site.cassandra.session.execute_async(batch))
        if len(waiting) > 8:
            waiting.pop(0).result()
    for future in waiting:
        future.result()


def test_a_partition_of_200000_rows_is_resumed_inside_and_complete(site: Site) -> None:
    """Would break: a partition larger than a batch is cut at a checkpoint that forgets its rest, or is held in memory whole."""
    site.configure("lease_seconds = 5\nbatch_mb = 1\nstreams = 1")
    site.cql(NOTES)
    _fill_partition(site, WIDE)
    site.apply()
    runs = site.begin(["notes"], WHOLE_RING.split(4))
    assert worker_that_dies(site, runs, "read", 5)
    ((there,),) = site.sql("SELECT count(*) FROM notes")
    assert 0 < there < WIDE
    assert site.totals()["notes"][1] == there
    site.expire_leases()
    site.copy(runs)
    site.finish(runs)
    site.check_done(runs)
    wanted = (WIDE, sum(range(WIDE)), sum(at % 88 for at in range(WIDE)), WIDE)
    assert site.sql("SELECT count(*), sum(at), sum(pitch), count(*) FILTER (WHERE words = 'la') FROM notes") == [wanted]
    read, written, stale, _ = site.totals()["notes"]
    assert (written, stale, read) == (WIDE, 0, WIDE), "each row is read once: it goes on behind the last one that was loaded"
    assert site.sql("SELECT count(*) FROM sync.intent") == [(0,)]


def test_a_range_that_times_out_is_split_until_it_fits(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a range too large for its source fails for ever, or its halves leave a gap or overlap."""
    site.cql(SONGS)
    site.fill("INSERT INTO {ks}.songs (id, title, year, made, tags) VALUES (?, ?, ?, ?, ?)", map(song, range(300)))
    site.apply()
    real, timeouts = RangeReader.pages, []

    def pages(
        self: RangeReader, tokens: TokenRange, page_rows: int | None = None, position: bytes | None = None
    ) -> Iterator[Page]:
        for n, page in enumerate(real(self, tokens, page_rows, position)):
            if tokens.width > 2**60 and page.count > 10 and n == len(timeouts) % 2:
                timeouts.append(tokens)
                raise SourceTimeout("too much")
            yield page

    monkeypatch.setattr(RangeReader, "pages", pages)
    site.configure("lease_seconds = 5\npage_mb = 0.0015\nbatch_mb = 0.001")
    figures = site.backfill(["songs"], WHOLE_RING.split(2))["songs"]
    assert timeouts
    assert figures.total > 4
    site.check_done()
    site.check_equal("songs")
    assert figures.rows_written == 300


def _high_water(pid: int) -> int:
    """The largest resident set that a process has had so far, in bytes; 0 where it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return max((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), default=0)


def _peak_rss(running: Running) -> int:
    """The largest resident set of the command, its workers and their jobs, measured again and again until it ends.

    Not `ru_maxrss`: that of a process begins with what its parent had, and the tests' own process is large.
    """
    command, peak = psutil.Process(running.pid), 0
    while running.process.poll() is None:
        try:
            family = [command, *command.children(recursive=True)]
        except psutil.NoSuchProcess:
            break
        peak = max(peak, *(_high_water(process.pid) for process in family))
        time.sleep(0.02)
    return peak


def _copy_vectors(site: Site) -> int:
    """Copy `embeddings` with one worker; its peak RSS."""
    running = site.start("backfill", "--json", "--table", "embeddings", "--workers", "1")
    peak = _peak_rss(running)
    result = running.wait()
    assert result.code == 0, result.err
    assert peak, "no process was looked at"
    return peak


def test_a_worker_of_wide_vectors_stays_small(site: Site) -> None:
    """Would break: memory that grows with the table instead of with a batch (invariant 7)."""
    site.cql("CREATE TABLE {ks}.embeddings (song_id uuid PRIMARY KEY, embedding vector<float, 512>)")
    site.sql("CREATE EXTENSION vector")
    site.apply()
    source = random.Random(1)
    vectors = [list(struct.unpack(">512f", struct.pack(">512f", *(source.random() for _ in range(512))))) for _ in range(50)]
    rows = ((UUID(int=i), vectors[i % 50]) for i in range(5000))
    site.fill("INSERT INTO {ks}.embeddings (song_id, embedding) VALUES (?, ?)", rows)
    peak = _copy_vectors(site)
    assert site.sql("SELECT count(*) FROM embeddings") == [(5000,)]
    assert peak < MAX_RSS, f"{peak >> 20} MB"


def test_a_worker_of_60000_vectors_stays_small(site: Site) -> None:
    """Would break: as above, with the benchmark's 60,000 × 512 vectors, where keyspace `bench` holds them."""
    there = site.cassandra.session.cluster.metadata.keyspaces
    if "bench" not in there or "embeddings" not in there["bench"].tables:
        pytest.skip("keyspace bench has no embeddings here")
    own = site.settings.model_copy(update={"astra_db_keyspace": "bench"})
    bench = Site(own, site.cassandra, site.folder)
    bench.configure("", 'only = ["embeddings"]')
    bench.sql("CREATE EXTENSION vector")
    (bench.folder / "sync.toml").write_text('only = ["embeddings"]\nschema_files = []\n')
    bench.apply()
    peak = _copy_vectors(bench)
    ((rows,),) = bench.sql("SELECT count(*) FROM embeddings")
    assert rows == bench.totals()["embeddings"][1] > 50_000
    assert peak < MAX_RSS, f"{peak >> 20} MB"
