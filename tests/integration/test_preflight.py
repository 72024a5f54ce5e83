"""What can be wrong before a migration, one line each: what, where, what to do; no traceback, no secret, exit code 1."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from support.astra import bundle
from support.commands import Commands
from support.places import Certificates, NewPlace, Place, admin

from sync.local import PostgresServer, ValkeyServer

pytest_plugins = ("support.fixtures",)

NOWHERE = "no.such.host.invalid"
HOW = "; it must read postgresql://user:password@host:port/database, with @ : / % in the password as %40 %3A %2F %25"
UNTELLABLE = f"DATABASE_URL is not a Postgres URL: its host, port or database cannot be told{HOW}"
IN_ENV = "not set: put it into the environment or into .env"
REFUSED = "the user name or password was refused; check"
NO_TLS = "it does not speak TLS; set POSTGRES_SSLMODE=disable (or sslmode=disable in the URL) if that is meant"
POSTGRES = ("POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_DATABASE", "POSTGRES_USER", "POSTGRES_PASSWORD")


@pytest.fixture(scope="module", autouse=True)
def source(place: Place) -> None:
    """One table in the module's keyspace."""
    place.cql("CREATE TABLE KS.things (id int PRIMARY KEY, v text)")


@pytest.fixture(scope="module", autouse=True)
def silent(place: Place) -> Iterator[Any]:
    """A preflight against servers that take connections and say nothing: under way while the other tests run."""
    with ExitStack() as stack:
        ports = [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(3)]
        commands = place.commands.but(
            DATABASE_URL=f"postgresql://u:hunter2@127.0.0.1:{ports[0]}/d?connect_timeout=2",
            CASSANDRA_PORT=str(ports[1]),
            REDIS_URL=f"redis://:hunter2@127.0.0.1:{ports[2]}/0",
        )
        yield commands, commands.start("preflight", "--json"), ports


def elsewhere(place: Place, **changes: str | None) -> Commands:
    """Commands whose other servers refuse at once, for what concerns one server."""
    return place.commands.but(**{"CASSANDRA_PORT": "1", "REDIS_URL": "redis://127.0.0.1:1/0", **changes})


# The target


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"POSTGRES_PASSWORD": "hunter2"}, f"{{}}: {REFUSED} POSTGRES_USER and POSTGRES_PASSWORD"),
        ({"POSTGRES_USER": "nobody"}, f"{{}}: {REFUSED} POSTGRES_USER and POSTGRES_PASSWORD"),
        ({"POSTGRES_PASSWORD": None}, "{}: it asks for a password; check POSTGRES_PASSWORD"),
        (
            {"POSTGRES_PORT": "1"},
            "{}: nothing listens there; check POSTGRES_HOST and POSTGRES_PORT, and that the server runs",
        ),
        ({"POSTGRES_HOST": NOWHERE}, "{}: there is no such host; check POSTGRES_HOST"),
        ({"POSTGRES_DATABASE": "gone"}, "{}: there is no such database; create it or check POSTGRES_DATABASE"),
        ({"POSTGRES_SSLMODE": "require"}, f"{{}}: {NO_TLS}"),
        ({"POSTGRES_SSLMODE": None}, f"{{}}: {NO_TLS}"),
        ({"POSTGRES_HOST": None, "POSTGRES_USER": None}, f"POSTGRES_HOST and POSTGRES_USER {IN_ENV}"),
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


