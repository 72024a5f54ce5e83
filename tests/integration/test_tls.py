"""TLS and passwords to both databases, and a secure connect bundle: each is used for a whole copy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.astra import astra, bundle
from support.commands import Commands, Zygote
from support.environments import settings_in
from support.places import Certificates, admin

from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.adapters.postgres.connection.connect import connect
from sync.errors import Unreachable
from sync.local import CassandraServer, PostgresServer, TlsFront, ValkeyServer
from sync.settings import Settings

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow

SIMPLE = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
KEYSPACE = DATABASE = "guarded"
READER, STRANGER, TOKEN = "hunter2-reader", "hunter2-stranger", "AstraCS:hunter2-token"
MANY = 40


@pytest.fixture(scope="module")
def source(secure_cassandra: CassandraServer, certificates: Certificates) -> CassandraServer:
    """A keyspace with rows, a role that may only read it, one without rights, and one for Astra's token."""
    settings = settings_of(secure_cassandra, certificates, secure_cassandra.user, secure_cassandra.password)
    statements = (
        f"CREATE KEYSPACE {KEYSPACE} WITH replication = {SIMPLE}",
        f"CREATE TABLE {KEYSPACE}.songs (id int PRIMARY KEY, title text, sound vector<float, 2>)",
        f"CREATE ROLE reader WITH PASSWORD = '{READER}' AND LOGIN = true",
        f"CREATE ROLE stranger WITH PASSWORD = '{STRANGER}' AND LOGIN = true",
        f"CREATE ROLE \"token\" WITH PASSWORD = '{TOKEN}' AND LOGIN = true",
        f"GRANT SELECT ON KEYSPACE {KEYSPACE} TO reader",
        f'GRANT SELECT ON KEYSPACE {KEYSPACE} TO "token"',
        *(f"INSERT INTO {KEYSPACE}.songs (id, title, sound) VALUES ({i}, 'song {i}', [{i}, 1])" for i in range(MANY)),
    )
    with open_cassandra(settings) as cassandra:
        for statement in statements:
            cassandra.session.execute(statement)
    return secure_cassandra


def settings_of(server: CassandraServer, certificates: Certificates, user: str, password: str) -> Settings:
    """How to reach a Cassandra that takes only TLS and passwords."""
    return Settings(
        _env_file=None,
        cassandra_contact_points="127.0.0.1",
        cassandra_port=server.port,
        cassandra_username=user,
        cassandra_password=password,
        cassandra_ssl_ca_path=certificates.root,
    )


@pytest.fixture(scope="module")
def target(own_postgres: PostgresServer, certificates: Certificates) -> Iterator[TlsFront]:
    """A Postgres that takes only TLS."""
    with TlsFront(own_postgres.port, certificates.server, certificates.key) as front:
        yield front


@pytest.fixture
def commands(
    tmp_path: Path,
    zygote: Zygote,
    valkey: ValkeyServer,
    source: CassandraServer,
    target: TlsFront,
    own_postgres: PostgresServer,
    certificates: Certificates,
) -> Iterator[Commands]:
    """Commands with everything right, into a new database."""
    with admin(own_postgres) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {DATABASE}")
    (tmp_path / "sync.toml").write_text("schema_files = []\n")
    env = {
        "CASSANDRA_CONTACT_POINTS": "127.0.0.1",
        "CASSANDRA_PORT": str(source.port),
        "CASSANDRA_LOCAL_DC": "datacenter1",
        "CASSANDRA_USERNAME": "reader",
        "CASSANDRA_PASSWORD": READER,
        "CASSANDRA_SSL_CA_PATH": str(certificates.root),
        "ASTRA_DB_KEYSPACE": KEYSPACE,
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_PORT": str(target.port),
        "POSTGRES_DATABASE": DATABASE,
        "POSTGRES_USER": own_postgres.user,
        "POSTGRES_PASSWORD": own_postgres.password,
        "POSTGRES_SSLMODE": "verify-full",
        "POSTGRES_SSLROOTCERT": str(certificates.root),
        "REDIS_URL": valkey.url,
    }
    yield Commands(tmp_path, env, zygote)


