"""Connections to Postgres from settings: pooled and direct endpoints, TLS, clear errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import conninfo, errors

from sync.adapters.postgres.connection import pooler
from sync.adapters.postgres.connection.address import Address, address_of
from sync.adapters.postgres.connection.pooled import Pooled, adjust
from sync.adapters.postgres.connection.queries import queries
from sync.errors import Unreachable, UnreachableNow
from sync.settings import Settings

Connection = psycopg.Connection[tuple[Any, ...]]
_SESSION = queries("connection/session")
_OWN = "; ".join(
    [_SESSION["lift"]]
    + [
        f"SELECT pg_catalog.set_config(s.name, s.value, false) FROM ({_SESSION[part]}) AS s WHERE NOT s.has"
        for part in ("wanted", "path")
    ]
)
_NOT_NOW = re.compile(
    "the database system is|too many (?:clients|connections)|connection slots are reserved|out of memory|No space left"
)
"""What a server says while it starts, shuts down or has no room; libpq passes on no SQLSTATE."""
_POOLER = re.compile(r"-pooler(?=\.)")
TRANSIENT = (psycopg.OperationalError, psycopg.InterfaceError, errors.SerializationFailure, errors.DeadlockDetected)
"""Errors that a retry on a new connection may cure: a restart, a suspended compute, a cut connection."""


def connection_string(settings: Settings, direct: bool = True) -> str:
    """The conninfo of the target. `direct` avoids a transaction pooler if there is a way around it."""
    return _target(settings, direct)[0]


def _target(settings: Settings, direct: bool) -> tuple[str, str]:
    """The conninfo, and the kind of pooler stated for it: `auto`, `transaction`, `session` or `none`."""
    unpooled = direct and settings.database_url_unpooled is not None
    url = settings.database_url_unpooled if unpooled else settings.database_url
    if url is None:
        settings.require("target")
        address = Address(_from_parts(settings))
    else:
        address = address_of(url.get_secret_value(), "DATABASE_URL_UNPOOLED" if unpooled else "DATABASE_URL")
    defaults = {"sslmode": settings.postgres_sslmode, "sslrootcert": settings.postgres_sslrootcert, "connect_timeout": 15}
    given = {k: v for k, v in {**defaults, **address.given}.items() if v is not None}
    host = str(given.get("host", ""))
    if direct and settings.database_url_unpooled is None:
        # Neon names the pooled endpoint of ep-x-1 "ep-x-1-pooler"; the direct one is the same name without it.
        given["host"] = _POOLER.sub("", host)
    said = "transaction" if address.is_pooler and settings.postgres_pooler == "auto" else settings.postgres_pooler
    is_another = unpooled or given.get("host", "") != host
    return conninfo.make_conninfo(**given), "auto" if is_another and said == "transaction" else said


def known_pooler(settings: Settings, direct: bool) -> bool | None:
    """Whether a transaction pooler is there, as far as that is known; None if it was not tested yet."""
    return pooler.known(*_target(settings, direct))


def _from_parts(settings: Settings) -> dict[str, Any]:
    password = settings.postgres_password
    return {
        "host": settings.postgres_host,
        "port": settings.postgres_port,
        "dbname": settings.postgres_database,
        "user": settings.postgres_user,
        "password": password.get_secret_value() if password else None,
    }


def connect(
    settings: Settings, *, direct: bool = True, autocommit: bool = False, network: Mapping[str, Any] | None = None
) -> Connection:
    """One connection; `network` are libpq's parameters of it alone. Raises Unreachable and SettingsError, one line each."""
    dsn, said = _target(settings, direct)
    try:
        connection = _connected(dsn, said, network or {})
        configure_session(connection)
    except psycopg.OperationalError as error:
        advice = explain(error)
        if settings.database_url or settings.database_url_unpooled:
            advice = _OWN_NAMES.sub("DATABASE_URL", advice)
        kind = UnreachableNow if _NOT_NOW.search(str(error)) else Unreachable
        raise kind(f"{target_name(settings)}: {advice}") from None
    # The merge must see tombstones that were committed while it waited for the range (rules 9 and 18), whatever the role's
    # or the database's default is.
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    connection.autocommit = autocommit
    return connection


