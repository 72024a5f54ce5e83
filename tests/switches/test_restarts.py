"""Postgres is restarted in the middle of a switch, and `sync finish` is killed at every step: run again, each completes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from support.commands import Commands
from support.environments import settings_in
from support.places import NewPlace, Place, admin
from support.running_commands import until

from switches.scene import Scene, operator, scene
from sync import local

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow


@pytest.fixture
def own(new_place: NewPlace, own_postgres: local.PostgresServer) -> Iterator[Place]:
    """The shared Cassandra with a Postgres that may be killed."""
    name = f"own_{uuid4().hex[:8]}"
    with closing(admin(own_postgres)) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    with new_place() as place:
        changes = {
            "POSTGRES_HOST": "127.0.0.1",
            "POSTGRES_PORT": str(own_postgres.port),
            "POSTGRES_USER": own_postgres.user,
            "POSTGRES_PASSWORD": own_postgres.password,
            "POSTGRES_DATABASE": name,
        }
        settings = settings_in({**place.commands.env, **changes})
        yield Place(
            place.cassandra,
            settings,
            Commands(place.commands.folder, {**place.commands.env, **changes}, place.commands.zygote),
        )


@pytest.mark.parametrize("point", ["switch.closed", "switch.before_commit", "switch.committed"])
def test_postgres_is_restarted_within_a_cutover(
    own: Place, own_postgres: local.PostgresServer, tmp_path: Path, point: str
) -> None:
    """Would break: half a cut-over, or writers that wait for a command that has lost its connection."""
    with scene(own, rows=20) as home, operator(home, tmp_path) as commands, ThreadPoolExecutor(1) as executor:
        writer = home.start()
        home.begun()
        home.prove()
        switching = commands.but(SYNC_FAILPOINTS=f"{point}=sleep:1.5").run
        command = executor.submit(switching, "cutover", "--yes", "--json")
        committed = point == "switch.committed"
        until(lambda: home.epoch[0] == 2 if committed else home.epoch[2] == "closing", what="the command is there")
        own_postgres.kill()
        own_postgres.start()
        done = command.result(60)
        assert done.code == 1, done
        assert done.err.splitlines()[-1].startswith("sync cutover: "), done
        until(lambda: home.epoch[2] == "open", what="the epoch is open again")
        assert home.epoch[0] == (2 if committed else 1)
        writer.await_writes()
        home.await_heartbeats()
        home.expire()
        home.as_if_proved()
        home.switch("cutover")
        assert home.epoch == (2, "postgres", "open")
        writer.await_writes()
        assert home.finish().all == []


@pytest.mark.parametrize("point", ["finish.columns_dropped", "finish.before_commit"])
def test_a_finish_that_is_killed_has_changed_nothing_and_completes(new_place: NewPlace, point: str) -> None:
    """Would break: half of the bookkeeping is gone, and no command can tell what the state is."""
    with new_place() as place, scene(place, rows=20) as home:
        home.prove()
        home.switch("cutover")
        rows = place.sql("SELECT id, a, b FROM pairs ORDER BY id")
        assert home.run("finish", "--yes", "--json", SYNC_FAILPOINTS=f"{point}=kill:1").code == -9
        assert home.epoch == (2, "postgres", "open")
        assert columns(home) == 2
        done = home.run("finish", "--yes", "--json")
        assert done.code == 0, done
        assert columns(home) == 0
        assert place.sql("SELECT to_regnamespace('sync') IS NULL") == [(True,)]
        assert place.sql("SELECT id, a, b FROM pairs ORDER BY id") == rows
        again = home.run("finish", "--yes", "--json")
        assert (again.code, "finished" in again.err) == (1, True), again


def columns(home: Scene) -> int:
    """How many of the migration's own columns the table has."""
    statement = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'pairs'::regclass AND attname LIKE '\\_sync%' AND NOT attisdropped"
    return int(home.place.sql(statement)[0][0])