def check_migrates(commands: Commands, server: PostgresServer) -> None:
    """Schema and backfill succeed, and every row is there."""
    assert commands.run("schema", "apply").code == 0
    report = commands.run("preflight", "--json")
    assert (report.code, report.json["ok"]) == (0, True), report
    done = commands.run("backfill", "--workers", "1", "--json", timeout=120)
    assert done.code == 0, done
    (figures,) = done.json["tables"]
    assert (figures["rows_read"], figures["rows_written"], figures["ranges_failed"]) == (MANY, MANY, 0)
    with closing(admin(server, DATABASE)) as connection:
        rows = connection.execute("SELECT id, title, sound::text FROM songs ORDER BY id").fetchall()
    assert rows == [(i, f"song {i}", f"[{i},1]") for i in range(MANY)]


def test_both_ways_with_verified_certificates(commands: Commands, own_postgres: PostgresServer) -> None:
    """A whole copy under TLS, with a source role that may only read: nothing may need more, or go around TLS."""
    check_migrates(commands, own_postgres)
    target = commands.run("preflight", "--json").json["servers"][2]
    assert target.startswith("target: Postgres") and ", TLS, " in target


def test_require_needs_no_authority(commands: Commands) -> None:
    """`require`, the default, encrypts without verifying the server."""
    relaxed = commands.but(POSTGRES_SSLMODE=None, POSTGRES_SSLROOTCERT=None)
    assert relaxed.run("schema", "apply").code == 0
    assert ", TLS (encrypted, not verified), " in relaxed.run("preflight", "--json").json["servers"][2]


def test_a_urls_tls_words_and_the_environments_authority(commands: Commands) -> None:
    """A URL sets sslmode, but seldom the CA file: POSTGRES_SSLROOTCERT must apply to it, too."""
    env = commands.env
    url = f"postgresql://{env['POSTGRES_USER']}:{env['POSTGRES_PASSWORD']}@127.0.0.1:{env['POSTGRES_PORT']}/{DATABASE}"
    names = ("POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_DATABASE", "POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_SSLMODE")
    with_url = commands.but(DATABASE_URL=f"{url}?sslmode=verify-full&application_name=mine", **dict.fromkeys(names))
    assert with_url.run("schema", "apply").code == 0
    without = with_url.but(POSTGRES_SSLROOTCERT=None)
    assert "there is no such CA file; set POSTGRES_SSLROOTCERT" in without.line("status")


def test_what_is_wrong_with_the_targets_tls(
    commands: Commands, own_postgres: PostgresServer, certificates: Certificates
) -> None:
    """Each of these would otherwise end in OpenSSL's own error, or in an unverified connection."""
    where = f"Postgres at 127.0.0.1:{commands.env['POSTGRES_PORT']}/{DATABASE}: "
    none = f"Postgres at 127.0.0.1:{own_postgres.port}/{DATABASE}: "
    untrusted = "its certificate is not trusted; set POSTGRES_SSLROOTCERT to the CA's file, or system"
    plain = "it does not speak TLS; set POSTGRES_SSLMODE=disable (or sslmode=disable in the URL) if that is intended"
    refuses = "it refuses connections without TLS; set POSTGRES_SSLMODE=require or verify-full"
    no_file = "POSTGRES_SSLMODE requires a verified certificate, but there is no such CA file; set POSTGRES_SSLROOTCERT"
    for changes, expected in (
        ({"POSTGRES_SSLROOTCERT": str(certificates.stranger)}, where + untrusted),
        ({"POSTGRES_SSLROOTCERT": "/nowhere/root.crt"}, where + no_file),
        ({"POSTGRES_SSLMODE": "disable"}, where + refuses),
        ({"POSTGRES_PORT": str(own_postgres.port)}, none + plain),
        ({"POSTGRES_PORT": str(own_postgres.port), "POSTGRES_SSLMODE": "require"}, none + plain),
    ):
        assert commands.but(**changes).line("status") == expected
        assert f"target: {expected}" in commands.but(**changes, CASSANDRA_PORT="1").rows()


def test_a_certificate_for_another_host(commands: Commands, own_postgres: PostgresServer, certificates: Certificates) -> None:
    """`verify-full` is there to notice exactly this; `require` is not."""
    with TlsFront(own_postgres.port, certificates.elsewhere, certificates.elsewhere_key) as front:
        elsewhere = commands.but(POSTGRES_PORT=str(front.port))
        expected = (
            f"Postgres at 127.0.0.1:{front.port}/{DATABASE}: its certificate is for another host name; check POSTGRES_HOST"
        )
        assert elsewhere.line("status") == expected
        relaxed = elsewhere.but(POSTGRES_SSLMODE="require", POSTGRES_SSLROOTCERT=None)
        assert "has no schema" in relaxed.line("status")


