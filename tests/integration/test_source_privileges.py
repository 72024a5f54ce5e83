"""A source with authorization: what a role that may only read does to writes whose answer was lost (rule 15b)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from support.backfills import until
from support.commands import SECRET, Commands, Zygote, environment
from support.dual import Primary, Table, prepare
from support.environments import settings_in
from support.fixtures import SIMPLE
from support.places import Certificates, admin

from sync.adapters.cassandra.connection.connect import Cassandra, open_cassandra
from sync.adapters.cassandra.rows.rows import SourceRows
from sync.adapters.cassandra.schema.privileges import may_write
from sync.core.rows import SourceColumn
from sync.local import CassandraServer, PostgresServer, ValkeyServer
from sync.settings import Config, Settings

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
CONFIG = Config(schema_files=())
KEYSPACE = "Rights"
TABLES = (
    f'CREATE TABLE "{KEYSPACE}".songs (id uuid PRIMARY KEY, title text)',
    f'CREATE TABLE "{KEYSPACE}"."Wide" (a int, "B" text, c int, v text, PRIMARY KEY ((a, "B"), c))',
)
PASSWORD = f"{SECRET}-of-a-role"


@pytest.fixture(scope="module")
def owner(secure_cassandra: CassandraServer, certificates: Certificates) -> Iterator[Cassandra]:
    """The administrator's session; two roles that may read, one of which may write as well."""
    with open_cassandra(settings_of(secure_cassandra, certificates)) as cassandra:
        execute = cassandra.session.execute
        execute(f'CREATE KEYSPACE "{KEYSPACE}" WITH replication = {SIMPLE}')
        for table in TABLES:
            execute(table)
        for role in ("reads", "writes"):
            execute(f"CREATE ROLE {role} WITH PASSWORD = '{PASSWORD}' AND LOGIN = true")
            execute(f'GRANT SELECT ON KEYSPACE "{KEYSPACE}" TO {role}')
        execute(f'GRANT MODIFY ON KEYSPACE "{KEYSPACE}" TO writes')
        yield cassandra


def settings_of(server: CassandraServer, certificates: Certificates, role: str = "") -> Settings:
    return Settings(
        _env_file=None, cassandra_contact_points="127.0.0.1", cassandra_port=server.port,
        cassandra_username=role or server.user, cassandra_password=PASSWORD if role else server.password,
        cassandra_ssl_ca_path=certificates.root, astra_db_keyspace=KEYSPACE,
    )  # fmt: skip


@pytest.fixture
def as_role(
    owner: Cassandra, secure_cassandra: CassandraServer, certificates: Certificates, own_postgres: PostgresServer
) -> Iterator[dict[str, Settings]]:
    """Settings of each role, with a new database beside them."""
    with closing(admin(own_postgres)) as connection:
        connection.execute("DROP DATABASE IF EXISTS rights WITH (FORCE)")
        connection.execute("CREATE DATABASE rights")
    target = {
        "postgres_host": "127.0.0.1", "postgres_port": own_postgres.port, "postgres_database": "rights",
        "postgres_user": own_postgres.user, "postgres_password": own_postgres.password, "postgres_sslmode": "disable",
    }  # fmt: skip
    made = {role: settings_of(secure_cassandra, certificates, role) for role in ("reads", "writes")}
    yield {role: settings_in({**environment(s), **target}) for role, s in made.items()}


def test_rights_are_found_out_and_nothing_is_written(owner: Cassandra, as_role: dict[str, Settings]) -> None:
    """Would break: the probe takes a right for granted, or leaves something in the source."""
    found = {}
    for role, settings in as_role.items():
        with open_cassandra(settings) as cassandra, closing(Table(cassandra, prepared(settings), CONFIG, "songs")) as table:
            wide = replace(table.mapped.source, name="Wide", columns=key_of_wide(table))
            found[role] = (may_write(cassandra.session, table.mapped.source), may_write(cassandra.session, wide))
    assert found == {"reads": (False, False), "writes": (True, True)}
    for table_name in ("songs", '"Wide"'):
        assert list(owner.session.execute(f'SELECT * FROM "{KEYSPACE}".{table_name}')) == []


def key_of_wide(table: Table) -> tuple[SourceColumn, ...]:
    (key,) = table.mapped.source.primary_key
    return (replace(key, name="a"), replace(key, name="B"), replace(key, name="c", kind="clustering"))


def prepared(settings: Settings) -> Settings:
    prepare(settings, Config(schema_files=(), only=("songs",)), "songs")
    return settings


def test_rule_15b_a_worker_that_may_not_write_settles_nothing(owner: Cassandra, as_role: dict[str, Settings]) -> None:
    """Would break: with the documented role repetitions are refused, which counts as done: the key is settled as absent."""
    settings = prepared(as_role["reads"])
    with open_cassandra(settings) as reads, closing(Table(reads, settings, CONFIG, "songs")) as table:
        key, writer = table.key(id=uuid4()), table.writer()
        application = Primary(SourceRows(owner, table.mapped.source, 10), ["late"])
        write = writer.put(key, title="late")
        assert application.write(write.mutation, write.version)[0] == "unsure"
        write.mark("unsure")
        assert table.drain() == 0
        assert table.intents(key) == [("put", "claimed")]
        ((error,),) = table.sql("SELECT error FROM sync.intent")
        assert error.startswith("the source refuses to repeat a write: not permitted: ")
        assert "no MODIFY permission" in error
        application.land()
        assert table.source(key) == {"title": "late"}
        with open_cassandra(as_role["writes"]) as writes, closing(Table(writes, settings, CONFIG, "songs")) as able:
            assert able.settled(key) == {"title": "late"}


def test_worker_and_preflight_say_what_right_is_missing(
    as_role: dict[str, Settings], tmp_path: Path, zygote: Zygote, valkey: ValkeyServer
) -> None:
    """Would break: intents never settle, and nobody knows why."""
    said = "this role may not write songs: while applications write to both sides, workers repeat writes"
    settings = prepared(as_role["reads"])
    (tmp_path / "sync.toml").write_text('schema_files = []\nonly = ["songs"]\n')
    commands = Commands(tmp_path, {**environment(settings), "REDIS_URL": valkey.url}, zygote)
    assert commands.run("preflight").code == 0, "nobody writes"
    with open_cassandra(settings) as reads, closing(Table(reads, settings, CONFIG, "songs")) as table:
        table.writer()
    (row,) = commands.rows()
    assert row.startswith(f"source: {said}")
    assert row.endswith(f'GRANT MODIFY ON KEYSPACE "{KEYSPACE}" TO it')
    assert said in worker_says(commands, said)
    able = Commands(tmp_path, {**environment(as_role["writes"]), "REDIS_URL": valkey.url}, zygote)
    assert able.run("preflight").code == 0


def worker_says(commands: Commands, wanted: str) -> str:
    process = commands.start("worker")
    lines: list[str] = []
    try:
        assert process.stderr
        until(lambda: lines.append(process.stderr.readline()) or wanted in lines[-1] or len(lines) > 2)  # type: ignore[union-attr, func-returns-value]
    finally:
        process.terminate()
        with suppress(Exception):
            process.wait(20)
        process.kill()
    return "".join(lines)
