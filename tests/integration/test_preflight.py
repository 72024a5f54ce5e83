"""What can be wrong before a migration, one line each: what, where, what to do; no traceback, no secret, exit code 1."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

import pytest
import redis
from support.astra import bundle, served
from support.commands import Commands
from support.places import Certificates, NewPlace, Place, admin

from sync.local import PostgresServer, ValkeyServer

pytest_plugins = ("support.fixtures",)

NOWHERE = "no.such.host.invalid"
HOW = "; it must look like postgresql://user:password@host:port/database, with @ : / % in the password as %40 %3A %2F %25"
UNTELLABLE = f"DATABASE_URL is not a Postgres URL: its host, port or database cannot be determined{HOW}"
IN_ENV = "not set: set it in the environment or in .env"
REFUSED = "the user name or password was refused; check"
NO_TLS = "it does not speak TLS; set POSTGRES_SSLMODE=disable (or sslmode=disable in the URL) if that is intended"
POSTGRES = ("POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_DATABASE", "POSTGRES_USER", "POSTGRES_PASSWORD")


@pytest.fixture(scope="module", autouse=True)
def source(place: Place) -> None:
    """One table in the module's keyspace."""
    place.cql("CREATE TABLE KS.things (id int PRIMARY KEY, v text)")


@pytest.fixture(scope="module", autouse=True)
def silent(place: Place) -> Iterator[Any]:
    """A preflight against servers that accept connections and never answer; it runs while the other tests do."""
    with ExitStack() as stack:
        ports = [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(3)]
        commands = place.commands.but(
            DATABASE_URL=f"postgresql://u:hunter2@127.0.0.1:{ports[0]}/d?connect_timeout=2",
            CASSANDRA_PORT=str(ports[1]),
            REDIS_URL=f"redis://:hunter2@127.0.0.1:{ports[2]}/0",
        )
        yield commands, commands.start("preflight", "--json"), ports


@pytest.fixture(scope="module", autouse=True)
def waiting(place: Place) -> Iterator[tuple[Commands, subprocess.Popen[str]]]:
    """A worker whose database refuses it, while the other tests run."""
    commands = place.commands.but(POSTGRES_PASSWORD="hunter2")
    process = commands.start("worker")
    yield commands, process
    if process.poll() is None:
        process.terminate()
        process.communicate(timeout=60)


def elsewhere(place: Place, **changes: str | None) -> Commands:
    """Commands whose other servers refuse at once, for tests of one server."""
    return place.commands.but(**{"CASSANDRA_PORT": "1", "REDIS_URL": "redis://127.0.0.1:1/0", **changes})


# The target


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"POSTGRES_PASSWORD": "hunter2"}, f"{{}}: {REFUSED} POSTGRES_USER and POSTGRES_PASSWORD"),
        ({"POSTGRES_USER": "nobody"}, f"{{}}: {REFUSED} POSTGRES_USER and POSTGRES_PASSWORD"),
        ({"POSTGRES_PASSWORD": None}, "{}: it requires a password; check POSTGRES_PASSWORD"),
        (
            {"POSTGRES_PORT": "1"},
            "{}: nothing listens there; check POSTGRES_HOST and POSTGRES_PORT, and that the server runs",
        ),
        ({"POSTGRES_HOST": NOWHERE}, "{}: there is no such host; check POSTGRES_HOST"),
        ({"POSTGRES_DATABASE": "gone"}, "{}: there is no such database; create it or check POSTGRES_DATABASE"),
        ({"POSTGRES_SSLMODE": "require"}, f"{{}}: {NO_TLS}"),
        ({"POSTGRES_SSLMODE": None}, f"{{}}: {NO_TLS}"),
        ({"POSTGRES_HOST": None, "POSTGRES_USER": None}, f"POSTGRES_HOST and POSTGRES_USER (or DATABASE_URL) {IN_ENV}"),
    ],
)
def test_a_target_that_cannot_be_reached(place: Place, changes: dict[str, str | None], expected: str) -> None:
    """libpq's own words run over several lines and say nothing of the settings."""
    commands = elsewhere(place, **changes)
    found = {name: commands.env.get(f"POSTGRES_{name}") for name in ("HOST", "PORT", "DATABASE")}
    line = expected.format(f"Postgres at {found['HOST']}:{found['PORT']}/{found['DATABASE']}")
    assert commands.line("status") == line
    assert commands.line("rejects") == line
    assert f"target: {line}" in commands.rows()


