"""Processes that end without `close()`: they keep no slot, and block no cut-over if they accepted nothing (rule 29)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from support.backfills import until
from support.commands import ROOT, environment
from support.dual import Table
from support.places import Place
from support.prepared_places import home_of

from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.cutover.gates import GateFacts
from sync.adapters.postgres.cutover.writers import fence
from sync.adapters.postgres.dual_write.dead_writers import _MANY, delete_signed_off, sign_off_dead
from sync.adapters.postgres.dual_write.registration import Registration
from sync.core.cutover.gates import writers_gate
from sync.core.versions import SLOTS, STEP
from sync.errors import NotRegistered, PreflightError
from sync.settings import Config, DualWriteTuning

pytest_plugins = ("support.fixtures",)
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=4))
SLOT_COUNT = SLOTS // STEP


home = home_of(CONFIG, pairs="id uuid PRIMARY KEY, a text")


@pytest.fixture
def table(home: Place) -> Iterator[Table]:
    with closing(Table(home.cassandra, home.settings, CONFIG, "pairs")) as opened:
        opened.sql("DELETE FROM sync.writer")
        yield opened


@pytest.fixture
def tuning(tmp_path: Path) -> dict[str, Any]:
    """Short leases, and a folder of the test's own."""
    return {
        "heartbeat_seconds": 0.3,
        "writer_lease_seconds": 1.0,
        "writers_folder": str(tmp_path / "writers"),
        "connections": 2,
    }


def ending(home: Place, **order: Any) -> None:
    """Run processes that end in some way (support/ended_writers.py)."""
    env = {**os.environ, **environment(home.settings), "SYNC_CONFIG": str(home.commands.folder / "sync.toml")}
    env |= {"SYNC_DUAL_WRITE": "true", "PYTHONPATH": str(ROOT)}
    script = Path(__file__).parent.parent / "support" / "ended_writers.py"
    subprocess.run([sys.executable, str(script), json.dumps(order)], env=env, check=True, timeout=120, stderr=subprocess.PIPE)


def gate(table: Table, tuning: dict[str, Any]) -> Any:
    """The gate of the writers, as `sync cutover` judges it."""
    with table.pool.connection() as connection:
        sign_off_dead(connection, Path(tuning["writers_folder"]))
        return writers_gate(GateFacts(connection).writers(), 1, tuning["writer_lease_seconds"])


def registered(table: Table, tuning: dict[str, Any]) -> Registration:
    return Registration(table.pool, DualWriteTuning(**tuning), lambda _: None)


@pytest.mark.slow
@pytest.mark.parametrize("on_postgres_down", ["accept", "refuse"])
def test_500_exits_cost_no_slot_and_no_cut_over(
    home: Place, table: Table, tuning: dict[str, Any], on_postgres_down: str
) -> None:
    """Would break: the 251st start is refused; each dead writer blocks the cut-over until a drift pass."""
    given = {**tuning, "on_postgres_down": on_postgres_down}
    ending(home, forks=20, writers=25, ends=["kill", "exit", "return", "raise"], tuning=given)
    assert table.sql("SELECT count(*) FROM sync.writer WHERE host <> 'test'") == [(500,)]
    one = registered(table, given)
    try:

        def is_green() -> bool:
            found = gate(table, given)
            return bool(found.green) and found.figure == "1 writer, all alive"

        until(is_green, what="the lease is over")
        left = [path.name for path in Path(given["writers_folder"]).iterdir()]
        assert left == ([f"{one._witness.token}.writer"] if on_postgres_down == "accept" else [])
    finally:
        one.end()


