"""A whole migration with the roles of docs/operations.md, and exactly the grants given there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import psycopg
import pytest
from support.commands import ROOT, SECRET, Commands, Zygote
from support.environments import settings_in
from support.fixtures import SIMPLE
from support.places import Certificates, admin
from support.running_commands import until

from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.local import CassandraServer, PostgresServer, ValkeyServer
from sync.settings import Settings, load_config
from sync.stores import DualWriteStore
from sync.stores.one_side.postgres import PostgresStore

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
PASSWORD = f"{SECRET}-role"
DATABASE = "music"
_ROLES = ("migrator", "app", "reader")


def documented(after: str) -> list[str]:
    """The statements of the first block of SQL that follows these words on the page."""
    page = (ROOT / "docs" / "operations.md").read_text()
    block = page.split(after, 1)[1].split("```sql\n", 1)[1].split("```", 1)[0]
    text = re.sub(r"--.*", "", block).replace("'…'", f"'{PASSWORD}'")
    return [statement.strip() for statement in text.split(";") if statement.strip()]


@dataclass
class Roles:
    """Commands and settings of each role."""

    server: PostgresServer
    commands: dict[str, Commands]

    def settings(self, role: str) -> Settings:
        return settings_in(self.commands[role].env)

    def sql(self, role: str, *statements: str) -> list[tuple[object, ...]]:
        dsn = f"host=127.0.0.1 port={self.server.port} dbname={DATABASE} user={role} password={PASSWORD}"
        with closing(psycopg.connect(dsn, autocommit=True)) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def run(self, role: str, command: str) -> str:
        done = self.commands[role].run(*command.split(), timeout=120)
        assert done.code == 0, f"{role}: {command}: {done.code}\n{done.out}\n{done.err}"
        return done.out


@pytest.fixture
def roles(
    secure_cassandra: CassandraServer, certificates: Certificates, own_postgres: PostgresServer, valkey: ValkeyServer,
    zygote: Zygote, tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Roles]:  # fmt: skip
    """Both sides, set up as the page says."""
    source = {
        "CASSANDRA_CONTACT_POINTS": "127.0.0.1", "CASSANDRA_PORT": str(secure_cassandra.port),
        "CASSANDRA_SSL_CA_PATH": str(certificates.root), "ASTRA_DB_KEYSPACE": "music",
    }  # fmt: skip
    login = {"CASSANDRA_USERNAME": secure_cassandra.user, "CASSANDRA_PASSWORD": secure_cassandra.password}
    owner = settings_in(source | login)
    target = {
        "POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": str(own_postgres.port), "POSTGRES_DATABASE": DATABASE,
        "POSTGRES_SSLMODE": "disable", "POSTGRES_PASSWORD": PASSWORD, "REDIS_URL": valkey.url, "SYNC_DUAL_WRITE": "true",
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("roles")
    (folder / "sync.toml").write_text(
        "schema_files = []\n[dual_write]\nheartbeat_seconds = 0.3\n[drift]\ngrace_seconds = 0.05\n"
    )
    commands = {}
    for role in _ROLES:
        who = {"CASSANDRA_USERNAME": role, "CASSANDRA_PASSWORD": PASSWORD, "POSTGRES_USER": role}
        commands[role] = Commands(folder, {**source, **target, **who}, zygote)
    with open_cassandra(owner) as cassandra, closing(admin(own_postgres)) as administrator:
        cassandra.session.execute(f"CREATE KEYSPACE music WITH replication = {SIMPLE}")
        cassandra.session.execute(
            "CREATE TABLE music.songs (id int PRIMARY KEY, title text, tags map<text, text>, v vector<float, 2>)"
        )
        for number in range(50):
            cassandra.session.execute(f"INSERT INTO music.songs (id, title, v) VALUES ({number}, 'before', [1, {number}])")
        for statement in documented("### The source"):
            cassandra.session.execute(statement)
        administrator.execute(f"CREATE DATABASE {DATABASE}")
        administrator.execute(f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC")
        with closing(admin(own_postgres, DATABASE)) as connection:
            connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
            for statement in documented("As an administrator, in the target database"):
                connection.execute(statement.encode())
        yield Roles(own_postgres, commands)
        cassandra.session.execute("DROP KEYSPACE music")
        for role in ("migrator", "app"):
            cassandra.session.execute(f"DROP ROLE IF EXISTS {role}")
        administrator.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")
        for role in _ROLES:
            administrator.execute(f"DROP ROLE {role}".encode())


def test_the_whole_way_with_the_documented_grants(roles: Roles) -> None:
    """Would break: the page forgets a right, which is noticed in the middle of a migration."""
    roles.run("migrator", "schema apply")
    roles.run("migrator", "preflight")
    roles.sql("migrator", *documented("After `sync schema apply`, as `migrator`"))
    roles.run("migrator", "backfill --workers 1")
    config = load_config(roles.commands["app"].folder / "sync.toml")
    with closing(DualWriteStore(roles.settings("app"), config)) as store:
        write(store, 100)
        roles.sql("app", "SET sync.own = 'on'; UPDATE songs SET title = 'other' WHERE id = 7")
        assert roles.commands["migrator"].run("drift-report", "--workers", "1", "--repair").code in (0, 2)
        settle(roles)
        for command in ("cutover", "rollback", "cutover"):
            prove(roles)
            roles.run("migrator", f"{command} --yes")
            write(store, 200)
            settle(roles)
        for look in ("status", "rejects", "intents", "writers"):
            roles.run("reader", look)
    roles.run("migrator", "finish")
    with PostgresStore(roles.settings("app")) as store:
        write(store, 300)
        assert store.get("songs", {"id": 7}) == {"id": 7, "title": "before", "tags": None, "v": [1.0, 7.0]}


def write(store: DualWriteStore | PostgresStore, key: int) -> None:
    store.put("songs", {"id": key, "title": "new", "tags": {"a": "b"}, "v": [1.0, 2.0]})
    assert store.update("songs", {"id": key}, {"title": "newer"})
    assert (store.get("songs", {"id": key}) or {})["title"] == "newer"
    store.delete("songs", {"id": key})


def prove(roles: Roles) -> None:
    for _ in range(2):
        roles.run("migrator", "drift-report --workers 1")


def settle(roles: Roles) -> None:
    """Run a worker until no intent is left."""
    worker = roles.commands["migrator"].start("worker")
    try:
        until(lambda: roles.sql("reader", "SELECT count(*) FROM sync.intent") == [(0,)], what="intents settle")
    finally:
        worker.terminate()
        worker.communicate(timeout=20)
