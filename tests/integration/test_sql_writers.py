"""Rules 44 and 45 on Postgres 16 and 18, by hand 15 and 17: anybody writes the migrated tables by SQL, and Cassandra gets what was committed."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import URL, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from support.backfills import until
from support.commands import Zygote
from support.dual import Table, now_us, prepare
from support.fixtures import places_at
from support.partitions import begin_reverse
from support.places import NewPlace, Place
from support.reverse import be_primary, resender, reverse_writer, write_time
from support.sql_writers import RECHECK, REFUSED, STALE, TRUNCATED, beside, foreign, postgres_of, refusal, waits

from sync import local
from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.drift.keys import TargetKeys
from sync.adapters.postgres.dual_write.locks import lock_of
from sync.adapters.postgres.schema.sql_writers import TRIGGERS, SqlWriters, watched
from sync.core.encode.rows import RowEncoder
from sync.core.reads.key_order import target_key_order
from sync.errors import TargetBusy
from sync.settings import Config, Settings

pytest_plugins = ("support.fixtures",)
CONFIG = Config(schema_files=())
PARTITIONED = (
    "CREATE TABLE plays (room text, day int, song text, a text, PRIMARY KEY (room, day, song)) PARTITION BY RANGE (day)",
    "CREATE TABLE plays_old PARTITION OF plays FOR VALUES FROM (0) TO (10)",
    "CREATE TABLE plays_new PARTITION OF plays FOR VALUES FROM (10) TO (1000) PARTITION BY HASH (song)",
    "CREATE TABLE plays_new_0 PARTITION OF plays_new FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
    "CREATE TABLE plays_new_1 (a text, song text NOT NULL, day int NOT NULL, room text NOT NULL)",
    "ALTER TABLE plays_new ATTACH PARTITION plays_new_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
)
LINKED = (
    "CREATE TABLE albums (id uuid PRIMARY KEY)",
    "CREATE TABLE tracks (id uuid PRIMARY KEY, album uuid REFERENCES albums ON DELETE CASCADE ON UPDATE CASCADE "
    "DEFERRABLE INITIALLY DEFERRED)",
)
WAITS = (
    "CREATE FUNCTION waits_for_seven() RETURNS trigger LANGUAGE plpgsql AS $$ "
    "BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NEW; END $$",
    "CREATE TRIGGER waits BEFORE UPDATE ON songs FOR EACH ROW WHEN (OLD.title = 'waits') EXECUTE FUNCTION waits_for_seven()",
)
VERSIONS = os.environ.get("SYNC_SQL_POSTGRES", "18,16").split(",")  # also: 15, 17
ADD = "INSERT INTO songs (id, title) VALUES (%s, %s)"
NOTHING = None


pytestmark = pytest.mark.slow


class Base(DeclarativeBase):
    """The ORM's classes."""


class Song(Base):
    """As an application maps it, which knows nothing of the migration."""

    __tablename__ = "songs"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    title: Mapped[str | None]


Sql = Callable[..., psycopg.Cursor[Any]]


