"""Settings, sync.toml, and what they make of the target's address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import conninfo

from sync.adapters.cassandra.connection import connect as cassandra_connect
from sync.adapters.postgres.connection import connect as postgres_connect
from sync.adapters.postgres.connection.connect import connection_class, connection_string, known_pooler, target_name
from sync.adapters.postgres.connection.pooled import Pooled
from sync.errors import SettingsError
from sync.settings import Config, Settings, load_config, load_settings

POOLED = "postgresql://u:pw@ep-cool-1-pooler.eu.neon.tech/db?sslmode=require&channel_binding=require&options=-c%20x.y%3D1"
DIRECT = "postgresql://u:pw@ep-cool-1.eu.neon.tech/db?sslmode=require"


def made(**values: Any) -> Settings:
    """Settings of these values alone."""
    return Settings(_env_file=None, **values)


def parts(direct: bool = True, **values: Any) -> dict[str, Any]:
    """The conninfo's parts."""
    return dict(conninfo.conninfo_to_dict(connection_string(made(**values), direct)))


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """None of the caller's variables and files."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def test_parts_become_an_address() -> None:
    """TLS is required unless somebody says otherwise; what needs quoting is quoted."""
    found = parts(
        postgres_host="h", postgres_database="my db", postgres_user="u", postgres_password="p'w\\ x", postgres_port=7
    )
    assert found == {
        "host": "h",
        "port": "7",
        "dbname": "my db",
        "user": "u",
        "password": "p'w\\ x",
        "sslmode": "require",
        "connect_timeout": "15",
    }


def test_a_url_keeps_all_its_parameters() -> None:
    """Neon's URL carries channel_binding; losing an option changes the connection."""
    found = parts(database_url=POOLED)
    assert found["channel_binding"] == "require"
    assert found["options"] == "-c x.y=1"
    assert found["sslmode"] == "require"
    assert parts(database_url=POOLED + "&connect_timeout=3")["connect_timeout"] == "3"


def test_a_url_goes_before_single_settings_but_they_complete_it() -> None:
    """POSTGRES_SSLMODE and POSTGRES_SSLROOTCERT apply where the URL does not set them."""
    bare = "postgresql://u@h/db"
    assert parts(database_url=bare)["sslmode"] == "require"
    found = parts(database_url=bare, postgres_sslmode="verify-full", postgres_sslrootcert="/ca", postgres_host="other")
    assert (found["sslmode"], found["sslrootcert"], found["host"]) == ("verify-full", "/ca", "h")
    assert parts(database_url=bare + "?sslrootcert=system", postgres_sslrootcert="/ca")["sslrootcert"] == "system"


@pytest.mark.parametrize(
    ("values", "direct", "host"),
    [
        ({"database_url": POOLED}, True, "ep-cool-1.eu.neon.tech"),
        ({"database_url": POOLED}, False, "ep-cool-1-pooler.eu.neon.tech"),
        ({"database_url": DIRECT}, True, "ep-cool-1.eu.neon.tech"),
        ({"database_url": POOLED, "database_url_unpooled": DIRECT}, True, "ep-cool-1.eu.neon.tech"),
        ({"database_url": POOLED, "database_url_unpooled": DIRECT}, False, "ep-cool-1-pooler.eu.neon.tech"),
        ({"database_url": POOLED, "database_url_unpooled": "postgresql://u@own-pooler.name/db"}, True, "own-pooler.name"),
        ({"database_url_unpooled": DIRECT}, True, "ep-cool-1.eu.neon.tech"),
        ({"database_url": "postgresql://u@my-pooler/db"}, True, "my-pooler"),
        ({"database_url": "postgresql://u@a-pooler.x,b-pooler.x/db"}, True, "a.x,b.x"),
    ],
)
def test_work_that_needs_a_session_goes_to_the_direct_endpoint(values: dict[str, str], direct: bool, host: str) -> None:
    """Temporary tables, COPY and SET do not survive a transaction pooler; only Neon's own naming is reversed."""
    assert parts(direct, **values)["host"] == host


@pytest.mark.parametrize(
    ("values", "direct", "known"),
    [
        ({"database_url": POOLED}, False, True),
        ({"database_url": POOLED}, True, None),
        ({"database_url": DIRECT}, True, None),
        ({"database_url": DIRECT, "postgres_pooler": "transaction"}, True, True),
        ({"database_url": POOLED, "postgres_pooler": "transaction"}, True, None),
        ({"database_url": DIRECT, "postgres_pooler": "session"}, False, False),
        ({"database_url": POOLED, "postgres_pooler": "none"}, False, False),
        ({"database_url": DIRECT + "&pgbouncer=true"}, False, True),
        ({"database_url": DIRECT + "&pgbouncer=true", "database_url_unpooled": DIRECT}, True, None),
        ({"database_url": DIRECT + "&pgbouncer=true", "postgres_pooler": "session"}, False, False),
    ],
)
def test_what_names_and_settings_say_of_a_pooler(values: dict[str, str], direct: bool, known: bool | None) -> None:
    """None: it has to be detected. What is known of one address says nothing about the direct one beside it."""
    assert known_pooler(made(**values), direct) is known


