"""Cassandra 4.0 and 4.1: the whole way, with values of which these servers do not tell when they were written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest
from pydantic import SecretStr
from support import old_cassandra
from support.applications import running
from support.commands import Zygote
from support.dual import Table
from support.places import NewPlace, Place
from support.running import until

from sync import local
from sync.adapters.cassandra.cell_times import times_of, untold
from sync.core.versions import STEP, UNREPEATABLE_WINDOW_SECONDS
from sync.settings import Settings, load_config

pytest_plugins = ("support.fixtures",)
SONGS = "CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text, plays int, tags map<text, text>)"
MANY = (
    "CREATE TYPE KS.place (street text, number int)",
    "CREATE TABLE KS.many (id uuid PRIMARY KEY, m map<text, int>, l list<int>, s set<int>, u place, f frozen<list<int>>)",
)
TOML = """
schema_files = []
[dual_write]
heartbeat_seconds = 0.3
[drift]
grace_seconds = 0.05
"""


@pytest.fixture(scope="module", params=old_cassandra.VERSIONS)
def old(
    request: pytest.FixtureRequest,
    base_settings: Settings,
    zygote: Zygote,
    valkey: local.ValkeyServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[NewPlace]:
    """Places at a node of the version."""
    from support.fixtures import places_at  # behind pytest, which loads it as a plugin

    node = old_cassandra.start(tmp_path_factory.mktemp("old"), request.param)
    there = {"cassandra_port": node.port, "cassandra_password": SecretStr(node.password)}
    yield places_at(base_settings.model_copy(update=there), zygote, valkey, tmp_path_factory)
    node.remove()


def made_ready(place: Place) -> None:
    for command in (("schema", "apply"), ("preflight",), ("backfill", "--workers", "1")):
        done = place.commands.run(*command)
        assert done.code == 0, done


def proved(place: Place) -> None:
    for _ in range(2):
        done = place.commands.run("drift-report", "--workers", "1")
        assert done.code == 0, done


def test_there_and_back(old: NewPlace) -> None:
    """Would break: a green preflight and a whole copy, and then every dual write is refused, and drift names no column."""
    with old() as place:
        place.cql(SONGS)
        place.configure(TOML)
        rows = [uuid4() for _ in range(50)]
        for row in rows:
            place.cql(f"INSERT INTO KS.songs (id, title, plays, tags) VALUES ({row}, 'before', 1, {{'a': 'b'}})")
        made_ready(place)
        warned = place.commands.run("preflight")
        assert (warned.code, "does not tell when tags was written" in warned.out) == (0, True), warned
        config = load_config(place.commands.folder / "sync.toml")
        with closing(Table(place.cassandra, place.settings, config, "songs")) as table:
            with running(place.settings, config, 2) as applications:
                until(lambda: sum(a.writes for a in applications) > 100, 30, "a hundred writes were made")
            place.cql(f"UPDATE KS.songs SET tags['c'] = 'd', plays = 2 WHERE id = {rows[0]}")
            found = place.commands.run("drift-report", "--workers", "1", "--json")
            assert found.code == 2, found
            ((finding),) = found.json["tables"][0]["findings"]
            assert (finding["kind"], sorted(finding["columns"])) == ("different", ["plays", "tags"])
            place.commands.run("drift-report", "--workers", "1", "--repair")
            with running(place.settings, config, 1) as more:
                for command in ("cutover", "rollback"):
                    proved(place)
                    before = sum(a.writes for a in more)
                    done = place.commands.run(command, "--yes")
                    assert done.code == 0, done
                    until(lambda before=before: sum(a.writes for a in more) > before + 30, 30, "writes went on")
            table.epoch = 3
            for application in [*applications, *more]:
                application.check(table)
            assert table.check_equal() >= 50


@pytest.mark.parametrize("arrives", ["at once", "never", "after the reconcile"])
def test_what_a_writer_left_is_made_equal(old: NewPlace, arrives: str) -> None:
    """Would break: a reconcile cannot read a row; the elements of a list stand there twice; an old collection comes back."""
    with old() as place:
        place.cql(*MANY)
        place.configure(TOML)
        made_ready(place)
        config = load_config(place.commands.folder / "sync.toml")
        with closing(Table(place.cassandra, place.settings, config, "many")) as table:
            key, was = table.key(id=uuid4()), {"m": {"a": 1, "b": 2}, "l": [9], "s": {5}, "u": ("x", 1), "f": [1]}
            table.writer().put(key, **was).primary()
            row = {"m": {"b": 3}, "l": [1, 2], "s": {7}, "u": ("y", None), "f": None}
            write = table.writer(alive=False).put(key, **row)
            if arrives == "at once":
                write.primary()
            table.drained()
            first = table.version(key)
            if arrives == "after the reconcile":
                write.primary()
            settled = table.settled(key)
            assert settled is not None
            assert (settled["l"], dict(settled["m"]), settled["f"]) == ([1, 2], {"b": 3}, None)
            table.writer(alive=False).delete(key)
            assert table.settled(key) is None
            assert (table.tombstone(key) or 0) > (first or 0)


def test_a_list_that_is_sent_again_behind_its_last_timestamp_is_not_doubled(old: NewPlace) -> None:
    """Would break: behind the last timestamp of its own a list is sent at one that may have arrived: all stands there twice."""
    with old() as place:
        place.cql("CREATE TABLE KS.lists (id uuid PRIMARY KEY, l list<int>)")
        place.configure(TOML)
        made_ready(place)
        config = load_config(place.commands.folder / "sync.toml")
        with closing(Table(place.cassandra, place.settings, config, "lists")) as table:
            key = table.key(id=uuid4())
            table.writer(alive=False).put(key, l=[1, 2])
            really = table.rows.write
            with pytest.MonkeyPatch.context() as patch:  # what arrives, and whose answer is lost
                patch.setattr(table.rows, "write", lambda m, v: (really(m, v), ("unsure", "timed out"))[1])
                for _ in range(STEP):
                    window = f"interval '{UNREPEATABLE_WINDOW_SECONDS} s'"
                    table.sql(f"UPDATE sync.intent SET lease_until = NULL, replayed_at = replayed_at - {window}")
                    assert table.drain() == 0
            assert table.settled(key) == {"l": [1, 2]}


def test_what_is_asked_for_is_what_the_server_tells(old: NewPlace) -> None:
    """Would break: on a server that tells nothing of collections a version is taken from what it does not tell."""
    with old() as place:
        place.cql(*MANY)
        place.configure(TOML)
        made_ready(place)
        config = load_config(place.commands.folder / "sync.toml")
        with closing(Table(place.cassandra, place.settings, config, "many")) as table:
            assert times_of(place.cassandra.raw, table.mapped.source) == ['WRITETIME("f")']
            assert untold(place.cassandra.raw, table.mapped.source) == ["l", "m", "s", "u"]
