"""Many small tables: the requests to the servers do not grow with their number, or only by a few a table (W13)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr
from support.counting import RequestCounts, counted
from support.places import NewPlace, Place

from sync.adapters.postgres.drift.keys import TargetKeys
from sync.settings import Config, Settings
from sync.stores import DualWriteStore
from sync.wiring.backfill.command import Show, begin_copy, build_indexes, make_plan
from sync.wiring.cutover.canary import run_canary
from sync.wiring.cutover.gates import judge, open_site
from sync.wiring.drift.command import DriftRequest, begin_pass
from sync.wiring.preflight import preflight
from sync.wiring.status import read_status

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
FEW, MANY = 2, 12
A_TABLE = 14
"""Requests to Cassandra for one table of a preflight: five statements prepared, nine tried out."""
A_NEW_TARGET = 8
"""Statements for one target that a backfill begins to fill: its columns, the order of its key, and what a lock protects."""
A_CANARY = 1
"""Statements for one table's canary: a sample of its rows."""
SHOW = Show(lambda progress: None, lambda build: None, lambda step: None)
TOKEN_INDEXES = (
    "SELECT indrelid::regclass::text FROM pg_index WHERE indexrelid::regclass::text LIKE '\\_sync\\_token\\_%' AND indisvalid"
)


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    """Tables of two columns, on both sides, each with a row."""
    with new_place() as place:
        for n in range(MANY):
            place.cql(
                f"CREATE TABLE KS.t{n} (id int PRIMARY KEY, v text)",
                f"INSERT INTO KS.t{n} (id, v) VALUES (1, 'one')",
            )
        place.configure("schema_files = []\n")
        assert place.commands.run("schema", "apply").code == 0
        place.sql("SELECT 1")  # a process looks for a pooler once
        yield place


def only(count: int) -> Config:
    """A configuration with only the first `count` tables."""
    return Config(only=tuple(f"t{n}" for n in range(count)))


def asked_by(act: Callable[[Settings, Config], object], home: Place) -> tuple[RequestCounts, RequestCounts]:
    """The requests that it makes for few tables, and for many."""
    settings = home.settings.model_copy(update={"redis_url": SecretStr(home.commands.env["REDIS_URL"])})
    found = []
    for count in (FEW, MANY):
        tried = []
        for _ in range(2):  # the driver may look at the whole schema once more, by itself
            with counted() as asked:
                act(settings, only(count))
            tried.append(asked)
        found.append(RequestCounts(min(t.cassandra for t in tried), min(t.postgres for t in tried)))
    return found[0], found[1]


def test_preflight_asks_postgres_for_all_tables_at_once(home: Place) -> None:
    """Would break: ten statements a table: 2,000 round trips for 200 tables before anything is known."""

    def look(settings: Settings, config: Config) -> None:
        report = preflight(settings, config)
        assert tuple(t.name for t in report.tables) == config.only
        assert report.small == set(config.only or ())
        assert report.problems == []

    few, many = asked_by(look, home)
    assert many.postgres == few.postgres
    assert many.cassandra - few.cassandra <= A_TABLE * (MANY - FEW), "what is known of a table is asked again"


def test_a_plan_asks_postgres_for_all_tables_at_once(home: Place) -> None:
    """The plan of a backfill or a drift report, with its preflight, finds its tables with one query."""

    def plan(settings: Settings, config: Config) -> None:
        assert len(make_plan(settings, config, None).shapes) == len(config.only or ())

    few, many = asked_by(plan, home)
    assert many.postgres == few.postgres


def test_a_backfill_begins_and_ends_with_few_statements_a_table(home: Place) -> None:
    """Would break: 30 statements a table, two dozen of them for an index that is built over ten rows."""

    def begin(settings: Settings, config: Config) -> None:
        plan = make_plan(settings, config, None)
        assert len(begin_copy(settings, config, plan, None, SHOW)) == len(plan.tables)

    def end(settings: Settings, config: Config) -> None:
        build_indexes(settings, make_plan(settings, config, None).tables, SHOW.build)

    few, many = asked_by(begin, home)
    assert many.postgres - few.postgres <= A_NEW_TARGET * (MANY - FEW)
    assert len(home.sql(TOKEN_INDEXES)) == MANY
    few, many = asked_by(end, home)
    assert many.postgres == few.postgres


