"""Rule 50: what SQL has changed counts as announced before a worker has made rechecks of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from support.dual import Table, now_us
from support.places import Place
from support.prepared_places import home_of
from support.reverse import authority, be_primary, reverse_writer
from support.sql_writers import RECHECK, foreign

from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.cutover.gates import GateFacts
from sync.adapters.postgres.drift.keys import TargetKeys
from sync.adapters.postgres.drift.target_digests import count_strays
from sync.adapters.postgres.dual_write import sql_changes
from sync.adapters.postgres.dual_write.intents import list_intents
from sync.adapters.postgres.dual_write.sql_changes import expand
from sync.adapters.postgres.schema import migrations
from sync.errors import StillOpen
from sync.flows import drain
from sync.settings import Config
from sync.wiring.dual_write.worker import Sweeper

pytest_plugins = ("support.fixtures",)
CONFIG = Config(schema_files=())
COLUMNS = "id uuid PRIMARY KEY, title text, year int"
home = home_of(CONFIG, songs=COLUMNS, plays=COLUMNS)
ADD = "INSERT INTO songs (id, title) VALUES (%s, 'a')"
CHANGES = "SELECT count(*) FROM sync.sql_change"


@pytest.fixture
def songs(home: Place) -> Iterator[Table]:
    """Postgres is primary, and nothing is left of the test before."""
    with closing(Table(home.cassandra, home.settings, CONFIG, "songs")) as table:
        be_primary(table, "postgres")
        reverse_writer(table)  # no plain copy
        table.sql("DELETE FROM sync.intent; DELETE FROM sync.sql_change; DELETE FROM songs; DELETE FROM sync.switch")
        yield table


@pytest.fixture
def sql(home: Place) -> Iterator[psycopg.Connection[Any]]:
    with closing(foreign(home.settings)) as connection:
        yield connection


def test_rule_50_no_switch_passes_by_what_sql_has_changed(songs: Table, sql: psycopg.Connection[Any]) -> None:
    """Would break: a rollback loses what was written by SQL just before it."""
    number = uuid4()
    sql.execute(ADD, (number,))
    with authority(songs) as epochs:
        switch = epochs.begin("rollback")
        songs.sql("UPDATE sync.writer SET state = 'signed_off'")
        epochs.close(switch, 60)
        assert epochs.open_intents() == 1
        with pytest.raises(StillOpen):
            epochs.switch_primary(switch, {})
        assert songs.drain() == 1
        epoch, _ = epochs.switch_primary(switch, {})
    songs.epoch = epoch.epoch
    assert songs.source(songs.key(id=number)) == {"title": "a", "year": None}


def test_rule_50_a_check_calls_the_key_in_flight(songs: Table, sql: psycopg.Connection[Any]) -> None:
    """Would break: a drift pass reports a difference that a worker is about to end, and no pass is clean while SQL writes."""
    key, other = songs.key(id=uuid4()), songs.key(id=uuid4())
    sql.execute("INSERT INTO plays (id) VALUES (gen_random_uuid())")
    sql.execute("INSERT INTO songs (id) SELECT encode(%s, 'hex')::uuid", (key.cells[0],))
    with closing(connect(songs.settings, autocommit=True)) as connection:
        keys = TargetKeys(connection, songs.mapped, songs.encoder)
        assert [row.intents for row in keys.look([key, other])] == [True, False]
        assert count_strays(connection, songs.mapped) == 0
        assert keys.strays(10) == {key.canonical: True}


def test_rule_50_it_is_shown_and_counted(songs: Table, home: Place, sql: psycopg.Connection[Any]) -> None:
    """Would break: `sync status` says that all is equal while a worker that is gone has left everything undone."""
    for _ in range(2):
        sql.execute(ADD, (uuid4(),))
    expand(sql)
    sql.execute(ADD, (number := uuid4(),))
    with closing(connect(songs.settings, autocommit=True)) as connection:
        assert [GateFacts(connection).intents(told).count for told in (True, False)] == [3, 0]
        found = list_intents(connection, "songs", 10)
    assert [(i["id"] is None, i["kind"], i["state"], i["owner"]) for i in found] == [
        (last, *RECHECK, "SQL") for last in (False, False, True)
    ]
    assert str(number) in home.commands.run("intents").out
    status = home.commands.run("status", "--json").json
    assert status["intents"]["open"] == 3, status["intents"]


def test_rule_50_it_is_always_in_one_of_both_places(songs: Table, sql: psycopg.Connection[Any]) -> None:
    """Would break: a switch that looks while a worker makes rechecks sees neither; another worker makes them twice."""
    sql.execute(ADD, (uuid4(),))
    with authority(songs) as epochs, closing(foreign(songs.settings)) as worker:
        worker.execute("BEGIN")
        assert expand(worker) == 1
        assert (epochs.open_intents(), expand(sql)) == (1, 0)
        worker.execute("ROLLBACK")
        assert (epochs.open_intents(), songs.sql(CHANGES)) == (1, [(1,)])
        assert expand(worker) == 1
        assert (epochs.open_intents(), songs.sql(CHANGES)) == (1, [(0,)])


def test_rule_50_a_write_stamped_below_what_sql_deleted_arrives(songs: Table, sql: psycopg.Connection[Any]) -> None:
    """Would break: the store's write is older in Cassandra than the row that SQL has deleted, and stays hidden there."""
    key, ahead = songs.key(id=uuid4()), now_us() + 300_000_000
    writer = reverse_writer(songs, skew=600)
    writer.begin("put", key, at=ahead, title="ahead").done()
    sql.execute("DELETE FROM songs WHERE id = encode(%s, 'hex')::uuid", (key.cells[0],))
    again = writer.begin("put", key, title="again")
    assert again.version < ahead
    again.done()
    assert songs.source(key) == {"title": "ahead", "year": None}
    assert songs.settled(key) == {"title": "again", "year": None}


