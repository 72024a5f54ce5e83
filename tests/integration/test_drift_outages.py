"""Cassandra goes away in the middle of a drift report: what could not be read is unknown, and the same command goes on.

These tests stop servers, so they have a set of their own.
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
from support.running import Running, until
from support.sources import make_corpus

from sync.adapters.cassandra.connect import Cassandra
from sync.local.stack import Stack
from sync.settings import Settings

pytest_plugins = ("support.own_servers",)
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
    """A report in the middle, so many seconds for a range."""
    slowly = f"drift.read=sleep:{seconds}"
    running = site.start("drift-report", "--json", "--table", "songs", "--workers", "1", failpoints=slowly)
    until(lambda: site.sql(CHECKED), what="some ranges checked")
    return running


def test_cassandra_comes_back_while_the_report_runs(site: Site, stack: Stack) -> None:
    """Would break: a command that never finds its way back; or what used up its tries meanwhile is not said."""
    running = _begun(site, 0.2)
    stack.cassandra.kill()
    until(lambda: "trying again" in running.err, what="it says so")
    ((before,),) = site.sql("SELECT count(*) FROM sync.range WHERE figures IS NOT NULL")
    stack.cassandra.start()
    done = running.wait(150)
    table = table_of(json.loads(done.out), "songs")
    assert table["ranges"]["same"] > before and table["findings"] == []
    assert (done.code, table["clean"]) == ((2, False) if table["ranges"]["unknown"] else (0, True)), done.err
    assert "Traceback" not in done.err
    _check_next(site)


def _check_next(site: Site) -> None:
    again = site.run("drift-report", "--json", "--table", "songs", "--workers", "1")
    assert again.code == 0, again.err
    table = table_of(json.loads(again.out), "songs")
    assert (table["clean"], table["rows"]["same"]) == (True, 300)


def test_what_cannot_be_read_is_unknown_and_the_next_report_reads_it(site: Site, stack: Stack) -> None:
    """Would break: invariant 5: ranges that nobody could read are left out, or are clean, or are called missing or extra."""
    site.configure(
        "lease_seconds = 5\nstreams = 18", GRACE
    )  # so that all tries are over before a worker has to connect again
    running = _begun(site, 0.7)
    stack.cassandra.kill()
    done = running.wait(280)
    assert done.code == 2, done.err
    report = json.loads(done.out)
    table = table_of(report, "songs")
    assert not report["clean"] and not table["clean"]
    assert table["ranges"]["same"] > 8 and table["ranges"]["unknown"] > 8
    assert table["ranges"]["different"] == 0 and table["findings"] == [] and table["rows"]["same"] < 300
    assert "NoHostAvailable" in table["errors"][0] and "could not be proved equal" in report["next_step"]
    assert "Traceback" not in done.err
    stack.cassandra.start()
    _check_next(site)
