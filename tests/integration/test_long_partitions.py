"""A partition of any length is copied, whatever a job's time limit and whoever dies; many tombstones do not stop it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from cassandra.query import BatchStatement, BatchType
from support.backfills import Site, worker_that_dies
from support.sources import NOTES

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.core.ring import MAX_TOKEN, MIN_TOKEN, WHOLE_RING, TokenRange
from sync.settings import Settings
from sync.wiring import write_times

pytestmark = pytest.mark.slow

ROWS = 6000
SMALL = "lease_seconds = 5\npage_mb = 0.01\nbatch_mb = 0.01\nstreams = 1\nrequest_timeout_seconds = 3"


@pytest.fixture
def site(settings: Settings, cassandra: Cassandra, tmp_path: Path) -> Iterator[Site]:
    opened = Site(settings, cassandra, tmp_path)
    opened.configure(SMALL)
    yield opened
    opened.close()


def _partition(site: Site, table: str, columns: str, row: Callable[[int], tuple[object, ...]]) -> None:
    """Write one partition in batches."""
    marks = ", ".join("?" * len(columns.split(",")))
    insert = site.cassandra.session.prepare(f"INSERT INTO {site.keyspace}.{table} ({columns}) VALUES ({marks})")
    for first in range(0, ROWS, 500):
        batch = BatchStatement(BatchType.UNLOGGED)
        for at in range(first, first + 500):
            batch.add(insert, row(at))
        site.cassandra.session.execute(batch)


def _for_a_moment(batches: int) -> Callable[[], bool]:
    """A condition that ends a job after so many checks, as its minute does."""
    asked = iter(range(batches))
    return lambda: next(asked, None) is None


def _by_jobs(site: Site, runs: list[int], most: int) -> int:
    """Copy by jobs that end after a batch or two; return how many it took."""
    for jobs in range(1, most):
        site.copy(runs, _for_a_moment(4))
        ((left,),) = site.sql("SELECT count(*) FROM sync.range WHERE state <> 'done'")
        if not left:
            return jobs
    raise AssertionError(f"not copied after {most} jobs: {site.totals()}")


def _check(site: Site, table: str) -> None:
    site.check_done()
    site.check_equal(table)


def test_a_partition_longer_than_a_job_is_copied_once(site: Site) -> None:
    """Would break: each job begins the partition again, reads and counts it again, and the backfill never ends."""
    site.cql(NOTES)
    _partition(site, "notes", "piece, at, pitch, words", lambda at: ("wide", at, at % 88, "la"))
    site.apply()
    runs = site.begin(["notes"], WHOLE_RING.split(2))
    assert _by_jobs(site, runs, 200) > 3
    site.finish(runs)
    _check(site, "notes")
    assert site.totals()["notes"] == (ROWS, ROWS, 0, 0), "each row is read once"


def test_orders_of_both_kinds_are_resumed(site: Site) -> None:
    """Would break: resuming within a partition looks for greater values, although rows may come in descending order."""
    site.cql(
        "CREATE TABLE {ks}.steps (k text, a int, b text, v int, PRIMARY KEY (k, a, b)) "
        "WITH CLUSTERING ORDER BY (a DESC, b ASC)"
    )
    _partition(site, "steps", "k, a, b, v", lambda at: ("wide", at % 7, f"b{at:05}", at))
    site.apply()
    runs = site.begin(["steps"], WHOLE_RING.split(2))
    assert _by_jobs(site, runs, 200) > 3
    _check(site, "steps")
    assert site.totals()["steps"] == (ROWS, ROWS, 0, 0)


def test_a_worker_killed_within_a_partition_costs_a_batch(site: Site) -> None:
    """Would break: the next worker reads the partition from its start, or resumes behind rows that were not loaded."""
    site.cql(NOTES)
    _partition(site, "notes", "piece, at, pitch, words", lambda at: ("wide", at, at % 88, "la"))
    site.apply()
    runs = site.begin(["notes"], WHOLE_RING.split(2))
    for point, passage in (("read", 4), ("before_commit", 4), ("after_commit", 4)):
        assert worker_that_dies(site, runs, point, passage)
        site.expire_leases()
    assert 0 < site.totals()["notes"][1] < ROWS
    site.copy(runs)
    site.finish(runs)
    _check(site, "notes")
    assert site.totals()["notes"] == (ROWS, ROWS, 0, 0)


def test_a_place_that_the_source_does_not_know_costs_the_beginning_only(site: Site) -> None:
    """Would break: after an upgrade of the source a range fails for good, because the older version made its checkpoint."""
    site.cql(NOTES)
    _partition(site, "notes", "piece, at, pitch, words", lambda at: ("wide", at, at % 88, "la"))
    site.apply()
    runs = site.begin(["notes"], WHOLE_RING.split(2))
    assert worker_that_dies(site, runs, "after_commit", 6)
    site.expire_leases()
    assert site.sql("UPDATE sync.range SET position = '\\xdeadbeef' WHERE position IS NOT NULL RETURNING 1") == [(1,)]
    ((before,),) = site.sql("SELECT count(*) FROM notes")
    site.copy(runs)
    site.copy(runs)  # a job that reconnects
    site.finish(runs)
    _check(site, "notes")
    assert site.totals()["notes"] == (ROWS + before, ROWS, before, 0)


def test_a_range_that_is_begun_anew_begins_at_its_start(site: Site) -> None:
    """Would break: after a change of the table its rows are copied again, but not those before the old checkpoint."""
    site.cql(NOTES)
    _partition(site, "notes", "piece, at, pitch, words", lambda at: ("wide", at, at % 88, "la"))
    site.apply()
    runs = site.begin(["notes"], WHOLE_RING.split(2))
    assert worker_that_dies(site, runs, "after_commit", 6)
    site.expire_leases()
    site.sql("DELETE FROM notes")
    with closing(site.connect()) as connection:
        connection.execute("UPDATE sync.run SET shape = 'as it was'")
        assert site.ledger(connection).begin({"notes": []}, {"notes": "as it is"}) == runs
    site.copy(runs)
    site.finish(runs)
    _check(site, "notes")


@pytest.mark.parametrize("with_rows", [True, False])
def test_write_times_of_a_long_partition_are_looked_at_once(
    site: Site, monkeypatch: pytest.MonkeyPatch, with_rows: bool
) -> None:
    """Would break: a search for write times that outlasts a job is restarted by every job, and nothing is ever copied.

    Or times that are read with the rows are read a second time.
    """
    if not with_rows:
        monkeypatch.setattr(write_times, "terms_with_rows", lambda *given: [])
    site.cql(NOTES)
    _partition(site, "notes", "piece, at, pitch, words", lambda at: ("wide", at, at % 88, "la"))
    site.apply()
    runs = site.begin(["notes"], WHOLE_RING.split(2))
    real, looks = write_times.rows_ahead, []

    def rows_ahead(*given: object) -> object:
        looks.append(given)
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(write_times, "rows_ahead", rows_ahead)
    _by_jobs(site, runs, 200)
    assert len(looks) == (0 if with_rows else 2), "one look a range"
    _check(site, "notes")


def _tombstones(site: Site, columns: int = 1000) -> None:
    """130 rows that together have more null cells than Cassandra reads at once, and a few rows of other partitions."""
    names = [f"c{i}" for i in range(columns)]
    cells = ", ".join(f"{c} text" for c in names)
    site.cql("CREATE TABLE {ks}.events (channel text, id int, data text, " + cells + ", PRIMARY KEY (channel, id))")
    insert = "INSERT INTO {ks}.events (channel, id, data, " + ", ".join(names) + ") VALUES (?, ?, ?" + ", ?" * columns + ")"
    rows = [("busy", i) for i in range(130)] + [(f"k{i}", i) for i in range(4)]
    site.fill(insert, ((channel, i, "x", *[None] * columns) for channel, i in rows))


def test_a_partition_of_many_null_cells_is_read_in_smaller_pages(site: Site) -> None:
    """Would break: a page of 200 rows meets more tombstones than Cassandra allows, and so does every half of the range."""
    _tombstones(site)
    site.configure("lease_seconds = 5\nrequest_timeout_seconds = 3")
    site.apply()
    site.backfill(["events"], WHOLE_RING.split(4))
    site.check_done()
    assert site.sql("SELECT count(*), count(data) FROM events") == [(134, 134)]
    assert len(site.sql("SELECT 1 FROM sync.range")) == 4, "no range was split for it"
    report = site.run("drift-report", "--json", "--workers", "1")
    assert report.code == 0, report.err


def test_what_cannot_be_read_is_named_by_its_key_and_the_others_go_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: "ReadFailure" of some token range, without the key or the cure; or one partition stops the whole table."""
    site.cql("CREATE TABLE {ks}.logs (k text, at int, v int, PRIMARY KEY (k, at))")
    session = site.cassandra.session
    delete = session.prepare(f"DELETE FROM {site.keyspace}.logs WHERE k = 'full' AND at = ?")
    for first in range(0, 101_000, 1000):  # deleted rows, which no page of any size can pass
        batch = BatchStatement(BatchType.UNLOGGED)
        for at in range(first, first + 1000):
            batch.add(delete, (at,))
        session.execute(batch)
    site.fill(
        "INSERT INTO {ks}.logs (k, at, v) VALUES (?, ?, ?)", [("full", 200_000, 1), *((f"k{i}", i, i) for i in range(50))]
    )
    site.apply()
    monkeypatch.setattr("sync.flows.copy_ranges.pause", lambda *_: None)
    ((token,),) = site.cql("SELECT token(k) FROM {ks}.logs WHERE k = 'full' AND at = 200000")
    cuts = [MIN_TOKEN, token - 4, token + 4, MAX_TOKEN]  # near it, for the sake of time
    runs = site.begin(["logs"], [TokenRange(a, b) for a, b in pairwise(cuts)])
    site.copy(runs)
    assert site.sql("SELECT count(*) FROM logs WHERE k <> 'full'") == [(50,)]
    ((error,),) = site.sql("SELECT error FROM sync.range WHERE state = 'failed'")
    assert "TOMBSTONES" in error and "tombstone_failure_threshold" in error and "gc_grace_seconds" in error
    assert "of token" in error or "k=full" in error
