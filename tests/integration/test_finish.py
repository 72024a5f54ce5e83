"""`sync finish`: what must be over first, and that nothing of the migration is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest
from support.dual import Table
from support.places import NewPlace, Place
from support.reverse import be_primary
from test_schema import dump

from sync.settings import Config
from sync.stores import DualWriteStore, PostgresStore

pytest_plugins = ("support.fixtures",)
ROWS = 20


@pytest.fixture
def home(new_place: NewPlace) -> Iterator[Place]:
    """The guide's four tables, copied, and Postgres primary."""
    with new_place() as place:
        assert place.commands.run("schema", "apply", "--source", "--dimension", "4").code == 0
        for i in range(ROWS):
            place.cql(
                f"INSERT INTO KS.songs (id, title) VALUES ({uuid4()}, 'song {i}')",
                f"INSERT INTO KS.embeddings (song_id, embedding) VALUES ({uuid4()}, [{i}, 1, 2, 3])",
                f"INSERT INTO KS.metadata (song_id, data) VALUES ({uuid4()}, {{'n': '{i}'}})",
            )
        assert place.commands.run("backfill", "--workers", "1").code == 0
        place.cassandra.session.cluster.refresh_schema_metadata()  # another process made the tables
        with closing(Table(place.cassandra, place.settings, Config(), "songs")) as table:
            be_primary(table, "postgres")
        yield place


def red(place: Place) -> list[str]:
    """The gates that block `sync finish`."""
    done = place.commands.run("finish", "--json")
    assert (done.code, done.json["finished"]) == (2, False), done
    return [gate["name"] for gate in done.json["gates"] if not gate["green"]]


def test_what_is_left_is_the_applications_schema(home: Place, new_place: NewPlace) -> None:
    """Would break: columns, indexes or a schema of the migration stay in the application's database for ever."""
    dry = home.commands.run("finish", "--dry-run", "--json")
    assert dry.code == 0
    assert dry.json["statements"][-1] == "DROP SCHEMA sync CASCADE"
    assert home.sql("SELECT count(*) FROM sync.epoch") == [(2,)], "a dry run has dropped something"
    home.sql("INSERT INTO sync.source_table VALUES ('songs', '{\"keyspace\": \"Music\"}')")  # as a cut-over notes it
    done = home.commands.but(ASTRA_DB_KEYSPACE=None).run("finish")
    assert done.code == 0, done
    assert 'DROP TABLE "Music"."songs";' in done.out and 'DROP TABLE "genres";' in done.out, done
    assert 'DROP TABLE "' in done.out and "songs" in done.out, "how to delete the source is told"
    with new_place() as fresh:
        assert fresh.commands.run("schema", "apply", "--source", "--dimension", "4").code == 0
        fresh.sql("DROP SCHEMA sync CASCADE")
        assert dump(home) == dump(fresh)
    assert len(home.cql("SELECT id FROM KS.songs")) == ROWS, "the source was touched"
    with PostgresStore(home.settings) as store:
        assert store.count("songs") == ROWS
        song = {"id": uuid4(), "title": "after"}
        assert store.put("songs", song) and store.update("songs", {"id": song["id"]}, {"title": "later"})
        assert (store.get("songs", {"id": song["id"]}) or {})["title"] == "later"
    assert "no migration has begun, or it is finished" in home.commands.line("finish")


@pytest.mark.parametrize(
    ("statement", "gate"),
    [
        ("UPDATE sync.epoch SET \"primary\" = 'astra' WHERE epoch = 2", "primary"),
        (
            "INSERT INTO sync.writer (id, slot, host, pid, epoch, state) VALUES ('w', 0, 'h', 1, 2, 'active')",
            "writers",
        ),
        (
            "INSERT INTO sync.writer (id, slot, host, pid, epoch, state) VALUES ('w', 0, 'h', 1, 2, 'unclean')",
            "fenced",
        ),
        (
            "INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner) "
            "VALUES ('songs', '', 0, 'recheck', 'finished', 1, 2, 'me')",
            "intents",
        ),
        ("INSERT INTO sync.run (kind, table_name, floor) VALUES ('drift', 'songs', 0)", "runs"),
        (
            "INSERT INTO sync.reject (table_name, source_key, column_name, run_id, token, key, reason, action) "
            "VALUES ('songs', '', '', 0, 0, '{}', 'no', 'reject')",
            "rejects",
        ),
        ("INSERT INTO sync.index VALUES ('public.one', 'songs', 'CREATE INDEX one ON songs (title)')", "indexes"),
        (
            "INSERT INTO sync.switch (kind, from_epoch, who, lease_until) "
            "VALUES ('rollback', 2, 'another', clock_timestamp() + interval '1 minute')",
            "switch",
        ),
    ],
    ids=lambda value: value if " " not in value else "",
)
def test_it_refuses_while_something_is_open(finished: Place, statement: str, gate: str) -> None:
    """Would break: the bookkeeping is dropped while somebody needs it, and a write is lost."""
    finished.sql(statement)
    assert red(finished) == [gate]
    finished.sql(
        "DELETE FROM sync.writer; DELETE FROM sync.intent; DELETE FROM sync.run WHERE kind = 'drift'; DELETE FROM sync.reject; "
        "DELETE FROM sync.index; DELETE FROM sync.switch; UPDATE sync.epoch SET \"primary\" = 'postgres' WHERE epoch = 2"
    )


@pytest.fixture(scope="module")
def finished(new_place: NewPlace) -> Iterator[Place]:
    """A place where nothing blocks `sync finish`."""
    with new_place() as place:
        place.cql("CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text)")
        place.configure("schema_files = []")
        assert place.commands.run("schema", "apply").code == 0
        assert place.commands.run("backfill", "--workers", "1").code == 0
        with closing(Table(place.cassandra, place.settings, Config(), "songs")) as table:
            be_primary(table, "postgres")
        yield place


def test_a_process_that_still_writes_to_both_sides_is_named(finished: Place) -> None:
    """Would break: its next write finds no journal, and the application gets an error."""
    settings = finished.settings.model_copy(update={"storage_backend": "postgres"})
    with DualWriteStore(settings, Config(schema_files=())) as store:
        store.put("songs", {"id": uuid4(), "title": "x"})
        done = finished.commands.run("finish")
        assert done.code == 2
        assert store._registration.writer.id in done.out
        assert "SYNC_DUAL_WRITE=false" in done.out


def test_a_table_of_the_applications_in_the_schema_of_the_state(home: Place) -> None:
    """Would break: a role named sync makes a table without a schema, which goes to the schema of its name, and is dropped with it."""
    home.sql("CREATE TABLE sync.mine (a int)", "INSERT INTO sync.mine VALUES (1)")
    assert red(home) == ["schema"]
    assert "sync.mine" in home.commands.run("finish").out
    home.sql("ALTER TABLE sync.mine SET SCHEMA public")
    assert home.commands.run("finish").code == 0
    assert home.sql("SELECT a FROM mine") == [(1,)]
