"""Rows of the source that were written ahead of the clock: counted, named, and written all the same (rules 2 and 3)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.environments import settings_in
from support.places import NewPlace, Place

from sync.core.versions import MAX_VERSION
from sync.errors import WriteRefused
from sync.settings import Settings, load_config
from sync.stores.both_sides.dual import DualWriteStore
from sync.wiring.dual_write.worker import drain_job

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
NANOSECONDS = time.time_ns()
"""The timestamp of a client that takes nanoseconds for microseconds."""


@pytest.fixture
def place(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as made:
        made.configure("schema_files = []\n")
        made.cql(
            "CREATE TABLE KS.sess (id int PRIMARY KEY, v text, tags set<text>)",
            "CREATE TABLE KS.tally (id int PRIMARY KEY, n counter)",
            "UPDATE KS.tally SET n = n + 1 WHERE id = 1",
            *(f"INSERT INTO KS.sess (id, v) VALUES ({i}, 'old')" for i in range(4)),
            f"INSERT INTO KS.sess (id, v) VALUES (1, 'old') USING TIMESTAMP {NANOSECONDS}",
            f"UPDATE KS.sess USING TIMESTAMP {NANOSECONDS} SET tags = {{'a'}} WHERE id = 2",
        )
        yield made


def done(place: Place, command: str, code: int = 0) -> Any:
    found = place.commands.run(*command.split(), timeout=120)
    assert found.code == code, found
    return found


def settings_of(place: Place) -> Settings:
    return settings_in(place.commands.env)


def store(place: Place) -> DualWriteStore:
    return DualWriteStore(settings_of(place), load_config(place.commands.folder / "sync.toml"))


def drained(place: Place) -> None:
    """Drain as a worker does; no intent is left."""
    drain_job(settings_of(place), load_config(place.commands.folder / "sync.toml"), "sess", lambda: False)
    assert place.sql("SELECT count(*) FROM sync.intent") == [(0,)]


def both(place: Place, key: int) -> tuple[list[Any], list[Any]]:
    source = [tuple(row) for row in place.cql(f"SELECT v FROM KS.sess WHERE id = {key}")]
    return source, place.sql(f"SELECT v FROM sess WHERE id = {key}")


def gate(place: Place) -> dict[str, Any]:
    found = place.commands.run("cutover", "--dry-run", "--json", timeout=120)
    return next(g for g in found.json["gates"] if g["name"] == "write times")


def copied(place: Place) -> None:
    place.configure('schema_files = []\nonly = ["sess"]\n')
    done(place, "schema apply")
    done(place, "backfill --workers 1")


def test_preflight_counts_them(place: Place) -> None:
    """Would break: nobody learns of them until an acknowledged write has no effect."""
    done(place, "schema apply")
    problems = {(p["level"], p["where"]): p["text"] for p in done(place, "preflight --json").json["problems"]}
    assert "2 of 4 rows looked at were written ahead of the clock" in problems["warning", "sess"]
    exact = done(place, "preflight --json --write-times").json["problems"]
    (found,) = [p["text"] for p in exact if "ahead of the clock" in p["text"]]
    assert "2 rows were written ahead of the clock (id=1; id=2)" in found


def test_a_row_ahead_of_the_clock_can_be_written(place: Place) -> None:
    """Would break: a put is acknowledged without effect in the primary; once reconciled, the row is never written again."""
    copied(place)
    with store(place) as both_sides:
        assert both_sides.put("sess", {"id": 1, "v": "new", "tags": None})
        assert both_sides.put("sess", {"id": 2, "v": "new", "tags": {"b"}})
        assert both(place, 1) == both(place, 2) == ([("new",)], [("new",)])
        assert both_sides.get("sess", {"id": 2}) == {"id": 2, "v": "new", "tags": ["b"]}
        drained(place)
        assert both_sides.delete("sess", {"id": 1})
        assert both(place, 1) == ([], [])
        assert both_sides.put("sess", {"id": 1, "v": "again", "tags": None})
        assert both(place, 1) == ([("again",)], [("again",)])
        assert both_sides.put("sess", {"id": 3, "v": "new", "tags": None})
        assert place.sql("SELECT _sync_version < 2000000000000000 FROM sess WHERE id = 3") == [(True,)], "a stamp of its own"
    assert done(place, "drift-report --workers 1 --json").json["clean"]


def test_they_are_recorded_whichever_way_a_table_is_looked_at(place: Place) -> None:
    """Would break: with a static column, or without one, a row ahead of the clock is copied, and nobody learns of it."""
    place.cql(
        "CREATE TABLE KS.parts (id int, at int, v text, s text static, PRIMARY KEY (id, at))",
        "INSERT INTO KS.parts (id, at, v, s) VALUES (1, 1, 'old', 'x')",
        f"INSERT INTO KS.parts (id, at, v) VALUES (1, 2, 'old') USING TIMESTAMP {NANOSECONDS}",
    )
    place.configure('schema_files = []\nonly = ["sess", "parts"]\n')
    done(place, "schema apply")
    done(place, "backfill --workers 1")
    found = place.sql("SELECT table_name, count(*), min(version) FROM sync.ahead GROUP BY 1 ORDER BY 1")
    assert found == [("parts", 1, NANOSECONDS), ("sess", 2, NANOSECONDS)]


def test_the_gate_names_them(place: Place) -> None:
    """Would break: a cut-over goes ahead with rows whose write times Postgres does not know."""
    copied(place)
    place.sql("UPDATE sync.run SET write_times = false")  # as an earlier version left it
    assert not gate(place)["green"]
    assert "not checked: sess" in gate(place)["figure"]
    place.sql("UPDATE sync.run SET write_times = true")
    found = gate(place)
    assert not found["green"]
    assert found["figure"] in (
        "sess: 2 rows written ahead of the clock (id=1; id=2), 2 not reconciled yet",
        "sess: 2 rows written ahead of the clock (id=2; id=1), 2 not reconciled yet",
    )
    drained(place)
    found = gate(place)
    assert found["green"]
    assert "written above that from now on" in found["figure"]
    assert place.sql(f"SELECT count(*) FROM sess WHERE _sync_version >= {NANOSECONDS}") == [(2,)]


def test_they_can_be_written_behind_a_cut_over(place: Place) -> None:
    copied(place)
    drained(place)
    for _ in range(2):
        done(place, "drift-report --workers 1")
    done(place, "cutover --yes --no-writers")
    place.commands.env["STORAGE_BACKEND"] = "postgres"
    with store(place) as both_sides:
        assert both_sides.put("sess", {"id": 1, "v": "after", "tags": None})
    drained(place)
    assert both(place, 1) == ([("after",)], [("after",)])


def test_what_no_write_can_follow_is_refused_by_name(place: Place) -> None:
    """The highest timestamp there is: the message is about the row, not a clock, and the gate stays red."""
    place.cql(f"INSERT INTO KS.sess (id, v) VALUES (3, 'last') USING TIMESTAMP {MAX_VERSION}")
    copied(place)
    drained(place)
    with (
        store(place) as both_sides,
        pytest.raises(WriteRefused, match=r"sess: id=3: the row was written .* highest timestamp"),
    ):
        both_sides.put("sess", {"id": 3, "v": "new", "tags": None})
    found = gate(place)
    assert not found["green"]
    assert "1 of them beyond what a write can follow" in found["figure"]
