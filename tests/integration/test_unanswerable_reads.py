"""Reads that the application makes and the next primary cannot answer: named before the switch, with what would answer them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from support.dual import Table
from support.places import NewPlace, Place
from support.reverse import be_primary
from support.running_commands import until

from sync.errors import QueryNotSupported
from sync.settings import Config, DualWriteTuning
from sync.stores import DualWriteStore, PostgresStore
from sync.stores.one_side.renamed import RenamedStore
from sync.wiring.cutover.gates import open_site
from sync.wiring.cutover.reads import judged_reads, unanswerable

pytest_plugins = ("support.fixtures",)
TUNING = DualWriteTuning(connections=4, heartbeat_seconds=0.2)
CONFIG = Config(schema_files=(), dual_write=TUNING)
SAI = "CREATE CUSTOM INDEX ON KS.{} ({}) USING 'StorageAttachedIndex'"
TABLES = (
    "CREATE TABLE KS.songs (id int PRIMARY KEY, genre text, year int, mood text)",
    SAI.format("songs", "genre"),
    SAI.format("songs", "year"),
    "CREATE INDEX ON KS.songs (mood)",
    "CREATE TABLE KS.lists (owner int, at int, genre text, PRIMARY KEY (owner, at)) WITH CLUSTERING ORDER BY (at DESC)",
    SAI.format("lists", "genre"),
    "CREATE TABLE KS.vectors (id int PRIMARY KEY, kind int, v vector<float, 3>)",
    SAI.format("vectors", "v"),
    SAI.format("vectors", "kind"),
    "CREATE TABLE KS.nested (a int, b frozen<list<int>>, PRIMARY KEY (a, b))",
)
Read = Callable[[Any], object]
READS: dict[str, tuple[str, Read]] = {
    "find genre =": ("songs", lambda s: list(s.find("songs", {"genre": "jig"}))),
    "find genre =, year <, year >=": ("songs", lambda s: list(s.find("songs", {"year": {">=": 1900, "<": 1950}, "genre": "a"}))),
    "find mood =": ("songs", lambda s: list(s.find("songs", {"mood": "sad"}))),
    "scan": ("songs", lambda s: list(s.scan("songs"))),
    "find at >, owner = order by at asc": (
        "lists", lambda s: list(s.find("lists", {"owner": 1, "at": {">": 2}}, order_by=[("at", "asc")]))),
    "find genre =, owner =": ("lists", lambda s: list(s.find("lists", {"owner": 1, "genre": "jig"}))),
    "search kind =": ("vectors", lambda s: s.search("vectors", "v", [1.0, 0.0, 0.0], where={"kind": 1})),
    "search": ("vectors", lambda s: s.search("vectors", "v", [1.0, 0.0, 0.0])),
    "find a =": ("nested", lambda s: list(s.find("nested", {"a": 1}))),
}  # fmt: skip


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as place:
        place.cql(*TABLES)
        assert place.commands.run("schema", "apply").code == 0
        yield place


def read_all(place: Place, config: Config = CONFIG) -> None:
    """An application makes every read, and ends."""
    with DualWriteStore(place.settings, config) as store:
        for table, make in READS.values():
            make(store)
            store.count(table)


def faults(place: Place, config: Config = CONFIG, kind: str = "cutover") -> dict[tuple[str, str], tuple[str, ...]]:
    with open_site(place.settings, config) as site:
        found = unanswerable(site, kind)  # type: ignore[arg-type]
        assert judged_reads(site, kind).green is not bool(found)  # type: ignore[arg-type]
    return {(fault.table, str(fault.shape)): fault.indexes for fault in found}


def test_exactly_what_postgres_refuses_is_named_until_its_index_is_there(home: Place) -> None:
    """Would break: a read that worked for years raises QueryNotSupported after the cut-over, and only then."""
    read_all(home)
    made = {(t, text) for t, text in home.sql("SELECT table_name, shape FROM sync.read_shape")}
    assert len(made) == len(READS)
    with PostgresStore(home.settings) as alone:

        def refused() -> set[tuple[str, str]]:
            found = set()
            for shape, (table, make) in READS.items():
                try:
                    make(alone)
                except QueryNotSupported:
                    found.add((table, shape))
            return found

        found = faults(home)
        assert set(found) == refused()
        assert found == {
            ("songs", "find genre ="): ('CREATE INDEX CONCURRENTLY ON "public"."songs" ("genre");',),
            ("songs", "find genre =, year <, year >="): (
                'CREATE INDEX CONCURRENTLY ON "public"."songs" ("genre");',
                'CREATE INDEX CONCURRENTLY ON "public"."songs" ("year");',
            ),
            ("songs", "find mood ="): ('CREATE INDEX CONCURRENTLY ON "public"."songs" ("mood");',),
            ("lists", "find genre =, owner ="): ('CREATE INDEX CONCURRENTLY ON "public"."lists" ("genre");',),
            ("vectors", "search kind ="): ('CREATE INDEX CONCURRENTLY ON "public"."vectors" ("kind");',),
            ("nested", "find a ="): (),
        }
        home.sql("CREATE INDEX ON songs USING hash (year)")  # which finds no ranges
        assert faults(home)["songs", "find genre =, year <, year >="] == found["songs", "find genre =, year <, year >="]
        for line in {line for lines in found.values() for line in lines}:
            home.sql(line)
        assert faults(home) == {("nested", "find a ="): ()}
        assert refused() == {("nested", "find a =")}
    home.sql("UPDATE sync.read_shape SET last_seen = now() - interval '8 days' WHERE table_name = 'nested'")
    assert faults(home) == {}


def test_commands_show_it(new_place: NewPlace) -> None:
    line = 'CREATE INDEX CONCURRENTLY ON "public"."songs" ("genre");'
    with new_place() as place:
        place.cql(*TABLES[:2])
        assert place.commands.run("schema", "apply").code == 0
        with DualWriteStore(place.settings, CONFIG) as store:
            list(store.find("songs", {"genre": "secret"}))
            until(lambda: place.sql("SELECT count(*) FROM sync.read_shape") == [(1,)], 30, "it is recorded while it runs")
        ((text,),) = place.sql("SELECT shape FROM sync.read_shape")
        assert "secret" not in text
        for command in (("cutover", "--dry-run", "--no-writers"), ("cutover", "--yes", "--no-writers")):
            done = place.commands.run(*command, "--json")
            gate = {g["name"]: g for g in done.json["gates"]}["reads"]
            assert (done.code, gate["green"], gate["remedy"]) == (2, False, line)
            assert gate["figure"].startswith(
                "cannot be answered after the switch: songs: find genre = (songs: genre has no index"
            )
        status = place.commands.run("status", "--json").json
        assert [(r["table"], r["read"], r["indexes"]) for r in status["unanswerable_reads"]] == [
            ("songs", "find genre =", [line])
        ]
        assert line in place.commands.run("status").out
        place.sql(line)
        gates = {g["name"]: g for g in place.commands.run("cutover", "--dry-run", "--no-writers", "--json").json["gates"]}
        assert (
            gates["reads"]["green"]
            and gates["reads"]["figure"] == "1 kind of read made, all can be answered after the switch"
        )
        assert line not in place.commands.run("status").out


def test_names_are_those_of_the_target(new_place: NewPlace) -> None:
    config = Config.model_validate({
        "schema_files": (), "dual_write": TUNING.model_dump(),
        "tables": {"songs": {"target": "tunes", "rename": {"genre": "kind of tune", "id": "n"}}},
    })  # fmt: skip
    with new_place() as place:
        place.cql(*TABLES[:3])
        place.configure(
            'schema_files = []\n[tables.songs]\ntarget = "tunes"\nrename = { genre = "kind of tune", id = "n" }\n'
        )
        assert place.commands.run("schema", "apply").code == 0
        with DualWriteStore(place.settings, config) as store:
            list(store.find("songs", {"genre": "a", "year": 1}))
            list(store.find("songs", {"id": 1}))
        found = faults(place, config)
        assert list(found) == [("songs", "find genre =, year =")]
        place.sql(*found["songs", "find genre =, year ="])
        assert faults(place, config) == {}
        with PostgresStore(place.settings) as alone:
            assert list(RenamedStore(alone, config).find("songs", {"genre": "a", "year": 1})) == []


def test_the_way_back_is_judged_by_cassandras_indexes(new_place: NewPlace) -> None:
    with new_place() as place:
        place.cql(*TABLES[:2])
        assert place.commands.run("schema", "apply").code == 0
        place.sql("CREATE INDEX ON songs (genre)", "CREATE INDEX ON songs (year)")
        with closing(Table(place.cassandra, place.settings, CONFIG, "songs")) as table:
            be_primary(table, "postgres")
        with DualWriteStore(place.settings.model_copy(update={"storage_backend": "postgres"}), CONFIG) as store:
            list(store.find("songs", {"genre": "a"}))
            list(store.find("songs", {"year": 1}))
        found = faults(place, kind="rollback")
        (line,) = found.pop(("songs", "find year ="))
        assert found == {}
        place.cql(line)
        assert faults(place, kind="rollback") == {}


def test_preflight_names_the_indexes_that_postgres_lacks(new_place: NewPlace) -> None:
    with new_place() as place:
        place.cql(*TABLES)
        place.sql("CREATE EXTENSION IF NOT EXISTS vector")
        place.sql("CREATE TABLE songs (id int PRIMARY KEY, genre text, year int, mood text)", "CREATE INDEX ON songs (year)")
        said = place.commands.run("preflight", "--json").json["problems"]
        lines = [p["text"] for p in said if p["where"] == "songs" and "CREATE INDEX CONCURRENTLY" in p["text"]]
        assert lines == [
            "Cassandra has an index of genre, and Postgres has none: a find by it is refused after the cut-over; "
            'CREATE INDEX CONCURRENTLY ON "public"."songs" ("genre");',
            "Cassandra has an index of mood, and Postgres has none: a find by it is refused after the cut-over; "
            'CREATE INDEX CONCURRENTLY ON "public"."songs" ("mood");',
        ]
        assert {p["level"] for p in said if p["text"] in lines} == {"warning"}
