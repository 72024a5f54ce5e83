"""What is copied is what is there: masks, policies, guardrails and missing privileges are named before any write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from support.commands import Commands, Done, Zygote, environment
from support.environments import settings_in
from support.fixtures import SIMPLE
from support.running_commands import until

from sync import local
from sync.adapters.cassandra.connection.connect import Cassandra, open_cassandra
from sync.adapters.postgres.connection.connect import connect
from sync.errors import PreflightError
from sync.settings import Settings, load_config
from sync.stores.both_sides.dual import DualWriteStore
from sync.wiring.backfill.worker import map_tables
from sync.wiring.visibility import check_visibility

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
PASSWORD = "hunter2-role"
ROLES = ("reader", "writer", "masked")
NO_FILES = "schema_files = []\n"
GUARDED = {
    "dynamic_data_masking_enabled": True,
    "user_timestamps_enabled": False,
    "permissions_validity": "200ms",
    "roles_validity": "200ms",
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.CassandraServer]:
    """A Cassandra with passwords, masks and guardrails."""
    options = local.CassandraOptions(heap_mb=384, fast_start=True, yaml=GUARDED)
    server = local.CassandraServer(tmp_path_factory.mktemp("cassandra"), options=options)
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="module")
def admin(guarded: local.CassandraServer) -> Iterator[Cassandra]:
    """The superuser, roles that may log in, and three tables."""
    settings = Settings(
        _env_file=None, cassandra_contact_points="127.0.0.1", cassandra_port=guarded.port,
        cassandra_username=guarded.user, cassandra_password=guarded.password,
    )  # fmt: skip
    with open_cassandra(settings) as opened:
        for statement in (
            f"CREATE KEYSPACE hide WITH replication = {SIMPLE}",
            f"CREATE KEYSPACE plain WITH replication = {SIMPLE}",
            "CREATE TABLE hide.people (id int PRIMARY KEY, name text MASKED WITH mask_inner(1, null), born text)",
            "CREATE TABLE hide.keys (id text MASKED WITH DEFAULT PRIMARY KEY, v text)",
            "INSERT INTO hide.people (id, name, born) VALUES (1, 'named', 'there')",
            "INSERT INTO hide.keys (id, v) VALUES ('k', 'v')",
            "CREATE TABLE plain.notes (id int, at int, v text, tags set<text>, PRIMARY KEY (id, at))",
            "INSERT INTO plain.notes (id, at, v) VALUES (1, 1, 'a')",
            *(f"CREATE ROLE {name} WITH PASSWORD = '{PASSWORD}' AND LOGIN = true" for name in ROLES),
            "CREATE ROLE sees",
            *(f"GRANT SELECT ON ALL KEYSPACES TO {name}" for name in ROLES),
            "GRANT MODIFY ON ALL KEYSPACES TO writer",
        ):
            opened.session.execute(statement)
        yield opened


@pytest.fixture
def commands(
    tmp_path: Any,
    zygote: Zygote,
    valkey: local.ValkeyServer,
    settings: Settings,
    guarded: local.CassandraServer,
    admin: Cassandra,
) -> Commands:
    """Commands with a target database for each test, as the role `reader`."""
    assert admin
    (tmp_path / "sync.toml").write_text(NO_FILES)
    role = {"CASSANDRA_USERNAME": "reader", "CASSANDRA_PASSWORD": PASSWORD, "CASSANDRA_PORT": str(guarded.port)}
    return Commands(tmp_path, {**environment(settings), "REDIS_URL": valkey.url, "ASTRA_DB_KEYSPACE": "hide", **role}, zygote)


def settings_of(commands: Commands) -> Settings:
    return settings_in(commands.env)


def configure(commands: Commands, toml: str) -> None:
    (commands.folder / "sync.toml").write_text(NO_FILES + toml)


def run(commands: Commands, command: str, code: int = 0) -> Done:
    found = commands.run(*command.split(), timeout=120)
    assert found.code == code, found
    return found


def problems(commands: Commands, code: int = 0) -> dict[tuple[str, str], str]:
    return _by_place(run(commands, "preflight --json", code))


def asked(commands: Commands) -> dict[tuple[str, str], str]:
    """The same, with or without errors."""
    return _by_place(commands.run("preflight", "--json", timeout=120))


def _by_place(found: Done) -> dict[tuple[str, str], str]:
    return {(p["level"], p["where"]): p["text"] for p in found.json["problems"]}


MASKED = "name: masked for the role reader, which would read masks in place of values; GRANT UNMASK ON TABLE hide.people"


def test_masked_columns_are_not_copied(commands: Commands, admin: Cassandra) -> None:
    """Would break: masks are copied, and a proof that reads masks finds both sides equal."""
    run(commands, "schema apply")
    found = problems(commands, 1)
    assert MASKED in found["error", "people"]
    assert "ignore under [tables.people]" in found["error", "people"]
    assert "id: masked for the role reader" in found["error", "keys"]
    assert "ignore" not in found["error", "keys"], "a key cannot be left out"
    assert MASKED in run(commands, "backfill --workers 1", 1).err
    assert MASKED in run(commands, "migrate", 1).err
    configure(commands, 'only = ["people"]\n[tables.people]\nignore = ["name"]\n')
    assert ("error", "people") not in problems(commands)
    configure(commands, 'only = ["people", "keys"]\n')
    for statement in ("GRANT UNMASK ON KEYSPACE hide TO sees", "GRANT sees TO reader"):
        admin.session.execute(statement)
    try:
        until(lambda: commands.run("preflight").code == 0, what="the permission is in force, by a role that it has")
        run(commands, "migrate")
        with closing(connect(settings_of(commands))) as connection:
            assert connection.execute("SELECT name FROM people").fetchall() == [("named",)]
    finally:
        admin.session.execute("REVOKE sees FROM reader")
    until(
        lambda: ("error", "people") in asked(commands), what="a permission that was taken is missed"
    )  # Cassandra caches both


def test_masks_that_nothing_bears_are_none(commands: Commands, admin: Cassandra) -> None:
    """A dropped table leaves its masks in Cassandra's schema; a new table of that name is not masked."""
    for statement in (
        "CREATE TABLE plain.again (id int PRIMARY KEY, v text)",
        "ALTER TABLE plain.again ALTER v MASKED WITH DEFAULT",
        "DROP TABLE plain.again",
        "CREATE TABLE plain.again (id int PRIMARY KEY, v text)",
    ):
        admin.session.execute(statement)
    commands = commands.but(ASTRA_DB_KEYSPACE="plain")
    configure(commands, 'only = ["again"]\n')
    run(commands, "schema apply")
    try:
        assert ("error", "again") not in problems(commands)
    finally:
        admin.session.execute("DROP TABLE plain.again")