def test_a_pooled_endpoint_beside_a_direct_one(
    commands: Commands, own_postgres: PostgresServer, certificates: Certificates
) -> None:
    """Of Neon's two names only the direct one can do the work; the certificate here proves which one was called."""
    names = ("POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_DATABASE", "POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_SSLMODE")
    with TlsFront(own_postgres.port, certificates.elsewhere, certificates.elsewhere_key) as front:
        login = f"postgresql://{own_postgres.user}:{own_postgres.password}@"
        rest = f"elsewhere.example:{front.port}/{DATABASE}?hostaddr=127.0.0.1&sslmode=verify-full"
        pooled = commands.but(DATABASE_URL=f"{login}ep-1-pooler.{rest}", **dict.fromkeys(names))
        assert pooled.run("schema", "apply").code == 0
        assert f"Postgres at ep-1.elsewhere.example:{front.port}/{DATABASE}" in pooled.run("preflight").out
        own = pooled.but(DATABASE_URL_UNPOOLED=f"{login}ep-1.{rest}", DATABASE_URL=f"{login}wrong-pooler.{rest}")
        assert own.run("status").code == 0
        settings = settings_in(pooled.env)
        with pytest.raises(Unreachable, match="its certificate is for another host name; check DATABASE_URL"):
            connect(settings, direct=False)


def test_what_is_wrong_with_the_sources_tls_or_password(
    commands: Commands, certificates: Certificates, base_settings: Settings
) -> None:
    """Each of these would otherwise end in the driver's traceback."""
    port, plain = commands.env["CASSANDRA_PORT"], str(base_settings.cassandra_port)
    where = f"Cassandra at 127.0.0.1:{port}: "
    refused = "the user name or password was refused; check CASSANDRA_USERNAME and CASSANDRA_PASSWORD (or the token)"
    asks = "it requires credentials; set CASSANDRA_USERNAME and CASSANDRA_PASSWORD"
    hung_up = "it closed the connection; if it requires TLS, set CASSANDRA_SSL=true or CASSANDRA_SSL_CA_PATH"
    untrusted = "its certificate is not trusted; set CASSANDRA_SSL_CA_PATH to the CA's file"
    no_tls = "it does not speak TLS there; check CASSANDRA_PORT, CASSANDRA_SSL and CASSANDRA_SSL_CA_PATH"
    for changes, expected in (
        ({"CASSANDRA_PASSWORD": "hunter2-wrong"}, where + refused),
        ({"CASSANDRA_USERNAME": "nobody"}, where + refused),
        ({"CASSANDRA_USERNAME": None}, where + asks),
        ({"CASSANDRA_PASSWORD": None}, "CASSANDRA_PASSWORD not set: set it in the environment or in .env"),
        ({"CASSANDRA_SSL_CA_PATH": None}, where + hung_up),
        (
            {"CASSANDRA_SSL_CA_PATH": None, "CASSANDRA_SSL": "true", "CASSANDRA_CONTACT_POINTS": "localhost"},
            f"Cassandra at localhost:{port}: {untrusted}",
        ),
        ({"CASSANDRA_SSL_CA_PATH": None, "CASSANDRA_SSL": "true", "CASSANDRA_SSL_VERIFY": "ca"}, where + untrusted),
        ({"CASSANDRA_SSL_CA_PATH": str(certificates.stranger)}, where + untrusted),
        ({"CASSANDRA_PORT": plain}, f"Cassandra at 127.0.0.1:{plain}: {no_tls}"),
    ):
        assert commands.but(**changes).line("schema", "apply") == expected
        assert f"source: {expected}" in commands.but(**changes, POSTGRES_PORT="1").rows()
    for file in ("/nowhere/ca.crt", str(certificates.key)):
        line = commands.but(CASSANDRA_SSL_CA_PATH=file).line("schema", "apply")
        assert line.startswith(f"CASSANDRA_SSL_CA_PATH: {file} is not a readable certificate file (")


