"""Benchmarks reach into the code they measure: each way still works, and times the steps that it names."""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from support.places import Place

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks.async_client import Tasks
from benchmarks.dual_client import PLAIN_TABLES, TABLE, TASK_WAYS, Cell, Ways
from benchmarks.dual_report import TITLES

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(place: Place) -> Place:
    """The example's tables on both sides."""
    assert place.commands.run("schema", "apply", "--source", "--dimension", "3").code == 0
    for statement in PLAIN_TABLES:
        place.sql(statement)
    return place


def test_every_way_of_a_dual_write_is_measured(home: Place) -> None:
    """Would break: `make bench-dual-write` fails when the stores keep their flows elsewhere (as in issue after issue)."""
    with ExitStack() as stack, closing(Tasks(home.settings)) as tasks:
        ways = Ways(home.settings, stack)
        for way in TITLES:
            assert Cell(ways.put(way), 1, 0, 2).run()["writes"] == 2, way
        timed = {way: {step for step, took in steps.items() if took} for way, steps in ways.steps.items()}
        for way in TASK_WAYS:
            assert tasks.run(way, 2, 0, 2)["writes"] == 2, way
    assert timed == {"inline": {"intent", "primary", "second half"}, "async": {"intent", "primary"}}
    assert home.cql(f"SELECT count(*) FROM KS.{TABLE}")[0][0] == 2 * 6, "all ways but those to Postgres alone"
