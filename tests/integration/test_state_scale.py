"""What the state's statements cost does not grow with how many ranges, tables and intents there are.

Buffers are counted, not seconds, and nothing was analyzed: a state that fills quickly has no statistics yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import pytest
from support.places import NewPlace

from sync.adapters.postgres.connect import Connection, connect
from sync.adapters.postgres.journal import due_statement
from sync.adapters.postgres.migrations import STATE, texts
from sync.adapters.postgres.queries import queries

pytest_plugins = ("support.fixtures",)
FEW, MANY = 1_000, 100_000
MOST_GROWTH = 3
"""So many times as many buffers for a hundred times as much: a level more of an index, and what hangs on chance."""
WRITER = "host:1:abc"
JOURNAL, SETTLING, RANGES, DRIFT = (queries(name) for name in ("journal", "settling", "ranges", "drift"))


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
            connection.execute(texts(set())[STATE].encode())
            for statement in FILL.split(";\n"):
                connection.execute(statement.encode(), {"size": size, "writer": WRITER})
        yield {FEW: few, MANY: many}


FILL = """
INSERT INTO sync.writer (id, slot, host, pid, epoch, state) VALUES (%(writer)s, 1, 'h', 1, 1, 'active');
INSERT INTO sync.run (kind, table_name, floor) SELECT k, 't' || n, 1
FROM generate_series(1, greatest(2, %(size)s / 500)) AS n, unnest(ARRAY['backfill', 'drift']) AS k ORDER BY k, n;
INSERT INTO sync.range (run_id, table_name, range_start, range_end)
SELECT run.id, run.table_name, CASE n WHEN 0 THEN -9223372036854775808 ELSE n * 1000 END, (n + 1) * 1000
FROM sync.run, generate_series(0, 499) AS n ORDER BY n, run.id;
UPDATE sync.range SET state = 'running', lease_owner = 'h:9:x/1', lease_until = clock_timestamp() + interval '1 hour'
WHERE range_start = 1000 AND run_id %% 20 = 0;
INSERT INTO sync.intent (table_name, key, source_key, token, kind, state, version, epoch, owner, mutation, lease_until)
SELECT 't1', int4send(n), int4send(n), n, 'put', CASE n %% 10 WHEN 0 THEN 'open' ELSE 'finished' END, n, 1, %(writer)s, '\\x00',
       CASE WHEN n %% 10 > 4 THEN clock_timestamp() + interval '1 hour' END
FROM generate_series(1, %(size)s) AS n;
INSERT INTO sync.intent (table_name, key, source_key, token, kind, state, version, epoch, owner, mutation)
SELECT 't2', int4send(n), int4send(n), n, 'put', 'finished', n, 1, %(writer)s, '\\x00' FROM generate_series(1, 100) AS n;
INSERT INTO sync.tombstone SELECT 't1', int4send(n), n, n FROM generate_series(1, %(size)s) AS n
"""


def cost(connection: Connection, statement: str | bytes, values: Mapping[str, Any], plans: str) -> tuple[int, str]:
    """Buffers that the statement touches, and its plan; nothing of it stays. `plans`: of given values, or of any."""
    text = statement.encode() if isinstance(statement, str) else statement
    with connection.transaction(force_rollback=True):
        connection.execute("SELECT set_config('plan_cache_mode', %s, true)", (plans,))
        found = connection.execute(b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + text, values, prepare=True).fetchone()
    assert found
    plan = found[0][0]
    return plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"], str(plan)


def runs(connection: Connection, kind: str) -> list[int]:
    return [run for (run,) in connection.execute("SELECT id FROM sync.run WHERE kind = %s ORDER BY id", (kind,))]


DUE = {"epoch": 1, "owner": "me", "lease": 30, "writer_lease": 30, "window": 60}
PICK = {"epoch": 1, "writer_lease": 30, "window": 60, "open_too": True, "tokens": [5, 15, 33],
        "keys": [n.to_bytes(4, "big") for n in (5, 15, 33)]}  # fmt: skip
ONE = {"table": "t1", "key": (77).to_bytes(4, "big"), "source_key": (77).to_bytes(4, "big")}
STATEMENTS: dict[str, tuple[str | bytes, Mapping[str, Any]]] = {
    "due, of the table that has them": (due_statement(64), {**DUE, "table": "t1"}),
    "due, of another table": (due_statement(64), {**DUE, "table": "t2"}),
    "due, of a table that has none": (due_statement(64), {**DUE, "table": "t3"}),
    "share_range": (JOURNAL["share_range"], {"table": "t1", "token": 123_456}),
    "share_ranges": (SETTLING["share_ranges"], {"table": "t1", "tokens": [n * 7_001 for n in range(64)]}),
    "pick": (SETTLING["pick"], {**PICK, "table": "t1"}),
    "failed": (JOURNAL["failed"], {**ONE, "error": "no"}),
    "claim of a backfill": (RANGES["claim"], {"owner": "me:1:x/1", "lease": 60}),
    "claim of a drift report": (DRIFT["claim"], {"owner": "me:1:x/1", "lease": 60}),
    "touched": (RANGES["touched"], {"table": "t2", "start": 5_000_000, "end": 6_000_000}),
    "work_left": (RANGES["work_left"], {}),
    "active_workers": (RANGES["active_workers"], {}),
}


@pytest.mark.parametrize("plans", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("name", STATEMENTS)
def test_the_cost_of_a_statement_is_flat(states: dict[int, Connection], name: str, plans: str) -> None:
    """Would break: with 10⁶ intents, 10⁵ ranges, 200 tables each look for work reads all of them."""
    statement, values = STATEMENTS[name]
    costs = {}
    for size, connection in states.items():
        if name.startswith("claim") or name in ("work_left", "active_workers"):
            values = {**values, "runs": runs(connection, "drift" if "drift" in name else "backfill")}
        costs[size], plan = cost(connection, statement, values, plans)
        assert size == FEW or not set(re.findall(r"'Seq Scan'[^{}]*'Relation Name': '(intent|tombstone|range)'", plan)), plan
    assert costs[MANY] <= MOST_GROWTH * max(costs[FEW], 20), costs
