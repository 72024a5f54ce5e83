"""The cost of the state's statements does not grow with the number of ranges, tables and intents.

Buffers are counted, not seconds, and nothing was analyzed: a state that fills quickly has no statistics yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing

import pytest
from support.places import NewPlace
from support.state import STATEMENTS, fill, set_up, values_of

from sync.adapters.postgres.connection.connect import Connection, connect

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
FEW, MANY = 1_000, 100_000
MAX_GROWTH = 3
"""Growth in buffers that is allowed for a hundred times the rows: one more level of an index, and chance."""


@pytest.fixture(scope="module")
def states(new_place: NewPlace) -> Iterator[dict[int, Connection]]:
    """A state with few ranges and intents, and one with many."""
    with (
        new_place() as small,
        new_place() as large,
        closing(connect(small.settings, autocommit=True)) as few,
        closing(connect(large.settings, autocommit=True)) as many,
    ):
        for size, connection in ((FEW, few), (MANY, many)):
            fill(connection, size)
        yield {FEW: few, MANY: many}


def cost(connection: Connection, name: str, plans: str) -> tuple[int, str]:
    """Buffers that the statement touches, and its plan; it is rolled back. `plans`: the plan_cache_mode."""
    statement, values = values_of(connection, name)
    text = statement.encode() if isinstance(statement, str) else statement
    with connection.transaction(force_rollback=True):
        connection.execute("SELECT set_config('plan_cache_mode', %s, true)", (plans,))
        set_up(connection, name)
        found = connection.execute(b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + text, values, prepare=True).fetchone()
    assert found
    plan = found[0][0]
    return plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"], str(plan)


@pytest.mark.parametrize("plans", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("name", STATEMENTS)
def test_the_cost_of_a_statement_is_flat(states: dict[int, Connection], name: str, plans: str) -> None:
    """Would break: with 10⁶ intents, 10⁵ ranges or 200 tables, each search for work reads all of them."""
    costs = {}
    for size, connection in states.items():
        costs[size], plan = cost(connection, name, plans)
        assert size == FEW or not set(re.findall(r"'Seq Scan'[^{}]*'Relation Name': '(intent|tombstone|range)'", plan)), plan
    assert costs[MANY] <= MAX_GROWTH * max(costs[FEW], 20), costs
