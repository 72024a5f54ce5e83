"""Connections to Postgres from settings: pooled and direct endpoints, TLS, clear errors."""

from __future__ import annotations

import re
from typing import Any

import psycopg
from psycopg import conninfo, errors

from sync.adapters.postgres.queries import queries
from sync.errors import SettingsError, Unreachable, UnreachableNow
from sync.settings import Settings

Connection = psycopg.Connection[tuple[Any, ...]]
_OWN = queries("session")["own"]
_NOT_NOW = re.compile(
    "the database system is|too many (?:clients|connections)|connection slots are reserved|out of memory|No space left"
)
"""What a server says that starts, ends or has no room; libpq hands no SQLSTATE over."""
_POOLER = re.compile(r"-pooler(?=\.)")
TRANSIENT = (psycopg.OperationalError, psycopg.InterfaceError, errors.SerializationFailure, errors.DeadlockDetected)
"""What a repetition on a new connection may cure: a restart, a suspended compute, a cut connection."""


def connection_string(settings: Settings, direct: bool = True) -> str:
    """The conninfo of the target. `direct` avoids a transaction pooler, which has no temporary tables or settings."""
    unpooled = direct and settings.database_url_unpooled is not None
    url = settings.database_url_unpooled if unpooled else settings.database_url
    if url is None:
        settings.require("postgres_host", "postgres_database", "postgres_user")
        given = _from_parts(settings)
    else:
        given = _from_url(url.get_secret_value(), "DATABASE_URL_UNPOOLED" if unpooled else "DATABASE_URL")
    defaults = {"sslmode": settings.postgres_sslmode, "sslrootcert": settings.postgres_sslrootcert, "connect_timeout": 15}
    given = {k: v for k, v in {**defaults, **given}.items() if v is not None}
    if direct and settings.database_url_unpooled is None:
        # Neon names the pooled endpoint of ep-x-1 "ep-x-1-pooler"; the direct one is the same name without it.
        given["host"] = _POOLER.sub("", str(given.get("host", "")))
    return conninfo.make_conninfo(**given)


def _from_url(url: str, name: str) -> dict[str, Any]:
    try:
        given = conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise SettingsError(f"{name} is not a Postgres URL: {_without_secret(str(error))}{_HOW}") from None
    # An @ or / in a password that is not written as %40 or %2F makes libpq take a piece of it for one of these.
    host, port, database = (str(given.get(part, "")) for part in ("host", "port", "dbname"))
    if "@" in host or not re.fullmatch(r"[\d,]*", port) or ("@" in database and "%40" not in url):
        raise SettingsError(f"{name} is not a Postgres URL: its host, port or database cannot be told{_HOW}")
    return given


_HOW = "; it must read postgresql://user:password@host:port/database, with @ : / % in the password as %40 %3A %2F %25"


def _from_parts(settings: Settings) -> dict[str, Any]:
    password = settings.postgres_password
    return {
        "host": settings.postgres_host,
        "port": settings.postgres_port,
        "dbname": settings.postgres_database,
        "user": settings.postgres_user,
        "password": password.get_secret_value() if password else None,
    }


def _without_secret(text: str) -> str:
    return " ".join(re.sub(r'"[^"]*"|\S+://\S+', "…", text).split())


def connect(settings: Settings, *, direct: bool = True, autocommit: bool = False) -> Connection:
    """One connection. Raises Unreachable and SettingsError, one line each."""
    dsn = connection_string(settings, direct)
    pooled = "-pooler." in dsn
    try:
        connection: Connection = psycopg.connect(dsn, autocommit=True, application_name="sync")
        if not pooled:
            make_own(connection)
    except psycopg.OperationalError as error:
        advice = explain(error)
        if settings.database_url or settings.database_url_unpooled:
            advice = _OWN_NAMES.sub("DATABASE_URL", advice)
        kind = UnreachableNow if _NOT_NOW.search(str(error)) else Unreachable
        raise kind(f"{target_name(settings)}: {advice}") from None
    # The merge's look for tombstones must see what was committed while it waited for the range (rules 9 and 18), whatever
    # the role's or the database's default is.
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    if pooled:
        connection.prepare_threshold = None
    connection.autocommit = autocommit
    return connection


def make_own(connection: Connection) -> None:
    """Give an autocommit session the settings that our statements need, whatever its role's, database's or environment's are.

    Not for a connection through a transaction pooler: the next client of the server's session would have them.
    """
    connection.execute(_OWN)


def target_name(settings: Settings) -> str:
    """How errors and reports name the target; never with a secret."""
    found = conninfo.conninfo_to_dict(connection_string(settings))
    return f"Postgres at {found.get('host') or '(no host)'}:{found.get('port', 5432)}/{found.get('dbname', '')}"


_NAME = r"POSTGRES_(?:HOST|PORT|USER|PASSWORD|DATABASE)"
_OWN_NAMES = re.compile(rf"{_NAME}(?: and {_NAME})?")
_ADVICE = (
    ("password authentication failed", "the user name or password was refused; check POSTGRES_USER and POSTGRES_PASSWORD"),
    ("no password supplied", "it asks for a password; check POSTGRES_PASSWORD"),
    (
        "server does not support ssl",
        "it does not speak TLS; set POSTGRES_SSLMODE=disable (or sslmode=disable in the URL) if that is meant",
    ),
    ("certificate verify failed", "its certificate is not trusted; set POSTGRES_SSLROOTCERT to the CA's file, or system"),
    (
        "root certificate file",
        "POSTGRES_SSLMODE asks to verify the certificate, but there is no such CA file; set POSTGRES_SSLROOTCERT",
    ),
    ("no pg_hba.conf entry", "it refuses this host, user or connection without TLS; check POSTGRES_SSLMODE and pg_hba.conf"),
    ("insecure", "it refuses connections without TLS; set POSTGRES_SSLMODE=require or verify-full"),
    ("does not match host name", "its certificate is for another host name; check POSTGRES_HOST"),
    ("could not translate host name", "there is no such host; check POSTGRES_HOST"),
    ("failed to resolve host", "there is no such host; check POSTGRES_HOST"),
    ("connection refused", "nothing listens there; check POSTGRES_HOST and POSTGRES_PORT, and that the server runs"),
    ("on socket", "no host is named, and no server runs on this machine; check POSTGRES_HOST"),
    ("but received", "what answers there is not Postgres; check POSTGRES_HOST and POSTGRES_PORT"),
    ("invalid response to ssl", "what answers there is not Postgres; check POSTGRES_HOST and POSTGRES_PORT"),
    ("timeout expired", "no answer in time; check the host, the port and the network"),
)


def explain(error: psycopg.Error) -> str:
    """What went wrong and what to do, in one line."""
    text = " ".join(str(error).split())
    for symptom, advice in _ADVICE:
        if symptom in text.lower():
            return advice
    if re.search(r'database "[^"]*" does not exist', text):
        return "there is no such database; create it or check POSTGRES_DATABASE"
    return text
