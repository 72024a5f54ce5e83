"""Killed and interrupted backfills: whatever dies, and wherever, a resumed run ends equal to the source.

Invariants 1 and 4.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from support.backfills import NEVER, Site, worker_that_dies
from support.running_commands import until
from support.sources import make_corpus

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.core.ring import WHOLE_RING
from sync.settings import Settings

pytestmark = pytest.mark.slow

POINTS = ["read", "encoded", "staged", "merged", "before_commit", "after_commit"]
SMALL = "lease_seconds = 5\npage_mb = 0.005\nbatch_mb = 0.005"
SLOWLY = "backfill.encoded=sleep:0.1"
SOME_DONE = "SELECT 1 FROM sync.range WHERE state = 'done' OFFSET 10"


@pytest.fixture
def site(settings: Settings, cassandra: Cassandra, tmp_path: Path) -> Iterator[Site]:
    """Source tables of one row a partition (songs) and of few wide partitions (notes), with batches of a few rows."""
    opened = Site(settings, cassandra, tmp_path)
    opened.configure(SMALL)
    make_corpus(opened, notes=1200)
    yield opened
    opened.close()


@pytest.mark.parametrize("point", POINTS)
def test_rows_and_checkpoint_are_one_transaction_wherever_a_worker_is_killed(site: Site, point: str) -> None:
    """Would break: a checkpoint without its rows (lost), rows without their checkpoint (counted twice), a range forgotten."""
    runs, source = site.begin(["notes"], WHOLE_RING.split(2)), site.rows("notes")
    kills = 0
    for passage in range(1, 100):  # one passage later each time
        if not worker_that_dies(site, runs, point, passage):
            break
        kills += 1
        until(lambda: site.sql("SELECT pg_stat_clear_snapshot(), 1 WHERE NOT EXISTS (SELECT FROM pg_stat_activity "
              "WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid())"))  # fmt: skip
        site.expire_leases()
        (read, written, stale, _rejected), there = site.totals()["notes"], site.copied("notes")
        assert written == len(there)
        assert read == written + stale
        for start, done_to in site.sql("SELECT range_start, done_to FROM sync.range WHERE done_to IS NOT NULL"):
            wanted = {key for key, row in source.items() if start < row["_sync_token"] <= done_to}
            assert wanted <= there.keys(), "the checkpoint is beyond what is there"
    assert kills >= 2
    site.finish(runs)
    site.check_done(runs)
    site.check_equal("notes")


def test_a_backfill_survives_workers_killed_at_each_step(site: Site) -> None:
    """Would break: a command that hangs or fails when its workers are killed again and again, or leaves their ranges out."""
    with ExitStack() as stack:
        twins = {point: stack.enter_context(site.twin(point)) for point in POINTS}
        for twin in twins.values():
            twin.configure(SMALL)
            twin.apply()
        running = {
            point: twin.start("backfill", "--json", "--workers", "1", failpoints=f"backfill.{point}=kill:60")
            for point, twin in twins.items()
        }
        for point, twin in twins.items():
            result = running[point].wait()
            assert result.code == 0, f"{point}: {result.err}"
            assert "Traceback" not in result.err

            twin.check_done()
            twin.check_equal("songs", "notes")


def test_a_killed_command_takes_its_workers_along_and_the_next_goes_on(site: Site) -> None:
    """Would break: workers of a command that is gone stay for ever; the next run begins again or waits for ever."""
    running = site.start("backfill", "--workers", "2", failpoints=SLOWLY)
    until(lambda: site.sql(SOME_DONE), what="some ranges done")
    workers = running.children()
    assert len(workers) >= 2
    os.kill(running.pid, signal.SIGKILL)
    assert not psutil.wait_procs(workers, timeout=40)[1], "workers that stay"
    done = dict(site.sql("SELECT id, rows_read FROM sync.range WHERE state = 'done'"))
    result = site.run("backfill", "--json", "--workers", "2")
    assert result.code == 0, result.err
    after = dict(site.sql("SELECT id, rows_read FROM sync.range"))
    assert {k: after[k] for k in done} == done
    site.check_done()
    site.check_equal("songs", "notes")


def test_workers_killed_from_outside_are_replaced(site: Site) -> None:
    """Would break: the out-of-memory killer takes a worker process, and the command waits for it for ever."""
    running = site.start("backfill", "--json", "--workers", "1", failpoints=SLOWLY)
    until(lambda: site.sql(SOME_DONE), what="some ranges done")
    for process in running.children():  # the worker and the process it forked for the job
        process.kill()
    result = running.wait()
    assert result.code == 0, result.err
    site.check_done()
    site.check_equal("songs", "notes")
    assert site.totals()["songs"][:2] == (600, 600)


def test_ctrl_c_gives_ranges_back_and_the_next_run_goes_on(site: Site) -> None:
    """Would break: Ctrl-C with a traceback, workers left behind, ranges locked until their lease ends, work done twice."""
    running = site.start("backfill", "--workers", "2", failpoints=SLOWLY)
    until(lambda: site.sql(SOME_DONE), what="some ranges done")
    workers = running.children()
    running.interrupt()
    result = running.wait(30)
    assert result.code == 130
    assert result.err.rstrip().endswith("stopped; the copied rows stay. Resume with: sync backfill --workers 2")
    assert "Traceback" not in result.err
    assert not psutil.wait_procs(workers, timeout=40)[1], "workers that stay"
    states = dict(site.sql("SELECT state, count(*) FROM sync.range GROUP BY state"))
    assert states["pending"]
    assert set(states) == {"done", "pending"}
    done = dict(site.sql("SELECT id, rows_read FROM sync.range WHERE state = 'done'"))
    again = site.run("backfill", "--json", "--workers", "2")
    assert again.code == 0, again.err
    after = dict(site.sql("SELECT id, rows_read FROM sync.range"))
    assert {k: after[k] for k in done} == done
    assert site.totals()["songs"][:2] == (600, 600)
    site.check_done()
    site.check_equal("songs", "notes")


def test_a_range_that_kills_its_workers_fails_in_the_end(site: Site) -> None:
    """Would break: a range that is too much for a worker's memory kills one worker after another for ever."""
    site.configure(f"{SMALL}\nstreams = 1")
    runs = site.begin(["notes"], WHOLE_RING.split(1))
    for _ in range(8):  # before the first checkpoint
        assert worker_that_dies(site, runs, "read", 1)
        site.expire_leases()
    with site.connect() as connection:
        ledger = site.ledger(connection)
        ledger.fail_deadly(runs)
        failed = site.sql("SELECT error FROM sync.range WHERE state = 'failed'")
        assert failed
        assert all("its worker died 8 times" in error for (error,) in failed)
        assert site.progress(runs)["notes"].failed == len(failed)
    assert site.begin(["notes"]) == runs, "another start is another chance"
    site.copy(runs, NEVER)
    site.finish(runs)
    site.check_equal("notes")
