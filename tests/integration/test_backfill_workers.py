"""Several workers on one run: any plain `rq worker sync` takes part, none disturbs another, they share the rate."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.backfills import Site
from support.running_commands import until
from support.sources import SONGS, make_corpus, song

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.postgres.backfill import loader
from sync.core.ring import WHOLE_RING
from sync.errors import LeaseLost
from sync.settings import Settings

pytestmark = pytest.mark.slow

SMALL = "lease_seconds = 5\npage_mb = 0.005\nbatch_mb = 0.005"
SLOWLY = {"SYNC_FAILPOINTS": "backfill.encoded=sleep:0.05"}
OWNERS = "SELECT count(DISTINCT split_part(lease_owner, '/', 1)) FROM sync.range"


@pytest.fixture
def site(settings: Settings, cassandra: Cassandra, tmp_path: Path) -> Iterator[Site]:
    """Both tables, 600 rows each."""
    opened = Site(settings, cassandra, tmp_path)
    opened.configure(SMALL)
    make_corpus(opened)
    yield opened
    opened.close()


def _check(site: Site) -> None:
    """Complete and equal, and no range was loaded twice."""
    site.check_done()
    site.check_equal("songs", "notes")
    assert site.totals() == {
        "songs": (600, 600, 0, 0),
        "notes": (600, 600, 0, 0),
    }


def test_plain_rq_workers_do_a_run_that_has_no_workers_of_its_own(site: Site) -> None:
    """Would break: `rq worker sync` with nothing but the environment cannot import, decode or do the jobs, or does them twice."""
    site.start_rq_worker(name="before", **SLOWLY)
    running = site.start("backfill", "--json", "--workers", "0")
    until(lambda: site.sql("SELECT 1 FROM sync.range WHERE state = 'done'"), what="the first one works")
    site.start_rq_worker(name="later", **SLOWLY)
    assert until(lambda: site.sql(OWNERS)[0][0] > 1, what="the second one takes part")
    result = running.wait()
    assert result.code == 0, result.err
    _check(site)


def test_plain_rq_workers_help_the_commands_own(site: Site) -> None:
    """Would break: a helper from another host is never notified, or stays with a job that has ended."""
    site.start_rq_worker(**SLOWLY)
    running = site.start("backfill", "--json", "--workers", "1", **SLOWLY)
    assert until(lambda: site.sql(OWNERS)[0][0] > 1, what="both take part")
    result = running.wait()
    assert result.code == 0, result.err
    _check(site)
    with closing(site.redis()) as queue:
        assert queue.llen("rq:queue:sync") == 0


@pytest.mark.parametrize("others", [[], ["pickle"]])
def test_workers_that_read_json_can_do_the_jobs_too(site: Site, others: list[str]) -> None:
    """Would break: workers started with `--serializer json` take the jobs, fail them all, and the run never ends."""
    site.start_rq_worker("--serializer", "json", name="json")
    for name in others:
        site.start_rq_worker("--serializer", name, name=name)
    result = site.run("backfill", "--json", "--workers", "0")
    assert result.code == 0, result.err
    _check(site)


def test_workers_of_equal_host_names_and_process_numbers_are_told_apart() -> None:
    """Would break: containers that share a host name each have a process 7, and one writes under the other's lease."""
    code = "import os; os.getpid = lambda: 7; from sync.wiring.backfill.worker import worker_name; print(worker_name())"
    names = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout for _ in range(2)
    ]
    assert names[0] != names[1]


@pytest.mark.parametrize("copies", [True, False])
def test_a_worker_whose_range_was_taken_over_changes_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, copies: bool
) -> None:
    """Would break: a worker that slept past the end of its lease loads, and counts, the range a second time."""
    site.configure("streams = 1")
    runs = site.begin(["songs"], WHOLE_RING.split(3))
    slept: list[str] = []

    def another() -> None:
        if copies:
            site.copy(runs)
            return
        with closing(site.connect()) as connection:
            while site.ledger(connection).claim(runs, "another"):
                pass

    def failpoint(name: str) -> None:
        if name == "backfill.encoded" and not slept:
            slept.append(name)
            site.expire_leases()
            another()

    monkeypatch.setattr(loader, "failpoint", failpoint)
    site.copy(runs)
    assert slept
    if not copies:
        assert site.totals()["songs"] == (0, 0, 0, 0)
        site.expire_leases()
        site.copy(runs)
    site.finish(runs)
    site.check_equal("songs")
    assert site.totals()["songs"] == (600, 600, 0, 0)


def test_a_range_that_failed_does_not_hold_up_the_others(site: Site) -> None:
    """Would break: all workers ask for the same sick range again and again, and its attempts are gone in a second."""
    runs = site.begin(["songs"], WHOLE_RING.split(3))
    with closing(site.connect()) as connection:
        ledger = site.ledger(connection)
        first = ledger.claim(runs, "me")
        assert first
        ledger.fail(first, "too few replicas")
        order = [ledger.claim(runs, "me") for _ in range(3)]
        assert [lease and lease.whole.start for lease in order][2] == first.whole.start
        assert ledger.claim(runs, "me") is None
        site.expire_leases()
        assert ledger.claim(runs, "another")
        with pytest.raises(LeaseLost):
            for lease in order:
                assert lease
                ledger.renew(lease)


def test_a_worker_keeps_its_lease_however_slow_it_has_to_read(site: Site) -> None:
    """Would break: at so low a rate a lease ends within a batch; the range goes from worker to worker and is never done."""
    site.configure("lease_seconds = 5\npage_mb = 0.005")
    site.cql("TRUNCATE {ks}.notes")
    site.fill("INSERT INTO {ks}.notes (piece, at, pitch) VALUES ('one', ?, 1)", [(i,) for i in range(600)])
    begun = time.monotonic()
    result = site.run("backfill", "--json", "--table", "notes", "--workers", "2", "--rate", "100")
    assert result.code == 0, result.err
    assert time.monotonic() - begun > 4
    assert "taken over" not in result.err
    assert site.totals()["notes"] == (600, 600, 0, 0)
    site.check_equal("notes")


def test_a_rate_is_what_all_lanes_together_read(site: Site) -> None:
    """Would break: each range begins without a delay, so many small ranges ignore the rate; each stream takes all of it."""
    site.cql("DROP TABLE {ks}.songs")
    site.cql(SONGS)
    site.fill("INSERT INTO {ks}.songs (id, title, year, made, tags) VALUES (?, ?, ?, ?, ?)", map(song, range(400)))
    runs = site.begin(["songs"], WHOLE_RING.split(40))
    with closing(site.connect()) as connection:
        ledger = site.ledger(connection)
        ledger.set_rate(runs, 100)
        leases = [ledger.claim(runs, f"worker/{i}") for i in range(4)]
        assert [lease and lease.rate for lease in leases] == [100, 50, 100 / 3, 25]
        renewed = [lease and ledger.renew(lease) for lease in leases]
        assert [lease and lease.rate for lease in renewed] == [25] * 4
        for lease in leases:
            assert lease
            ledger.release_range(lease)
    begun = time.monotonic()
    site.copy(runs)
    seconds = time.monotonic() - begun
    assert seconds > 3, "faster than 100 rows a second"
    site.finish(runs)
    site.check_equal("songs")