def _connected(dsn: str, said: str, network: Mapping[str, Any]) -> Connection:
    pooled = pooler.known(dsn, said)
    connection = connection_class(pooled)[0].connect(dsn, **connection_class(pooled)[1], **network)
    if pooled is None and pooler.detect(dsn, connection):
        connection.close()
        connection = Pooled.connect(dsn, **connection_class(True)[1], **network)
    return connection


def connection_class(pooled: bool | None) -> tuple[type[Connection], dict[str, Any]]:
    """The class of connections to such an address, and what they are made with."""
    kind: dict[str, Any] = {"autocommit": True, "application_name": "sync"}
    # A statement prepared in one server session is unknown in the next one, or is a different one there.
    return (Pooled, {**kind, "prepare_threshold": None, "client_encoding": "utf8"}) if pooled else (psycopg.Connection, kind)


def configure_session(connection: Connection, limits: Mapping[str, str] | None = None) -> None:
    """Give an autocommit session the settings that our statements need, whatever its role's, database's or environment's are.

    `limits` are further settings by name. Through a transaction pooler they apply to each transaction, and to nobody else.
    """
    if isinstance(connection, Pooled):
        with connection.one_round_trip():
            asked = [connection.execute(_SESSION[part]) for part in ("wanted", "path")]
        connection.adjust({name: value for cursor in asked for name, value, _ in cursor.fetchall()})
    else:
        connection.execute(_OWN)
    if limits:
        adjust(connection, limits)


def target_name(settings: Settings) -> str:
    """How errors and reports name the target; never with a secret."""
    found = conninfo.conninfo_to_dict(connection_string(settings))
    return f"Postgres at {found.get('host') or '(no host)'}:{found.get('port', 5432)}/{found.get('dbname', '')}"


_NAME = r"POSTGRES_(?:HOST|PORT|USER|PASSWORD|DATABASE)"
_OWN_NAMES = re.compile(rf"{_NAME}(?: and {_NAME})?")
_ADVICE = (
    ("password authentication failed", "the user name or password was refused; check POSTGRES_USER and POSTGRES_PASSWORD"),
    ("no password supplied", "it requires a password; check POSTGRES_PASSWORD"),
    (
        "server does not support ssl",
        "it does not speak TLS; set POSTGRES_SSLMODE=disable (or sslmode=disable in the URL) if that is intended",
    ),
    ("certificate verify failed", "its certificate is not trusted; set POSTGRES_SSLROOTCERT to the CA's file, or system"),
    (
        "root certificate file",
        "POSTGRES_SSLMODE requires a verified certificate, but there is no such CA file; set POSTGRES_SSLROOTCERT",
    ),
    ("no pg_hba.conf entry", "it refuses this host, user or connection without TLS; check POSTGRES_SSLMODE and pg_hba.conf"),
    ("insecure", "it refuses connections without TLS; set POSTGRES_SSLMODE=require or verify-full"),
    ("does not match host name", "its certificate is for another host name; check POSTGRES_HOST"),
    ("could not translate host name", "there is no such host; check POSTGRES_HOST"),
    ("failed to resolve host", "there is no such host; check POSTGRES_HOST"),
    ("connection refused", "nothing listens there; check POSTGRES_HOST and POSTGRES_PORT, and that the server runs"),
    ("on socket", "no host is named, and no server runs on this machine; check POSTGRES_HOST"),
    ("but received", "the server there is not Postgres; check POSTGRES_HOST and POSTGRES_PORT"),
    ("invalid response to ssl", "the server there is not Postgres; check POSTGRES_HOST and POSTGRES_PORT"),
    ("timeout expired", "no answer in time; check the host, the port and the network"),
    (
        "unsupported startup parameter",
        "the pooler takes no start-up options: remove them from the URL, and unset PGOPTIONS",
    ),
    ("statement pooling mode", "the pooler is in statement mode, which has no transactions; set it to transaction mode"),
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
