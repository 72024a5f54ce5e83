"""Servers that go away in the middle of a backfill: the same command goes on when they are back (invariants 1 and 6).

These tests stop and kill servers, so they have servers of their own.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from cassandra.cluster import NoHostAvailable
from support.backfills import Site, open_site
from support.running_commands import Running, until
from support.sources import make_corpus

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.connection.pages import RAW_PROFILE
from sync.adapters.queue import QUEUE
from sync.local.base import Server
from sync.local.stack import Stack
from sync.settings import Settings

pytest_plugins = ("support.own_servers",)
pytestmark = pytest.mark.slow
SMALL = "lease_seconds = 5\npage_mb = 0.005\nbatch_mb = 0.005"
SLOWLY = "backfill.encoded=sleep:0.1"


@pytest.fixture
def site(own_settings: Settings, own_cassandra: Cassandra, stack: Stack, tmp_path: Path) -> Iterator[Site]:
    """Both tables, 600 rows each; servers that a test left down are up again for the next."""
    with open_site(own_settings, own_cassandra, tmp_path) as opened:
        opened.configure(SMALL)
        make_corpus(opened)
        yield opened
        for server in stack.servers:
            server.start()
        until(lambda: _answers(own_cassandra), 60, "this test's own sessions are connected again")


def _answers(cassandra: Cassandra) -> bool:
    """Whether both sessions reach the server: the driver connects again on its own, a while after a restart."""
    try:
        cassandra.session.execute("SELECT key FROM system.local")
        cassandra.raw.execute("SELECT key FROM system.local", execution_profile=RAW_PROFILE)
    except NoHostAvailable:
        return False
    return True


def _begun(site: Site) -> Running:
    """A running backfill with some of its ranges done."""
    running = site.start("backfill", "--json", "--workers", "2", failpoints=SLOWLY)
    until(lambda: site.sql("SELECT 1 FROM sync.range WHERE state = 'done' OFFSET 10"), what="some ranges done")
    return running


@contextmanager
def suspended(server: Server) -> Iterator[None]:
    """Let the server accept connections, and answer nothing."""
    parent = psutil.Process(server.pid)
    processes = [parent, *parent.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):  # a backend whose client is gone ends as soon as its parent runs
                process.resume()


def _check_end(site: Site, running: Running) -> None:
    result = running.wait()
    assert result.code == 0, result.err[-3000:]
    assert "Traceback" not in result.err
    assert {t["ranges_failed"] for t in result.tables.values()} == {0}
    until(lambda: _answers(site.cassandra), 60, "this test's own sessions are connected again")
    site.check_done()
    site.check_equal("songs", "notes")
    assert {name: figures[1:] for name, figures in site.totals().items()} == {"songs": (600, 0, 0), "notes": (600, 0, 0)}


def test_redis_is_flushed_in_the_middle(site: Site) -> None:
    """Would break: jobs and worker registrations that are gone from Redis stay gone."""
    running = _begun(site)
    for _ in range(3):
        site.redis().flushall()
        time.sleep(0.5)
    _check_end(site, running)


def test_redis_is_flushed_before_a_plain_worker_is_rung_for(site: Site, tmp_path: Path) -> None:
    """Would break: after a FLUSHALL a worker listens, but unregistered, and a run of `--workers 0` waits for ever."""
    worker = site.start_rq_worker()
    site.redis().flushall()
    result = site.run("backfill", "--json", "--workers", "0")
    assert result.code == 0, result.err
    site.check_equal("songs", "notes")
    assert not worker.ended


def test_redis_goes_away_with_the_workers_jobs_and_comes_back_empty(site: Site, stack: Stack) -> None:
    """Would break: workers end in a loop, with tracebacks, while Redis is gone, and nobody notifies them again."""
    running = _begun(site)
    site.redis().flushall()
    stack.valkey.kill()
    for process in running.children():
        process.kill()
    time.sleep(2)
    assert not running.ended
    stack.valkey.start()
    _check_end(site, running)
    assert "workers are notified again later" in running.err


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_postgres_is_restarted(site: Site, stack: Stack, how: str) -> None:
    """Would break: a batch is loaded twice or not at all; the command ends when its connection does."""
    running = _begun(site)
    getattr(stack.postgres, how)()
    stack.postgres.start()
    _check_end(site, running)


def test_a_lost_node_is_tried_every_few_seconds(own_cassandra: Cassandra) -> None:
    """Would break: the driver's own policy, which after a long outage tries a node only every ten minutes."""
    delays = own_cassandra.session.cluster.reconnection_policy.new_schedule()
    assert max(itertools.islice(delays, 20)) < 15


def test_everything_is_killed_at_once(site: Site, stack: Stack) -> None:
    """Would break: ranges failed for good because Cassandra was unreachable for longer than a few attempts."""
    running = _begun(site)
    site.redis().flushall()
    for server in stack.servers:
        server.kill()
    for process in running.children()[:2]:
        process.kill()
    starts = [threading.Thread(target=server.start) for server in stack.servers]
    for thread in starts:
        thread.start()
    for thread in starts:
        thread.join()
    _check_end(site, running)


@pytest.mark.parametrize("name", ["cassandra", "postgres", "valkey"])
def test_a_server_hangs_and_comes_back(site: Site, stack: Stack, name: str) -> None:
    """Would break: a server that accepts connections and never answers ends the copy, or unread rows count as copied."""
    site.configure(f"{SMALL}\nrequest_timeout_seconds = 2")
    running = _begun(site)
    with suspended(getattr(stack, name)):
        time.sleep(9)  # longer than leases and requests last
        assert not running.ended, running.err
    _check_end(site, running)


def test_postgres_is_killed_while_an_index_is_built(site: Site, stack: Stack) -> None:
    """Would break: the thread that watches the build prints tracebacks; or a restart ends a copy of hours."""
    site.sql("CREATE INDEX songs_year ON songs (year)")
    with closing(site.connect()) as writer:
        writer.execute("BEGIN")
        running = _begun(site)
        writer.execute("LOCK TABLE songs IN ROW EXCLUSIVE MODE")  # a concurrent build waits for its end
        until(
            lambda: site.sql("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%'"), what="a build"
        )
        stack.postgres.kill()
    until(lambda: "reconnecting" in running.err, what="it says so")
    stack.postgres.start()
    result = running.wait(100)
    assert (result.code, "Traceback" in result.err) == (0, False), result.err
    assert site.totals() == {"songs": (600, 600, 0, 0), "notes": (600, 600, 0, 0)}
    assert site.sql("SELECT count(*) FROM pg_index WHERE indrelid = 'songs'::regclass AND indisvalid") == [(3,)]


def test_a_target_that_stays_away_is_said_in_one_line_and_the_next_run_goes_on(
    site: Site, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: a traceback instead of what to do; a Ctrl-C that is ignored while the target is unreachable."""
    running = _begun(site)
    stack.postgres.kill()
    until(lambda: "reconnecting" in running.err, what="it says so")
    processes = running.children()
    running.interrupt()
    result = running.wait(60)
    assert result.code == 130
    assert not psutil.wait_procs(processes, timeout=60)[1], "a job goes on after its command"
    assert "Resume with: sync backfill" in result.err.splitlines()[-1]
    assert "Traceback" not in result.err
    stack.postgres.start()
    again = site.run("backfill", "--json", "--workers", "2")
    assert again.code == 0, again.err
    site.check_done()
    site.check_equal("songs", "notes")
    assert site.redis().llen(f"rq:queue:{QUEUE}") == 0
