"""A state schema with any number of ranges, tables and intents, and the statements that look for work in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.dual_write.journal import due_statement
from sync.adapters.postgres.dual_write.partitions import DUE_DELETES
from sync.adapters.postgres.schema.migrations import STATE, texts

WRITER = "host:1:abc"
JOURNAL, SETTLING, RANGES, DRIFT = (
    queries(name) for name in ("dual_write/journal", "dual_write/reconcile", "backfill/ranges", "drift/drift")
)
FILL = """
INSERT INTO sync.writer (id, slot, host, pid, epoch, state) VALUES (%(writer)s, 1, 'h', 1, 1, 'active');
INSERT INTO sync.run (kind, table_name, floor) SELECT k, 't' || n, 1
FROM generate_series(1, %(tables)s) AS n, unnest(ARRAY['backfill', 'drift']) AS k ORDER BY k, n;
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


def fill(connection: Connection, size: int) -> None:
    """Make the state schema, with `size` intents, one table per 500 of them (2 to 200), and 500 ranges per run."""
    connection.execute(texts()[STATE].encode())
    for table in ("intent", "tombstone", "range"):  # vacuumed at different times, two states cannot be compared
        connection.execute(f"ALTER TABLE sync.{table} SET (autovacuum_enabled = false)".encode())
    for statement in FILL.split(";\n"):
        connection.execute(statement.encode(), {"size": size, "tables": min(200, max(2, size // 500)), "writer": WRITER})


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
    "due deletes of partitions": (DUE_DELETES, {**DUE, "table": "t1"}),
    "share_range": (JOURNAL["share_range"], {"table": "t1", "token": 123_456}),
    "share_ranges": (SETTLING["share_ranges"], {"table": "t1", "tokens": [n * 7_001 for n in range(64)]}),
    "pick": (SETTLING["pick"], {**PICK, "table": "t1", "mutations": True}),
    "failed": (JOURNAL["failed"], {**ONE, "error": "no"}),
    "claim of a backfill": (RANGES["claim"], {"owner": "me:1:x/1", "lease": 60}),
    "claim of a drift report": (DRIFT["claim"], {"owner": "me:1:x/1", "lease": 60}),
    "touched": (RANGES["touched"], {"table": "t2", "start": 5_000_000, "end": 6_000_000}),
    "work_left": (RANGES["work_left"], {}),
    "sweep": (JOURNAL["open_by_table"], {"most": 50}),
    "active_workers": (RANGES["active_workers"], {}),
}


def values_of(connection: Connection, name: str) -> tuple[str | bytes, dict[str, Any]]:
    """A statement with its parameters."""
    statement, values = STATEMENTS[name]
    if name.startswith("claim") or name in ("work_left", "active_workers", "progress"):
        values = {**values, "runs": runs(connection, "drift" if "drift" in name else "backfill")}
    return statement, dict(values)


def set_up(connection: Connection, name: str) -> None:
    """Run what precedes the statement in its transaction."""
    if name.startswith("due") or name == "sweep":
        connection.execute(JOURNAL["in_order"].encode())