@pytest.fixture(scope="module")
def copied(home: Place) -> Place:
    """The same, copied."""
    done = home.commands.run("backfill", "--workers", "1")
    assert done.code == 0, done
    return home


def test_a_backfill_of_filled_tables_asks_for_all_at_once(copied: Place) -> None:
    """Would break: what begins again after Ctrl-C asks ten times a table what has long been done."""

    def begin(settings: Settings, config: Config) -> None:
        begin_copy(settings, config, make_plan(settings, config, None), None, SHOW)

    few, many = asked_by(begin, copied)
    assert many.postgres == few.postgres


def test_a_drift_report_begins_with_statements_for_all_tables(copied: Place) -> None:
    """Would break: eight statements a table, before the first range is read."""

    def begin(settings: Settings, config: Config) -> None:
        runs = begin_pass(settings, config, make_plan(settings, config, None), DriftRequest(), SHOW)
        assert len(runs) == len(config.only or ())

    few, many = asked_by(begin, copied)
    # Each whose copy is under way, as the test before this one left them, is looked at alone for rows without a token.
    assert many.postgres - few.postgres <= MANY - FEW


def test_gates_ask_a_few_times_a_table(copied: Place) -> None:
    """Would break: each of the canary's rows takes requests of its own, to both sides."""

    def gates(settings: Settings, config: Config) -> None:
        with open_site(settings, config) as site:
            found = {gate.name: gate for gate in judge(site, "cutover", site.authority.current(), dry=True)}
        count = len(config.only or ())
        assert f"{count} rows of {count} tables equal" in found["canary"].figure

    few, many = asked_by(gates, copied)
    assert many.postgres - few.postgres <= A_CANARY * (MANY - FEW)
    assert many.cassandra - few.cassandra <= 2 * (MANY - FEW), "one statement prepared, and run once"


def test_the_canary_uses_postgres_by_one_table_at_a_time(copied: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: behind a pooler a statement is several, and those of two tables mix: "another command is in progress"."""
    busy, most = [0], [0]

    def watched(really: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*given: Any) -> Any:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
            time.sleep(0.01)
            busy[0] -= 1
            return really(*given)

        return asked

    for name in ("look", "sample"):
        monkeypatch.setattr(TargetKeys, name, watched(getattr(TargetKeys, name)))
    settings = copied.settings.model_copy(update={"redis_url": SecretStr(copied.commands.env["REDIS_URL"])})
    with open_site(settings, only(MANY)) as site:
        facts = run_canary(site.cassandra, site.connection, site.tables, site.config, False)
    assert [fact.error for fact in facts] == [""] * MANY
    assert most == [1]


def test_only_a_small_empty_table_gets_its_token_index_before_the_load(home: Place) -> None:
    """Would break: each row of a large table is added to an index; or writers wait while one of a filled table is built."""
    names = ("small", "large", "filled")
    for name in names:
        home.cql(f"CREATE TABLE KS.{name} (id int PRIMARY KEY, v text)")
    assert home.commands.run("schema", "apply").code == 0
    home.sql("INSERT INTO filled (id, v) VALUES (1, 'one')")
    config = Config(only=names)
    settings = home.settings.model_copy(update={"redis_url": SecretStr(home.commands.env["REDIS_URL"])})
    plan = make_plan(settings, config, None)
    assert plan.small == set(names)
    begin_copy(settings, config, replace(plan, small=frozenset({"small", "filled"})), None, SHOW)
    assert {name for (name,) in home.sql(TOKEN_INDEXES)} & set(names) == {"small"}
    build_indexes(settings, plan.tables, SHOW.build)
    assert {name for (name,) in home.sql(TOKEN_INDEXES)} >= set(names)


def test_status_asks_nobody_by_table(home: Place) -> None:
    """Would break: status runs three statements a table to map it, and a fourth to find it."""

    def status(settings: Settings, config: Config) -> None:
        found = read_status(settings, config)
        assert found["gates"] and not found["gates_error"]

    few, many = asked_by(status, home)
    assert (many.postgres, many.cassandra) == (few.postgres, few.cassandra)


def test_rights_are_asked_once_a_table(home: Place) -> None:
    """While applications write, preflight checks whether their writes could be sent again: one more request a table."""
    with DualWriteStore(home.settings, only(MANY)):
        few, many = asked_by(preflight, home)
    assert many.postgres == few.postgres
    assert many.cassandra - few.cassandra <= (A_TABLE + 1) * (MANY - FEW)
