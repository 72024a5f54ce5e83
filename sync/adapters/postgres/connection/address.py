"""An address of Postgres as other programs write it: SQLAlchemy's, Prisma's and JDBC's URLs become what libpq takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote

import psycopg
from psycopg import conninfo, pq

from sync.errors import SettingsError

_HOW = "; it must look like postgresql://user:password@host:port/database, with @ : / % in the password as %40 %3A %2F %25"
_SCHEME = re.compile(r"(?:jdbc:)?(postgres(?:ql)?)(?:\+\w+)?://", re.IGNORECASE)
_ANY_SCHEME = re.compile(r"([\w+.:-]+)://")
_OTHERS = frozenset((
    "connection_limit", "pool_timeout", "socket_timeout", "statement_cache_size", "prepared_statement_cache_size",
    "prepared_statement_name_func", "pool_size", "max_overflow", "pool_pre_ping", "pool_recycle", "applicationname",
    "preparethreshold", "rewritebatchedinserts", "command_timeout", "timeout", "sockettimeout", "connecttimeout",
    "logintimeout",
))  # fmt: skip
"""Parameters of other programs, in lower case, that say how those use their connections: ignored here."""
_SCHEMAS = ("schema", "currentschema", "search_path")
_SSL = {"true": "require", "false": "disable"}


@dataclass(frozen=True, slots=True)
class Address:
    """The contents of a URL: libpq's parameters, and whether it is a transaction pooler's (Prisma's `pgbouncer=true`)."""

    given: dict[str, Any]
    is_pooler: bool = False


def address_of(url: str, name: str) -> Address:
    """A URL's parts; `name` is the setting. Raises SettingsError, which names what is not understood, and no secret."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        other = _ANY_SCHEME.match(url)
        if other:
            raise SettingsError(f"{name} is not a Postgres URL: it begins with {other[1]}://{_HOW}")
        return Address(_parsed(url, name))  # libpq's own `host=… dbname=…`
    text, is_pooler = _plain(f"{scheme[1].lower()}://{url[scheme.end() :]}", name)
    return Address(_parsed(text, name), is_pooler)


def _plain(url: str, name: str) -> tuple[str, bool]:
    """The URL with only libpq's parameters, and whether it says that it is a pooler's. Raises SettingsError."""
    at = url.find("?", url.rfind("@") + 1)
    if at < 0:
        return url, False
    kept, is_pooler = [], False
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    for key, value in parse_qsl(url[at + 1 :], keep_blank_values=True):
        lower = key.lower()
        if lower == "pgbouncer":
            is_pooler = value.lower() == "true"
        elif lower in _SCHEMAS:
            _check_schema(key, value, name)
        elif lower == "ssl":  # JDBC says true or false, asyncpg says libpq's words
            kept.append(("sslmode", _SSL.get(value.lower(), value)))
        elif key in known:
            kept.append((key, value))
        elif lower not in _OTHERS:
            # After a password whose & is not written as %26, it is a part of the password.
            what = "a parameter after its password" if any(k == "password" for k, _ in kept) else f"the parameter {key}"
            raise SettingsError(f"{name} has {what}, which Postgres clients do not know: remove it")
    query = "&".join(f"{key}={quote(value, safe='')}" for key, value in kept)
    return url[:at] + (f"?{query}" if query else ""), is_pooler


def _check_schema(key: str, value: str, name: str) -> None:
    if value != "public":
        raise SettingsError(
            f'{name} has {key}={value}: remove it, and name the tables with their schema in sync.toml (target = "{value}.…")'
        )


def _parsed(url: str, name: str) -> dict[str, Any]:
    try:
        given = conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise SettingsError(f"{name} is not a Postgres URL: {_without_secret(str(error))}{_HOW}") from None
    # An @ or / in a password that is not written as %40 or %2F makes libpq take part of the password for one of these.
    host, port, database = (str(given.get(part, "")) for part in ("host", "port", "dbname"))
    if "@" in host or not re.fullmatch(r"[\d,]*", port) or ("@" in database and "%40" not in url):
        raise SettingsError(f"{name} is not a Postgres URL: its host, port or database cannot be determined{_HOW}")
    return given


def _without_secret(text: str) -> str:
    return " ".join(re.sub(r'"[^"]*"|\S+://\S+', "…", text).split())
