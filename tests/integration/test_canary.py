"""The canary of a cut-over: nothing but the application writes into the primary, whatever the gates say."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from support.places import NewPlace, Place
from support.servers import servers_folder

from sync.local.stack import Stack
from sync.settings import load_config
from sync.wiring.cutover.canary import run_canary
from sync.wiring.cutover.gates import open_site

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
TOML = "schema_files = []\n[drift]\ngrace_seconds = 0.05\n"
TABLES = {
    "songs": "CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text, plays int) WITH gc_grace_seconds = 0",
    "parts": "CREATE TABLE KS.parts (work text, nr int, notes list<int>, tags map<text, text>, mark set<text>, v vector<float, 2>, "
    "PRIMARY KEY (work, nr))",
    "yes": "CREATE TABLE KS.yes (id boolean PRIMARY KEY, a text)",
    "none": "CREATE TABLE KS.none (id timeuuid PRIMARY KEY, a text)",
}


@pytest.fixture
def home(new_place: NewPlace) -> Iterator[Place]:
    """Three songs, copied."""
    with new_place() as place:
        place.cql(TABLES["songs"])
        place.configure(TOML)
        for _ in range(3):
            place.cql(f"INSERT INTO KS.songs (id, title) VALUES ({uuid4()}, 'before')")
        copied(place)
        yield place


def test_a_dry_run_before_any_backfill_names_what_is_missing(new_place: NewPlace) -> None:
    """Would break: the command ends with a Postgres error about one of its own columns."""
    with new_place() as place:
        place.cql(TABLES["songs"])
        place.configure(TOML)
        assert place.commands.run("schema", "apply").code == 0
        done = place.commands.run("cutover", "--dry-run", "--json")
        gates = {gate["name"]: gate for gate in done.json["gates"]}
        assert done.code == 2, done
        assert not gates["backfill"]["green"] and "never begun: songs" in gates["backfill"]["figure"]
        assert not gates["canary"]["green"] and "sync backfill adds" in gates["canary"]["figure"]


def copied(place: Place) -> None:
    for command in (["schema", "apply"], ["backfill", "--workers", "1"]):
        done = place.commands.run(*command)
        assert done.code == 0, done


def ids(place: Place) -> list[UUID]:
    return [row.id for row in place.cql("SELECT id FROM KS.songs")]


def everything(place: Place, table: str = "songs") -> list[Any]:
    """All rows of the source, with the time of every cell."""
    columns = place.cassandra.session.cluster.metadata.keyspaces[place.keyspace].tables[table].columns
    keys = {c.name for c in place.cassandra.session.cluster.metadata.keyspaces[place.keyspace].tables[table].primary_key}
    times = [f"WRITETIME({name}) AS t_{name}" for name in columns if name not in keys]
    return sorted(map(str, place.cql(f"SELECT {', '.join([*columns, *times])} FROM KS.{table}")))


def refused(place: Place, *gates: str) -> dict[str, str]:
    """Two cut-overs that exactly these gates refuse; the figures of all gates."""
    for _ in range(2):
        done = place.commands.run("cutover", "--yes", "--json", "--no-writers")
        assert done.code == 2, done
        assert "nothing has changed" in done.err
        assert {gate["name"] for gate in done.json["gates"] if not gate["green"]} == set(gates), done
    return {gate["name"]: gate["figure"] for gate in done.json["gates"]}


def drift(place: Place) -> int:
    return place.commands.run("drift-report", "--workers", "1").code


def test_a_row_that_only_postgres_has_stays_there(home: Place) -> None:
    """Would break: checking which gates are red writes Postgres's rows into the store that the application reads."""
    home.sql("INSERT INTO songs (id, title) VALUES (gen_random_uuid(), 'never in the source')")
    assert drift(home) == 2
    before = everything(home)
    assert "is not in the source" in refused(home, "proof", "canary")["canary"]
    assert everything(home) == before
    assert drift(home) == 2, "the drift was hidden"


def test_a_cell_that_only_postgres_has_stays_there(home: Place) -> None:
    """Would break: a column that was never written in the source is filled with what Postgres holds by mistake."""
    home.sql("UPDATE songs SET plays = 7")
    assert drift(home) == 2
    before = everything(home)
    assert "another plays" in refused(home, "proof", "canary")["canary"]
    assert everything(home) == before
    assert drift(home) == 2, "the drift was hidden"


def test_what_was_deleted_and_purged_stays_deleted(home: Place) -> None:
    """Would break: a deleted row comes back in the store that the application reads (invariant 2)."""
    node = Stack(servers_folder()).cassandra
    gone = ids(home)[0]
    home.cql(f"DELETE FROM KS.songs WHERE id = {gone}")
    time.sleep(1.1)  # a tombstone's age is counted in whole seconds
    node.flush(home.keyspace, "songs")
    node._operate("forceKeyspaceCompaction", "false", home.keyspace, "songs")
    refused(home, "proof", "canary")
    assert gone not in ids(home)


def test_a_canary_that_flies_leaves_no_trace(home: Place) -> None:
    """Would break: the test of the way back changes what the application reads, or its write times."""
    home.cql(TABLES["parts"], TABLES["yes"], TABLES["none"])
    home.cql("INSERT INTO KS.parts (work, nr, notes, tags, mark, v) VALUES ('a', 1, [1, 1], {'k': 'v'}, {'m'}, [1, 2])")
    home.cql("INSERT INTO KS.parts (work, nr) VALUES ('a', 2)", "INSERT INTO KS.yes (id, a) VALUES (true, '1')")
    home.cql("INSERT INTO KS.yes (id, a) VALUES (false, null)")
    copied(home)
    before = {name: everything(home, name) for name in TABLES}
    config = load_config(home.commands.folder / "sync.toml")
    with open_site(home.settings, config) as site:
        facts = {fact.table: fact for fact in run_canary(site.cassandra, site.connection, site.tables, config, True)}
    assert {name: fact.error for name, fact in facts.items()} == dict.fromkeys(TABLES, "")
    assert {name: fact.rows for name, fact in facts.items()} == {"songs": 3, "parts": 2, "yes": 2, "none": 0}
    # `yes` has a boolean key, so no value is sure to be unused; `none` has no row to send.
    assert {name: fact.sent for name, fact in facts.items()} == {"songs": True, "parts": True, "yes": False, "none": False}
    assert {name: everything(home, name) for name in TABLES} == before