def test_rule_50_no_older_version_switches_past_it(songs: Table, sql: psycopg.Connection[Any]) -> None:
    """Would break: a version that counts intents alone rolls back, and what SQL has written is overwritten by Astra's rows."""
    begin = (
        "INSERT INTO sync.epoch (epoch, \"primary\", floor) SELECT max(epoch) + 1, 'astra', max(floor) + 1 FROM sync.epoch"
    )
    sql.execute(ADD, (uuid4(),))
    with (
        closing(connect(songs.settings, autocommit=True)) as connection,
        pytest.raises(psycopg.Error, match="SQL has changed rows"),
    ):
        connection.execute(begin)


def test_a_version_at_the_end_of_all_versions_is_no_obstacle(songs: Table, sql: psycopg.Connection[Any]) -> None:
    """Would break: whoever may update a row ends every table's drains for good."""
    number = uuid4()
    sql.execute(ADD, (number,))
    sql.execute("UPDATE songs SET _sync_version = 9223372036854775807 WHERE id = %s", (number,))
    sql.execute("UPDATE songs SET year = 1 WHERE id = %s", (number,))
    assert songs.settled(songs.key(id=number)) == {"title": "a", "year": 1}


def test_a_key_that_is_changed_and_changed_again(songs: Table, sql: psycopg.Connection[Any]) -> None:
    """Would break: the row's token is still its old key's, and a recheck with it is refused for good."""
    first, second = uuid4(), uuid4()
    sql.execute(ADD, (first,))
    assert songs.settled(songs.key(id=first)) == {"title": "a", "year": None}
    sql.execute("UPDATE songs SET id = %s WHERE id = %s", (second, first))
    sql.execute("UPDATE songs SET year = 2 WHERE id = %s", (second,))
    assert songs.settled(songs.key(id=second)) == {"title": "a", "year": 2}
    assert songs.source(songs.key(id=first)) is None
    assert songs.intents() == []


