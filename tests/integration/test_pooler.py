"""Through a real PgBouncer in transaction mode, whose name does not give it away: all works, nothing leaks, limits hold.

There is no way around it here, and its pool has two server connections, or one: then nobody may hold it and wait for another
one. Another application uses the same pool.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from support.applications import running as writing
from support.dual import Table
from support.pgbouncer import Pooler, running
from support.places import NewPlace, Place
from support.running_commands import until

from sync.adapters.postgres.connection import pooler as looking
from sync.adapters.postgres.connection.connect import connect, connection_string
from sync.adapters.postgres.connection.pooled import Pooled
from sync.errors import WriteRefused
from sync.settings import Settings, load_config
from sync.stores import DualWriteStore
from sync.stores.one_side.postgres import PostgresStore

pytest_plugins = ("support.fixtures",)
TOML = """
schema_files = []
[dual_write]
heartbeat_seconds = 0.3
connections = 8
[drift]
grace_seconds = 0.05
[backfill]
streams = 1
"""
_SHOWN = (
    "SELECT coalesce(string_agg(name || ' = ' || setting, ', ' ORDER BY name), '') FROM pg_settings "
    "WHERE source IN ('session', 'interactive') AND name NOT IN ('application_name')"
)
_LEFT = (
    "SELECT (SELECT count(*) FROM pg_class WHERE relpersistence = 't') + (SELECT count(*) FROM pg_proc AS p JOIN pg_namespace AS n "
    "ON n.oid = p.pronamespace WHERE n.nspname LIKE 'pg_temp%'), (SELECT count(*) FROM pg_prepared_statements)"
)


@pytest.fixture(scope="module")
def pooler(base_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pooler]:
    with running(base_settings, tmp_path_factory.mktemp("pooler")) as made:
        yield made


@pytest.fixture
def pooled(new_place: NewPlace, pooler: Pooler) -> Iterator[Place]:
    with through(pooler, new_place) as place:
        yield place


@contextmanager
def through(pooler: Pooler, new_place: NewPlace) -> Iterator[Place]:
    """A place whose database is reached through the pooler alone."""
    with new_place() as place:
        place.configure(TOML)
        address = {"POSTGRES_HOST": pooler.host, "POSTGRES_PORT": str(pooler.port), "POSTGRES_SSLMODE": "disable"}
        yield replace(place, settings=pooler.settings(place.settings), commands=place.commands.but(**address))


class Others:
    """Other clients of the same pool, which check that their sessions stay as they were."""

    def __init__(self, pooler: Pooler, settings: Settings, count: int = 2) -> None:
        self._clients = [pooler.client(settings) for _ in range(count)]
        self._first = self._seen()

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def check(self) -> None:
        assert self._seen() == self._first

    def _seen(self) -> set[object]:
        """What all server sessions show: the first client holds one of them, so that a second client gets the other."""
        found: set[object] = set()
        for _ in range(10):
            with self._clients[0].transaction():
                found |= {client.execute(query.encode()).fetchone() for query in (_SHOWN, _LEFT) for client in self._clients}
        return found


def run(place: Place, command: str) -> str:
    done = place.commands.run(*command.split(), timeout=120)
    assert done.code == 0, done
    return done.out


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2])
def test_the_whole_way_and_nothing_leaks(
    new_place: NewPlace, base_settings: Settings, tmp_path_factory: pytest.TempPathFactory, size: int
) -> None:
    """Would break: prepared statements collide, timeouts apply to another client's queries, or temporary tables stay.

    Or an idle client holds a server connection, and the others wait until query_wait_timeout ends them.
    """
    with running(base_settings, tmp_path_factory.mktemp("pooler"), size=size) as pooler, through(pooler, new_place) as pooled:
        go_the_whole_way(pooled, pooler, size)


def go_the_whole_way(pooled: Place, pooler: Pooler, size: int) -> None:
    pooled.cql(
        "CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text, plays int, tags map<text, text>)",
        "CREATE TABLE KS.shapes (id int PRIMARY KEY, v vector<float, 3>)", "INSERT INTO KS.shapes (id, v) VALUES (1, [1, 2, 3])",
        *(f"INSERT INTO KS.songs (id, title, plays) VALUES ({UUID(int=i)}, 'before', {i})" for i in range(1, 200)),
    )  # fmt: skip
    with closing(Others(pooler, pooled.settings, size)) as others:
        run(pooled, "migrate --workers 1")
        run(pooled, "migrate --workers 1")  # through the stage
        others.check()
        config = load_config(pooled.commands.folder / "sync.toml")
        with closing(Table(pooled.cassandra, pooled.settings, config, "songs")) as table:
            with writing(pooled.settings, config, 2) as applications:
                for command, primary in (("cutover", "postgres"), ("rollback", "astra")):
                    for _ in range(2):
                        run(pooled, "drift-report --workers 1")
                    others.check()
                    run(pooled, f"{command} --yes")
                    assert all(a.store.primary == primary for a in applications)
            table.epoch = 3
            table.drained()
            for application in applications:
                application.check(table)
                assert not application.refused
                assert not application.unsure
            table.check_equal()
        others.check()


@pytest.mark.slow
def test_seven_hundred_writes(pooled: Place, pooler: Pooler) -> None:
    """Would break: 46 of them unsure, with a direct endpoint beside the pooler (V3)."""
    pooled.cql("CREATE TABLE KS.songs (id int PRIMARY KEY, title text)")
    run(pooled, "migrate --workers 1")
    config = load_config(pooled.commands.folder / "sync.toml")
    with closing(Others(pooler, pooled.settings)) as others, DualWriteStore(pooled.settings, config) as store:
        for number in range(350):
            store.put("songs", {"id": number % 50, "title": str(number)})
            assert store.update("songs", {"id": number % 50}, {"title": f"{number}!"})
        others.check()
        assert pooled.sql("SELECT count(*) FROM sync.intent") == [(0,)]
        assert store.get("songs", {"id": 49}) == {"id": 49, "title": "349!"}
        assert store.count("songs") == 50


def test_limits_hold(pooled: Place) -> None:
    """Would break: a locked row or a server that hangs blocks an application's thread forever."""
    pooled.sql("CREATE TABLE songs (id int PRIMARY KEY, title text)", "INSERT INTO songs VALUES (1, 'a')")
    with PostgresStore(pooled.settings, 4, 1.0) as store, store.pool.connection() as other:
        assert isinstance(other, Pooled)
        with other.transaction():
            other.execute("UPDATE songs SET title = 'b'")
            with pytest.raises(WriteRefused, match="lock timeout"):  # which Postgres itself says
                store.update("songs", {"id": 1}, {"title": "c"})
        with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
            other.execute("SELECT pg_sleep(30)")
        with other.transaction(), pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
            other.execute("SELECT pg_sleep(30)")
        assert other.execute("SELECT title FROM songs").fetchall() == [("b",)]
        if other.info.server_version >= 170000:
            with pytest.raises(psycopg.errors.TransactionTimeout), other.transaction():
                for _ in range(30):
                    other.execute("SELECT pg_sleep(0.1)")


