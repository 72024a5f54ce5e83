"""Copies and passes that rest while a real server is slow, and `drift-report --rate`: what is decided, noted, shown, and copied."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from support.backfills import NEVER, Site
from support.drift import SILENT, drift, table_of
from support.proxies import Proxy
from support.running_commands import until
from support.sources import make_corpus

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.connection.one_row import OneRow
from sync.adapters.postgres.backfill.range_ledger import RangeLedger
from sync.adapters.postgres.drift.check_ledger import DriftLedger
from sync.core.ring import WHOLE_RING
from sync.core.throttle import Throttled, rest_seconds
from sync.flows import check_ranges, pacing
from sync.ports import Lease
from sync.settings import Settings
from sync.wiring.backfill.command import make_plan
from sync.wiring.backfill.worker import copy_job
from sync.wiring.drift.command import DriftRequest, begin_pass, close_pass
from sync.wiring.drift.worker import check_job

SONGS = 3000
LIMIT = "source_latency_ms = 200\ntarget_latency_ms = 200\n"
DELAY = 0.15
"""There and back: half as much again as the limit allows."""


@pytest.fixture
def site(settings: Settings, cassandra: Cassandra, tmp_path: Path) -> Iterator[Site]:
    """Two tables, not copied yet."""
    opened = Site(settings, cassandra, tmp_path)
    opened.configure("lease_seconds = 30\nmin_ranges = 4", f"[throttle]\n{LIMIT}")
    make_corpus(opened, songs=SONGS, notes=30)
    yield opened
    opened.close()


@dataclass
class Decisions:
    """Each decision on a rest: the share of the time, and its seconds."""

    made: list[tuple[float, float]] = field(default_factory=list)

    def decide(self, worked: float, share: float) -> float:
        rest = rest_seconds(worked, share)
        self.made.append((share, rest))
        return rest

    @property
    def share(self) -> float:
        return self.made[-1][0] if self.made else 0.0


@pytest.fixture
def decisions(monkeypatch: pytest.MonkeyPatch) -> Decisions:
    """Measured twenty times a second, so that no test waits for a throttle."""
    made = Decisions()
    monkeypatch.setattr(pacing, "MEASURE_SECONDS", 0.05)
    monkeypatch.setattr(pacing, "rest_seconds", made.decide)
    return made


@pytest.fixture
def proxies(settings: Settings) -> Iterator[dict[str, Proxy]]:
    made = {
        "source": Proxy(str(settings.cassandra_contact_points), settings.cassandra_port),
        "target": Proxy(str(settings.postgres_host), settings.postgres_port),
    }
    yield made
    for proxy in made.values():
        proxy.close()


def begun(site: Site, kind: str) -> list[int]:
    """A run of this kind over the songs, at twenty rows a second, which lasts for minutes if nobody changes that."""
    if kind == "drift":
        plan = make_plan(site.settings, site.config, ["songs"])
        runs = begin_pass(site.settings, site.config, plan, DriftRequest(), SILENT)
    else:
        runs = site.begin(["songs"])
    with closing(site.connect()) as connection:
        site.ledger(connection).set_rate(runs, 20)
    return runs


def worked_on(kind: str, settings: Settings, site: Site, runs: list[int]) -> None:
    (check_job if kind == "drift" else copy_job)(settings, site.config, runs, NEVER)


@pytest.mark.slow
@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("kind", ["backfill", "drift"])
def test_it_rests_while_a_server_is_slow_and_comes_back(
    site: Site, decisions: Decisions, proxies: dict[str, Proxy], kind: str, side: str
) -> None:
    """Would break: a slow server is loaded as before; the wrong one is named; it rests for ever; or rows are lost meanwhile."""
    if kind == "drift":
        site.backfill(["songs"])
        decisions.made.clear()
    through: dict[str, Any] = {"cassandra_port": proxies["source"].port, "postgres_port": proxies["target"].port}
    runs = begun(site, kind)
    with closing(site.connect()) as connection:
        ledger = site.ledger(connection)

        def throttled() -> Throttled | None:
            return ledger.progress(runs)[0].throttled

        job = threading.Thread(target=worked_on, args=(kind, site.settings.model_copy(update=through), site, runs))
        job.start()
        until(lambda: decisions.share == 1, what="it works at full speed")
        proxies[side].delay = DELAY
        state = until(lambda: (found := throttled()) and found.share <= 0.25 and found, 120, "it rests")
        assert (state.side, state.limit_ms) == (side, 200)
        assert state.latency_ms > 200
        slow = list(decisions.made)
        proxies[side].heal()
        until(lambda: decisions.share == 1, 120, "it works at full speed again")
        until(lambda: throttled() is None, what="and says so")
        assert job.is_alive(), "it was not at its end anyway"
        ledger.set_rate(runs, None)
        job.join(240)
        assert not job.is_alive()
    assert max(rest for share, rest in slow if share < 1) > 0
    assert {rest for share, rest in decisions.made if share == 1} == {0}
    if kind == "drift":
        plan = make_plan(site.settings, site.config, ["songs"])
        table = table_of(close_pass(site.settings, site.config, plan, runs, DriftRequest()), "songs")
        assert (table["clean"], table["rows"]["same"]) == (True, SONGS)
    else:
        site.finish(runs)
        site.check_done(runs)
        site.check_equal("songs")


@pytest.mark.slow
def test_a_throttled_command_says_so_and_ends_well(site: Site, proxies: dict[str, Proxy]) -> None:
    """Would break: a command that rests looks as if it hung, here, in the status, in its metrics, or in the next minute's job."""
    near = {"POSTGRES_PORT": str(proxies["target"].port)}
    running = site.start("backfill", "--table", "songs", "--workers", "1", "--rate", "20", "--json", **near)
    until(lambda: site.sql("SELECT 1 FROM sync.range WHERE rows_read > 0"), what="it copies")
    proxies["target"].delay = DELAY
    until(lambda: "throttled to " in running.err, 120, "it says so")
    assert "Postgres takes " in running.err and "(limit 200)" in running.err
    said = site.run("status").out
    assert "songs: throttled to " in said
    proxies["target"].heal()
    site.sql("UPDATE sync.run SET rows_per_second = NULL")
    done = running.wait(240)
    assert done.code == 0, done.err
    assert done.tables["songs"]["rows_written"] == SONGS
    site.check_equal("songs")


