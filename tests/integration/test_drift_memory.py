"""Bounded memory (invariant 7): one range of many rows, equal and all different.

40,000 rows, cut at 5,000; and a million, cut at the default: that takes long, and `-s` shows its progress.
"""

from __future__ import annotations

import os
import resource
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.backfills import NEVER, Site
from support.drift import SILENT, table_of
from support.sources import fill_raw

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.core.ring import WHOLE_RING
from sync.settings import DriftTuning, Settings
from sync.wiring.backfill.command import make_plan
from sync.wiring.drift.command import DriftRequest, begin_pass, close_pass
from sync.wiring.drift.worker import check_job

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Size:
    """A table, where its ranges are cut, and how much a worker may grow by."""

    rows: int
    range_rows: int
    max_mb: int


SIZES = [
    pytest.param(Size(40_000, 5000, 120), id="40,000"),
    pytest.param(Size(1_000_000, DriftTuning().range_rows, 200), id="1,000,000", marks=pytest.mark.slow),
]
_CHECKED = "SELECT coalesce(sum(rows_read), 0) FROM sync.range WHERE run_id = ANY (%s)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("memory")


@pytest.fixture(params=SIZES)
def size(request: pytest.FixtureRequest) -> Size:
    found: Size = request.param
    return found


@pytest.fixture
def site(settings: Settings, cassandra: Cassandra, folder: Path, size: Size) -> Iterator[Site]:
    """One table, filled on both sides."""
    opened = Site(settings, cassandra, folder)
    opened.configure("lease_seconds = 60\nstreams = 1", f"\n[drift]\ngrace_seconds = 0.05\nrange_rows = {size.range_rows}")
    opened.cql("CREATE TABLE {ks}.many (id int PRIMARY KEY, text text)")
    fill_raw(opened, "INSERT INTO {ks}.many (id, text) VALUES (?, ?)", (_cells(i) for i in range(size.rows)))
    opened.apply()
    opened.backfill()
    yield opened
    opened.close()


def _cells(number: int) -> tuple[bytes, bytes]:
    return number.to_bytes(4, "big"), f"row {number} ".encode() * 10


def _growth(site: Site) -> tuple[float, dict[str, Any]]:
    """How many MB a worker grows by in a pass over one range, and the table's part of the report."""
    plan = make_plan(site.settings, site.config, ["many"])
    runs = begin_pass(site.settings, site.config, replace(plan, ranges={"many": WHOLE_RING.split(1)}), DriftRequest(), SILENT)
    reading, writing = os.pipe()
    begin, child = time.monotonic(), os.fork()
    if not child:
        try:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            check_job(site.settings, site.config, runs, NEVER)
            os.write(writing, str((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024).encode())
            os._exit(0)
        finally:
            traceback.print_exc(file=sys.stderr)
            os._exit(1)
    _watch(site, runs, child)
    print(f"{time.monotonic() - begin:.0f} s")
    return float(os.read(reading, 100)), table_of(close_pass(site.settings, site.config, plan, runs, DriftRequest()), "many")


def _watch(site: Site, runs: list[int], child: int) -> None:
    """Wait for the worker's end; now and then print its progress."""
    said = time.monotonic()
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        time.sleep(0.1)
        if time.monotonic() > said + 20:
            said = time.monotonic()
            size = psutil.Process(child).memory_info().rss / 2**20
            print(f"{site.sql(_CHECKED, (runs,))[0][0]:,} rows, {size:.0f} MB", flush=True)
    assert ended[1] == 0


@pytest.mark.timeout(14_400)
def test_one_range_of_many_rows_is_cut(site: Site, size: Size) -> None:
    """Would break: invariant 7: hashes and keys of a whole table are held in memory; or, where all differ, its rows."""
    equal, table = _growth(site)
    assert table["clean"]
    assert table["ranges"]["total"] >= size.rows / (size.range_rows + 10_000), "pages may be larger than a range is to be"
    site.sql("UPDATE many SET text = text || '!'")
    different, table = _growth(site)
    assert table["rows"]["different"] == size.rows
    assert len(table["findings"]) <= 10_000 + 1000
    print(f"\n{size.rows:,} rows in one range: {equal:.0f} MB more where all are equal, {different:.0f} MB where all differ")
    assert max(equal, different) < size.max_mb