class Web(BaseRequestHandler):
    """Answers as a web server does, whatever it is asked."""

    def handle(self) -> None:
        self.request.recv(8)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_a_target_that_is_something_else(place: Place) -> None:
    """The port of another server leads to an error about a protocol."""
    with served(ThreadingTCPServer(("127.0.0.1", 0), Web)) as web:
        for mode in ("disable", "require"):
            commands = elsewhere(place, POSTGRES_PORT=str(web.server_address[1]), POSTGRES_SSLMODE=mode)
            expected = "the server there is not Postgres; check POSTGRES_HOST and POSTGRES_PORT"
            assert commands.line("status").endswith(expected)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgresql://u:hunter2@127.0.0.1:1/d",
            "Postgres at 127.0.0.1:1/d: nothing listens there; check DATABASE_URL, and ",
        ),
        (f"postgresql://u:hunter2@{NOWHERE}/d", f"Postgres at {NOWHERE}:5432/d: there is no such host; check DATABASE_URL"),
        ("postgresql://u:hunter2@127.0.0.1:port/d", UNTELLABLE),
        ("postgresql://u:p@hunter2@127.0.0.1/d", UNTELLABLE),
        ("postgresql://u:p@s:hunter2@[::1/d", UNTELLABLE),
        ("postgresql://u:hunter2/x@127.0.0.1/d", UNTELLABLE),
        ("postgresql://u:12/hunter2@127.0.0.1/d", UNTELLABLE),
        (
            "postgresql://u:hunter2%zz@127.0.0.1/d",
            f"DATABASE_URL is not a Postgres URL: invalid percent-encoded token: …{HOW}",
        ),
        (
            "postgresql://u:hunter2@127.0.0.1/d?colour=1",
            "DATABASE_URL has the parameter colour, which Postgres clients do not know: remove it",
        ),
        ("postgresql://127.0.0.1/d?user=u&password=x&hunter2=1", "DATABASE_URL has a parameter after its password, which "),
        ("mysql://u:hunter2@127.0.0.1/d", "DATABASE_URL is not a Postgres URL: "),
        ("postgresql+psycopg://u:hunter2@127.0.0.1:1/d", "Postgres at 127.0.0.1:1/d: nothing listens there"),
        ("hunter2", "DATABASE_URL is not a Postgres URL: "),
        ("host=127.0.0.1 password='hunter2", "DATABASE_URL is not a Postgres URL: unterminated quoted string"),
        (
            "postgresql://",
            "Postgres at (no host):5432/: no host is named, and no server runs on this machine; check DATABASE_URL",
        ),
    ],
)
def test_a_url_that_is_none(place: Place, url: str, expected: str) -> None:
    """An unescaped character in a password turns a piece of it into a host or a port, which would then be printed."""
    commands = elsewhere(place, DATABASE_URL=url, **dict.fromkeys(POSTGRES))
    line = commands.line("status")
    assert line.startswith(expected)
    assert f"target: {line}" in commands.rows()
    unpooled = elsewhere(place, DATABASE_URL_UNPOOLED=url, **dict.fromkeys(POSTGRES)).line("status")
    assert unpooled.startswith(re.sub("^DATABASE_URL ", "DATABASE_URL_UNPOOLED ", expected))


