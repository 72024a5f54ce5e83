"""The whole migration, there and back under load, on each server that is supported: `make test-servers`.

docs/servers.md has what differs, as a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr
from support import old_cassandra, pgbouncer, server_kinds
from support.applications import running
from support.commands import Zygote
from support.dual import Table
from support.environments import settings_in
from support.places import Place
from support.running_commands import until
from support.server_kinds import KINDS, Kind

from sync import local
from sync.local.cassandra.server import DATACENTER
from sync.settings import Settings, load_config
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
pytestmark = [pytest.mark.servers, pytest.mark.timeout(900)]
TABLES = (
    "CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text, plays int, tags map<text, text>)",
    "CREATE TABLE KS.playlist (owner text, position int, song uuid, PRIMARY KEY (owner, position))",
)
TOML = """
schema_files = []
[dual_write]
heartbeat_seconds = 0.3
[drift]
grace_seconds = 0.05
[tables.playlist]
lightweight_transactions = true
"""
OLD = ("4.0", "4.1")


@pytest.fixture(scope="module")
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.CassandraServer]:
    """A Cassandra of the version, whose role `ordinary` is an application's."""
    server = old_cassandra.start(tmp_path_factory.mktemp("node"), request.param)
    yield server
    server.remove()


@pytest.fixture
def kind_place(
    request: pytest.FixtureRequest, node: local.CassandraServer, zygote: Zygote, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Kind, Place]]:
    """A place on the servers of one kind."""
    from support.fixtures import places_at  # only after pytest has loaded it as a plugin

    kind: Kind = request.param
    with ExitStack() as stack:
        postgres = server_kinds.postgres(tmp_path_factory.mktemp("postgres"), kind.postgres)
        stack.callback(postgres.remove)
        queue = server_kinds.queue(tmp_path_factory.mktemp("queue"), kind.queue)
        stack.callback(queue.remove)
        settings = settings_of(node, postgres)
        place = stack.enter_context(places_at(settings, zygote, queue, tmp_path_factory)())
        if kind.pooled:  # its database is made past the pooler: there everything is in a transaction
            pooler = stack.enter_context(pgbouncer.running(place.settings, tmp_path_factory.mktemp("pooler"), size=20))
            pooled = {"POSTGRES_HOST": pooler.host, "POSTGRES_PORT": str(pooler.port)}
            place = Place(place.cassandra, pooler.settings(place.settings), place.commands.but(**pooled))
        yield kind, place


def settings_of(node: local.CassandraServer, postgres: local.PostgresServer) -> Settings:
    given = {
        "cassandra_contact_points": "127.0.0.1",
        "cassandra_port": node.port,
        "cassandra_local_dc": DATACENTER,
        "cassandra_username": node.user,
        "cassandra_password": SecretStr(node.password),
        "astra_db_keyspace": "system",
        "postgres_host": "127.0.0.1",
        "postgres_port": postgres.port,
        "postgres_database": "postgres",
        "postgres_user": postgres.user,
        "postgres_password": SecretStr(postgres.password),
        "postgres_sslmode": "disable",
    }
    return settings_in(given)


@pytest.mark.parametrize(
    ("node", "kind_place"),
    [pytest.param(kind.cassandra, kind, id=str(kind)) for kind in server_kinds.wanted(KINDS)],
    indirect=True,
)
def test_there_and_back(kind_place: tuple[Kind, Place]) -> None:
    """Would break: what is supported by word only is refused at the first write, or lost at the cut-over."""
    kind, place = kind_place
    place.cql(*TABLES)
    rows = [uuid4() for _ in range(200)]
    for n, row in enumerate(rows):
        place.cql(f"INSERT INTO KS.songs (id, title, plays, tags) VALUES ({row}, 'before', {n}, {{'a': 'b'}})")
        place.cql(f"INSERT INTO KS.playlist (owner, position, song) VALUES ('o{n % 5}', {n}, {row})")
    place.configure(TOML)
    done = place.commands.run("schema", "apply")
    assert done.code == 0, done
    told = place.commands.run("preflight")
    assert told.code == 0, told
    assert ("does not report when tags was written" in told.out) is (kind.cassandra[:3] in OLD), told.out
    config = load_config(place.commands.folder / "sync.toml")
    with closing(Table(place.cassandra, place.settings, config, "songs")) as table:
        with running(place.settings, config, 2) as applications:
            until(lambda: sum(a.writes for a in applications) > 50, what="writes are made")
            done = place.commands.run("backfill", "--workers", "1")
            assert done.code == 0, done
            place.cql(f"UPDATE KS.songs SET tags['c'] = 'd', plays = -2 WHERE id = {rows[0]}")
            found = place.commands.run("drift-report", "--workers", "1", "--format", "json")
            assert found.code == 2, found
            (finding,) = [f for t in found.json["tables"] for f in t["findings"]]
            assert (finding["kind"], sorted(finding["columns"])) == ("different", ["plays", "tags"])
            place.commands.run("drift-report", "--workers", "1", "--repair")
            for command in ("cutover", "rollback"):
                check_reads(place, config_tables=rows)
                place.prove()
                before = sum(a.writes for a in applications)
                done = place.commands.run(command, "--yes")
                assert done.code == 0, done
                until(lambda before=before: sum(a.writes for a in applications) > before + 50, what="writes went on")
            place.prove()
        table.epoch = 3
        for application in applications:
            application.check(table)
        assert table.check_equal() >= 200


def check_reads(place: Place, config_tables: list[UUID]) -> None:
    """A partition in its order, an insert that is done once, a delete: whoever is primary."""
    with DualWriteStore(place.settings, load_config(place.commands.folder / "sync.toml")) as store:
        found = [row["position"] for row in store.find("playlist", {"owner": "o3"})]
        assert found == [n for n in range(len(config_tables)) if n % 5 == 3]
        row = {"owner": "new", "position": 1, "song": config_tables[0]}
        assert [store.insert("playlist", row), store.insert("playlist", row)] == [True, False]
        assert store.get("playlist", {"owner": "new", "position": 1}) == row
        assert store.delete("playlist", {"owner": "new", "position": 1})