def test_a_superuser_sees_through_masks(commands: Commands, guarded: local.CassandraServer) -> None:
    superuser = commands.but(CASSANDRA_USERNAME=guarded.user, CASSANDRA_PASSWORD=guarded.password)
    run(superuser, "schema apply")
    assert ("error", "people") not in problems(superuser)


def test_a_mask_that_is_added_in_the_middle_is_seen(commands: Commands, admin: Cassandra) -> None:
    """Would break: the second pass of the proof reads masks; a worker that reconciles does, too, and writes them."""
    admin.session.execute("CREATE TABLE plain.later (id int PRIMARY KEY, v text)")
    admin.session.execute("INSERT INTO plain.later (id, v) VALUES (1, 'seen')")
    commands = commands.but(ASTRA_DB_KEYSPACE="plain", CASSANDRA_USERNAME="masked")
    configure(commands, 'only = ["later"]\n')
    try:
        run(commands, "migrate")
        run(commands, "drift-report --workers 1")
        settings, config = settings_of(commands), load_config(commands.folder / "sync.toml")
        with open_cassandra(settings) as cassandra, closing(connect(settings, autocommit=True)) as connection:
            tables = map_tables(cassandra, connection, settings, config, ["later"])
            check_visibility(cassandra, connection, tables.values())
            admin.session.execute("ALTER TABLE plain.later ALTER v MASKED WITH DEFAULT")
            with pytest.raises(PreflightError, match="later: v: masked for the role masked"):
                check_visibility(cassandra, connection, tables.values())
            with pytest.raises(PreflightError, match="later: v: masked for the role masked"):  # as workers and gates begin
                map_tables(cassandra, connection, settings, config, ["later"])
        with DualWriteStore(settings, config) as store, pytest.raises(PreflightError, match="later: v: masked"):
            store.put("later", {"id": 1, "v": "x"})
        for command in ("drift-report --workers 1", "cutover --dry-run", "backfill --workers 1"):
            assert "later: v: masked for the role masked" in run(commands, command, 1).err
    finally:
        admin.session.execute("DROP TABLE plain.later")


def flows(commands: Commands) -> dict[str, list[str]]:
    found = commands.run("preflight", "--json").json["flows"]
    assert all(flow["possible"] is not bool(flow["why"]) for flow in found.values())
    return {name: flow["why"] for name, flow in found.items()}


def test_flows_that_a_guardrail_or_a_right_forbids_are_named(commands: Commands, admin: Cassandra) -> None:
    """Would break: preflight says Ready, and then every dual write is refused, and the store cannot even read."""
    commands = commands.but(ASTRA_DB_KEYSPACE="plain")
    configure(commands, 'only = ["notes"]\n')
    run(commands, "schema apply")
    before = admin.session.execute("SELECT count(*) FROM plain.notes").one()[0]
    for role in ("reader", "writer"):
        found = flows(commands.but(CASSANDRA_USERNAME=role))
        assert "Guardrail user_timestamps violated" in found["dual writes"][0]
        assert found["dual writes"] == found["reconcile"] == found["cut-over and rollback"]
        assert found["copy"] == found["proof"] == []
    said = problems(commands)
    assert "(not possible: dual writes, reconcile, cut-over and rollback)" in said["blocks", "notes"]
    text = commands.run("preflight").out
    assert "dual writes            not possible: notes: Guardrail user_timestamps violated" in text
    assert admin.session.execute("SELECT count(*) FROM plain.notes").one()[0] == before
