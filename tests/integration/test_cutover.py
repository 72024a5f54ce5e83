"""Cut-over and back, by the commands, with applications that write all the while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest
from support.applications import running
from support.dual import Table
from support.places import NewPlace, Place
from support.running_commands import until

from sync.settings import load_config

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
TOML = """
schema_files = []
[dual_write]
heartbeat_seconds = 0.3
connections = 8
[drift]
grace_seconds = 0.05
"""


@pytest.fixture
def home(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as place:
        place.cql("CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text, plays int, tags map<text, text>)")
        place.configure(TOML)
        for _ in range(200):
            place.cql(f"INSERT INTO KS.songs (id, title, plays) VALUES ({uuid4()}, 'before', 1)")
        for command in (["schema", "apply"], ["backfill", "--workers", "1"]):
            assert place.commands.run(*command).code == 0
        yield place


def test_there_and_back_under_load(home: Place) -> None:
    config = load_config(home.commands.folder / "sync.toml")
    with closing(Table(home.cassandra, home.settings, config, "songs")) as table:
        with running(home.settings, config, 2) as applications:
            for command, primary in (("cutover", "postgres"), ("rollback", "astra"), ("cutover", "postgres")):
                home.prove()
                done = home.commands.run(command, "--yes", "--json")
                assert done.code == 0, done
                print(done.json["closed_ms"], done.json["waits"])
                assert done.json["switched"] and done.json["primary"] == primary, done.json
                until(lambda: {a.store.primary for a in applications} == {primary}, what="all know")  # noqa: B023
        table.epoch = 4
        for application in applications:
            application.check(table)
        table.check_equal()


def test_the_epoch_closes_under_many_threads(home: Place) -> None:
    """Would break: so many writers hold the epoch in turn that it is never free to be closed."""
    config = load_config(home.commands.folder / "sync.toml")
    with closing(Table(home.cassandra, home.settings, config, "songs")) as table:
        with running(home.settings, config, 2, 16) as applications:
            for command in ("cutover", "rollback"):
                home.prove()
                done = home.commands.run(command, "--yes", "--json")
                assert done.code == 0, done
                print(done.json["closed_ms"], done.json["waits"], sum(a.writes for a in applications))
        table.epoch = 3
        for application in applications:
            assert not application.refused
        table.drained()
        table.check_equal()
