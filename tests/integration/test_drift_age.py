"""A proof is as old as its oldest verdict, and of the schema and the epoch in which it was made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.backfills import NEVER, Site
from support.drift import SILENT, drift, table_of
from support.sources import make_corpus

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.schema.identity import identities
from sync.adapters.postgres.cutover.gates import GateFacts
from sync.core.ring import WHOLE_RING
from sync.errors import WorkFailed
from sync.ports import Progress
from sync.settings import Settings
from sync.wiring.backfill.command import make_plan, run_backfill
from sync.wiring.drift.command import DriftRequest, begin_pass
from sync.wiring.drift.worker import check_job

pytestmark = pytest.mark.slow

FEW = WHOLE_RING.split(4)
DONE = "SELECT count(*) FROM sync.range JOIN sync.run ON run.id = run_id WHERE kind = 'drift' AND range.state = 'done'"


@pytest.fixture
def site(settings: Settings, cassandra: Cassandra, tmp_path: Path) -> Iterator[Site]:
    """A table on both sides, backfilled: equal."""
    opened = Site(settings, cassandra, tmp_path)
    opened.configure(
        "lease_seconds = 5\nmin_ranges = 16", "\n[drift]\ngrace_seconds = 0.05\ntries = 3\nmax_verdict_age_minutes = 30"
    )
    make_corpus(opened, songs=60, notes=0)
    opened.backfill()
    yield opened
    opened.close()


def stopped(site: Site) -> None:
    """A pass that is stopped when all its ranges but one have their verdict: equal."""
    plan = replace(make_plan(site.settings, site.config, ["songs"]), ranges={"songs": FEW})
    runs = begin_pass(site.settings, site.config, plan, DriftRequest(), SILENT)
    check_job(site.settings, site.config, runs, NEVER)
    site.sql(
        "UPDATE sync.range SET state = 'pending', figures = NULL WHERE id = "
        "(SELECT max(range.id) FROM sync.range JOIN sync.run ON run.id = run_id WHERE kind = 'drift')"
    )
    assert site.sql(DONE) == [(3,)]


def change(site: Site) -> None:
    """Somebody else's write, in every range."""
    site.sql("UPDATE songs SET title = coalesce(title, '') || '!'")


def went_on(site: Site, **asked: Any) -> int:
    """How many rows the same command finds when it resumes; a range that keeps its verdict finds nothing."""
    report = drift(site, ["songs"], asked=DriftRequest(**asked), ranges=FEW)
    return int(table_of(report, "songs")["rows"]["different"])


def test_a_young_verdict_is_kept(site: Site) -> None:
    """Would break: a pass that was stopped for a moment does all its work again."""
    stopped(site)
    change(site)
    assert 0 < went_on(site) < 60


AGED = (
    "UPDATE sync.range SET started_at = started_at - interval '31 minutes', finished_at = finished_at - interval '31 minutes'"
)
EPOCH = "INSERT INTO sync.epoch (epoch, \"primary\", floor) SELECT max(epoch) + 1, 'astra', max(floor) + 1 FROM sync.epoch"


@pytest.mark.parametrize(
    ("between", "asked"),
    [
        (lambda site: site.sql(AGED), {}),
        (lambda site: site.sql(EPOCH), {}),
        (lambda site: site.sql("ALTER TABLE songs ADD COLUMN more text"), {}),
        (lambda site: [site.cql(f"ALTER TABLE {{ks}}.songs {ddl}") for ddl in ("DROP year", "ADD year int")], {}),
        (lambda site: None, {"restart": True}),
    ],
    ids=["too old", "another epoch", "another schema", "a column made again", "--restart"],
)
def test_what_proves_nothing_any_more_is_checked_again(
    site: Site, between: Callable[[Site], Any], asked: dict[str, Any]
) -> None:
    """Would break: a resumed pass says equal because of a verdict from last night, another epoch, or another schema."""
    stopped(site)
    between(site)
    change(site)
    assert went_on(site, **asked) == 60


def test_findings_of_ranges_that_are_checked_again_are_forgotten(site: Site) -> None:
    """Would break: a row that was repaired since is still listed, and not counted."""
    change(site)
    stopped_at = "UPDATE sync.range SET state = 'pending' WHERE id = (SELECT max(id) FROM sync.range)"
    plan = replace(make_plan(site.settings, site.config, ["songs"]), ranges={"songs": FEW})
    runs = begin_pass(site.settings, site.config, plan, DriftRequest(), SILENT)
    check_job(site.settings, site.config, runs, NEVER)
    site.sql(stopped_at)
    site.sql("UPDATE songs SET title = nullif(left(title, -1), '')")
    report = drift(site, ["songs"], asked=DriftRequest(restart=True), ranges=FEW)
    assert report["clean"] and table_of(report, "songs")["findings"] == []