# The source


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"CASSANDRA_PORT": "1"},
            "Cassandra at 127.0.0.1:1: nothing listens there; check CASSANDRA_CONTACT_POINTS and CASSANDRA_PORT, "
            "and that the server runs",
        ),
        (
            {"CASSANDRA_CONTACT_POINTS": NOWHERE},
            f"Cassandra at {NOWHERE}:9: there is no such host; check CASSANDRA_CONTACT_POINTS, which takes no ports",
        ),
        ({"CASSANDRA_CONTACT_POINTS": " , "}, "CASSANDRA_CONTACT_POINTS names no host: give names or addresses, separated "),
        ({"CASSANDRA_CONTACT_POINTS": None}, f"CASSANDRA_CONTACT_POINTS (or ASTRA_DB_SECURE_BUNDLE_PATH) {IN_ENV}"),
        ({"CASSANDRA_LOCAL_DC": "elsewhere"}, "it answers, but none of its nodes can be used; check CASSANDRA_LOCAL_DC"),
        ({"ASTRA_DB_KEYSPACE": None}, f"ASTRA_DB_KEYSPACE {IN_ENV}"),
        ({"ASTRA_DB_KEYSPACE": "gone"}, "ASTRA_DB_KEYSPACE: there is no keyspace 'gone' in the source; there are: "),
    ],
)
def test_a_source_that_cannot_be_reached(place: Place, changes: dict[str, str | None], expected: str) -> None:
    """The driver logs a traceback for each of these, and its error names neither host nor setting."""
    if NOWHERE in changes.values():
        changes = {**changes, "CASSANDRA_PORT": "9"}
    commands = place.commands.but(**changes, POSTGRES_PORT="1", REDIS_URL="redis://127.0.0.1:1/0")
    line = commands.line("schema", "apply")
    assert expected in line
    assert f"source: {line}" in commands.rows()


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("no file", "ASTRA_DB_SECURE_BUNDLE_PATH: no file at {}; download the bundle of your database"),
        ("no zip", "ASTRA_DB_SECURE_BUNDLE_PATH: {} is not a secure connect bundle (Unable to open the zip file"),
        (
            "config.json",
            "ASTRA_DB_SECURE_BUNDLE_PATH: {} is not a secure connect bundle (no config.json in it); download it ",
        ),
        ("key", "{} is not a secure connect bundle (a certificate or key is missing in it); download it again"),
        ("bad config", "ASTRA_DB_SECURE_BUNDLE_PATH: {} is not a secure connect bundle (Expecting "),
        ("no token", f"ASTRA_DB_APPLICATION_TOKEN {IN_ENV}"),
        ("refuses", "Astra (bundle b.zip): its metadata service does not answer; wake the database in Astra's console, "),
        ("no host", "Astra (bundle b.zip): its metadata service does not answer; wake the database in Astra's console, "),
    ],
)
def test_a_secure_connect_bundle_that_leads_nowhere(
    place: Place, certificates: Certificates, tmp_path: Path, what: str, expected: str
) -> None:
    """A partial download, another zip, a sleeping database: the driver logs tracebacks, or names files of its own."""
    path = bundle(tmp_path / "b.zip", certificates, 1, NOWHERE if what == "no host" else "127.0.0.1", leave_out=what)
    if what == "no file":
        path.unlink()
    elif what == "no zip":
        path.write_text("hunter2")
    elif what == "bad config":
        bundle(path, certificates, 1, config='{"password": "hunter2"')
    token = None if what == "no token" else "AstraCS:hunter2"
    commands = place.commands.but(ASTRA_DB_SECURE_BUNDLE_PATH=str(path), ASTRA_DB_APPLICATION_TOKEN=token, POSTGRES_PORT="1")
    line = commands.line("schema", "apply")
    assert expected.format(path) in line
    assert f"source: {line}" in commands.rows()
    assert {p.name for p in tmp_path.iterdir()} <= {"b.zip"}


# The queue


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:hunter2@127.0.0.1:1/0", "Redis at 127.0.0.1:1: nothing listens there; check REDIS_URL"),
        (f"redis://:hunter2@{NOWHERE}/0", f"Redis at {NOWHERE}:"),
        ("http://:hunter2@127.0.0.1/0", "REDIS_URL: "),
        ("hunter2", "REDIS_URL: "),
        ("redis://:hunter2@127.0.0.1:port/0", "REDIS_URL: "),
        ("redis://u:hunter2/x@127.0.0.1/0", "REDIS_URL: "),
        ("unix:///nowhere/redis.sock", "Redis at /nowhere/redis.sock"),
        (None, f"REDIS_URL {IN_ENV}"),
    ],
)
def test_a_queue_that_cannot_be_reached(place: Place, url: str | None, expected: str) -> None:
    """The URL holds the password: no part of it may be printed."""
    commands = elsewhere(place, REDIS_URL=url, POSTGRES_PORT="1")
    (row,) = [row for row in commands.rows() if row.startswith("queue: ")]
    assert row.startswith(f"queue: {expected}")
    assert expected in place.commands.but(REDIS_URL=url).line("backfill", "--workers", "0")


