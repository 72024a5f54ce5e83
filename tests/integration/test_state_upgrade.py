"""`migrations/003_sync_state.sql` on a state that an older version has made and used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.dual import WINDOW_PASSES, Table
from support.places import NewPlace, Place
from support.running_commands import until

from sync.adapters.postgres.connection.connect import Connection, connect
from sync.adapters.postgres.schema.migrations import STATE, check_version
from sync.errors import PreflightError
from sync.resources import migration
from sync.settings import Settings, load_config
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)

DATA = Path(__file__).parents[1] / "data"
BEFORE = DATA / "state_schema_of_before.sql"
EACH = sorted(DATA.glob("state_schema_[0-9]*_*.sql"), key=lambda path: int(path.stem.split("_")[2]))
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
LATER = ("feed", "gap", "partition_tombstone", "read_shape", "sample", "shadow_difference", "shadow_reads")
"""Tables of some older states that the one of before does not have."""
GONE = {"drift_pass": {"schema_digest"}}
"""Columns that nothing reads any more."""
RENAMED = {"index": {"removed_at": "dropped_at"}}
"""Renamed columns. No statement may have named them: processes of an older version keep running after the upgrade."""
SAID = {("switch", "state"): {"flipped": "done"}}
"""Renamed values; the older word is still allowed."""
CATALOGUE = {
    "tables": "SELECT relname, relkind, relreplident FROM pg_class WHERE relnamespace = 'sync'::regnamespace",
    "columns": """
        SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull, attidentity, pg_get_expr(adbin, adrelid)
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
        WHERE relnamespace = 'sync'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped""",
    "indexes": """
        SELECT indexdef, indisvalid, indisreplident FROM pg_indexes JOIN pg_index ON indexrelid = format('sync.%I', indexname)::regclass
        WHERE schemaname = 'sync'""",
    "functions": "SELECT oid::regprocedure::text, prosrc FROM pg_proc WHERE pronamespace = 'sync'::regnamespace",
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


def _today(table: str, row: dict[str, Any]) -> dict[str, Any]:
    """An older row, as today's state has it."""
    names, gone = RENAMED.get(table, {}), GONE.get(table, set())
    kept = {name: value for name, value in row.items() if name not in gone}
    for (said, column), words in SAID.items():
        if said == table and column in kept:
            kept[column] = words.get(kept[column], kept[column])
    return {names.get(name, name): value for name, value in kept.items()}


def _sorted(rows: list[dict[str, Any]], columns: set[str]) -> list[str]:
    return sorted(json.dumps({name: row[name] for name in columns}, sort_keys=True) for row in rows)


def _same_rows(before: dict[str, list[dict[str, Any]]], after: dict[str, list[dict[str, Any]]]) -> None:
    for name, rows in before.items():
        older = [_today(name, row) for row in rows]
        columns = set(older[0]) if older else set()
        assert _sorted(after[name], columns) == _sorted(older, columns), name


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
        _same_rows(before, _rows(connection))


def test_the_older_states_are_there() -> None:
    """Would break: the tests that run on each older state run on none."""
    assert len(EACH) == 10


def becomes(connection: Connection, older: Path) -> None:
    """Make today's state an older one, as its version would have left it: without what that version does not know."""
    connection.execute("ALTER SCHEMA sync RENAME TO known")
    connection.execute(older.read_bytes())
    connection.execute("TRUNCATE sync.epoch CASCADE")
    for table, columns in connection.execute(SHARED.encode()).fetchall():
        names = ", ".join(f'"{name}"' for name in columns)
        # ON CONFLICT: rows that an older version would not have written twice.
        connection.execute(
            f'INSERT INTO sync."{table}" ({names}) OVERRIDING SYSTEM VALUE SELECT {names} FROM known."{table}" '
            "ORDER BY 1 ON CONFLICT DO NOTHING".encode()
        )
    for (sequence,) in connection.execute(SEQUENCES).fetchall():
        used = f'SELECT setval(\'sync."{sequence}"\', last_value, is_called) FROM known."{sequence}"'
        connection.execute(used.encode())
    connection.execute("DROP SCHEMA known CASCADE")


SEQUENCES = """
SELECT sequencename FROM pg_sequences WHERE schemaname = 'sync' AND to_regclass('known.' || quote_ident(sequencename)) IS NOT NULL
"""
SHARED = """
SELECT old.relname::text, array_agg(a.attname::text ORDER BY a.attnum)
FROM pg_class AS old
JOIN pg_class AS new ON new.relname = old.relname AND new.relnamespace = 'known'::regnamespace
JOIN pg_attribute AS a ON a.attrelid = old.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE old.relnamespace = 'sync'::regnamespace AND old.relkind = 'r' AND EXISTS (
    SELECT FROM pg_attribute AS b WHERE b.attrelid = new.oid AND b.attname = a.attname AND NOT b.attisdropped)
GROUP BY old.oid, old.relname ORDER BY old.oid
"""