@pytest.mark.slow
def test_a_store_that_nobody_closes_signs_off_at_exit(home: Place, table: Table, tuning: dict[str, Any]) -> None:
    """Would break: every deployment of an application with a global store leaves writers behind."""
    home.configure(
        f"schema_files = []\n[dual_write]\nwriters_folder = {tuning['writers_folder']!r}\nheartbeat_seconds = 0.3\n"
    )
    for end in ("return", "raise", "thread", "multiprocessing"):
        ending(home, forks=1, ends=[end])
        states = table.sql("SELECT state FROM sync.writer ORDER BY registered_at")
        assert states[-1] == ("signed_off",), end
    assert len(states) == 4
    table.drained()
    table.check_equal()


def test_what_an_ended_writer_accepted_is_not_forgotten(table: Table, tuning: dict[str, Any]) -> None:
    """Would break: a writer whose last writes only the source has is taken for clean."""
    one = registered(table, tuning)
    assert one.write_behind.begin_accepting()
    one._end.set()
    one._thread.join()
    one._own.close()
    os.close(one._witness._file)  # as the kernel does
    one._witness._file = -1
    red = gate(table, tuning)
    assert not red.green and one.writer.id in red.figure
    table.sql(
        "UPDATE sync.writer SET unrecorded = 0, heartbeat_at = clock_timestamp() - interval '1 hour'"
    )  # it could not tell
    assert "sent its last heartbeat" in gate(table, tuning).figure, "and the end of its lease does not make it clean"


def test_an_alive_writer_is_left_alone(table: Table, tuning: dict[str, Any]) -> None:
    """Would break: a writer that was cut off from Postgres for some time is signed off as dead, and still accepts."""
    one = registered(table, {**tuning, "heartbeat_seconds": 60})
    try:
        until(lambda: not gate(table, tuning).green, what="silent for longer than its lease")
        assert table.sql("SELECT state FROM sync.writer") == [("active",)]
    finally:
        one.end()


def test_a_slot_of_the_silent_is_given_away_and_they_stay_on_record(table: Table, tuning: dict[str, Any]) -> None:
    """Would break: the application does not start, though both databases are healthy; or an unclean writer is forgotten."""
    silent = "clock_timestamp() - make_interval(secs => 100 - n)"
    fill = (
        "INSERT INTO sync.writer (id, slot, host, pid, epoch, state, heartbeat_at, lease_seconds) "
        f"SELECT 'old:' || n, n * {STEP}, 'h', 1, 1, 'active', {silent}, 1 FROM generate_series(0, {SLOT_COUNT - 1}) AS n"
    )
    table.sql(fill.replace("100 - n", "1000 - n"))
    first, second = registered(table, tuning), registered(table, tuning)
    try:
        assert (first.writer.slot, second.writer.slot) == (0, STEP), "the longest silent first"
        assert table.sql("SELECT id, state, slot FROM sync.writer WHERE id IN ('old:0', 'old:1') ORDER BY id") == [
            ("old:0", "active", None), ("old:1", "active", None)
        ]  # fmt: skip
        assert "old:0 sent its last heartbeat" in gate(table, tuning).figure
        table.sql("UPDATE sync.writer SET heartbeat_at = clock_timestamp() WHERE state = 'active'")
        with pytest.raises(PreflightError, match="all 250 writer slots are taken"):
            registered(table, tuning)
    finally:
        first.end()
        second.end()


def test_rule_2_who_lost_its_slot_stamps_nothing_with_it(table: Table, tuning: dict[str, Any]) -> None:
    """Would break: a process that slept and the new holder of its slot stamp two writes of a key alike: the sides differ."""
    sleeper, fenced, key = table.writer(), table.writer(), table.key(id=uuid4())
    table.sql("UPDATE sync.writer SET slot = NULL WHERE id = %s", (sleeper.name,))
    with table.pool.connection() as connection:
        fence(connection, fenced.name)
    for one in (sleeper, fenced):
        with pytest.raises(NotRegistered):
            one.put(key, a="late")
    assert table.intents(key) == []
    table.sql("UPDATE sync.writer SET slot = %s WHERE id = %s", (999, sleeper.name))
    with pytest.raises(NotRegistered):
        sleeper.put(key, a="with another one's")


