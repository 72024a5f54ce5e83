"""The ledger of drift reports: a range ends unknown because of what happened to it, not to the worker that held it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.backfills import Site

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.postgres.drift.check_ledger import MAX_DEATHS, DriftLedger
from sync.core.drift.results import MAX_TRIES, RangeResult
from sync.core.ring import WHOLE_RING
from sync.ports import Lease
from sync.settings import Settings
from sync.wiring.backfill.command import make_plan


@pytest.fixture
def site(settings: Settings, cassandra: Cassandra, tmp_path: Path) -> Iterator[Site]:
    opened = Site(settings, cassandra, tmp_path)
    opened.cql("CREATE TABLE {ks}.songs (id int PRIMARY KEY)")
    opened.apply()
    yield opened
    opened.close()


class Pass:
    """A pass over two ranges whose workers die as the test says."""

    def __init__(self, site: Site, checks: DriftLedger) -> None:
        self.site, self.checks = site, checks
        self.table = make_plan(site.settings, site.config, ["songs"]).tables[0]
        self.runs = checks.begin_pass({"songs": WHOLE_RING.split(2)}, False)

    def claim(self, owner: str) -> Lease | None:
        return self.checks.claim(self.runs, owner)

    def die(self) -> None:
        """Expire all leases, as after a kill -9; then the command checks its ranges."""
        self.site.expire_leases()
        self.checks.fail_deadly(self.runs)

    def done(self, lease: Lease) -> None:
        self.checks.done(lease, RangeResult(lease.whole), self.table)

    def states(self) -> list[str]:
        return [state for (state,) in self.site.sql("SELECT state FROM sync.range ORDER BY range_start")]


@pytest.fixture
def ranges(site: Site) -> Iterator[Pass]:
    with closing(site.connect()) as connection:
        yield Pass(site, DriftLedger(connection, 60))


def test_a_worker_that_died_is_no_try_of_its_range(ranges: Pass) -> None:
    """Would break: a range whose worker was killed from outside is unknown at its first timeout."""
    for number in range(MAX_DEATHS - 1):
        assert ranges.claim(f"{number}/0")
        ranges.die()
    tries = []
    while (lease := ranges.claim("last/0")) is not None:
        tries.append((lease.range_id, lease.attempts))
        ranges.checks.fail(lease, "timed out")
    one, two = sorted({range_id for range_id, _ in tries})
    assert sorted(tries) == [(r, n) for r in (one, two) for n in range(1, MAX_TRIES + 1)]
    assert ranges.states() == ["failed", "failed"]


@pytest.mark.parametrize("deadly", [0, 1])
def test_only_the_range_that_kills_its_workers_is_unknown(ranges: Pass, deadly: int) -> None:
    """Would break: a range that a worker held beside the deadly one dies with it again and again, and is unknown, too."""
    (start,) = [r.start for i, r in enumerate(WHOLE_RING.split(2)) if i == deadly]
    for number in range(3 * MAX_DEATHS):
        held = [lease for stream in range(6) if (lease := ranges.claim(f"{number}/{stream}"))]
        if any(lease.whole.start == start for lease in held):
            ranges.die()  # before the other one has its verdict
        else:
            for lease in held:
                ranges.done(lease)
    assert ranges.states() == ["failed" if i == deadly else "done" for i in range(2)]
    ((error,),) = ranges.site.sql("SELECT error FROM sync.range WHERE state = 'failed'")
    assert f"died {MAX_DEATHS} times" in error
    assert ranges.site.sql("SELECT count(*) FROM sync.range WHERE deaths >= %s", (MAX_DEATHS,)) == [(1,)]


def test_another_worker_goes_on_meanwhile(ranges: Pass) -> None:
    """Would break: one range whose worker died holds up all workers."""
    assert ranges.claim("first/0")
    ranges.site.expire_leases()
    assert ranges.claim("second/0") and ranges.claim("second/1") is None
    assert ranges.claim("third/0")


def test_the_next_start_forgets_how_often_workers_died(ranges: Pass) -> None:
    """Would break: after five deaths a range is unknown for ever, whatever was fixed."""
    while ranges.claim("me/0"):
        ranges.die()
    assert ranges.states() == ["failed", "failed"]
    ranges.checks.begin_pass({"songs": []}, False)
    assert ranges.site.sql("SELECT state, deaths, attempts FROM sync.range") == [("pending", 0, 0)] * 2