def test_what_a_renewal_notes_is_shown_and_is_where_the_next_job_begins(site: Site) -> None:
    """Would break: each job of a minute begins at full speed; or what was noted an hour ago is shown as of now."""
    site.apply()
    runs = site.begin(["songs", "notes"])
    noted = Throttled("target", 1_700_000_000.0, 48.2, 20.0, 0.125)
    with closing(site.connect()) as connection:
        ledger = site.ledger(connection)
        lease = ledger.claim(runs, "worker/0")
        assert lease
        assert (ledger.last_throttled(runs), [p.throttled for p in ledger.progress(runs)]) == (None, [None, None])
        renewed = ledger.renew(_noting(lease, noted))
        assert renewed and renewed.throttled is None
        assert ledger.last_throttled(runs) == noted
        assert {p.table: p.throttled for p in ledger.progress(runs)} == {"songs": noted, "notes": None}
        ledger.release_range(lease)
        assert ledger.last_throttled(runs) == noted, "the job ended, and the next one begins"
        connection.execute(
            "UPDATE sync.range SET figures = jsonb_set(figures, '{at}', to_jsonb((figures->>'at')::float8 - 20))"
        )
        assert ledger.last_throttled(runs) == noted
        assert [p.throttled for p in ledger.progress(runs)] == [None, None], "that was a while ago"
        lease = ledger.claim(runs, "worker/0")
        assert lease
        assert ledger.renew(lease)
        assert ledger.last_throttled(runs) is None, "it is no longer"


def _noting(lease: Lease, state: Throttled) -> Lease:
    return replace(lease, throttled=state)


def test_what_a_throttled_check_noted_is_no_verdict(site: Site) -> None:
    """Would break: a range that could not be read has figures, and a report takes them for a verdict (invariant 5)."""
    site.backfill(["songs"])
    plan = make_plan(site.settings, site.config, ["songs"])
    runs = begin_pass(site.settings, site.config, plan, DriftRequest(), SILENT)
    with closing(site.connect()) as connection:
        ledger = DriftLedger(connection, 30)
        for _ in range(50):
            lease = ledger.claim(runs, "worker/0")
            if lease is None:
                break
            assert ledger.renew(_noting(lease, Throttled("source", 1.0, 300, 200, 0.5)))
            ledger.fail(lease, "nothing could be read")
    table = table_of(close_pass(site.settings, site.config, plan, runs, DriftRequest()), "songs")
    assert (table["clean"], table["ranges"]["unknown"]) == (False, table["ranges"]["total"])
    assert table["rows"]["same"] == 0