@pytest.mark.parametrize("command", [("backfill", "--workers", "1"), ("worker",)], ids=" ".join)
@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:hunter2@127.0.0.1:1/0", "Redis at 127.0.0.1:1: "),
        ("hunter2", "REDIS_URL: "),
        (None, f"REDIS_URL {IN_ENV}"),
    ],
)
def test_workers_of_ones_own_without_a_queue(place: Place, command: tuple[str, ...], url: str | None, expected: str) -> None:
    """The workers are processes of their own: their tracebacks would come before the command's one line."""
    assert place.commands.but(REDIS_URL=url).line(*command).startswith(expected)


def test_a_queue_with_a_password(place: Place, tmp_path: Path) -> None:
    """A wrong, a missing and the right password; and a user who may connect but not look."""
    server = ValkeyServer(tmp_path / "valkey")
    server.start()
    try:
        with redis.Redis.from_url(server.url) as connection:
            connection.execute_command("ACL SETUSER narrow on >hunter2-narrow +ping +auth +hello +client")
            connection.config_set("requirepass", "hunter2-queue")
        where = f"127.0.0.1:{server.port}"
        for login, expected in (
            (":hunter2-wrong@", f"Redis at {where}: the password was refused; check REDIS_URL"),
            ("", f"Redis at {where}: the password was refused; check REDIS_URL"),
            ("narrow:hunter2-narrow@", f"Redis at {where}: "),
        ):
            rows = elsewhere(place, REDIS_URL=f"redis://{login}{where}/0", POSTGRES_PORT="1").rows()
            assert [row.startswith(f"queue: {expected}") for row in rows if row.startswith("queue: ")] == [True], rows
        rows = elsewhere(place, REDIS_URL=f"redis://:hunter2-queue@{where}/0", POSTGRES_PORT="1").rows()
        assert not [row for row in rows if row.startswith("queue: ")]
    finally:
        server.remove()


# Settings and sync.toml


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"POSTGRES_PORT": "abc"}, "POSTGRES_PORT: input should be a valid integer, unable to parse string as an integer"),
        ({"POSTGRES_PORT": "70000"}, "POSTGRES_PORT: input should be less than 65536"),
        ({"CASSANDRA_PORT": "0"}, "CASSANDRA_PORT: input should be greater than 0"),
        (
            {"POSTGRES_SSLMODE": "yes"},
            "POSTGRES_SSLMODE: input should be 'disable', 'allow', 'prefer', 'require', 'verify-ca' or ",
        ),
        ({"STORAGE_BACKEND": "hunter2"}, "STORAGE_BACKEND: input should be 'astra' or 'postgres'"),
        ({"SYNC_DUAL_WRITE": "hunter2"}, "SYNC_DUAL_WRITE: input should be a valid boolean"),
        ({"SYNC_CONFIG": "gone.toml"}, "SYNC_CONFIG: there is no file gone.toml"),
        (
            {"POSTGRES_PORT": "x", "CASSANDRA_SSL": "x"},
            "POSTGRES_PORT: input should be a valid integer, unable to parse string as an integer; CASSANDRA_SSL: input ",
        ),
    ],
)
@pytest.mark.parametrize("command", ["preflight", "status"])
def test_a_value_that_is_none(place: Place, command: str, changes: dict[str, str], expected: str) -> None:
    """The variable is named as it is written; its value is not shown: it may be a secret in the wrong place."""
    assert place.commands.but(**changes).line(command).startswith(expected)


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        (b"[tables", "sync.toml is not TOML: "),
        (b"\xff\xfe", "sync.toml cannot be read: "),
        (b"workers = 3", "sync.toml: workers: extra inputs are not permitted"),
        (b"[tables.things]\nttl = 'maybe'", "sync.toml: tables.things.ttl: input should be 'refuse', 'keep' or 'expire'"),
        (b"[tables.things]\non_reject = { v = 'drop' }", "sync.toml: tables.things.on_reject.v: input should be "),
        (b"[backfill]\npage_mb = 0", "sync.toml: backfill.page_mb: input should be greater than 0"),
        (b"tables = 3", "sync.toml: tables: input should be a valid dictionary"),
    ],
)
@pytest.mark.parametrize("command", ["preflight", "status"])
def test_a_sync_toml_that_is_none(fresh: Place, command: str, toml: bytes, expected: str) -> None:
    """The file and the entry are named."""
    (fresh.commands.folder / "sync.toml").write_bytes(toml)
    assert fresh.commands.line(command).startswith(expected)