def test_no_prepared_statements_through_a_pooler() -> None:
    """A statement prepared on one of the pooler's connections is unknown on the next one."""
    kind, given = connection_class(True)
    assert (kind, given["prepare_threshold"]) == (Pooled, None)
    assert "prepare_threshold" not in connection_class(False)[1]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql+psycopg2://u:p@h:1/d", {}),
        ("postgresql+asyncpg://u:p@h:1/d?ssl=require", {"sslmode": "require"}),
        ("postgres://u:p@h:1/d?ssl=true", {"sslmode": "require"}),
        ("postgresql://u:p@h:1/d?ssl=false", {"sslmode": "disable"}),
        (
            "postgresql://u:p@h:1/d?schema=public&connection_limit=1&pool_timeout=3&pgbouncer=true&sslmode=prefer",
            {"sslmode": "prefer"},
        ),
        ("jdbc:postgresql://h:1/d?user=u&password=p&ssl=true&currentSchema=public", {"sslmode": "require"}),
        ("jdbc:postgresql://u:p@h:1/d?options=-c%20x.y%3D1", {"options": "-c x.y=1"}),
        ("host=h port=1 dbname=d user=u password=p", {}),
    ],
)
def test_urls_as_other_programs_write_them(url: str, expected: dict[str, str]) -> None:
    """Would break: SQLAlchemy's, Prisma's and JDBC's addresses of the same database are refused."""
    usual = {
        "host": "h",
        "port": "1",
        "dbname": "d",
        "user": "u",
        "password": "p",
        "sslmode": "require",
        "connect_timeout": "15",
    }
    assert parts(database_url=url) == {**usual, **expected}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://u:hunter2@h/d", "DATABASE_URL is not a Postgres URL: it begins with mysql://"),
        ("postgresql://u:hunter2@h/d?sslaccept=strict", "DATABASE_URL has the parameter sslaccept, which"),
        ("postgresql://u:hunter2@h/d?schema=app", 'DATABASE_URL has schema=app: remove it, and name the tables with their schema'),
        ("postgresql://u:hun/ter2@h/d", "its host, port or database cannot be determined"),
        ("postgresql://u:hunter2@h:port/d", "DATABASE_URL is not a Postgres URL: its host, port or database cannot be determined"),
    ],
)  # fmt: skip
def test_what_of_a_url_is_not_understood_is_named(url: str, said: str) -> None:
    """Would break: the error hides which part is wrong; or holds the password."""
    with pytest.raises(SettingsError) as caught:
        parts(database_url=url)
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value) and "ter2" not in str(caught.value)


def test_errors_name_the_place_and_no_secret() -> None:
    """Invariant 9, for everything that prints settings or their parts."""
    settings = made(
        database_url="postgresql://u:hunter2@h:1/d",
        database_url_unpooled="postgresql://u:hunter2@i:1/d",
        postgres_password="hunter2",
        cassandra_password="hunter2",
        astra_db_application_token="AstraCS:hunter2",
        redis_url="redis://:hunter2@r/0",
    )
    assert "hunter2" not in repr(settings) + str(settings) + str(settings.model_dump()) + settings.model_dump_json()
    assert target_name(settings) == "Postgres at i:1/d"


