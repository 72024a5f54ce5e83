"""`migrations/003_sync_state.sql` on a state that an older version made, and used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sync.adapters.postgres.connect import Connection, connect
from sync.adapters.postgres.migrations import STATE
from sync.resources import migration
from sync.settings import Settings

BEFORE = Path(__file__).parents[1] / "data" / "state_schema_of_before.sql"
# The first epoch's row is the schema's own.
ROWS = """
INSERT INTO sync.epoch (epoch, "primary", floor, state, closing_until) VALUES (2, 'postgres', 7, 'closing', now());
INSERT INTO sync.run (kind, table_name, floor, state, data_center, epoch, shape, write_times, repair)
VALUES ('backfill', 't', 7, 'open', 'dc', 1, 's', true, false), ('drift', 't', 7, 'done', NULL, NULL, NULL, false, true);
INSERT INTO sync.range (run_id, table_name, range_start, range_end, state, done_to, figures, deaths)
VALUES (1, 't', -9223372036854775808, 0, 'running', -5, NULL, 0), (1, 't', 0, 9, 'pending', NULL, NULL, 0),
       (2, 't', 0, 9, 'done', NULL, '{"equal": 3}', 2);
INSERT INTO sync.tombstone (table_name, key, token, version) VALUES ('t', '\\x00', 1, 2), ('t', '\\x01', 1, 3), ('u', '\\x00', 1, 2);
INSERT INTO sync.ahead (table_name, key, token, version, shown, rechecked, source_key)
VALUES ('t', '\\x00', 1, 2, '{"b": 1, "a": "x"}', true, '\\x02'), ('t', '\\x01', 1, 2, '{}', false, NULL);
INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner, mutation, source_key, ended_at, replayed_at, replays)
VALUES ('t', '\\x00', 1, 'put', 'open', 1, 1, 'w', '\\x01', '\\x02', NULL, NULL, 0),
       ('t', '\\x00', 1, 'delete', 'unsure', 2, 1, 'w', '\\x01', NULL, now(), now(), 3),
       ('t', '\\x00', 1, 'recheck', 'finished', 3, 1, 'w', NULL, NULL, NULL, NULL, 0),
       ('t', '\\x00', 1, 'recheck', 'finished', 4, 1, 'w', NULL, NULL, NULL, NULL, 0);
INSERT INTO sync.writer (id, slot, host, pid, epoch, state, data_center, acknowledged, waits, recorded_at, fenced_at)
VALUES ('h:1:a', 1, 'h', 1, 1, 'active', 'dc', 1, '{}', now(), NULL), ('h:2:b', 2, 'h', 2, 1, 'unclean', NULL, NULL, NULL, NULL, now());
INSERT INTO sync.reject (table_name, source_key, column_name, run_id, token, key, reason, action)
VALUES ('t', '\\x00', 'c', 1, 1, '{"b": 1, "a": "x"}', 'NUL', 'reject'), ('t', '\\x00', '', 1, 1, '{}', 'r', 'null');
INSERT INTO sync.index (index_name, table_name, definition) VALUES ('public.i', 't', 'CREATE INDEX i ON t (c)');
INSERT INTO sync.disturbance (table_name, why) VALUES ('t', 'w');
INSERT INTO sync.audit (who, what, detail) VALUES ('me', 'backfill', '{"rows": 1}');
INSERT INTO sync.drift_pass (runs, clean, repaired, started_at, report, data_center, epoch, schema_digest)
VALUES ('{2}', true, 0, now(), '{"t": {}}', 'dc', 1, 'd'), ('{}', false, 4, now(), '{}', NULL, NULL, NULL);
INSERT INTO sync.drift_finding
VALUES (2, 't', '\\x00', '\\x01', 1, 'different', '{"b": 1, "a": "x"}', '{c, "d e"}', 5, 6, false, ''),
       (2, 't', '\\x00', '\\x02', 1, 'missing', '{}', '{}', 5, NULL, true, 'e');
INSERT INTO sync.switch (kind, from_epoch, who, lease_until, finished_at, state)
VALUES ('cutover', 1, 'me', now(), now(), 'flipped'), ('rollback', 2, 'me', now(), NULL, 'closing');
INSERT INTO sync.source_table (name, definition) VALUES ('t', '{}');
UPDATE sync.run SET rows_per_second = 9, error = 'e', finished_at = now() WHERE id = 2;
UPDATE sync.range SET lease_owner = 'w', lease_until = now(), error = 'e', started_at = now(), finished_at = now() WHERE id < 3;
UPDATE sync.intent SET lease_owner = 'w', lease_until = now(), error = 'e' WHERE id < 3;
UPDATE sync.writer SET clock_skew_us = -3 WHERE slot = 1;
UPDATE sync.switch SET closed_at = now(), reason = 'r' WHERE id = 1
"""
GONE = {"drift_pass": {"schema_digest"}}
"""Columns that nothing reads any more."""
CATALOGUE = {
    "tables": "SELECT relname, relkind, relreplident FROM pg_class WHERE relnamespace = 'sync'::regnamespace",
    "columns": """
        SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull, attidentity, pg_get_expr(adbin, adrelid)
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
        WHERE relnamespace = 'sync'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped""",
    "indexes": """
        SELECT indexdef, indisvalid, indisreplident FROM pg_indexes JOIN pg_index ON indexrelid = format('sync.%I', indexname)::regclass
        WHERE schemaname = 'sync'""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, convalidated, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'sync'::regnamespace""",
}


@pytest.fixture
def connection(settings: Settings) -> Iterator[Connection]:
    """A connection to an empty database."""
    with closing(connect(settings, autocommit=True)) as opened:
        yield opened


def _catalogue(connection: Connection) -> dict[str, set[tuple[Any, ...]]]:
    return {what: set(connection.execute(query.encode()).fetchall()) for what, query in CATALOGUE.items()}


def _rows(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    """Every table's rows, as JSON."""
    names = [name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'sync'")]
    return {n: [row for (row,) in connection.execute(f'SELECT to_jsonb(t) FROM sync."{n}" AS t'.encode())] for n in names}


def _sorted(rows: list[dict[str, Any]], columns: set[str]) -> list[str]:
    return sorted(json.dumps({name: row[name] for name in columns}, sort_keys=True) for row in rows)


def test_an_older_state_becomes_todays_and_keeps_its_rows(connection: Connection) -> None:
    """Would break: an upgraded state lacks an index, a column or a rule that a fresh one has, or the upgrade drops what it held."""
    today = migration(STATE).encode()
    connection.execute(today)
    fresh = _catalogue(connection)
    connection.execute("DROP SCHEMA sync CASCADE")
    connection.execute(BEFORE.read_bytes())
    assert _catalogue(connection) != fresh, "the older state is an older one"
    connection.execute(ROWS.encode())
    before = _rows(connection)
    assert [name for name, rows in before.items() if not rows] == [], "every table has rows"
    columns = [(name, column) for name, rows in before.items() for column in rows[0]]
    assert [(n, c) for n, c in columns if all(row[c] is None for row in before[n])] == [], "every column has a value"
    for _ in range(2):
        connection.execute(today)
        assert _catalogue(connection) == fresh
        after = _rows(connection)
        for name, rows in before.items():
            kept = set(rows[0]) - GONE.get(name, set())
            assert _sorted(after[name], kept) == _sorted(rows, kept), name