def test_names_in_sync_toml_that_the_source_has_not(fresh: Place) -> None:
    """A rule for a table that does not exist has no effect, which its author does not expect."""
    fresh.sql("CREATE TABLE things (id int PRIMARY KEY, v text)")
    fresh.configure("[tables.thing]\nttl = 'keep'\n")
    assert fresh.commands.rows() == [f"source: sync.toml names thing, which keyspace {fresh.keyspace} does not have"]
    fresh.configure("only = ['gone']\n")
    assert fresh.commands.rows() == [f"source: keyspace {fresh.keyspace} has no table 'gone'; it has: things"]
    fresh.configure("[tables.things]\nignore = ['w']\n")
    assert fresh.commands.rows() == ["things: sync.toml names a column 'w' that the source does not have"]
    line = fresh.commands.line("backfill", "--workers", "0", "--table", "gone")
    assert f"keyspace {fresh.keyspace} has no table 'gone'" in line


# What the target has, and what this role may do there

SHAPES = (
    "CREATE TABLE KS.wrong_type (id int PRIMARY KEY, v text)",
    "CREATE TABLE KS.too_narrow (id bigint PRIMARY KEY, v text)",
    "CREATE TABLE KS.wrong_dimension (id int PRIMARY KEY, v vector<float, 3>)",
    "CREATE TABLE KS.lacks_column (id int PRIMARY KEY, v text, w text)",
    "CREATE TABLE KS.lacks_table (id int PRIMARY KEY, v frozen<list<text>>)",
    "CREATE TABLE KS.wants_more (id int PRIMARY KEY, v text)",
    "CREATE TABLE KS.generates (id int PRIMARY KEY, v int, w bigint)",
    "CREATE TABLE KS.other_key (id int, at int, v text, PRIMARY KEY (id, at))",
    "CREATE TABLE KS.no_key (id int PRIMARY KEY, v text)",
    "CREATE TABLE KS.no_null (id int PRIMARY KEY, v text)",
    "CREATE TABLE KS.parts (id int PRIMARY KEY, v text)",
    "CREATE TABLE KS.refers (id int PRIMARY KEY, v int)",
    'CREATE TABLE KS.brackets (id int PRIMARY KEY, "[bold]" list<text>)',
)
TARGETS = (
    "CREATE EXTENSION vector",
    "CREATE TABLE wrong_type (id integer PRIMARY KEY, v date)",
    "CREATE TABLE too_narrow (id integer PRIMARY KEY, v text)",
    "CREATE TABLE wrong_dimension (id integer PRIMARY KEY, v vector(4))",
    "CREATE TABLE lacks_column (id integer PRIMARY KEY, v text)",
    "CREATE TABLE wants_more (id integer PRIMARY KEY, v text, owner text NOT NULL, seen bigint NOT NULL DEFAULT 0)",
    "CREATE TABLE generates (id integer PRIMARY KEY, v integer GENERATED ALWAYS AS (1) STORED, "
    "w bigint GENERATED ALWAYS AS IDENTITY)",
    "CREATE TABLE other_key (id integer, at integer, v text, PRIMARY KEY (id))",
    "CREATE TABLE no_key (id integer, v text)",
    "CREATE TABLE no_null (id integer PRIMARY KEY, v text NOT NULL)",
    "CREATE TABLE parts (id integer PRIMARY KEY, v text) PARTITION BY HASH (id)",
    "CREATE TABLE refers (id integer PRIMARY KEY, v integer REFERENCES no_null)",
    'CREATE TABLE brackets (id integer PRIMARY KEY, "[bold]" text[])',
)


