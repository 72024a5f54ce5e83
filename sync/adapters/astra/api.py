"""A Data API database from settings: Astra by endpoint and token, or a self-hosted one by user and password."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from astrapy import DataAPIClient, Database
from astrapy.api_options import APIOptions, SerdesOptions, TimeoutOptions
from astrapy.authentication import StaticTokenProvider, TokenProvider, UsernamePasswordTokenProvider
from astrapy.constants import Environment

from sync.adapters.astra.calls import Calls
from sync.errors import SettingsError
from sync.settings import Settings

_ASTRA = re.compile(r"\.apps\.astra(?:-(dev|test))?\.datastax\.com$")
_ENVIRONMENTS = {None: Environment.PROD, "dev": Environment.DEV, "test": Environment.TEST}
_ADMIN_MS = 60_000  # making or dropping a collection changes the schema on every node


@dataclass(frozen=True, slots=True)
class Api:
    """A database, and how it is called."""

    database: Database
    calls: Calls
    keyspace: str


def open_api(settings: Settings, timeout: float = 10.0) -> Api:
    """The database of ASTRA_DB_API_ENDPOINT; nothing is sent yet. Raises SettingsError.

    `timeout` is how long a request may take, and how long a call is retried after temporary failures.
    """
    settings.require("astra_db_api_endpoint", "astra_db_keyspace")
    logging.getLogger("astrapy").setLevel(logging.ERROR)  # it logs every error that it raises
    endpoint, keyspace = settings.astra_db_api_endpoint or "", settings.astra_db_keyspace or ""
    client = DataAPIClient(environment=_environment(endpoint), api_options=_options(settings, timeout))
    database = client.get_database(endpoint, token=_token(settings, endpoint), keyspace=keyspace)
    return Api(database, Calls(_host(endpoint), timeout), keyspace)


def _host(endpoint: str) -> str:
    """The endpoint as errors name it. Raises SettingsError if it is not a URL."""
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError("ASTRA_DB_API_ENDPOINT is not a URL: it must begin with https://, or http:// if self-hosted")
    if parts.username or parts.password:
        raise SettingsError("ASTRA_DB_API_ENDPOINT contains a user or a password: put them into their own settings")
    return f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname


def _environment(endpoint: str) -> str:
    found = _ASTRA.search(_host(endpoint).split(":")[0])
    # astrapy uses the same paths for all environments that it treats as self-hosted (cassandra, hcd, dse).
    return _ENVIRONMENTS[found.group(1)] if found else Environment.CASSANDRA


def _token(settings: Settings, endpoint: str) -> TokenProvider:
    token = settings.astra_db_application_token
    if token is not None:
        return StaticTokenProvider(token.get_secret_value())
    if _environment(endpoint) != Environment.CASSANDRA:
        settings.require("astra_db_application_token")
    if settings.cassandra_username is None or settings.cassandra_password is None:
        raise SettingsError(
            "the Data API requires credentials: set CASSANDRA_USERNAME and CASSANDRA_PASSWORD, or ASTRA_DB_APPLICATION_TOKEN"
        )
    return UsernamePasswordTokenProvider(settings.cassandra_username, settings.cassandra_password.get_secret_value())


def _options(settings: Settings, timeout: float) -> APIOptions:
    milliseconds = int(timeout * 1000)
    ca = settings.cassandra_ssl_ca_path
    return APIOptions(
        timeout_options=TimeoutOptions(
            request_timeout_ms=milliseconds,
            general_method_timeout_ms=86_400_000,  # a count walks a table: each request of it has the limit
            collection_admin_timeout_ms=_ADMIN_MS,
            table_admin_timeout_ms=_ADMIN_MS,
        ),
        serdes_options=SerdesOptions(custom_datatypes_in_reading=True, unroll_iterables_to_lists=True),
        ca_cert_path=str(ca) if ca else None,
    )