def test_a_lone_statement_is_one_round_trip(pooled: Place, tmp_path: Path) -> None:
    """Would break: through a pooler each small statement waits for its BEGIN, its settings and its COMMIT."""
    trace = tmp_path / "trace"
    with closing(connect(pooled.settings, autocommit=True)) as connection:
        assert isinstance(connection, Pooled)
        with _traced(connection, trace):
            connection.execute("SELECT 1")
        assert trace.read_text().count("ReadyForQuery") == 1
        with _traced(connection, trace), connection.one_round_trip():
            for _ in range(5):
                connection.execute("SELECT 1")
        assert trace.read_text().count("ReadyForQuery") == 1
        with _traced(connection, trace), connection.transaction():
            pass
        assert trace.read_text().count("ReadyForQuery") == 2
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1 / 0")
        assert connection.is_idle


def test_nothing_is_sent_after_the_sync(pooled: Place, tmp_path: Path) -> None:
    """Would break: a Flush comes when the transaction is over, and its idle client holds a server connection from then on."""
    trace = tmp_path / "trace"
    with closing(connect(pooled.settings, autocommit=True)) as connection:
        assert isinstance(connection, Pooled)
        with _traced(connection, trace), connection.pipeline():
            assert connection.execute("SELECT 1").fetchone() == (1,)
            connection.execute("SELECT 2")
        sent = [line.split("\t")[3] for line in trace.read_text().splitlines() if line.split("\t")[1] == "F"]
        assert sent[-1] == "Sync"


@contextmanager
def _traced(connection: Pooled, path: Path) -> Iterator[None]:
    with path.open("w") as file:
        connection.pgconn.trace(file.fileno())
        yield
        connection.pgconn.untrace()


