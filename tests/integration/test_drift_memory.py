"""Bounded memory (invariant 7): one range of many rows, equal and all different. `SYNC_DRIFT_ROWS` says how many (40,000)."""

from __future__ import annotations

import os
import resource
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.backfills import NEVER, Site
from support.drift import SILENT, table_of

from sync.adapters.cassandra.connect import Cassandra
from sync.core.ring import WHOLE_RING
from sync.settings import Settings
from sync.wiring.backfill import make_plan
from sync.wiring.checking import check_job
from sync.wiring.drift import Asked, begin_pass, close_pass

ROWS = int(os.environ.get("SYNC_DRIFT_ROWS", "40000"))
MOST_MB = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("memory")


@pytest.fixture
def site(settings: Settings, cassandra: Cassandra, folder: Path) -> Iterator[Site]:
    """One table, filled on both sides."""
    opened = Site(settings, cassandra, folder)
    opened.configure("lease_seconds = 60\nstreams = 1", "\n[drift]\ngrace_seconds = 0.05\nrange_rows = 5000")
    opened.cql("CREATE TABLE {ks}.many (id int PRIMARY KEY, text text)")
    opened.fill("INSERT INTO {ks}.many (id, text) VALUES (?, ?)", ((i, f"row {i} " * 10) for i in range(ROWS)))
    opened.apply()
    opened.backfill()
    yield opened
    opened.close()


def _growth(site: Site) -> tuple[float, dict[str, object]]:
    """How many MB a worker grows by in a pass over one range, and its report's part."""
    plan = make_plan(site.settings, site.config, ["many"])
    runs = begin_pass(
        site.settings, site.config, type(plan)(plan.tables, {"many": WHOLE_RING.split(1)}, {}, [], {}), False, SILENT
    )
    reading, writing = os.pipe()
    if not os.fork():
        try:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            check_job(site.settings, site.config, runs, NEVER)
            os.write(writing, str((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024).encode())
            os._exit(0)
        finally:
            traceback.print_exc(file=sys.stderr)
            os._exit(1)
    assert os.wait()[1] == 0
    return float(os.read(reading, 100)), table_of(close_pass(site.settings, site.config, plan, runs, Asked()), "many")


@pytest.mark.timeout(1500)
def test_one_range_of_many_rows_is_cut(site: Site) -> None:
    """Would break: invariant 7: hashes and keys of a whole table in memory; or, where all differ, its rows."""
    equal, table = _growth(site)
    assert table["clean"]
    assert table["ranges"]["total"] >= ROWS / 15_000, "pages may be larger than a range is to be"
    site.sql("UPDATE many SET text = text || '!'")
    different, table = _growth(site)
    assert table["rows"]["different"] == ROWS
    assert len(table["findings"]) <= 10_000 + 1000
    print(f"\n{ROWS:,} rows in one range: {equal:.0f} MB more where all are equal, {different:.0f} MB where all differ")
    assert max(equal, different) < MOST_MB