@pytest.fixture(scope="module")
def shapes(new_place: NewPlace) -> Iterator[Place]:
    """Targets that do not fit."""
    with new_place() as made:
        made.cql(*SHAPES)
        made.sql(*TARGETS)
        yield made


def test_targets_that_do_not_fit(shapes: Place) -> None:
    """Each line names the table, the column, both types and what would fit; nothing is found out only while copying."""
    assert set(shapes.commands.rows()) == {
        "wrong_type: v: text does not go into date; it goes into text",
        "too_narrow: id: bigint does not go into integer; it goes into bigint",
        "wrong_dimension: v: vector<float, 3> has 3 dimensions, vector(4) has 4",
        "lacks_column: w (text) has no column w in Postgres; `sync schema apply` adds it as text; or name another with "
        'rename, or ignore = ["w"] under [tables.lacks_column] in sync.toml',
        "lacks_table: Postgres has no table lacks_table; `sync schema apply` makes it, or make it yourself: "
        'CREATE TABLE "lacks_table" ("id" integer, "v" jsonb, PRIMARY KEY ("id"))',
        "wants_more: owner does not accept null, has no default, and the source has no such column",
        "generates: v is generated in Postgres and cannot take the source's v",
        "generates: w is generated in Postgres and cannot take the source's w",
        "other_key: the primary key must be the source's (id, at); Postgres has id",
        "no_key: the primary key must be the source's (id); Postgres has none",
        "parts: parts is partitioned: its indexes cannot be built without blocking writes; partition it after the migration",
    }
    for more in ((), ("--dry-run",)):
        line = shapes.commands.line("backfill", "--workers", "0", "--table", "wrong_type", *more)
        assert line == "wrong_type: v: text does not go into date; it goes into text"
    assert not shapes.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'sync'")


def test_what_is_only_to_be_known(shapes: Place) -> None:
    """Warnings do not forbid anything."""
    report = shapes.commands.run("preflight", "--json").json
    warnings = {f"{p['where']}: {p['text']}" for p in report["problems"] if p["level"] == "warning"}
    assert warnings >= {
        "wants_more: seen is only in Postgres; it gets its default",
        "no_null: v does not accept null; rows whose v is null are rejected",
        "refers: refers_v_fkey (FOREIGN KEY (v) REFERENCES no_null(id)): rows arrive in any order, and one that arrives before "
        "the row it refers to is rejected; add it after the migration",
    }
    assert {t["table"] for t in report["tables"]} == {"no_null", "brackets", "parts", "refers"}


def test_names_with_brackets_are_shown(shapes: Place) -> None:
    """What looks like markup must be shown as it is."""
    assert "[bold]" in shapes.commands.run("preflight").out


ROLES = """
CREATE ROLE narrow LOGIN PASSWORD 'hunter2-narrow';
CREATE ROLE maker LOGIN PASSWORD 'hunter2-maker';
CREATE ROLE nobody NOLOGIN;
"""


@pytest.fixture(scope="module")
def rights(own_postgres: PostgresServer, shapes: Place) -> Iterator[dict[str, Commands]]:
    """Commands of roles with few rights: the target is a database of the superuser's."""
    with admin(own_postgres) as connection:
        connection.execute(ROLES)
        connection.execute("CREATE DATABASE rights")
        connection.execute("GRANT CREATE ON DATABASE rights TO maker")
    made = {}
    for name in ("narrow", "maker"):
        env = {"POSTGRES_USER": name, "POSTGRES_PASSWORD": f"hunter2-{name}"}
        made[name] = shapes.commands.but(POSTGRES_PORT=str(own_postgres.port), POSTGRES_DATABASE="rights", **env)
    yield made
    with admin(own_postgres) as connection:
        connection.execute("DROP DATABASE rights WITH (FORCE)")
        connection.execute("DROP ROLE narrow, maker, nobody")