@pytest.fixture(scope="module", params=[int(n) for n in VERSIONS], ids=[f"postgres {n}" for n in VERSIONS])
def place(
    request: pytest.FixtureRequest, base_settings: Settings, zygote: Zygote, valkey: local.ValkeyServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:  # fmt: skip
    with (
        postgres_of(tmp_path_factory.mktemp("postgres"), request.param, base_settings) as settings,
        places_at(settings, zygote, valkey, tmp_path_factory)() as made,
    ):
        made.cql(
            "CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text, year int)",
            "CREATE TABLE KS.plays (room text, day int, song text, a text, PRIMARY KEY (room, day, song))",
        )
        made.cql("CREATE TABLE KS.tracks (id uuid PRIMARY KEY, album uuid)")
        made.sql(*PARTITIONED, *LINKED)
        prepare(made.settings, CONFIG, "songs", "plays", "tracks")
        yield made


@pytest.fixture(scope="module")
def opened(place: Place) -> Iterator[dict[str, Table]]:
    with ExitStack() as stack:
        names = ("songs", "plays", "tracks")
        yield {n: stack.enter_context(closing(Table(place.cassandra, place.settings, CONFIG, n))) for n in names}


@pytest.fixture
def songs(opened: dict[str, Table]) -> Iterator[Table]:
    """Postgres is primary; afterwards both sides are equal, and nothing is left."""
    yield from _primary(opened["songs"])


@pytest.fixture
def plays(opened: dict[str, Table]) -> Iterator[Table]:
    yield from _primary(opened["plays"])


@pytest.fixture
def tracks(opened: dict[str, Table]) -> Iterator[Table]:
    yield from _primary(opened["tracks"])


def _primary(table: Table) -> Iterator[Table]:
    be_primary(table, "postgres")
    yield table
    be_primary(table, "postgres")
    table.drained()
    table.check_equal()
    assert table.sql(f"SELECT 1 FROM {table.name} WHERE _sync_token IS NULL OR _sync_version IS NULL") == []


@pytest.fixture
def connection(place: Place) -> Iterator[psycopg.Connection[Any]]:
    with closing(foreign(place.settings)) as made:
        yield made


@pytest.fixture
def sql(connection: psycopg.Connection[Any]) -> Sql:
    return connection.execute


def written(table: Table, sql: Sql, **values: Any) -> UUID:
    """A row that SQL has inserted, and that was sent."""
    number = uuid4()
    sql(ADD, (number, values.get("title", "a")))
    table.drained()
    return number


def sent(table: Table, key: UUID) -> dict[str, Any] | None:
    return table.settled(table.key(id=key))


# rule 45: what is announced


def test_rule_45_an_inserted_row_arrives_with_its_token_and_a_version(songs: Table, sql: Sql) -> None:
    """Would break: a row of a job's own is on one side alone, and a rollback loses it."""
    number = uuid4()
    sql(ADD, (number, "one"))
    key = songs.key(id=number)
    assert songs.intents(key) == [RECHECK]
    assert sent(songs, number) == {"title": "one", "year": None}
    assert songs.sql("SELECT _sync_token FROM songs WHERE id = %s", (number,)) == [(key.token,)]
    assert write_time(songs, key, "title") == songs.version(key)


def test_rule_45_updates_and_deletes_arrive(songs: Table, sql: Sql) -> None:
    number = written(songs, sql)
    sql("UPDATE songs SET title = NULL, year = 2 WHERE id = %s", (number,))
    assert sent(songs, number) == {"title": None, "year": 2}
    sql("DELETE FROM songs WHERE id = %s", (number,))
    assert sent(songs, number) is NOTHING


@pytest.mark.parametrize("statement", ["delete", "update of the key"])
def test_rule_45_a_row_that_is_gone_is_deleted_above_its_version(songs: Table, sql: Sql, statement: str) -> None:
    """Would break: the tombstone is older than the row's cells in Cassandra, and a rollback brings the row back."""
    writer, key, other = reverse_writer(songs, skew=600), songs.key(id=uuid4()), uuid4()
    ahead = now_us() + 300_000_000
    writer.begin("put", key, at=ahead, title="ahead").done()
    number = UUID(bytes=key.cells[0])
    if statement == "delete":
        sql("DELETE FROM songs WHERE id = %s", (number,))
    else:
        sql("UPDATE songs SET id = %s WHERE id = %s", (other, number))
        assert sent(songs, other) == {"title": "ahead", "year": None}
    assert sent(songs, number) is NOTHING
    assert (songs.tombstone(key) or 0) > ahead


def test_rule_45_a_row_with_another_key_gets_its_own_token(songs: Table, sql: Sql) -> None:
    """Would break: a row that carries its old key's token is counted in another range, and drift passes end with errors."""
    number, other = written(songs, sql), uuid4()
    sql("UPDATE songs SET id = %s WHERE id = %s", (other, number))
    assert (sent(songs, number), sent(songs, other)) == (NOTHING, {"title": "a", "year": None})
    sql("INSERT INTO songs SELECT %s, title, year, _sync_token, _sync_version FROM songs WHERE id = %s", (number, other))
    assert sent(songs, number) == {"title": "a", "year": None}
    for one in (number, other):
        key = songs.key(id=one)
        assert songs.sql("SELECT _sync_token FROM songs WHERE id = %s", (one,)) == [(key.token,)]


def test_rule_45_a_write_during_a_resend_is_announced_again(songs: Table, sql: Sql) -> None:
    """Would break: the announcement is taken for one that was picked before, and the row is never sent."""
    number = uuid4()
    key = songs.key(id=number)
    sql(ADD, (number, "first"))
    sql("DELETE FROM songs WHERE id = %s", (number,))
    songs.expanded()
    first = resender(songs).pick(key)
    sql(ADD, (number, "second"))
    songs.expanded()
    first.send().remove()
    assert songs.intents(key) == [RECHECK]
    assert sent(songs, number) == {"title": "second", "year": None}


def test_every_kind_of_statement_is_told(songs: Table, place: Place, connection: psycopg.Connection[Any], sql: Sql) -> None:
    a, b, c, d = (uuid4() for _ in range(4))
    with connection.cursor().copy("COPY songs (id, title) FROM STDIN") as copy:
        copy.write_row((a, "copied"))
    sql("INSERT INTO songs (id, title) VALUES (%s, 'x'), (%s, 'y') ON CONFLICT (id) DO UPDATE SET year = 7", (a, b))
    sql(
        "MERGE INTO songs AS t USING (VALUES (%s::uuid, 1), (%s, 2), (%s, 3)) AS s (id, n) ON t.id = s.id "
        "WHEN MATCHED AND n = 1 THEN DELETE WHEN MATCHED THEN UPDATE SET title = 'merged' "
        "WHEN NOT MATCHED THEN INSERT (id, title) VALUES (s.id, 'new')",
        (a, b, c),
    )
    sql(
        "WITH gone AS (DELETE FROM songs WHERE id = %s RETURNING *) INSERT INTO songs (id, title) SELECT %s, title FROM gone",
        (b, d),
    )
    assert [sent(songs, n) and sent(songs, n)["title"] for n in (a, b, c, d)] == [None, None, "new", "merged"]  # type: ignore[index]


def test_savepoints_and_rollbacks(songs: Table, connection: psycopg.Connection[Any], sql: Sql) -> None:
    kept, gone = uuid4(), uuid4()
    with connection.transaction():
        with pytest.raises(ZeroDivisionError), connection.transaction():
            sql(ADD, (gone, "gone"))
            raise ZeroDivisionError
        sql(ADD, (kept, "kept"))  # the lock went with the savepoint, and is taken again
        assert songs.sql("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 0 AND classid = 1937337955") != []
    with pytest.raises(ZeroDivisionError), connection.transaction():
        sql(ADD, (gone, "gone"))
        raise ZeroDivisionError
    assert songs.intents(songs.key(id=gone)) == []
    assert (sent(songs, kept), sent(songs, gone)) == ({"title": "kept", "year": None}, NOTHING)


def test_cascades_and_deferred_constraints(tracks: Table, sql: Sql, connection: psycopg.Connection[Any]) -> None:
    """Would break: rows that a foreign key deletes or changes are not in the statement, and nobody is told."""
    album, other, number = uuid4(), uuid4(), uuid4()
    with connection.transaction():
        sql("INSERT INTO tracks (id, album) VALUES (%s, %s)", (number, album))
        sql("INSERT INTO albums VALUES (%s)", (album,))
    assert sent(tracks, number) == {"album": album}
    sql("UPDATE albums SET id = %s WHERE id = %s", (other, album))
    assert sent(tracks, number) == {"album": other}
    sql("DELETE FROM albums WHERE id = %s", (other,))
    assert sent(tracks, number) is NOTHING


def test_a_prepared_transaction_holds_the_epoch(songs: Table, sql: Sql, connection: psycopg.Connection[Any]) -> None:
    """Would break: a switch passes by a transaction that commits into the old primary after it."""
    number = uuid4()
    connection.execute("BEGIN")
    sql(ADD, (number, "two"))
    sql("PREPARE TRANSACTION 'one'")
    free = "SELECT pg_try_advisory_xact_lock(1937337955, 0)"
    assert sql(free).fetchone() == (False,)
    sql("COMMIT PREPARED 'one'")
    assert sql(free).fetchone() == (True,)
    assert sent(songs, number) == {"title": "two", "year": None}


def test_replicas_of_a_session_are_told_too(songs: Table, sql: Sql) -> None:
    number = uuid4()
    sql("SET session_replication_role = replica")
    sql(ADD, (number, "replica"))
    assert sent(songs, number) == {"title": "replica", "year": None}


def test_an_orm_and_psql(songs: Table, place: Place, tmp_path: Any) -> None:
    s, a, b, c = place.settings, uuid4(), uuid4(), uuid4()
    assert s.postgres_password
    password = s.postgres_password.get_secret_value()
    engine = create_engine(
        URL.create("postgresql+psycopg", s.postgres_user, password, s.postgres_host, s.postgres_port, s.postgres_database)
    )
    with Session(engine) as session:
        session.add_all([Song(id=a, title="a"), Song(id=b, title="b")])
        session.commit()
        session.get_one(Song, a).title = "changed"
        session.delete(session.get_one(Song, b))
        session.commit()
    engine.dispose()
    env = {"PGPASSWORD": password, "PGSSLMODE": "disable"}
    program = local.PostgresServer(tmp_path).program_path("psql")
    where = [
        "-h",
        str(s.postgres_host),
        "-p",
        str(s.postgres_port),
        "-U",
        str(s.postgres_user),
        "-d",
        str(s.postgres_database),
    ]
    done = subprocess.run(
        [program, *where, "-c", f"INSERT INTO songs (id) VALUES ('{c}')"], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [sent(songs, n) for n in (a, b, c)] == [{"title": "changed", "year": None}, NOTHING, {"title": None, "year": None}]


def test_many_rows_in_one_statement_after_one_row(songs: Table, sql: Sql) -> None:
    """Would break: a plan that was made for one row is kept, and joins 100,000 with each other: the test runs out of time."""
    written(songs, sql, title="few")
    sql("UPDATE songs SET year = 0 WHERE title = 'few'")
    songs.drained()
    sql("INSERT INTO songs (id, title) SELECT gen_random_uuid(), 'many' FROM generate_series(1, 100000)")
    sql("UPDATE songs SET year = 1 WHERE title = 'many'")
    sql("DELETE FROM songs WHERE title = 'many'")
    songs.expanded()
    ((count,),) = songs.sql("SELECT count(DISTINCT key) FROM sync.intent WHERE owner = 'SQL'")
    assert count >= 100_000
    songs.sql("DELETE FROM sync.intent WHERE owner = 'SQL'")  # none of these rows was ever sent


# partitioned targets


def test_rule_45_a_statement_may_name_any_partition(plays: Table, sql: Sql) -> None:
    """Would break: a parent's triggers do not fire for a statement that names a partition."""
    sql("INSERT INTO plays VALUES ('r', 1, 's', 'parent'), ('r', 13, 's', 'parent')")
    sql("INSERT INTO plays_old VALUES ('r', 2, 's', 'leaf')")
    sql(
        "INSERT INTO plays_new (room, day, song, a) VALUES ('r', 12, 's', 'middle'), ('r', 12, 't', 'middle'), ('r', 12, 'u', 'x')"
    )
    for number in (0, 1):
        sql(f"UPDATE plays_new_{number} SET a = 'leaf {number}'")
    sql("UPDATE plays SET day = day + 10 WHERE day = 1")  # to another partition
    sql("UPDATE plays SET a = 'all' WHERE song = 's'")
    plays.drained()
    assert plays.check_equal() == 6
    sql("DELETE FROM plays_new WHERE song = 't'")
    sql("DELETE FROM plays_old")
    plays.drained()
    assert {key[1] for key in plays._all_source()} == {"11", "12", "13"}
    sql("DELETE FROM plays")


def test_a_row_under_a_partition_s_tombstone_arrives(plays: Table, sql: Sql) -> None:
    """Would break: the delete of a partition hides in Cassandra what SQL has inserted after it."""
    sql("INSERT INTO plays VALUES ('gone', 1, 's', 'before')")
    plays.drained()
    begin_reverse(plays, now_us() + 30_000_000, room="gone").done()
    sql("INSERT INTO plays VALUES ('gone', 1, 's', 'after')")
    assert plays.settled(plays.key(room="gone", day=1, song="s")) == {"a": "after"}


# rule 44: what is refused


@pytest.mark.parametrize("statement", [
    "INSERT INTO songs (id) VALUES (gen_random_uuid())", "UPDATE songs SET year = 1", "DELETE FROM songs",
    "COPY songs (id) FROM '/dev/null'", "UPDATE songs SET year = 1 WHERE false",
    "MERGE INTO songs AS t USING (SELECT gen_random_uuid() AS id) AS s ON t.id = s.id WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id)",
])  # fmt: skip
def test_rule_44_sql_is_refused_while_astra_is_primary(songs: Table, sql: Sql, statement: str) -> None:
    """Would break: a forgotten script writes to the side that follows, and its rows are overwritten without a word."""
    be_primary(songs, "astra")
    assert refusal(lambda: sql(statement)) == REFUSED


def test_rule_44_truncate_is_refused(songs: Table, plays: Table, sql: Sql) -> None:
    for table in ("songs", "plays", "plays_old"):
        assert refusal(lambda t=table: sql(f"TRUNCATE {t}")) == TRUNCATED  # type: ignore[misc]


@pytest.mark.parametrize("isolation", [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE])
@pytest.mark.parametrize("now", ["postgres", "astra"])
def test_rule_44_a_snapshot_from_before_a_switch_writes_nothing(
    songs: Table, place: Place, isolation: psycopg.IsolationLevel, now: str
) -> None:
    """Would break: it believes that Postgres is primary still, and its row is on one side after the rollback."""
    with closing(foreign(place.settings)) as connection:
        connection.isolation_level = isolation
        connection.autocommit = False
        connection.execute("SELECT count(*) FROM songs")
        be_primary(songs, "astra")
        be_primary(songs, now)
        assert refusal(lambda: connection.execute(ADD, (uuid4(), "late"))) == STALE
        connection.rollback()
        outcome = refusal(lambda: connection.execute(ADD, (uuid4(), "again")))
        assert outcome == ("" if now == "postgres" else REFUSED)
        connection.commit()


def closing_epoch(table: Table, seconds: float = 60) -> None:
    table.sql(
        "UPDATE sync.epoch SET state = 'closing', closing_until = clock_timestamp() + make_interval(secs => %s) WHERE epoch = %s",
        (seconds, table.epoch),
    )


def test_rule_44_sql_waits_while_the_epoch_is_closing(songs: Table, place: Place, sql: Sql) -> None:
    """Would break: a switch that drains never comes to an end, or waits for a statement that waits for it."""
    number = uuid4()
    closing_epoch(songs)
    with beside(lambda: sql(ADD, (number, "later"))):
        waits(songs, "INSERT INTO songs")
        with closing(foreign(place.settings)) as other:
            assert other.execute("SELECT pg_try_advisory_lock(1937337955, 0)").fetchone() == (True,)  # nobody holds it
            assert songs.target(songs.key(id=number)) is NOTHING
        songs.sql("UPDATE sync.epoch SET state = 'open', closing_until = NULL WHERE epoch = %s", (songs.epoch,))
    assert sent(songs, number) == {"title": "later", "year": None}


def test_rule_44_sql_that_waited_for_a_switch_is_refused_after_it(songs: Table, sql: Sql) -> None:
    """Would break: it commits into the old primary after the switch, and is on one side alone."""
    outcomes: list[str] = []
    closing_epoch(songs)
    with beside(lambda: outcomes.append(refusal(lambda: sql(ADD, (uuid4(), "later"))))):
        waits(songs, "INSERT INTO songs")
        be_primary(songs, "astra")
    assert outcomes == [REFUSED]


def test_a_switch_that_nobody_ends_does_not_stop_sql(songs: Table, sql: Sql) -> None:
    closing_epoch(songs, -1)
    number = uuid4()
    sql(ADD, (number, "on"))
    songs.sql("UPDATE sync.epoch SET state = 'open', closing_until = NULL WHERE epoch = %s", (songs.epoch,))
    assert sent(songs, number) == {"title": "on", "year": None}


def test_a_call_of_a_wrapped_class_ends_while_the_epoch_is_closing(songs: Table, sql: Sql) -> None:
    """Would break: the switch waits for the call's announcement, and the call's own SQL for the switch."""
    number = uuid4()
    reverse_writer(songs).journal.announce(songs.key(id=number))
    closing_epoch(songs)
    sql(ADD, (number, "own class"))
    songs.sql("UPDATE sync.epoch SET state = 'open', closing_until = NULL WHERE epoch = %s", (songs.epoch,))
    songs.sql("UPDATE sync.intent SET state = 'finished' WHERE state = 'open'")
    assert sent(songs, number) == {"title": "own class", "year": None}


def test_an_older_process_is_let_through(songs: Table, sql: Sql) -> None:
    """Would break: after `sync schema apply`, processes of the version before fail to write what they are told to."""
    be_primary(songs, "astra")
    songs.writer()
    songs.sql("UPDATE sync.writer SET protocol = 1 WHERE state = 'active'")
    try:
        assert refusal(lambda: sql(ADD, (uuid4(), "old version"))) == ""
        songs.drained()  # Astra has no such row
        songs.check_equal()
    finally:
        songs.sql("UPDATE sync.writer SET protocol = 2")


def test_allowed_sql_is_overwritten_by_astra(songs: Table, place: Place, sql: Sql) -> None:
    number = written(songs, sql, title="astra's")
    be_primary(songs, "astra")
    make_whole(songs, "allow")
    sql("UPDATE songs SET title = 'other' WHERE id = %s", (number,))
    assert sent(songs, number) == {"title": "astra's", "year": None}
    make_whole(songs)


def test_rule_44_a_resend_waits_for_no_row_while_it_holds_another(songs: Table, place: Place, sql: Sql) -> None:
    """Would break: a statement that changes the same rows in another order is ended as the victim of a deadlock."""
    numbers = sorted((written(songs, sql) for _ in range(2)), key=lambda n: lock_of(songs.key(id=n)))
    keys = [songs.key(id=number) for number in numbers]
    sql("UPDATE songs SET year = 1 WHERE id = ANY (%s)", (numbers,))
    songs.expanded()
    update = "UPDATE songs SET year = year + 1 WHERE id = %s"
    with closing(foreign(place.settings)) as other, ThreadPoolExecutor(1) as executor, other.transaction():
        other.execute("SET LOCAL deadlock_timeout = '10ms'")
        other.execute(update, (numbers[1],))
        picking = executor.submit(lambda: resender(songs).resend_steps.pick(keys))
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
        until(lambda: picking.done() or bool(songs.sql(waiting)), what="the resend has ended, or waits")
        other.execute(update, (numbers[0],))
        with pytest.raises(TargetBusy):
            picking.result()
    assert [sent(songs, number) for number in numbers] == [{"title": "a", "year": 2}] * 2


def test_rule_44_nor_for_a_row_that_came_meanwhile(songs: Table, place: Place, sql: Sql) -> None:
    """Would break: as above, by a statement that changes a row that another has just inserted."""
    numbers = sorted((written(songs, sql) for _ in range(2)), key=lambda n: lock_of(songs.key(id=n)))
    sql("DELETE FROM songs WHERE id = ANY (%s)", (numbers,))
    songs.expanded()
    keys = [songs.key(id=number) for number in numbers]
    songs.sql("INSERT INTO sync.tombstone (table_name, key, token, version) VALUES ('songs', %s, 1, 1)", (keys[0].canonical,))
    with (
        closing(foreign(place.settings)) as tombstones,
        closing(foreign(place.settings)) as other,
        ThreadPoolExecutor(1) as executor,
    ):
        with tombstones.transaction(), other.transaction():
            tombstones.execute("SELECT FROM sync.tombstone FOR UPDATE")
            picking = executor.submit(lambda: resender(songs).resend_steps.pick(keys))
            until(
                lambda: bool(songs.sql("SELECT 1 FROM pg_locks WHERE NOT granted")),
                what="the first key waits for its tombstone",
            )
            sql(ADD, (numbers[1], "again"))
            other.execute("UPDATE songs SET year = 2 WHERE id = %s", (numbers[1],))
            tombstones.execute("COMMIT")
            until(
                lambda: picking.done() or bool(songs.sql("SELECT 1 FROM pg_locks WHERE NOT granted")),
                what="it has ended, or waits",
            )
            assert picking.done()
        with pytest.raises(TargetBusy):
            picking.result()
    assert [sent(songs, number) for number in numbers] == [None, {"title": "again", "year": 2}]


@pytest.mark.parametrize("step", ["resend", "stamp"])
def test_rule_44_nor_for_long_where_skip_locked_waits(songs: Table, place: Place, sql: Sql, step: str) -> None:
    """Would break: as above, where Postgres waits in spite of SKIP LOCKED; a lock in a trigger stands for that."""
    numbers = sorted((written(songs, sql) for _ in range(2)), key=lambda n: lock_of(songs.key(id=n)))
    keys = [songs.key(id=number) for number in numbers]
    sql("UPDATE songs SET title = 'waits' WHERE id = %s", (numbers[1],))
    sql("UPDATE songs SET year = 1, _sync_token = NULL WHERE id = ANY (%s)", (numbers,))
    songs.expanded()
    for statement in WAITS:
        songs.sql(statement)
    try:
        with (
            closing(foreign(place.settings)) as other,
            connect(place.settings, autocommit=True) as own,
            ThreadPoolExecutor(1) as executor,
            other.transaction(),
        ):
            other.execute("SET LOCAL deadlock_timeout = '600ms'")  # it would be the victim: Postgres's own is a second
            other.execute("SELECT pg_advisory_xact_lock(7)")
            target = TargetKeys(own, songs.mapped, RowEncoder(songs.mapped, 0))
            steps = {"resend": lambda: resender(songs).resend_steps.pick(keys), "stamp": lambda: target.stamp(keys)}
            running = executor.submit(steps[step])
            waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'advisory' AND objid = 7"
            until(lambda: running.done() or bool(songs.sql(waiting)), what="it waits")
            other.execute("UPDATE songs SET year = year + 1 WHERE id = %s", (numbers[0],))
        if step == "resend":
            with pytest.raises(TargetBusy):
                running.result()
        else:
            running.result()  # each by itself, without a wait: a later pass finds what is left
            with connect(place.settings, autocommit=True) as own:
                TargetKeys(own, songs.mapped, RowEncoder(songs.mapped, 0)).stamp(keys)
    finally:
        songs.sql("DROP FUNCTION waits_for_seven CASCADE")
    assert [sent(songs, number) for number in numbers] == [{"title": "a", "year": 2}, {"title": "waits", "year": 1}]


def test_rule_44_a_stamp_waits_for_no_key_s_lock(songs: Table, place: Place, sql: Sql) -> None:
    """Would break: a pass waits as long as an application's transaction is open that has put the row, and holds other keys."""
    key = songs.key(id=(number := written(songs, sql)))
    songs.sql("UPDATE songs SET _sync_token = NULL WHERE id = %s", (number,))
    with closing(foreign(place.settings)) as other, connect(place.settings, autocommit=True) as own:
        target = TargetKeys(own, songs.mapped, RowEncoder(songs.mapped, 0))
        with other.transaction():
            other.execute("SELECT pg_advisory_xact_lock(%s)", (lock_of(key),))
            assert target.stamp([key]) == 0
        assert target.stamp([key]) == 1


def test_rule_44_a_resend_gives_way_to_who_has_the_row(songs: Table, place: Place, sql: Sql) -> None:
    """Would break: an application's transaction that read a row FOR UPDATE, and puts it later, ends as a deadlock's victim."""
    key = songs.key(id=(number := written(songs, sql)))
    sql("UPDATE songs SET year = 1 WHERE id = %s", (number,))
    songs.expanded()
    with closing(foreign(place.settings)) as other, ThreadPoolExecutor(1) as executor, other.transaction():
        other.execute("SELECT FROM songs WHERE id = %s FOR UPDATE", (number,))
        picking = executor.submit(lambda: resender(songs).resend_steps.pick([key]))
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
        until(lambda: picking.done() or bool(songs.sql(waiting)), what="the resend waits for the row")
        time.sleep(1.2)  # Postgres has looked for a deadlock on the resend's behalf, and found none
        other.execute("SELECT pg_advisory_xact_lock(%s)", (lock_of(key),))  # as a put in the transaction does
        with pytest.raises(TargetBusy):
            picking.result()
    assert sent(songs, number) == {"title": "a", "year": 1}


# the triggers


def capture(table: Table, mode: Any = "refuse") -> SqlWriters:
    return SqlWriters(table.name, table.mapped.target, target_key_order(table.mapped), mode)


def make_whole(table: Table, mode: Any = "refuse") -> None:
    with table.pool.connection() as connection:
        made = capture(table, mode)
        for statement in made.statements(watched(connection, [made])):
            connection.execute(statement.encode())


@pytest.mark.parametrize("harm", [
    "ALTER TABLE plays_new_1 DISABLE TRIGGER _sync_updated", "ALTER TABLE plays_new_1 ENABLE TRIGGER _sync_updated",
    "DROP TRIGGER _sync_deleted ON plays", "CREATE TABLE plays_later PARTITION OF plays FOR VALUES FROM (1000) TO (2000)",
    "DO $$ BEGIN EXECUTE (SELECT replace(pg_get_functiondef(tgfoid), 'seen > 0', 'seen > 1') FROM pg_trigger "
    "WHERE tgrelid = 'plays'::regclass AND tgname = '_sync_inserted'); END $$",
    "CREATE OR REPLACE TRIGGER _sync_updated AFTER UPDATE ON plays FOR EACH STATEMENT "
    "WHEN (false) EXECUTE FUNCTION sync.sql_writer_truncates()",
])  # fmt: skip
def test_the_gate_sees_what_is_not_whole(plays: Table, harm: str) -> None:
    """Would break: after the cut-over nobody notices that what SQL writes stays in Postgres alone."""
    with plays.pool.connection() as connection:
        made = capture(plays)
        assert made.faults(watched(connection, [made])) == []
        connection.execute(harm.encode())
        assert len(made.faults(watched(connection, [made]))) == 1, made.faults(watched(connection, [made]))
        for statement in made.statements(watched(connection, [made])):
            connection.execute(statement.encode())
        assert made.faults(watched(connection, [made])) == made.statements(watched(connection, [made])) == []
        connection.execute("DROP TABLE IF EXISTS plays_later")


def test_the_gate_sees_another_setting(plays: Table) -> None:
    with plays.pool.connection() as connection:
        assert (other := capture(plays, "allow")).faults(watched(connection, [other])) != []


def test_triggers_of_the_program_are_no_triggers_of_the_user(place: Place, plays: Table) -> None:
    done = place.commands.run("preflight", "--json")
    assert not [name for name in TRIGGERS if name in done.out], done


def test_a_long_transaction_s_second_statement_asks_nobody(
    songs: Table, connection: psycopg.Connection[Any], sql: Sql
) -> None:
    """Would break: a transaction that a switch waits for waits for the switch."""
    sql("BEGIN")
    sql(ADD, (uuid4(), "one"))
    with closing(foreign(songs.settings)) as other, beside(lambda: other.execute("SELECT pg_advisory_lock(1937337955, 0)")):
        waits(songs, "SELECT pg_advisory_lock")
        sql(ADD, (uuid4(), "two"))
        sql("COMMIT")


def test_rule_44_a_plain_copy_is_anybody_s(new_place: NewPlace) -> None:
    """Would break: after `sync migrate` nobody may use the tables, or a worker brings Cassandra's rows back."""
    with new_place() as made:
        made.cql("CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text)")
        prepare(made.settings, CONFIG, "songs")
        with closing(foreign(made.settings)) as anybody:
            anybody.execute("INSERT INTO songs (id, title) VALUES (gen_random_uuid(), 'a')")
            anybody.execute("UPDATE songs SET title = 'b'")
            anybody.execute("TRUNCATE songs")
            anybody.execute("INSERT INTO songs (id, title) VALUES (gen_random_uuid(), 'c')")
            assert made.sql("SELECT (SELECT count(*) FROM sync.intent), (SELECT count(*) FROM sync.sql_change)") == [(0, 0)]
            made.sql("INSERT INTO sync.writer (id, slot, host, pid, epoch, state) VALUES ('w', 1, 'h', 1, 1, 'signed_off')")
            assert refusal(lambda: anybody.execute("DELETE FROM songs")) == REFUSED
            assert refusal(lambda: anybody.execute("TRUNCATE songs")) == TRUNCATED