def test_a_rate_of_a_pass_is_shared_by_processes_and_a_copys_by_its_streams(site: Site) -> None:
    """Would break: all streams together read several times the rate; or a pass takes a part of a copy's rate."""
    site.backfill(["notes"])
    copying = site.begin(["songs"])
    plan = make_plan(site.settings, site.config, ["notes"])
    checking = begin_pass(site.settings, site.config, plan, DriftRequest(rate=100), SILENT)
    with closing(site.connect()) as connection:
        copies, checks = RangeLedger(connection, 30), DriftLedger(connection, 30)
        copies.set_rate(copying, 100)
        leases = [checks.claim(checking, owner) for owner in ("one/0", "one/1", "two/0")]
        assert [lease and lease.rate for lease in leases] == [100, 100, 50]
        renewed = [lease and checks.renew(lease) for lease in leases]
        assert [lease and lease.rate for lease in renewed] == [50, 50, 50]
        copied = copies.claim(copying, "one/7")
        assert copied and copied.rate == 100
        again = copies.renew(copied)
        assert again and again.rate == 100
        assert leases[0] and (lease := checks.renew(leases[0])) and lease.rate == 50


def test_a_pass_with_a_rate_is_whole_and_reads_small_ranges(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a rate loses rows between the parts of a range that is cut; or it is the next pass's, too."""
    monkeypatch.setattr(check_ranges, "_BURST_SECONDS", 0.05)  # 300 rows
    site.configure("lease_seconds = 30\npage_mb = 0.01", "[drift]\ngrace_seconds = 0.05")
    site.backfill(["songs"])
    site.sql("UPDATE songs SET title = title || ' ' WHERE year = 1901")
    ((wrong,),) = site.sql("SELECT count(*) FROM songs WHERE year = 1901")
    one, said = WHOLE_RING.split(1), list[str]()
    slow = table_of(drift(site, ["songs"], ranges=one, asked=DriftRequest(rate=6000)), "songs")
    assert (slow["rows"]["different"], slow["rows"]["same"]) == (wrong, SONGS - wrong)
    assert site.sql("SELECT DISTINCT rows_per_second FROM sync.run WHERE kind = 'drift'") == [(6000,)]
    assert slow["ranges"]["total"] >= SONGS / 600, "the one range was cut, again and again"
    show = replace(SILENT, step=said.append)
    with closing(site.connect()) as connection:
        runs = DriftLedger(connection, 30)
        plan = make_plan(site.settings, site.config, ["songs"])
        new = begin_pass(site.settings, site.config, plan, DriftRequest(), show)
        lease = runs.claim(new, "me")
        assert (lease and lease.rate, said) == (None, [])
        begin_pass(site.settings, site.config, plan, DriftRequest(rate=50), show)
        assert said == ["the pass that was begun goes on with this command's rate: 50 rows/s at most"]
        begin_pass(site.settings, site.config, plan, DriftRequest(), show)
        assert said[1:] == ["the pass that was begun goes on with this command's rate: as fast as it can"]


@pytest.mark.parametrize(
    ("make", "row", "toml"),
    [
        ("(a int, b text, n int, v text, PRIMARY KEY ((a, b), n))", "(a, b, n, v) VALUES (1, 'x', 2, 'y')", ""),
        ("(k int PRIMARY KEY, v text)", "(k, v) VALUES (1, 'y') USING TTL 86400", '[tables.t]\nttl = "expire"'),
        ("(k int, n int, s text static, v text, PRIMARY KEY (k, n))", "(k, n, s, v) VALUES (1, 2, 'x', 'y')", ""),
        (
            '("Key" text, "N" timeuuid, v list<int>, PRIMARY KEY ("Key", "N"))',
            '("Key", "N", v) VALUES (\'a\', now(), [1])',
            "",
        ),
    ],
    ids=["of several columns", "that expires", "with static columns", "with quoted names"],
)
def test_one_row_of_any_table_is_read(
    site: Site, decisions: Decisions, monkeypatch: pytest.MonkeyPatch, make: str, row: str, toml: str
) -> None:
    """Would break: a copy of such a table fails as soon as there is a limit, or its source is never measured."""
    site.configure("lease_seconds = 30\nmin_ranges = 4", f"[throttle]\nsource_latency_ms = 2000\n{toml}")
    site.cql(f"CREATE TABLE {{ks}}.t {make}")
    site.cql(f"INSERT INTO {{ks}}.t {row}")
    read, real = set[str](), OneRow.read

    def looked(self: OneRow) -> bool:
        found = real(self)
        if found or self._cells:
            read.add(self._table.name)
        return found

    monkeypatch.setattr(OneRow, "read", looked)
    monkeypatch.setattr(pacing, "MEASURE_SECONDS", 0.0)
    tables = ["t", "t.static"] if "static" in make else ["t"]
    site.apply()
    site.backfill(tables)
    drift(site, tables)
    assert read == set(tables)