def only(commands: Commands, table: str, target: str = "") -> None:
    """Have sync.toml name one table, and its target."""
    section = f'[tables.{table}]\ntarget = "{target}"\n' if target else ""
    (commands.folder / "sync.toml").write_text(f'schema_files = []\nonly = ["{table}"]\n{section}')


@pytest.fixture(autouse=True)
def no_toml(shapes: Place) -> Iterator[None]:
    """No test sees the file of another."""
    yield
    (shapes.commands.folder / "sync.toml").unlink(missing_ok=True)


def test_a_role_that_may_create_nothing(rights: dict[str, Commands]) -> None:
    """Reported before anything is written, and by `schema apply` itself if it is run all the same."""
    commands = rights["narrow"]
    only(commands, "wrong_dimension")
    rows = commands.rows()
    assert "target: narrow may not create a schema: GRANT CREATE ON DATABASE … TO narrow" in rows
    assert "target: narrow may not CREATE EXTENSION vector; have an administrator run it in this database" in rows
    line = commands.line("schema", "apply")
    assert re.fullmatch("003_sync_state.sql: permission denied for database rights; grant this role CREATE .*", line)


def test_a_role_that_may_not_create_the_extension(rights: dict[str, Commands]) -> None:
    """The extension is not trusted here: even a role that owns the database may not create it."""
    commands = rights["maker"]
    only(commands, "wrong_dimension", "own.vectors")
    expected = "target: maker may not CREATE EXTENSION vector; have an administrator run it in this database"
    assert expected in commands.rows()
    line = commands.line("schema", "apply")
    assert line == (
        'own.vectors: permission denied to create extension "vector"; '
        "have an administrator run CREATE EXTENSION vector in this database"
    )


def test_a_role_that_may_not_create_tables(rights: dict[str, Commands]) -> None:
    """Since Postgres 15 only the database's owner may create in `public`."""
    commands = rights["maker"]
    only(commands, "no_null")
    assert "no_null: maker may not create tables in public: GRANT CREATE ON SCHEMA public TO maker" in commands.rows()
    line = commands.line("schema", "apply")
    assert line == "no_null: permission denied for schema public; grant this role CREATE on the database and on its schema"


@pytest.mark.parametrize(
    ("grants", "expected"),
    [
        (
            ("GRANT INSERT, SELECT ON there.no_null TO maker", "GRANT USAGE, CREATE ON SCHEMA there TO maker"),
            "this role does not own (and so may not add columns and indexes to) there.no_null; "
            "make it the owner: ALTER TABLE there.no_null OWNER TO …",
        ),
        (
            ("GRANT USAGE ON SCHEMA there TO maker",),
            "this role may not read and write there.no_null; make it the owner: ALTER TABLE there.no_null OWNER TO …",
        ),
        (
            ("ALTER TABLE there.no_null OWNER TO maker", "GRANT USAGE ON SCHEMA there TO maker"),
            "this role may not create indexes in the schema of there.no_null; GRANT CREATE ON SCHEMA … TO maker",
        ),
        ((), "permission denied for schema there; GRANT USAGE, CREATE ON SCHEMA … TO maker"),
    ],
)
def test_rights_to_a_target_table(
    rights: dict[str, Commands], own_postgres: PostgresServer, grants: tuple[str, ...], expected: str
) -> None:
    """A backfill adds columns and indexes: it needs the owner's privileges, and must not find that out half way."""
    with admin(own_postgres, "rights") as connection:
        connection.execute("DROP SCHEMA IF EXISTS there CASCADE")
        connection.execute("CREATE SCHEMA there")
        connection.execute("CREATE TABLE there.no_null (id integer PRIMARY KEY, v text NOT NULL)")
        for grant in grants:
            connection.execute(grant.encode())
    only(rights["maker"], "no_null", "there.no_null")
    assert rights["maker"].rows() == [f"no_null: {expected}"]


