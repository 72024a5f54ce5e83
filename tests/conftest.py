"""Real servers for the whole session: started once in a folder of the project, ended with it.

`SYNC_TEST_SERVERS=<folder>` uses a set that is already running there (`sync local up`), and leaves it running.
"""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from support import leaks
from support.environments import settings_in
from support.leaks import no_leaks, pytest_runtest_makereport  # noqa: F401 (for all tests)
from support.servers import VOLATILE, given, servers_folder, up

from sync import local
from sync.adapters.cassandra.connection.connect import Cassandra, open_cassandra
from sync.settings import Settings

# How long an example takes to make or to run depends on the load of the machine: no test fails because of it.
hypothesis_settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("untimed")
# Whatever a shell starts in the background ignores Ctrl-C, and so would the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
leaks.watch()


@pytest.fixture(scope="session")
def endpoints() -> Iterator[local.Endpoints]:
    """The three embedded servers, which no test kills."""
    yield local.up(servers_folder()) if given() else up(servers_folder(), VOLATILE)
    if not given():
        local.down(servers_folder())


@pytest.fixture(scope="session")
def base_settings(endpoints: local.Endpoints) -> Settings:
    """Settings of the embedded servers, without a keyspace or database of the test's own."""
    return settings_in(endpoints.env())


@pytest.fixture(scope="session")
def cassandra(base_settings: Settings) -> Iterator[Cassandra]:
    """Open sessions on the embedded Cassandra."""
    with open_cassandra(base_settings, 120) as opened:  # dropping a keyspace takes long on a busy machine
        yield opened


@pytest.fixture
def settings(base_settings: Settings, cassandra: Cassandra) -> Iterator[Settings]:
    """Settings with a keyspace and a database made for this test and dropped after it; both empty."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    admin = (
        f"host={base_settings.postgres_host} port={base_settings.postgres_port} dbname={base_settings.postgres_database} "
        f"user={base_settings.postgres_user} password={base_settings.postgres_password.get_secret_value()} sslmode=disable"
    )
    cassandra.session.execute(
        f"CREATE KEYSPACE {name} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
    )
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield base_settings.model_copy(update={"astra_db_keyspace": name, "postgres_database": name})
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    cassandra.session.execute(f"DROP KEYSPACE {name}")