def test_a_target_that_is_something_else(place: Place, valkey: ValkeyServer) -> None:
    """A port taken for another leads to words about a protocol."""
    port = str(valkey.port)
    line = elsewhere(place, POSTGRES_PORT=port).line("status")
    assert line.endswith("what answers there is not Postgres; check POSTGRES_HOST and POSTGRES_PORT")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:hunter2@127.0.0.1:1/d", "Postgres at 127.0.0.1:1/d: nothing listens there; check DATABASE_URL, and "),
        (f"postgresql://u:hunter2@{NOWHERE}/d", f"Postgres at {NOWHERE}:5432/d: there is no such host; check DATABASE_URL"),
        ("postgresql://u:hunter2@127.0.0.1:port/d", UNTELLABLE),
        ("postgresql://u:p@hunter2@127.0.0.1/d", UNTELLABLE),
        ("postgresql://u:p@s:hunter2@[::1/d", UNTELLABLE),
        ("postgresql://u:hunter2/x@127.0.0.1/d", UNTELLABLE),
        ("postgresql://u:12/hunter2@127.0.0.1/d", UNTELLABLE),
        ("postgresql://u:hunter2%zz@127.0.0.1/d", f"DATABASE_URL is not a Postgres URL: invalid percent-encoded token: …{HOW}"),
        ("postgresql://u:x@127.0.0.1/d?hunter2=1", f"DATABASE_URL is not a Postgres URL: invalid URI query parameter: …{HOW}"),
        ("mysql://u:hunter2@127.0.0.1/d", "DATABASE_URL is not a Postgres URL: "),
        ("postgresql+psycopg://u:hunter2@127.0.0.1/d", "DATABASE_URL is not a Postgres URL: "),
        ("hunter2", "DATABASE_URL is not a Postgres URL: "),
        ("host=127.0.0.1 password='hunter2", "DATABASE_URL is not a Postgres URL: unterminated quoted string"),
        ("postgresql://", "Postgres at :5432/None: no host is named, and no server runs on this machine; check DATABASE_URL"),
    ],
)
def test_a_url_that_is_none(place: Place, url: str, expected: str) -> None:
    """A password with an unescaped character makes a piece of it a host or a port, which then would be printed."""
    commands = elsewhere(place, DATABASE_URL=url, **dict.fromkeys(POSTGRES))
    line = commands.line("status")
    assert line.startswith(expected)
    assert f"target: {line}" in commands.rows()
    unpooled = elsewhere(place, DATABASE_URL_UNPOOLED=url, **dict.fromkeys(POSTGRES)).line("status")
    assert unpooled.startswith(expected.replace("DATABASE_URL is", "DATABASE_URL_UNPOOLED is"))


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
        ({"CASSANDRA_CONTACT_POINTS": None}, f"CASSANDRA_CONTACT_POINTS {IN_ENV}"),
        ({"CASSANDRA_LOCAL_DC": "elsewhere"}, "it answers, but none of its nodes may be used; check CASSANDRA_LOCAL_DC"),
        ({"ASTRA_DB_KEYSPACE": None}, f"ASTRA_DB_KEYSPACE {IN_ENV}"),
        ({"ASTRA_DB_KEYSPACE": "gone"}, "ASTRA_DB_KEYSPACE: there is no keyspace 'gone' in the source; there are: "),
    ],
)
def test_a_source_that_cannot_be_reached(place: Place, changes: dict[str, str | None], expected: str) -> None:
    """The driver logs a traceback for each of these, and raises what names neither host nor setting."""
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
        ("config.json", "ASTRA_DB_SECURE_BUNDLE_PATH: {} is not a secure connect bundle (no config.json in it); download it "),
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
    """A half download, another zip, a database asleep: the driver logs tracebacks, or names files in its own temporary folder."""
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
        ("redis://:hunter2@127.0.0.1:1/0", "Redis at 127.0.0.1:1: Error 111 connecting to 127.0.0.1:1. Connection refused"),
        (f"redis://:hunter2@{NOWHERE}/0", f"Redis at {NOWHERE}:6379: Error -"),
        ("http://:hunter2@127.0.0.1/0", "REDIS_URL: "),
        ("hunter2", "REDIS_URL: "),
        ("redis://:hunter2@127.0.0.1:port/0", "REDIS_URL: "),
        pytest.param("redis://u:hunter2/x@127.0.0.1/0", "REDIS_URL: ", marks=pytest.mark.xfail(reason=QUEUE_PRINTS)),
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


def test_a_queue_with_a_password(place: Place, tmp_path: Path) -> None:
    """Wrong, missing and right; and a user who may connect but not look."""
    server = ValkeyServer(tmp_path / "valkey")
    server.start()
    try:
        with redis.Redis(port=server.port) as connection:
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
        ({"POSTGRES_SSLMODE": "yes"}, "POSTGRES_SSLMODE: input should be 'disable', 'allow', 'prefer', 'require', 'verify-ca' or "),
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
    """The variable is named as one writes it, its value is not: it may be a secret in the wrong place."""
    assert place.commands.but(**changes).line(command).startswith(expected)


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        (b"[tables", "sync.toml is not TOML: "),
        (b"\xff\xfe", "sync.toml cannot be read: "),
        (b"workers = 3", "sync.toml: workers: extra inputs are not permitted"),
        (b"[tables.things]\nttl = 'maybe'", "sync.toml: tables.things.ttl: input should be 'refuse' or 'keep'"),
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
    """A rule for a table that is not there does nothing: its author thinks otherwise."""
    fresh.sql("CREATE TABLE things (id int PRIMARY KEY, v text)")
    fresh.configure("[tables.thing]\nttl = 'keep'\n")
    assert fresh.commands.rows() == [f"source: sync.toml names thing, which keyspace {fresh.keyspace} has not"]
    fresh.configure("only = ['gone']\n")
    assert fresh.commands.rows() == [f"source: keyspace {fresh.keyspace} has no table 'gone'; it has: things"]
    fresh.configure("[tables.things]\nignore = ['w']\n")
    assert fresh.commands.rows() == ["things: sync.toml names a column 'w' that the source has not"]
    line = fresh.commands.line("backfill", "--workers", "0", "--table", "gone")
    assert f"keyspace {fresh.keyspace} has no table 'gone'" in line