def begin_anew(base_settings: Settings, place: Place) -> None:
    """End the pool's server sessions: new ones have the settings that the database has now."""
    ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
    with closing(connect(base_settings, autocommit=True)) as connection:
        until(lambda: connection.execute(ended, (place.keyspace,)).fetchone() == (0,))


@pytest.mark.parametrize(("mode", "expected"), [("transaction", True), ("session", False)])
def test_it_is_found_by_looking(
    base_settings: Settings, tmp_path_factory: pytest.TempPathFactory, mode: str, expected: bool
) -> None:
    """Would break: only names with `-pooler.` count as poolers, or a session pooler does, which behaves like the server."""
    with running(base_settings, tmp_path_factory.mktemp(mode), mode=mode) as made:
        dsn = connection_string(made.settings(base_settings))
        assert looking.known(dsn) is None
        with closing(connect(made.settings(base_settings), direct=False)) as connection:
            assert isinstance(connection, Pooled) is expected
        assert looking.known(dsn) is expected
    assert looking.detect(connection_string(base_settings), connect(base_settings)) is False


def test_what_is_said_counts(base_settings: Settings) -> None:
    """POSTGRES_POOLER decides where detection cannot."""
    said = base_settings.model_copy(update={"postgres_pooler": "transaction"})
    with closing(connect(said, autocommit=True)) as connection:
        assert isinstance(connection, Pooled)
        assert connection.execute("SHOW DateStyle").fetchone() == ("ISO, MDY",)


@pytest.mark.slow
def test_hostile_settings_of_the_role_do_not_matter(pooled: Place, base_settings: Settings) -> None:
    """Would break: session settings of the role or the database change verdicts, writes, or what a name means (V8)."""
    pooled.cql(
        "CREATE TABLE KS.metadata (id int PRIMARY KEY, at timestamp, d date, v vector<float, 3>)",
        "INSERT INTO KS.metadata (id, at, d, v) VALUES (1, '2024-02-03 01:02:03+0000', '2024-02-03', [1, 2, 3])",
    )
    hostile = {
        "TimeZone": "'America/New_York'", "DateStyle": "'SQL, DMY'", "extra_float_digits": "-15", "bytea_output": "escape",
        "default_transaction_isolation": "serializable", "lock_timeout": "0", "search_path": "evil, sync, public",
        "enable_indexscan": "off", "standard_conforming_strings": "off", "client_encoding": "LATIN1",
    }  # fmt: skip
    pooled.sql(
        "CREATE SCHEMA evil", "CREATE TABLE evil.metadata (id int PRIMARY KEY)", "CREATE SCHEMA extensions",
        "CREATE EXTENSION vector SCHEMA extensions",
        "CREATE TABLE public.metadata (id int PRIMARY KEY, at timestamptz, d date, v extensions.vector(3))",
        "CREATE INDEX nearest ON public.metadata USING hnsw (v extensions.vector_cosine_ops)",
        *(f'ALTER DATABASE "{pooled.keyspace}" SET {name} = {value}' for name, value in hostile.items()),
    )  # fmt: skip
    begin_anew(base_settings, pooled)
    run(pooled, "migrate --workers 1")
    run(pooled, "migrate --workers 1")
    run(pooled, "drift-report --workers 1 --sample-search 1")
    with PostgresStore(pooled.settings) as store:
        assert store.search("metadata", "v", [1.0, 2.0, 3.0])[0][0]["id"] == 1
    assert pooled.sql("SELECT count(*) FROM public.metadata") == [(1,)]
    assert pooled.sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'public.nearest'::regclass") == [(True,)]


def test_an_index_that_the_roles_limits_would_end(pooled: Place, base_settings: Settings) -> None:
    """Would break: the role's timeout ends the build and leaves an invalid index."""
    pooled.cql("CREATE TABLE KS.songs (id int PRIMARY KEY, title text)")
    pooled.sql(f'ALTER DATABASE "{pooled.keyspace}" SET statement_timeout = 1234')
    begin_anew(base_settings, pooled)
    said = "statement_timeout = 1234ms, which would end the build; set DATABASE_URL_UNPOOLED"
    assert any(said in row for row in pooled.commands.rows())
    assert said in pooled.commands.run("migrate", "--workers", "1").err
    assert pooled.sql("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]
