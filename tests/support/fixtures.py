"""Fixtures for modules that say `pytest_plugins = ("support.fixtures",)`: places, commands, servers with other settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol
from uuid import uuid4

import pytest
import trustme
from psycopg import sql

from support.commands import Commands, Zygote, environment
from support.places import Certificates, NewPlace, Place
from support.servers import QUICK
from support.three_nodes import ThreeNodes, node_certificates
from support.two_data_centres import TwoDataCentres, start
from sync import local
from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.adapters.postgres.connection.connect import connect
from sync.settings import Settings


class HasUrl(Protocol):
    """A queue."""

    @property
    def url(self) -> str:
        """The value for REDIS_URL."""


SIMPLE = "{'class': 'SimpleStrategy', 'replication_factor': 1}"


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """The process that commands are forked from."""
    made = Zygote()
    yield made
    made.end()


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.ValkeyServer]:
    """A queue that no other test's workers listen to."""
    server = local.ValkeyServer(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.PostgresServer]:
    """A Postgres whose roles and databases tests may change."""
    server = local.PostgresServer(tmp_path_factory.mktemp("postgres"), options=QUICK)
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates made for this session."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "root.crt")
    trustme.CA().cert_pem.write_to_path(folder / "stranger.crt")
    for name, hosts in (("server", ("localhost", "127.0.0.1")), ("elsewhere", ("ep-1.elsewhere.example",))):
        issued = authority.issue_cert(*hosts)
        (folder / f"{name}.crt").write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
    names = ("root.crt", "server.crt", "server.key", "elsewhere.crt", "elsewhere.key", "stranger.crt")
    return Certificates(*(folder / name for name in names))


@pytest.fixture(scope="session")
def secure_cassandra(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[local.CassandraServer]:
    """A Cassandra that takes only TLS and passwords."""
    options = local.CassandraOptions(certificate=certificates.server, key=certificates.key, heap_mb=384, fast_start=True)
    server = local.CassandraServer(tmp_path_factory.mktemp("cassandra"), options=options)
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def two_data_centres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoDataCentres]:
    """Two nodes, each in a data centre of its own; no other test uses them."""
    made = start(tmp_path_factory.mktemp("two"))
    yield made
    made.end()


@pytest.fixture(scope="session")
def three_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreeNodes]:
    """A cluster of three; whoever stops a node starts it again."""
    made = ThreeNodes(tmp_path_factory.mktemp("three"), node_certificates(tmp_path_factory.mktemp("certificates")))
    try:
        made.start()
        yield made
    finally:
        made.end()


@pytest.fixture(scope="session")
def new_place(
    base_settings: Settings, zygote: Zygote, valkey: local.ValkeyServer, tmp_path_factory: pytest.TempPathFactory
) -> NewPlace:
    """A function that gives a context with a new place."""
    return places_at(base_settings, zygote, valkey, tmp_path_factory)


def places_at(
    base_settings: Settings,
    zygote: Zygote,
    valkey: HasUrl,
    tmp_path_factory: pytest.TempPathFactory,
    replication: str = SIMPLE,
) -> NewPlace:
    """The same on these servers."""

    @contextmanager
    def made() -> Iterator[Place]:
        name = f"Place_{uuid4().hex[:12]}"  # upper case: it must be quoted everywhere
        changes = {"astra_db_keyspace": name, "postgres_database": name}
        settings = base_settings.model_copy(update=changes)
        env = {**environment(settings), "REDIS_URL": valkey.url}
        commands = Commands(tmp_path_factory.mktemp(name), env, zygote)
        with open_cassandra(base_settings, 120) as cassandra, connect(base_settings, autocommit=True) as admin:
            cassandra.session.cluster.max_schema_agreement_wait = 60  # nodes of a loaded machine take long to agree
            cassandra.session.execute(f'CREATE KEYSPACE "{name}" WITH replication = {replication}')
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            try:
                yield Place(cassandra, settings, commands)
            finally:
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
                cassandra.session.execute(f'DROP KEYSPACE "{name}"')

    return made


@pytest.fixture(scope="module")
def place(new_place: NewPlace) -> Iterator[Place]:
    """The module's own place."""
    with new_place() as made:
        yield made


@pytest.fixture
def fresh(place: Place) -> Iterator[Place]:
    """The module's keyspace beside a new, empty database; no sync.toml."""
    name = f"{place.keyspace}_{uuid4().hex[:6]}"
    settings = place.settings.model_copy(update={"postgres_database": name})
    (place.commands.folder / "sync.toml").unlink(missing_ok=True)
    with connect(place.settings, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield Place(place.cassandra, settings, place.commands.but(POSTGRES_DATABASE=name))
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
