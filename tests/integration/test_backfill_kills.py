"""Killed and interrupted backfills: whatever dies, and wherever, a run that goes on ends equal to the source (invariants 1, 4)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.backfills import Site, make_corpus, until

from sync import failpoints
from sync.adapters.cassandra.connect import Cassandra
from sync.core.ring import WHOLE_RING
from sync.settings import Settings

POINTS = ["read", "encoded", "staged", "merged", "before_commit", "after_commit"]
SMALL = "lease_seconds = 5\npage_mb = 0.005\nbatch_mb = 0.005"
SLOWLY = "backfill.encoded=sleep:0.1"


@pytest.fixture
def site(settings: Settings, cassandra: Cassandra, tmp_path: Path) -> Iterator[Site]:
    """Source tables of one row a partition (songs) and of few wide partitions (notes), with batches of a few rows."""
    opened = Site(settings, cassandra, tmp_path)
    opened.configure(SMALL)
    make_corpus(opened)
    yield opened
    opened.close()


def _worker_that_dies(site: Site, runs: list[int], point: str, passage: int) -> bool:
    """Copy in a forked process that is killed at the n-th passage of a failpoint; whether it was."""
    pid = os.fork()
    if not pid:
        try:
            failpoints._PLAN[f"backfill.{point}"] = f"kill:{passage}"
            site.copy(runs)
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.parametrize("point", POINTS)
def test_rows_and_checkpoint_are_one_transaction_wherever_a_worker_is_killed(site: Site, point: str) -> None:
    """Would break: a checkpoint without its rows (lost rows), rows without their checkpoint (counted twice), a range forgotten."""
    runs = site.begin(["notes"], WHOLE_RING.split(2))
    for passage in (1, 2, 4):
        assert _worker_that_dies(site, runs, point, passage)
        site.expire_leases()
        (read, written, stale, _rejected), there = site.totals()["notes"], site.copied("notes")
        assert written == len(there)
        assert read == written + stale
        tokens = {row["_sync_token"] for row in there.values()}
        for start, done_to in site.sql("SELECT range_start, done_to FROM sync.range WHERE done_to IS NOT NULL"):
            wanted = {k for k, row in site.rows("notes").items() if start < row["_sync_token"] <= done_to}
            assert wanted <= there.keys(), "the checkpoint is beyond what is there"
            assert wanted or tokens
    site.copy(runs)
    site.finish(runs)
    site.check_done(runs)
    site.check_equal("notes")


@pytest.mark.parametrize("point", POINTS)
def test_a_backfill_survives_workers_killed_at_each_step(site: Site, point: str) -> None:
    """Would break: a command that hangs or fails when its workers are killed again and again, or leaves their ranges out."""
    result = site.run("backfill", "--json", "--workers", "1", failpoints=f"backfill.{point}=kill:60")
    assert result.code == 0, result.err
    site.check_done()
    site.check_equal("songs", "notes")
    assert "Traceback" not in result.err


def test_a_killed_command_takes_its_workers_along_and_the_next_goes_on(site: Site) -> None:
    """Would break: workers of a command that is gone stay for ever; the next run begins anew or waits for ever."""
    running = site.start("backfill", "--workers", "2", failpoints=SLOWLY)
    until(lambda: site.sql("SELECT 1 FROM sync.range WHERE state = 'done' OFFSET 10"), what="some ranges done")
    workers = running.children()
    assert workers
    os.kill(running.pid, signal.SIGKILL)
    gone, alive = psutil.wait_procs(workers, timeout=40)
    assert not alive
    done = dict(site.sql("SELECT id, rows_read FROM sync.range WHERE state = 'done'"))
    result = site.run("backfill", "--json", "--workers", "2")
    assert result.code == 0, result.err
    after = dict(site.sql("SELECT id, rows_read FROM sync.range"))
    assert {k: after[k] for k in done} == done
    site.check_done()
    site.check_equal("songs", "notes")


def test_ctrl_c_gives_ranges_back_and_the_next_run_goes_on(site: Site) -> None:
    """Would break: Ctrl-C with a traceback, workers left behind, ranges locked until their lease ends, work done twice."""
    running = site.start("backfill", "--workers", "2", failpoints=SLOWLY)
    until(lambda: site.sql("SELECT 1 FROM sync.range WHERE state = 'done' OFFSET 10"), what="some ranges done")
    workers = running.children()
    running.interrupt()
    result = running.wait(30)
    assert result.code == 1
    assert result.err.rstrip().endswith("stopped; what is copied stays. Go on with: sync backfill --workers 2")
    assert "Traceback" not in result.err
    assert not psutil.wait_procs(workers, timeout=5)[1]
    states = dict(site.sql("SELECT state, count(*) FROM sync.range GROUP BY state"))
    assert states["pending"] and set(states) == {"done", "pending"}
    done = dict(site.sql("SELECT id, rows_read FROM sync.range WHERE state = 'done'"))
    again = site.run("backfill", "--json", "--workers", "2")
    assert again.code == 0, again.err
    after = dict(site.sql("SELECT id, rows_read FROM sync.range"))
    assert {k: after[k] for k in done} == done
    assert site.totals()["songs"][:2] == (600, 600)
    site.check_done()
    site.check_equal("songs", "notes")