def test_a_public_authority_vouches_for_no_address(commands: Commands, certificates: Certificates) -> None:
    """Would break: anybody with a certificate of any public authority, for any name, gets the password."""
    public = commands.but(CASSANDRA_SSL="true", CASSANDRA_SSL_CA_PATH=None, SSL_CERT_FILE=str(certificates.root))
    line = public.line("schema", "apply")
    assert line.startswith(
        "CASSANDRA_SSL: a certificate of any public authority would be accepted for 127.0.0.1, an address;"
    )
    assert public.but(CASSANDRA_CONTACT_POINTS="localhost").run("schema", "apply").code == 0
    port, another = commands.env["CASSANDRA_PORT"], "127.1"  # another name of the same server, which its certificate lacks
    wrong = (
        f"Cassandra at {another}:{port}: its certificate is for another name; use the names of the nodes' "
        "certificates in CASSANDRA_CONTACT_POINTS, or the authority in CASSANDRA_SSL_CA_PATH"
    )
    assert public.but(CASSANDRA_CONTACT_POINTS=another).line("schema", "apply") == wrong
    assert public.but(CASSANDRA_CONTACT_POINTS=another, CASSANDRA_SSL_VERIFY="ca").run("schema", "apply").code == 0


def test_an_authority_of_ones_own_vouches_for_its_nodes(commands: Commands) -> None:
    """Names are checked only on request: nodes are found by address, which certificates seldom name."""
    assert commands.but(CASSANDRA_CONTACT_POINTS="127.1").run("schema", "apply").code == 0
    asked = commands.but(CASSANDRA_SSL_VERIFY="full")
    assert asked.run("schema", "apply").code == 0
    assert "its certificate is for another name" in asked.but(CASSANDRA_CONTACT_POINTS="127.1").line("schema", "apply")
    assert "CASSANDRA_SSL_VERIFY" in commands.but(CASSANDRA_SSL_VERIFY="some").line("schema", "apply")


def test_a_role_that_may_not_read_is_said_before_anything_is_written(commands: Commands) -> None:
    """A backfill that finds this out by itself fails range by range."""
    stranger = commands.but(CASSANDRA_USERNAME="stranger", CASSANDRA_PASSWORD=STRANGER)
    assert commands.run("schema", "apply").code == 0
    (row,) = stranger.rows()
    assert row.startswith("songs: not permitted: ") and "SELECT" in row
    assert "songs: not permitted: " in stranger.line("backfill", "--workers", "0")


def test_a_role_that_may_not_create_the_sources_tables(commands: Commands) -> None:
    """`schema apply --source` needs more than reading: one line says so, and the target is not touched."""
    line = commands.line("schema", "apply", "--source")
    assert line.startswith("001_astra_schema.cql: not permitted: ") and "CREATE" in line
    assert "has no schema `sync`" in commands.line("status")


@pytest.fixture
def host_id(source: CassandraServer, certificates: Certificates) -> str:
    """The id by which Astra's proxy knows the node."""
    with open_cassandra(settings_of(source, certificates, "reader", READER)) as cassandra:
        return str(cassandra.session.execute("SELECT host_id FROM system.local").one()[0])


def test_through_a_secure_connect_bundle(
    commands: Commands,
    host_id: str,
    source: CassandraServer,
    own_postgres: PostgresServer,
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    """Astra's way: the bundle leads to the metadata service, which leads to the proxy, where the token gives access."""
    plain = dict.fromkeys(name for name in commands.env if name.startswith("CASSANDRA_"))
    with astra(source.port, host_id, certificates) as double:
        path = bundle(tmp_path / "bundle.zip", certificates, double.port)
        through = commands.but(ASTRA_DB_SECURE_BUNDLE_PATH=str(path), ASTRA_DB_APPLICATION_TOKEN=TOKEN, **plain)
        check_migrates(through, own_postgres)
        assert set(double.asked) == {"/metadata"}
        assert double.routed == {host_id}
        found = through.run("preflight", "--json").json["servers"][1]
        assert found.startswith("source: Cassandra 5.") and "Astra (bundle bundle.zip)" in found
        wrong = through.but(ASTRA_DB_APPLICATION_TOKEN="AstraCS:hunter2-wrong").line("schema", "apply")
        assert wrong.startswith("Astra (bundle bundle.zip): the user name or password was refused")