def test_a_pass_is_as_old_as_its_oldest_verdict(site: Site) -> None:
    """Would break: the gate accepts a pass that was partly checked before the last disturbance."""
    stopped(site)
    ((disturbed,),) = site.sql("SELECT clock_timestamp()")
    assert drift(site, ["songs"], ranges=FEW)["clean"]
    assert drift(site, ["songs"], ranges=FEW)["clean"]
    with closing(site.connect()) as connection:
        later, resumed = GateFacts(connection).passes()
    assert resumed.started_at < disturbed < later.started_at


@pytest.mark.parametrize(
    ("ddl", "said"),
    [
        ("ALTER TABLE songs ALTER COLUMN title TYPE varchar(500)", "title is another type in Postgres"),
        ("ALTER TABLE songs DROP COLUMN year", "year (int) has no column year in Postgres"),
        ("DROP TABLE songs", "Postgres has no table songs"),
    ],
)
def test_a_target_that_changed_in_the_middle_of_a_pass_is_said(site: Site, ddl: str, said: str) -> None:
    """Would break: half of a pass is of the old table and half of the new one, and the report calls it clean."""
    report = drift_with(site, lambda: site.sql(ddl))
    table = table_of(report, "songs")
    assert not report["clean"] and not table["clean"] and table["ranges"]["same"] == 0
    assert said in table["errors"][0]
    with closing(site.connect()) as connection:
        assert [p.clean for p in GateFacts(connection).passes()] == [False]


@pytest.mark.parametrize(
    ("ddl", "said"),
    [
        (["ALTER TABLE {ks}.songs DROP year"], "the source has lost year"),
        (["ALTER TABLE {ks}.songs ADD more text"], "has no column more in Postgres"),
        (["ALTER TABLE {ks}.songs DROP year", "ALTER TABLE {ks}.songs ADD year int"], "dropped and made again"),
    ],
)
def test_a_source_that_changed_in_the_middle_of_a_pass_is_said(site: Site, ddl: list[str], said: str) -> None:
    """Would break: the same, for the source."""
    report = drift_with(site, lambda: [site.cql(statement) for statement in ddl])
    table = table_of(report, "songs")
    assert not report["clean"] and table["ranges"]["same"] == 0
    assert said in table["errors"][0]


def drift_with(site: Site, ddl: Callable[[], Any]) -> dict[str, Any]:
    """A pass whose table changes when its ranges have their verdicts."""
    from sync.wiring.drift import command as wiring

    real = wiring.close_pass
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("support.drift.close_pass", lambda *given: (ddl(), real(*given))[1])
        return drift(site, ["songs"], ranges=FEW)


@pytest.mark.parametrize(
    ("microseconds", "told"), [(2**63 - 1, 2**63 // 1000), (-(10**18), -(10**15)), (1_700_000_000_123_456, 1_700_000_000_123)]
)
def test_a_column_may_have_been_dropped_at_any_time(site: Site, microseconds: int, told: int) -> None:
    """Would break: Python has no value for the year 10000, the driver closes the connection, and no command can begin."""
    before = identities(site.cassandra, site.keyspace)["songs"]
    site.cql(f"ALTER TABLE {{ks}}.songs DROP year USING TIMESTAMP {microseconds}")
    assert identities(site.cassandra, site.keyspace)["songs"] == f"{before}; year dropped {told}"
    assert drift(site, ["notes"], ranges=FEW)["clean"]


def test_a_schema_that_changed_in_the_middle_of_a_copy_ends_it_with_an_error(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: half of the rows have the column and half do not, and the backfill says done."""

    class Copying:
        """Watches a copy in this process, in the middle of which the source's table changes."""

        def __init__(self, *_given: Any) -> None:
            self._stops = iter([False] * 2 + [True])

        def watch(self, runs: list[int]) -> list[Progress]:
            site.copy(runs, lambda: next(self._stops, True))
            if ddl:
                site.cql(ddl.pop())
            site.copy(runs)
            return list(site.progress(runs).values())

    ddl = ["ALTER TABLE {ks}.songs DROP year"]
    monkeypatch.setattr("sync.wiring.backfill.command.Supervisor", Copying)
    site.sql("DELETE FROM songs")
    plan = replace(make_plan(site.settings, site.config, ["songs"]), ranges={"songs": FEW})
    with pytest.raises(
        WorkFailed, match="songs: its schema changed meanwhile: the source has lost year; run `sync backfill` again"
    ):
        run_backfill(site.settings, site.config, plan, None, Nobody(), SILENT)
    plan = make_plan(site.settings, site.config, ["songs"])
    (done,) = run_backfill(site.settings, site.config, plan, None, Nobody(), SILENT)
    assert done.done == done.total == 4, "the same run"
    assert site.sql("SELECT count(*) FROM sync.range WHERE started_at IS NULL") == [(0,)]
    assert done.rows_read > 60, "what was copied of the table as it was is read again"


class Nobody:
    """No workers."""

    def __len__(self) -> int:
        return 0

    def heal(self) -> int:
        return 0

    def dismiss(self) -> None:
        pass
