"""Rows that live for 1 to 60 seconds, written through the store while passes, workers and sweeps run: no finding, nothing lost.

`SYNC_EXPIRY_SECONDS` says for how long with each primary (30 by default); of rows that the application did not let expire, none is lost.
"""

from __future__ import annotations

import os
import random
import threading
import time
from contextlib import closing

import pytest
from support.backfills import NEVER, Site
from support.expiring import is_clean, report_of, switch, until_sent

from sync.adapters.postgres.dual_write import expired
from sync.errors import SyncError
from sync.stores import CqlStore, DualWriteStore, PostgresStore
from sync.wiring.dual_write.expired import ExpirySweeper
from sync.wiring.dual_write.worker import drain_job

pytest_plugins = ("support.fixtures", "support.expiring")
SECONDS = float(os.environ.get("SYNC_EXPIRY_SECONDS", "30"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS + 300)]
KEYS, WRITERS = 400, 4


class Load:
    """Writers, each of its own keys: what each key's last acknowledged write was, and when it expires at the earliest."""

    def __init__(self, store: DualWriteStore) -> None:
        self._store, self._stop = store, threading.Event()
        self.last: dict[int, tuple[str, float]] = {}
        self.errors: list[SyncError] = []
        self._threads = [threading.Thread(target=self._write, args=(i,)) for i in range(WRITERS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _write(self, number: int) -> None:
        chosen, count = random.Random(number), 0
        while not self._stop.wait(0.02):
            i, ttl, count = chosen.randrange(number, KEYS, WRITERS), chosen.randint(1, 60), count + 1
            try:
                if chosen.random() < 0.05:
                    self._store.delete("things", {"id": i, "part": 0})
                    self.last.pop(i, None)
                    continue
                self.last.pop(i, None)
                self._store.put("things", {"id": i, "part": 0, "a": f"{number}.{count}", "tags": ["t"]}, ttl=ttl)
                self.last[i] = f"{number}.{count}", time.time() + ttl
            except SyncError as error:
                self.errors.append(error)
                return


@pytest.mark.parametrize("primary", ["astra", "postgres"])
def test_a_pass_finds_nothing_while_rows_come_and_expire(
    site: Site, store: DualWriteStore, primary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: a busy table whose rows expire never has a clean pass; or a sweep deletes a row that was just written."""
    monkeypatch.setattr(expired, "MARGIN_SECONDS", 5)
    switch(site, primary)
    sweeper, until, passes, unclear = ExpirySweeper(site.settings, site.config), time.monotonic() + SECONDS, 0, 0
    with Load(store) as load:
        while time.monotonic() < until:
            report = report_of(site)
            (table,) = report["tables"]
            assert table["findings"] == [] and not table["rows"]["unknown"], table
            passes, unclear = passes + 1, unclear + table["rows"]["in_flight"]
            sweeper.sweep()
            drain_job(site.settings, site.config, "things", NEVER)
    assert not load.errors and passes
    assert len(load.last) > 20
    drain_job(site.settings, site.config, "things", NEVER)
    until_sent(site)
    with closing(CqlStore(site.settings)) as cql, closing(PostgresStore(site.settings)) as postgres:
        for i, (a, earliest) in load.last.items():
            there, here = (side.get("things", {"id": i, "part": 0}) for side in (cql, postgres))
            if time.time() < earliest - 2:
                assert there == here and here is not None and here["a"] == a, i
    assert is_clean(site)
    print(f"{passes} passes, {unclear} rows in flight in them")