def test_only_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is missing is named at once; an empty variable counts as missing."""
    monkeypatch.setenv("POSTGRES_HOST", "")
    with pytest.raises(
        SettingsError, match=r"^DATABASE_URL \(or POSTGRES_HOST, POSTGRES_DATABASE and POSTGRES_USER\) not set: "
    ):
        connection_string(load_settings(None))
    monkeypatch.setenv("POSTGRES_USER", "u")
    with pytest.raises(SettingsError, match=r"^POSTGRES_HOST and POSTGRES_DATABASE \(or DATABASE_URL\) not set: "):
        connection_string(load_settings(None))


def test_what_is_missing_of_all_servers_is_named_at_once() -> None:
    """Would break: a new user sets one variable, only to be told of the next one."""
    with pytest.raises(SettingsError) as found:
        load_settings(None).require("source", "target", "redis_url")
    assert str(found.value) == (
        "CASSANDRA_CONTACT_POINTS (or ASTRA_DB_SECURE_BUNDLE_PATH), ASTRA_DB_KEYSPACE, "
        "DATABASE_URL (or POSTGRES_HOST, POSTGRES_DATABASE and POSTGRES_USER) and REDIS_URL not set: "
        "set them in the environment or in .env"
    )
    named = Settings(_env_file=None, cassandra_contact_points="a", cassandra_username="u", database_url="postgresql://b/c")
    with pytest.raises(SettingsError, match=r"^CASSANDRA_PASSWORD and ASTRA_DB_KEYSPACE not set: set them "):
        named.require("source", "target")
    bundle = Settings(_env_file=None, astra_db_secure_bundle_path=Path("b.zip"), astra_db_keyspace="k")
    with pytest.raises(SettingsError, match=r"^ASTRA_DB_APPLICATION_TOKEN not set: set it "):
        bundle.require("source")


def test_the_environment_goes_before_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in every tool with a `.env`; other programs' variables in it are ignored."""
    (tmp_path / ".env").write_text("POSTGRES_HOST=file\nCASSANDRA_PORT=1\nPOSTGRES_PASSWORD='a#b'\nOTHER=1\n")
    monkeypatch.setenv("POSTGRES_HOST", "environment")
    found = load_settings()
    assert (found.postgres_host, found.cassandra_port) == ("environment", 1)
    assert found.postgres_password and found.postgres_password.get_secret_value() == "a#b"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A `.env` in another encoding."""
    (tmp_path / ".env").write_bytes(b"POSTGRES_HOST=\xff\xfe")
    with pytest.raises(SettingsError, match=r"^\.env cannot be read: "):
        load_settings()


def test_no_sync_toml_is_a_choice_but_a_missing_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the intended rules were not found, a table that they refuse would get through."""
    assert load_config(load_settings(None).sync_config) == Config()
    monkeypatch.setenv("SYNC_CONFIG", "other.toml")
    with pytest.raises(SettingsError, match=r"^SYNC_CONFIG: there is no file other\.toml$"):
        load_config(load_settings(None).sync_config)


def test_what_sync_toml_says_of_a_table(tmp_path: Path) -> None:
    """Each entry is read; a table that is not named has the defaults."""
    (tmp_path / "sync.toml").write_text(
        'only = ["a"]\n[tables.a]\ntarget = "s.b"\nrename = { x = "y" }\nignore = ["z"]\n'
        'on_reject = { x = "null" }\nttl = "keep"\n'
    )
    options = load_config(tmp_path / "sync.toml").options("a")
    assert (options.target, options.rename, options.ignore, options.keep_ttl) == ("s.b", {"x": "y"}, {"z"}, True)
    assert options.on_reject == {"x": "null"}
    assert load_config(tmp_path / "sync.toml").options("b").keep_ttl is False


def test_the_bundles_key_is_not_unpacked_beside_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The folder of a mounted secret takes no files; and a private key does not belong in the folder of its bundle."""
    (tmp_path / "bundle.zip").write_bytes(b"")
    given: dict[str, Any] = {}

    def cluster(**values: Any) -> None:
        given.update(values)

    monkeypatch.setattr(cassandra_connect, "Cluster", cluster)
    settings = made(astra_db_secure_bundle_path=tmp_path / "bundle.zip", astra_db_application_token="t")
    cassandra_connect._cluster(settings, 1.0)
    assert given["cloud"] == {"secure_connect_bundle": str(tmp_path / "bundle.zip"), "use_default_tempdir": True}


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        (
            'connection to server at "h" (::1), port 1 failed: Connection refused\n\tIs the server running',
            "nothing listens there",
        ),
        ("SSL error: certificate verify failed", "not trusted"),
        ('server certificate for "a" does not match host name "b"', "another host name"),
        ('FATAL:  no pg_hba.conf entry for host "1.2.3.4", no encryption', "pg_hba.conf"),
        ("FATAL:  something\nnew", "FATAL: something new"),
    ],
)
def test_libpqs_words_become_one_line(said: str, advice: str) -> None:
    """Whatever it is, it is one line."""
    text = postgres_connect.explain(psycopg.OperationalError(said))
    assert advice in text
    assert "\n" not in text


def test_a_lease_outlives_a_request() -> None:
    """Would break: a slow page costs the range its lease each time, and the next worker reads it just as slowly."""
    assert Config.model_validate({"backfill": {"lease_seconds": 45, "request_timeout_seconds": 30}})
    with pytest.raises(ValueError, match="it may be 20 at most"):
        Config.model_validate({"backfill": {"lease_seconds": 30, "request_timeout_seconds": 30}})


def test_compression_that_cannot_be_had_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a wish for compression is passed over in silence, or the driver compresses though nobody asked for it."""
    monkeypatch.setattr(cassandra_connect, "locally_supported_compressions", {})
    with pytest.raises(SettingsError, match="CASSANDRA_COMPRESSION=lz4 needs the package lz4"):
        cassandra_connect._compression(made(cassandra_compression="lz4"))
    assert cassandra_connect._compression(made()) is False