def test_a_server_without_pgvector(shapes: Place, own_postgres: PostgresServer) -> None:
    """pgvector is not on the server at all: nobody can create it there."""
    with admin(own_postgres) as connection:
        connection.execute("CREATE DATABASE bare")
        connection.execute("ALTER DATABASE bare SET extension_control_path = '/nowhere'")
    try:
        commands = shapes.commands.but(
            POSTGRES_PORT=str(own_postgres.port), POSTGRES_DATABASE="bare", POSTGRES_PASSWORD=own_postgres.password
        )
        only(commands, "wrong_dimension")
        assert "target: the server has no extension `vector`; install pgvector there" in commands.rows()
        line = commands.line("schema", "apply")
        assert line == 'wrong_dimension: extension "vector" is not available; install pgvector on the server'
        only(commands, "no_null")
        assert commands.run("schema", "apply").code == 0
        assert commands.run("preflight").code == 0
    finally:
        with admin(own_postgres) as connection:
            connection.execute("DROP DATABASE bare WITH (FORCE)")


def test_before_any_schema(fresh: Place) -> None:
    """Every command says what comes first."""
    nothing = "the target has no schema `sync`: no migration has begun, or it is finished; run `sync schema apply` first"
    assert fresh.commands.line("status") == nothing
    assert fresh.commands.line("rejects") == nothing
    assert "Postgres has no table things; `sync schema apply` makes it" in fresh.commands.line("backfill", "--workers", "0")
    fresh.sql("CREATE TABLE things (id int PRIMARY KEY, v text)")
    assert fresh.commands.line("backfill", "--workers", "0") == nothing


def test_a_database_without_the_schema_public(fresh: Place) -> None:
    """Some drop it; the target's tables are then in another schema."""
    fresh.sql("DROP SCHEMA public", "CREATE SCHEMA own", "CREATE TABLE own.things (id int PRIMARY KEY, v text)")
    fresh.configure("schema_files = []\n[tables.things]\ntarget = 'own.things'\n")
    done = fresh.commands.run("preflight", "--json")
    assert (done.code, done.err) == (0, "Ready.\n"), "stdout is a program's: people read the verdict on stderr"


def test_all_is_well(fresh: Place) -> None:
    """Preflight says what it found, what maps to what, and that it is ready; and writes nothing."""
    fresh.sql("CREATE TABLE things (id int PRIMARY KEY, v text)")
    before = fresh.sql("SELECT oid, relname FROM pg_class ORDER BY oid")
    done = fresh.commands.run("preflight")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == ["queue", "source", "target"]
    assert re.search("target: Postgres 18.*, user sync, no TLS, pgvector available", lines[2])
    assert any(line.split() == ["v", "text", "→", "v", "text"] for line in lines)
    assert lines[-1] == "Ready."
    report = fresh.commands.run("preflight", "--json").json
    assert report["ok"] is True and report["problems"] == []
    assert report["tables"] == [
        {
            "table": "things",
            "target": "public.things",
            "columns": [
                {"source": "id", "source_type": "int", "target": "id", "target_type": "integer"},
                {"source": "v", "source_type": "text", "target": "v", "target_type": "text"},
            ],
        }
    ]
    assert fresh.sql("SELECT oid, relname FROM pg_class ORDER BY oid") == before


def test_servers_that_say_nothing(silent: Any) -> None:
    """A firewall that drops packets must not hold up a person for minutes, nor end in a traceback."""
    commands, process, ports = silent
    done = commands.ended(process, 60)
    assert done.code == 1
    found = {p["where"]: p["text"] for p in json.loads(done.out)["problems"]}
    assert found == {
        "queue": f"Redis at 127.0.0.1:{ports[2]}: no answer in time; check REDIS_URL",
        "source": f"Cassandra at 127.0.0.1:{ports[1]}: no answer in time; check the host, the port and the network",
        "target": f"Postgres at 127.0.0.1:{ports[0]}/d: no answer in time; check the host, the port and the network",
    }


def test_a_waiting_worker_says_why_in_a_line(waiting: tuple[Commands, subprocess.Popen[str]]) -> None:
    """A worker outlives a database that is unreachable, and says so; a log is searched line by line."""
    commands, process = waiting
    process.terminate()
    done = commands.ended(process)
    assert done.code == 0
    assert f"{REFUSED} POSTGRES_USER and POSTGRES_PASSWORD" in done.err
