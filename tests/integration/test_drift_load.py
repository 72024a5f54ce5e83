"""Reports while writers write at full speed through DualWriteStore, with faults: no false alarm, and nothing is hidden.

`SYNC_DRIFT_SECONDS` says how long (15 by default).
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from support.backfills import Site
from support.drift import drift, table_of
from support.running_commands import until
from support.sources import make_corpus, song

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.rows.rows import SourceRows
from sync.adapters.postgres.dual_write.journal import Journal
from sync.core.mutations import Mutation
from sync.core.ring import WHOLE_RING
from sync.errors import SyncError, TargetUnavailable
from sync.ports import Intent, Outcome
from sync.settings import Settings
from sync.stores import DualWriteStore
from sync.wiring.drift.command import DriftRequest
from sync.wiring.dual_write.worker import drain_job

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("SYNC_DRIFT_SECONDS", "15"))
ROWS, HOT = 1000, 12
FEW = WHOLE_RING.split(8)


@pytest.fixture
def site(settings: Settings, cassandra: Cassandra, tmp_path: Path) -> Iterator[Site]:
    """Both tables, backfilled."""
    opened = Site(settings, cassandra, tmp_path)
    opened.configure(more="\n[drift]\ngrace_seconds = 0.1\ntries = 12\n[dual_write]\nheartbeat_seconds = 1.0")
    make_corpus(opened, songs=ROWS, notes=30)
    opened.backfill()
    yield opened
    opened.close()


class Traffic:
    """Writers in threads, and a worker that reconciles what they leave; now and then one half of a write fails."""

    def __init__(self, site: Site, monkeypatch: pytest.MonkeyPatch, kept_out: set[int]) -> None:
        self.site, self.kept_out, self.ends = site, kept_out, threading.Event()
        self.writes = self.faults = 0
        self._chance = random.Random(7)
        self._break(monkeypatch)
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(3)]
        self._threads.append(threading.Thread(target=self._reconcile))

    def _break(self, monkeypatch: pytest.MonkeyPatch) -> None:
        primary, secondary = SourceRows.write, Journal.write

        def source(rows: SourceRows, mutation: Mutation, version: int) -> tuple[Outcome, str]:
            fault = self._fault()
            if fault < 0.01:  # lost on the way
                return "unsure", "timed out"
            found = primary(rows, mutation, version)
            return ("unsure", "timed out") if fault < 0.02 else found

        def target(journal: Journal, mutation: Mutation, intent: Intent) -> bool:
            if self._fault() < 0.03:
                raise TargetUnavailable("the connection broke")
            return secondary(journal, mutation, intent)

        monkeypatch.setattr(SourceRows, "write", source)
        monkeypatch.setattr(Journal, "write", target)

    def _fault(self) -> float:
        found = self._chance.random()
        self.faults += found < 0.03
        return found

    def _write(self, number: int) -> None:
        chance = random.Random(number)
        with DualWriteStore(self.site.settings, self.site.config) as store:
            while not self.ends.is_set():
                i = chance.randrange(HOT) if chance.random() < 0.5 else chance.randrange(2 * ROWS)
                if i in self.kept_out:
                    continue
                try:
                    self._some(store, chance, song(i)[0])
                except SyncError:
                    self.faults += 1
                self.writes += 1

    def _some(self, store: DualWriteStore, chance: random.Random, key: UUID) -> None:
        what = chance.random()
        if what < 0.5:
            store.put("songs", {"id": key, "title": f"t{what}", "year": self.writes, "tags": {"a": str(what)}})
        elif what < 0.8:
            store.update("songs", {"id": key}, {"title": f"u{what}"})
        else:
            store.delete("songs", {"id": key})

    def _reconcile(self) -> None:
        while not self.ends.wait(0.3):
            drain_job(self.site.settings, self.site.config, "songs", self.ends.is_set)

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        until(lambda: self.writes > 20, what="they write")
        return self

    def __exit__(self, *_: object) -> None:
        self.ends.set()
        for thread in self._threads:
            thread.join()


def _passes(site: Site, seconds: float) -> Iterator[dict[str, Any]]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield table_of(drift(site, ["songs"], ranges=FEW), "songs")


def test_no_false_alarm_under_load_and_a_planted_difference_is_found(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a write under way is called drift, so that nobody believes a report; or drift hides behind the writes."""
    planted = ROWS // 2
    with Traffic(site, monkeypatch, {planted}) as traffic:
        rows = settled = in_flight = passes = alarms = 0
        slowest = 0.0
        for table in _passes(site, SECONDS):
            alarms += len(table["findings"])
            assert table["ranges"]["unknown"] <= table["rows"]["in_flight"]
            rows, passes = rows + table["rows"]["source"], passes + 1
            settled, in_flight = settled + table["latency"]["settled"], in_flight + table["rows"]["in_flight"]
            slowest = max(slowest, table["latency"]["settled_max"])
        site.sql("UPDATE songs SET year = -5 WHERE id = %s", (song(planted)[0],))
        table = table_of(drift(site, ["songs"], ranges=FEW), "songs")
        assert [(f["kind"], f["key"], f["columns"]) for f in table["findings"]] == [
            ("different", {"id": str(song(planted)[0])}, ["year"])
        ]
        repaired = table_of(drift(site, ["songs"], ranges=FEW, asked=DriftRequest(repair=True)), "songs")
        assert repaired["repaired"] == 1
        written, faults = traffic.writes, traffic.faults
    print(
        f"\n{passes} passes over {rows:,} rows under {written:,} writes with {faults} faults: {1e6 * alarms / rows:.0f} false alarms a million "
        f"rows; "
        f"{settled} keys settled, the slowest after {slowest:.1f} s; {in_flight} were still being written at the end"
    )
    assert alarms == 0
    assert written > 200
    assert faults > 5
    assert settled > 0, "no key was ever caught in the middle: the test has not tested anything"
    monkeypatch.undo()
    _settle(site)
    assert table_of(drift(site, ["songs"], ranges=FEW), "songs")["clean"]
    site.check_equal("songs")


def _settle(site: Site) -> None:
    site.sql("UPDATE sync.writer SET heartbeat_at = clock_timestamp() - interval '1 hour'")
    for _ in range(20):
        site.sql("UPDATE sync.intent SET lease_until = NULL")
        drain_job(site.settings, site.config, "songs", lambda: False)
        with closing(site.connect()) as connection:
            if connection.execute("SELECT count(*) FROM sync.intent").fetchone() == (0,):
                return
    raise AssertionError("intents are left")
