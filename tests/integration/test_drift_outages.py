"""Cassandra goes away in the middle of a drift report: what could not be read is unknown, and the same command goes on.

These tests stop servers, so they have servers of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cassandra import DriverException
from cassandra.cluster import NoHostAvailable
from support.backfills import Site, open_site
from support.drift import table_of
from support.running_commands import Running, until
from support.sources import make_corpus

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.local.stack import Stack
from sync.settings import Settings

pytest_plugins = ("support.own_servers",)
pytestmark = pytest.mark.slow
GRACE = "\n[drift]\ngrace_seconds = 0.05"
CHECKED = "SELECT 1 FROM sync.range JOIN sync.run ON run.id = run_id WHERE kind = 'drift' AND range.state = 'done' OFFSET 20"


@pytest.fixture
def site(own_settings: Settings, own_cassandra: Cassandra, stack: Stack, tmp_path: Path) -> Iterator[Site]:
    """One table, backfilled, both sides equal; Cassandra is up again after the test."""
    with open_site(own_settings, own_cassandra, tmp_path) as opened:
        opened.configure(more=GRACE)
        make_corpus(opened, songs=300, notes=30)
        opened.backfill()
        yield opened
        stack.cassandra.start()
        until(lambda: _answers(own_cassandra), 60, "this test's own session is connected again")


def _answers(cassandra: Cassandra) -> bool:
    try:
        return bool(cassandra.session.execute("SELECT key FROM system.local"))
    except (DriverException, NoHostAvailable):
        return False


def _begun(site: Site, seconds: float) -> Running:
    """A running report with some ranges checked, which takes this many seconds for each."""
    slowly = f"drift.read=sleep:{seconds}"
    running = site.start("drift-report", "--json", "--table", "songs", "--workers", "1", failpoints=slowly)
    until(lambda: site.sql(CHECKED), what="some ranges checked")
    return running


def test_cassandra_comes_back_while_the_report_runs(site: Site, stack: Stack) -> None:
    """Would break: the command never connects again; or an outage of ten seconds costs the whole pass."""
    running = _begun(site, 0.2)
    stack.cassandra.kill()
    until(lambda: "retrying until it can" in running.err, what="it says so")
    ((before,),) = site.sql("SELECT count(*) FROM sync.range WHERE figures IS NOT NULL")
    stack.cassandra.start()
    done = running.wait(150)
    assert (done.code, "Traceback" in done.err) == (0, False), done.err
    table = table_of(json.loads(done.out), "songs")
    assert table["ranges"]["same"] > before and table["findings"] == []
    assert (table["clean"], table["ranges"]["unknown"], table["rows"]["same"]) == (True, 0, 300)


def test_a_source_that_stays_away_is_waited_for_in_words_and_nothing_is_clean(site: Site, stack: Stack) -> None:
    """Would break: invariant 5: unread ranges are left out, clean, or missing; it waits silently; Ctrl-C loses verdicts."""
    running = _begun(site, 0.2)
    stack.cassandra.kill()
    until(lambda: "NoHostAvailable" in running.err and "retrying until it can" in running.err, what="it says so")
    _check_status(site)
    for process in running.children():
        process.kill()  # those that come after them have to reconnect
    until(lambda: "nothing listens there" in running.err, 60, "it says so again")
    _check_status(site)
    assert site.sql("SELECT count(*) FROM sync.range WHERE state = 'failed'") == [(0,)]
    running.interrupt()
    stopped = running.wait(60)
    assert (stopped.code, stopped.out, "Traceback" in stopped.err) == (130, "", False), stopped
    assert stopped.err.splitlines()[-1].startswith("stopped; the verdicts stay. Resume with: sync drift-report")
    checked = site.sql("SELECT range_start FROM sync.range WHERE figures IS NOT NULL")
    stack.cassandra.start()
    again = site.run("drift-report", "--json", "--table", "songs", "--workers", "1")
    assert again.code == 0, again.err
    assert f"{len(checked)} ranges already have their verdict" in again.err
    table = table_of(json.loads(again.out), "songs")
    assert (table["clean"], table["rows"]["same"]) == (True, 300)


def _check_status(site: Site) -> None:
    told = site.run("status", "--json")
    assert told.code == 0, told.err
    (check,) = json.loads(told.out)["drift_under_way"]
    assert check["table"] == "songs" and 20 < check["ranges"]["done"] < check["ranges"]["total"]
    assert "NoHostAvailable" in check["error"], check
    said = site.run("status").out
    assert "drift pass, not finished: songs: " in said and "NoHostAvailable" in said