def test_a_plain_copy_s_statements_do_not_hold_the_epoch(songs: Table, sql: psycopg.Connection[Any]) -> None:
    """Would break: a long transaction of anybody's makes a backfill fail, though nobody has ever written to both sides."""
    songs.sql("DELETE FROM sync.writer; DELETE FROM sync.epoch WHERE epoch > 1")
    sql.execute("BEGIN")
    sql.execute(ADD, (uuid4(),))
    assert songs.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1937337955 AND objid = 0") == [
        (0,)
    ]
    sql.execute("ROLLBACK")


def test_a_change_is_above_a_recheck_that_is_picked(songs: Table, sql: psycopg.Connection[Any]) -> None:
    """Would break: a change has the version of a recheck whose row has been read, and goes with it without being sent."""
    key, ahead = songs.key(id=uuid4()), now_us() + 2_000_000
    songs.sql(
        "INSERT INTO sync.intent (table_name, key, source_key, token, kind, state, version, epoch, owner) "
        "SELECT 'songs', %s, NULL, %s, 'recheck', 'finished', %s, max(epoch), 'app' FROM sync.epoch",
        (key.canonical, key.token, ahead),
    )
    songs.sql(
        "INSERT INTO sync.sql_change (table_name, key, version, epoch) SELECT 'songs', %s, %s, max(epoch) FROM sync.epoch",
        (key.canonical, ahead),
    )
    assert songs.intents(key) == [RECHECK, RECHECK]


def test_a_sweep_counts_what_it_has_not_moved(
    songs: Table, sql: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: `sync worker` shows the 5,000 keys of one step as all there is, and tells no worker of other tables."""
    monkeypatch.setattr(sql_changes, "CHANGES_AT_ONCE", 2)
    sql.execute("INSERT INTO songs (id) SELECT gen_random_uuid() FROM generate_series(1, 5)")
    sql.execute("INSERT INTO plays (id) VALUES (gen_random_uuid())")
    sweeper = Sweeper(songs.settings)
    assert sweeper.sweep() == {"songs": 5, "plays": 1}
    assert sorted(sweeper.ended) == ["plays", "songs"]


def test_whoever_may_use_the_intents_may_use_the_changes(songs: Table) -> None:
    """Would break: after an upgrade a role that was granted the tables of before can neither read nor work any more."""
    role = f"narrow_{uuid4().hex[:8]}"
    songs.sql(f"CREATE ROLE {role}; GRANT SELECT, DELETE ON sync.intent TO {role}")
    try:
        (text,) = (text for name, text in migrations.texts(example=False).items() if name.startswith("003"))
        songs.sql(text)
        found = songs.sql(
            "SELECT has_table_privilege(%s, 'sync.sql_change', p) FROM unnest(ARRAY['SELECT', 'DELETE', 'INSERT']) AS p",
            (role,),
        )
        assert found == [(True,), (True,), (False,)]
        songs.sql(f"ALTER TABLE sync.intent OWNER TO {role}")  # as where a superuser makes the upgrade
        songs.sql(text)
        assert songs.sql("SELECT has_table_privilege(%s, 'sync.sql_change', 'INSERT')", (role,)) == [(True,)]
    finally:
        songs.sql("ALTER TABLE sync.intent OWNER TO CURRENT_USER")
        songs.sql(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_what_is_changed_again_and_again_is_sent_once(songs: Table, sql: psycopg.Connection[Any]) -> None:
    number = uuid4()
    sql.execute(ADD, (number,))
    for year in range(5):
        sql.execute("UPDATE songs SET year = %s WHERE id = %s", (year, number))
    assert songs.sql(CHANGES) == [(6,)]
    assert songs.intents() == [RECHECK]
    assert songs.settled(songs.key(id=number)) == {"title": "a", "year": 4}


def test_a_drain_passes_by_what_waits_of_other_tables(
    songs: Table, sql: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: a table's drain ends, and its switch is refused, since a batch held other tables' changes alone."""
    for module in (sql_changes, drain):
        monkeypatch.setattr(module, "CHANGES_AT_ONCE", 2)
    sql.execute("INSERT INTO plays (id) SELECT gen_random_uuid() FROM generate_series(1, 5)")
    sql.execute(ADD, (uuid4(),))
    assert songs.drain() == 1
