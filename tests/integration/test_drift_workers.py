"""A drift report over RQ: killed, interrupted and helped; whatever dies, each range is counted once."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from support.backfills import Site
from support.drift import table_of
from support.running_commands import until
from support.sources import make_corpus

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.settings import Settings
from sync.stores import DualWriteStore

pytestmark = pytest.mark.slow

SLOWLY = "drift.read=sleep:0.15"
CHECKED = "SELECT 1 FROM sync.range JOIN sync.run ON run.id = run_id WHERE kind = 'drift' AND range.state = 'done' OFFSET 8"
OWNERS = "SELECT count(DISTINCT split_part(lease_owner, '/', 1)) FROM sync.range JOIN sync.run ON run.id = run_id WHERE kind = 'drift'"


@pytest.fixture
def site(settings: Settings, cassandra: Cassandra, tmp_path: Path) -> Iterator[Site]:
    """One table, backfilled, with one difference."""
    opened = Site(settings, cassandra, tmp_path)
    opened.configure(more="\n[drift]\ngrace_seconds = 0.05")
    make_corpus(opened, songs=300, notes=30)
    opened.backfill()
    opened.sql("UPDATE songs SET year = -1 WHERE id = (SELECT id FROM songs ORDER BY id LIMIT 1)")
    yield opened
    opened.close()


def _check(out: str) -> None:
    """Each row was counted once, and the one difference was found."""
    table = table_of(json.loads(out), "songs")
    assert (table["rows"]["source"], table["rows"]["same"], table["rows"]["different"]) == (300, 299, 1)
    assert len(table["findings"]) == 1
    assert table["ranges"]["unknown"] == 0


@pytest.mark.parametrize("point", ["drift.read", "drift.before_done"])
def test_a_worker_that_is_killed_costs_time_only(site: Site, point: str) -> None:
    """Would break: kill -9 of a worker in the middle of a range loses the range, or counts it twice."""
    done = site.start("drift-report", "--json", "--table", "songs", "--workers", "1", failpoints=f"{point}=kill:30").wait(150)
    assert done.code == 2, done.err
    _check(done.out)


def test_a_range_that_kills_its_workers_is_unknown(site: Site) -> None:
    """Would break: invariant 5: the one range that cannot be checked is left out of the report, or the report never ends."""
    kills = "drift.suspects=kill:1"  # only a range with a difference gets there
    done = site.start("drift-report", "--json", "--table", "songs", "--workers", "1", failpoints=kills).wait(150)
    assert done.code == 2, done.err
    table = table_of(json.loads(done.out), "songs")
    assert table["ranges"]["unknown"] == 1, "and not the one that the worker's other stream held"
    assert "died" in table["errors"][0]
    again = site.run("drift-report", "--json", "--table", "songs", "--workers", "1")
    assert again.code == 2, again.err
    _check(again.out)


def test_workers_killed_from_outside_are_replaced(site: Site) -> None:
    """Would break: the out-of-memory killer takes a worker, and the report waits for it for ever or leaves its range out."""
    running = site.start("drift-report", "--json", "--table", "songs", "--workers", "1", failpoints=SLOWLY)
    until(lambda: site.sql(CHECKED), what="some ranges checked")
    for process in running.children():
        process.kill()
    done = running.wait(150)
    assert done.code == 2, done.err
    _check(done.out)


def test_the_only_worker_checks_and_keys_are_sent_meanwhile(site: Site) -> None:
    """Would break: it waits for keys in flight, which nobody reconciles while it waits; no pass is clean."""
    site.configure(more="\n[drift]\ngrace_seconds = 0.5")
    with DualWriteStore(site.settings.model_copy(update={"storage_backend": "astra"}), site.config) as store:
        store.announce("songs", {"id": site.sql("SELECT id FROM songs WHERE year = -1")[0][0]})
    report = site.start("drift-report", "--json", "--table", "songs", "--workers", "0")
    with closing(site.redis()) as queue:
        until(lambda: queue.llen("rq:queue:sync") > 0, what="ranges wait for a worker")
    site.start("worker", "-n", "1", "--quiet")
    done = report.wait(150)
    assert done.code == 0, done.err
    assert table_of(json.loads(done.out), "songs")["rows"]["same"] == 300


def test_ctrl_c_and_the_next_run_goes_on(site: Site) -> None:
    """Would break: Ctrl-C with a traceback, workers left behind, or what was checked is checked again."""
    running = site.start("drift-report", "--table", "songs", "--workers", "2", failpoints=SLOWLY)
    until(lambda: site.sql(CHECKED), what="some ranges checked")
    workers = running.children()
    running.interrupt()
    done = running.wait(40)
    assert done.code == 130
    assert done.err.rstrip().endswith("the verdicts stay. Resume with: sync drift-report --table songs --workers 2")
    assert "Traceback" not in done.err
    assert not psutil.wait_procs(workers, timeout=40)[1], "workers that stay"
    states = dict(
        site.sql(
            "SELECT range.state, count(*) FROM sync.range JOIN sync.run ON run.id = run_id WHERE kind = 'drift' GROUP BY 1"
        )
    )
    assert set(states) == {"done", "pending"}
    again = site.run("drift-report", "--json", "--table", "songs", "--workers", "2")
    assert again.code == 2
    assert f"{states['done']} ranges already have their verdict" in again.err
    _check(again.out)
    assert site.sql("SELECT count(*) FROM sync.run WHERE kind = 'drift' AND table_name = 'songs'") == [(1,)]


def test_a_killed_command_takes_its_workers_along_and_the_next_goes_on(site: Site) -> None:
    """Would break: workers of a command that is gone stay for ever, or the next one starts over."""
    running = site.start("drift-report", "--table", "songs", "--workers", "1", failpoints=SLOWLY)
    until(lambda: site.sql(CHECKED), what="some ranges checked")
    workers = running.children()
    os.kill(running.pid, signal.SIGKILL)
    assert not psutil.wait_procs(workers, timeout=40)[1], "workers that stay"
    done = site.run("drift-report", "--json", "--table", "songs", "--workers", "1")
    assert done.code == 2, done.err
    assert "already have their verdict" in done.err
    _check(done.out)


def test_plain_rq_workers_check_too(site: Site) -> None:
    """Would break: `rq worker sync` with nothing but the environment cannot take part in a report."""
    site.start_rq_worker(name="one", SYNC_FAILPOINTS=SLOWLY)
    site.start_rq_worker(name="two", SYNC_FAILPOINTS=SLOWLY)
    running = site.start("drift-report", "--json", "--table", "songs", "--workers", "0")
    assert until(lambda: site.sql(OWNERS)[0][0] > 1, what="both take part")
    done = running.wait()
    assert done.code == 2, done.err
    _check(done.out)


def test_redis_that_forgets_everything_costs_time_only(site: Site) -> None:
    """Would break: invariant 6: a FLUSHALL in the middle ends or hangs the report."""
    running = site.start("drift-report", "--json", "--table", "songs", "--workers", "1", failpoints=SLOWLY)
    until(lambda: site.sql(CHECKED), what="some ranges checked")
    with site.redis() as queue:
        queue.flushdb()
    done = running.wait()
    assert done.code == 2, done.err
    _check(done.out)