@pytest.mark.parametrize("older", EACH, ids=lambda path: path.stem)
def test_each_older_state_becomes_todays(connection: Connection, older: Path) -> None:
    """Would break: a column that an early CREATE TABLE gained, without an ALTER beside it, is missing for good."""
    today = migration(STATE).encode()
    connection.execute(today)
    fresh = _catalogue(connection)
    connection.execute("DROP SCHEMA sync CASCADE")
    connection.execute(BEFORE.read_bytes())
    connection.execute(ROWS.encode())
    becomes(connection, older)
    assert _catalogue(connection) != fresh
    before = _rows(connection)
    assert {name for name, rows in before.items() if not rows} <= {"index_lease", *LATER}
    with pytest.raises(PreflightError, match="is of an older version: run `sync schema apply`"):
        check_version(connection)
    for _ in range(2):
        connection.execute(today)
        assert _catalogue(connection) == fresh
        _same_rows(before, _rows(connection))
    check_version(connection)


def test_what_an_older_process_names_is_still_there(connection: Connection) -> None:
    """Would break: writers and workers of the previous version, still running after the upgrade, miss a column or word."""
    connection.execute(EACH[-1].read_bytes())
    named = {row[:3] for row in _catalogue(connection)["columns"]}
    connection.execute(migration(STATE).encode())
    lost = named - {row[:3] for row in _catalogue(connection)["columns"]}
    assert {name for _, name, _ in lost} <= {old for names in RENAMED.values() for old in names}
    connection.execute("INSERT INTO sync.index (index_name, table_name, definition) VALUES ('public.i', 't', 'CREATE …')")
    connection.execute("INSERT INTO sync.switch (kind, from_epoch, who, lease_until) VALUES ('cutover', 1, 'me', now())")
    for (table, column), words in SAID.items():
        for word in words:
            assert connection.execute(f"UPDATE sync.{table} SET {column} = %s".encode(), (word,)).rowcount == 1
    today = _catalogue(connection)
    of_today = {each for each in today["functions"] if each[0] != "sync.sql_writer_begins()"}
    connection.execute(EACH[-1].read_bytes())  # `sync schema apply` of that version, after this one's
    found = _catalogue(connection)
    assert found.pop("functions") >= of_today, "its own triggers go with its own function: the gate asks for this version's"
    del today["functions"]
    assert found == today


# With the commands

TOML = """
schema_files = []
[backfill]
min_ranges = 8
[dual_write]
heartbeat_seconds = 0.3
[drift]
grace_seconds = 0.05
"""
OLDER = "the target's schema `sync` is of an older version: run `sync schema apply`"
COMMANDS = (
    ("status",), ("backfill", "--workers", "1"), ("drift-report", "--workers", "1"), ("rejects",), ("intents",), ("writers",),
    ("cutover", "--yes"), ("rollback", "--yes"), ("finish", "--yes"),
)  # fmt: skip


def half_way(place: Place) -> None:
    """A backfill and a drift pass that are half done, and a write whose writer has died."""
    place.cql("CREATE TABLE KS.songs (id int PRIMARY KEY, v text)")
    place.cql(*(f"INSERT INTO KS.songs (id, v) VALUES ({n}, 'v')" for n in range(60)))
    place.configure(TOML)
    for command in (("schema", "apply"), ("backfill", "--workers", "1")):
        done = place.commands.run(*command)
        assert done.code == 0, done
    config = load_config(place.commands.folder / "sync.toml")
    with closing(Table(place.cassandra, place.settings, config, "songs")) as table:
        table.writer(alive=False).put(table.key(id=7), v="written").primary()
    place.sql(
        "DELETE FROM songs WHERE _sync_token > 0 AND id <> 7",
        "UPDATE sync.run SET state = 'open', finished_at = NULL",
        "UPDATE sync.range SET state = 'pending', done_to = NULL WHERE range_end > 0",
        "INSERT INTO sync.run (kind, table_name, floor) SELECT 'drift', table_name, 0 FROM sync.run",
        "INSERT INTO sync.range (run_id, table_name, range_start, range_end) "
        "SELECT run.id, table_name, range_start, range_end FROM sync.range JOIN sync.run USING (table_name) WHERE kind = 'drift'",
        "UPDATE sync.range SET state = 'running', lease_owner = 'gone', lease_until = now() - interval '1 h' "
        "WHERE id IN (SELECT max(id) FROM sync.range GROUP BY run_id)",
        WINDOW_PASSES,
    )


