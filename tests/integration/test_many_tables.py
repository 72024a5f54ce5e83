"""Many small tables: the requests to the servers do not grow with their number, or only by a few a table (W13)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from pydantic import SecretStr
from support.counting import RequestCounts, counted
from support.places import NewPlace, Place

from sync.settings import Config, Settings
from sync.stores import DualWriteStore
from sync.wiring.backfill.command import make_plan
from sync.wiring.preflight import preflight
from sync.wiring.status import read_status

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
FEW, MANY = 2, 12
A_TABLE = 17
"""Requests to Cassandra for one table of a preflight: eight statements prepared, nine tried out."""


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