@pytest.mark.parametrize("how", ["slot = NULL", "state = 'unclean'", "state = 'signed_off'"])
def test_a_writer_that_was_taken_for_dead_goes_on(home: Place, table: Table, tuning: dict[str, Any], how: str) -> None:
    """Would break: after a pause of its host an application is refused every write until it is restarted."""
    from sync.stores import DualWriteStore

    config = Config(schema_files=(), dual_write=DualWriteTuning(**{**tuning, "heartbeat_seconds": 600}))
    with DualWriteStore(home.settings, config) as store:
        key = {"id": uuid4()}
        store.put("pairs", {**key, "a": "1"})
        table.sql(f"UPDATE sync.writer SET {how} WHERE id = %s", (store._registration.writer.id,))
        assert store.put("pairs", {**key, "a": "2"})
        assert table.settled(table.key(**key)) == {"a": "2"}
        active = table.sql("SELECT id, slot FROM sync.writer WHERE state = 'active'")
        assert active == [(store._registration.writer.id, store._registration.writer.slot)]


@pytest.mark.slow
def test_a_slot_is_found_as_fast_with_100000_writers_gone(table: Table) -> None:
    """Would break: each start looks through all writers there ever were, 250 times, under a lock that stops heartbeats."""
    from sync.adapters.postgres.dual_write.registration import _SQL

    fill = (
        "INSERT INTO sync.writer (id, slot, host, pid, epoch, state, lease_seconds, registered_at, heartbeat_at) "
        f"SELECT 'gone:' || n, n % {SLOT_COUNT} * {STEP}, 'h', 1, 1, 'signed_off', 1, clock_timestamp() - interval '3 days', "
        "clock_timestamp() - interval '2 days' FROM generate_series({}, {}) AS n"
    )
    values = {
        "id": "x", "host": "h", "pid": 1, "slots": SLOTS, "step": STEP, "data_center": None, "accepts": True, "lease": 1.0,
        "witness": None, "settings": None,
    }  # fmt: skip
    touched = []
    with closing(connect(table.settings, autocommit=True)) as connection:
        for begin, end in ((1, 1000), (1001, 100_000)):
            connection.execute(fill.format(begin, end).encode())
            connection.execute("VACUUM ANALYZE sync.writer")
            with connection.transaction(force_rollback=True):
                plan: Any = connection.execute(
                    b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + _SQL["register"], values
                ).fetchone()
                touched.append(plan[0][0]["Plan"]["Shared Hit Blocks"] + plan[0][0]["Plan"]["Shared Read Blocks"])
        assert touched[1] < 3 * touched[0], touched
        assert connection.execute("SELECT count(*) FROM sync.writer").fetchone() == (100_000,)
        connection.execute("UPDATE sync.writer SET fenced_at = clock_timestamp() WHERE id = 'gone:7'")
        connection.execute(
            "INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner) "
            "VALUES ('pairs', '', 0, 'recheck', 'finished', 1, 1, 'gone:8')"
        )
        connection.execute(
            "UPDATE sync.writer SET registered_at = registered_at - interval '1 day' WHERE slot <> 0 OR id < 'gone:5'"
        )
        delete_signed_off(connection)
        left = {row[0] for row in connection.execute("SELECT id FROM sync.writer").fetchall()}
        assert {"gone:7", "gone:8"} <= left and len(left) < 2 * _MANY
        connection.execute("DELETE FROM sync.intent; DELETE FROM sync.sql_change")


def test_sync_writers_signs_the_dead_off(home: Place, table: Table, tuning: dict[str, Any]) -> None:
    home.configure(f"schema_files = []\n[dual_write]\nwriters_folder = {tuning['writers_folder']!r}\n")
    ending(home, forks=1, writers=3, ends=["kill"], tuning=tuning)
    assert table.sql("SELECT count(*) FROM sync.writer WHERE state = 'active'") == [(3,)]
    assert home.commands.run("writers", "--json").json == {"writers": []}
