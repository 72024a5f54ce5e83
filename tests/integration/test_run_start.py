"""The start of a copy or a drift pass: no writer waits for it, and no connection is opened for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from uuid import uuid4

import pytest
from support.backfills import Site
from support.drift import drift
from support.dual import Table, holding, until_waiting

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.postgres.backfill.range_ledger import RangeLedger
from sync.adapters.postgres.connection.connect import Connection, connect
from sync.core.ring import WHOLE_RING
from sync.settings import Settings
from sync.wiring.drift import worker

pytest_plugins = ("support.fixtures", "support.pair_table")


def test_writers_go_on_while_ranges_are_recorded(table: Table) -> None:
    """Would break: a start that records 10⁵ ranges holds the epoch exclusively, and the application's writes wait."""
    table.sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NEW; END $$; "
        "CREATE TRIGGER slow BEFORE INSERT ON sync.range FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    begun: list[list[int]] = []

    def begin() -> None:
        with closing(connect(table.settings, autocommit=True)) as connection:
            begun.append(RangeLedger(connection, 60).begin({"pairs": WHOLE_RING.split(4)}))

    thread, writer, key = Thread(target=begin), table.writer(), table.key(id=uuid4())
    try:
        with holding(table, "SELECT pg_advisory_xact_lock(42)"):
            thread.start()
            until_waiting(table)
            before = writer.put(key, a="x").done().version
        thread.join()
        ((floor, epoch_floor),) = table.sql(
            "SELECT run.floor, e.floor FROM sync.run, sync.epoch AS e WHERE run.id = ANY (%s)", begun
        )
        assert before < floor == epoch_floor  # rule 3: above every version that was possible before
    finally:
        table.sql("DROP FUNCTION slow() CASCADE; DELETE FROM sync.run; DELETE FROM pairs")


@pytest.fixture
def site(settings: Settings, cassandra: Cassandra, tmp_path: Path) -> Iterator[Site]:
    opened = Site(settings, cassandra, tmp_path)
    opened.configure("min_ranges = 40\nstreams = 2", "[drift]\ngrace_seconds = 0.2\ntries = 2\n")
    opened.cql("CREATE TABLE {ks}.songs (id int PRIMARY KEY, title text)")
    opened.fill("INSERT INTO {ks}.songs (id, title) VALUES (?, ?)", [(n, "x") for n in range(200)])
    opened.apply()
    opened.backfill()
    yield opened
    opened.close()


class Counted:
    """Counts the connections that check jobs open."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened, self._lock = 0, Lock()
        monkeypatch.setattr(worker, "connect", self._connect)

    def _connect(self, *given: Any, **more: Any) -> Connection:
        with self._lock:
            self.opened += 1
        return connect(*given, **more)


def test_a_quiet_proof_opens_a_connection_a_stream(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: 16 workers hold 96 of the hundred connections that there are."""
    counted = Counted(monkeypatch)
    assert drift(site)["clean"]
    assert counted.opened == 1 + 2  # one looks at the runs before the streams begin


def test_more_are_opened_while_keys_wait(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a stream that waits for a key holds up other ranges, or opens any number of connections."""
    site.sql("UPDATE songs SET title = 'y'")
    counted = Counted(monkeypatch)
    assert not drift(site)["clean"]
    assert 1 + 2 < counted.opened <= 1 + 3 * 2
    site.configure("min_ranges = 40\nstreams = 2", "[drift]\ngrace_seconds = 0.05\ntries = 2\nmax_waiting_ranges = 0\n")
    counted = Counted(monkeypatch)
    assert not drift(site)["clean"]
    assert counted.opened == 1 + 2