@pytest.mark.slow
def test_proofs_and_intents_outlive_the_upgrade(new_place: NewPlace) -> None:
    """Would break: an upgrade costs days of drift passes, or a write under way; or a switch after it ends differently."""
    with new_place() as place:
        place.cql("CREATE TABLE KS.songs (id int PRIMARY KEY, v text)")
        place.cql(*(f"INSERT INTO KS.songs (id, v) VALUES ({n}, 'v')" for n in range(60)))
        place.configure(TOML)
        for command in (("schema", "apply"), ("backfill", "--workers", "1"), *(("drift-report", "--workers", "1"),) * 2):
            done = place.commands.run(*command)
            assert done.code == 0, done
        config = load_config(place.commands.folder / "sync.toml")
        with closing(Table(place.cassandra, place.settings, config, "songs")) as table:
            table.writer(alive=False).put(table.key(id=7), v="written").primary()
        place.sql("UPDATE sync.writer SET state = 'signed_off'", WINDOW_PASSES)
        with closing(connect(place.settings, autocommit=True)) as opened:
            becomes(opened, EACH[-1])
        assert place.commands.run("schema", "apply").code == 0
        gates = place.commands.run("cutover", "--dry-run", "--json", "--no-writers").json["gates"]
        assert {gate["name"]: gate["green"] for gate in gates}["proof"] is True
        worker = place.commands.start("worker")
        try:
            until(lambda: place.sql("SELECT count(*) FROM sync.intent") == [(0,)], 30, "the write of before is reconciled")
            done = place.commands.run("cutover", "--yes", "--no-writers")
            assert done.code == 0, done
        finally:
            worker.terminate()
            place.commands.ended(worker)
        assert place.sql("SELECT count(*), count(*) FILTER (WHERE v = 'written') FROM songs") == [(60, 1)]
        assert place.sql("SELECT kind, state FROM sync.switch") == [("cutover", "done")]
        assert place.sql("SELECT what FROM sync.audit WHERE what LIKE 'cutover%' ORDER BY id") == [
            ("cutover begun",),
            ("cutover done",),
        ]


@pytest.mark.slow
@pytest.mark.parametrize("older", [EACH[0], EACH[-1]], ids=lambda path: path.stem)
def test_what_was_under_way_goes_on_behind_the_upgrade(new_place: NewPlace, older: Path) -> None:
    """Would break: on an older state commands fail with Postgres's own errors; what was half done cannot go on."""
    with new_place() as place:
        half_way(place)
        with closing(connect(place.settings, autocommit=True)) as opened:
            becomes(opened, older)
        said = {command[0]: place.commands.run(*command) for command in COMMANDS}
        found = {name: (done.code, done.out, done.err.replace(": target: ", ": ")) for name, done in said.items()}
        assert found == {name: (1, "", f"sync {name}: {OLDER}\n") for name in said}
        with (
            pytest.raises(PreflightError, match="is of an older version: run `sync schema apply`"),
            DualWriteStore(place.settings, load_config(place.commands.folder / "sync.toml")) as store,
        ):
            store.put("songs", {"id": 1, "v": "x"})
        assert f"error    target: {OLDER}" in place.commands.run("preflight").out
        assert place.commands.run("schema", "apply").code == 0
        for command in (("status",), ("backfill", "--workers", "1")):
            done = place.commands.run(*command)
            assert done.code == 0, done
        worker = place.commands.start("worker")
        try:
            until(lambda: place.sql("SELECT count(*) FROM sync.intent") == [(0,)], what="the write of before has settled")
        finally:
            worker.terminate()
            place.commands.ended(worker)
        for _ in range(2):
            done = place.commands.run("drift-report", "--workers", "1")
            assert done.code == 0, done
        assert place.sql("SELECT count(*), count(*) FILTER (WHERE v = 'written') FROM songs") == [(60, 1)]
        gates = place.commands.run("cutover", "--dry-run", "--json", "--no-writers").json["gates"]
        red = {gate["name"] for gate in gates if gate["green"] is False}
        if older == EACH[0]:  # it did not note whether a writer accepts, and its backfill did not look at write times
            assert red - {"canary"} == {"writers", "write times"}
        else:  # a writer has died, and a worker that has swept meanwhile has signed it off
            assert red - {"canary", "writers"} == set()
