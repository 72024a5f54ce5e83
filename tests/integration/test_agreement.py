"""Writers, workers and commands must agree on sync.toml; and the tables that it leaves out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest
from support.places import NewPlace, Place

from sync.adapters.postgres.backfill.range_ledger import RangeLedger
from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.dual_write.agreement import note_runs
from sync.adapters.postgres.schema import indexes
from sync.errors import SettingsError, WriteRefused
from sync.settings import Config, load_config
from sync.stores import DualWriteStore
from sync.wiring.backfill.command import Show, make_plan
from sync.wiring.backfill.worker import copy_job
from sync.wiring.drift.command import DriftRequest, begin_pass
from sync.wiring.drift.worker import check_job
from sync.wiring.dual_write.worker import drain_job

pytest_plugins = ("support.fixtures",)
BASE = "schema_files = []\n[dual_write]\nheartbeat_seconds = 0.2\n"
NEVER = lambda: False  # noqa: E731


@pytest.fixture
def home(new_place: NewPlace) -> Iterator[Place]:
    """Two tables and one of counters, copied."""
    with new_place() as place:
        place.cql(
            "CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text, year int)",
            "CREATE TABLE KS.genres (id uuid PRIMARY KEY, name text)",
            "CREATE TABLE KS.hits (id uuid PRIMARY KEY, n counter)",
            f"INSERT INTO KS.songs (id, title) VALUES ({uuid4()}, 'old')",
            f"INSERT INTO KS.genres (id, name) VALUES ({uuid4()}, 'old')",
        )
        place.configure('exclude = ["hits"]\n' + BASE)
        assert place.commands.run("schema", "apply").code == 0
        yield place


def config(home: Place) -> Config:
    return load_config(home.commands.folder / "sync.toml")


def gates(home: Place, *flags: str) -> dict[str, dict[str, Any]]:
    done = home.commands.run("cutover", "--dry-run", "--json", *flags)
    assert done.out, done
    return {gate["name"]: gate for gate in done.json["gates"]}


def test_a_table_that_is_left_out_is_refused_by_the_store(home: Place) -> None:
    """Would break: after the cut-over Postgres has only what the store wrote to the table, and none of its history."""
    home.configure('exclude = ["hits", "genres"]\n' + BASE)
    with DualWriteStore(home.settings, config(home)) as store:
        key = {"id": uuid4()}
        for call in (
            lambda: store.put("genres", {**key, "name": "new"}),
            lambda: store.update("genres", key, {"name": "new"}),
            lambda: store.delete("genres", key),
            lambda: store.get("genres", key),
            lambda: store.count("genres"),
        ):
            with pytest.raises(WriteRefused, match=r"genres is not migrated: `exclude` in sync\.toml"):
                call()
        assert store.put("songs", {"id": uuid4(), "title": "new"})
    home.configure('only = ["songs"]\n' + BASE)
    with DualWriteStore(home.settings, config(home)) as store, pytest.raises(WriteRefused, match=r"`only` in sync\.toml"):
        store.put("genres", {**key, "name": "new"})
    assert home.sql("SELECT count(*) FROM genres") == [(0,)]


def test_the_gates_look_at_every_table_that_writers_write(home: Place) -> None:
    """Would break: `genres` is written to both sides while only `songs` is copied; after the cut-over its history is gone."""
    everything = config(home)
    home.configure('only = ["songs"]\n' + BASE)
    with DualWriteStore(home.settings, everything) as store:
        store.put("genres", {"id": uuid4(), "name": "new"})
        found = gates(home)
        (writer,) = (row[0] for row in home.sql("SELECT id FROM sync.writer WHERE state = 'active'"))
        assert found["tables"]["figure"] == "written to both sides, and not migrated here: genres"
        assert found["settings"]["figure"] == f"{writer} was started with a different only, exclude than here"
    assert not gates(home)["tables"]["green"], "it was written, though nobody writes it now"
    home.configure('exclude = ["hits", "genres"]\n' + BASE)
    assert gates(home)["tables"]["green"], "stores refuse it from now on"
    home.sql(
        "INSERT INTO sync.writer (id, slot, host, pid, epoch, state) VALUES ('older', 999, 'h', 0, 1, 'active')"
    )  # a writer that does not say what it was started with
    assert not gates(home)["tables"]["green"]


@pytest.mark.parametrize(
    ("section", "names"),
    [
        ('[tables.songs]\nrename = { year = "made" }\n', "tables.songs.rename"),
        ('[tables.songs.on_reject]\ntitle = "strip-nul"\n', "tables.songs.on_reject"),
        ("[tables.songs]\nlightweight_transactions = true\n", "tables.songs.lightweight_transactions"),
        ('[tables.songs]\nttl = "keep"\nignore = ["year"]\n', "tables.songs.ignore, tables.songs.ttl"),
    ],
)
def test_whoever_works_with_other_settings_is_named(home: Place, section: str, names: str) -> None:
    """Would break: a writer strips NULs, the worker rejects the row: both sides differ, and nobody knows why."""
    home.sql("ALTER TABLE songs ADD COLUMN made int")
    with closing(connect(home.settings, autocommit=True)) as connection, DualWriteStore(home.settings, config(home)) as store:
        store.put("songs", {"id": uuid4(), "title": "new"})
        (writer,) = connection.execute("SELECT id FROM sync.writer WHERE state = 'active'").fetchone() or ()
        assert gates(home)["settings"]["green"]
        mine = config(home)
        home.configure('exclude = ["hits"]\n' + BASE + section)
        other = config(home)
        gate = gates(home)["settings"]
        assert not gate["green"] and gate["figure"] == f"{writer} was started with a different {names} than here"
        with pytest.raises(SettingsError, match=f"writer {writer} was started with a different {names} than here"):
            drain_job(home.settings, other, "songs", NEVER)
        assert drain_job(home.settings, other, "genres", NEVER) == 0, "of this table they say the same"
        assert drain_job(home.settings, mine, "songs", NEVER) == 0


def test_a_worker_with_other_settings_does_not_copy_or_check(home: Place) -> None:
    """Would break: one of several hosts has a different sync.toml, and copies different rows."""
    mine = config(home)
    home.sql("ALTER TABLE songs ADD COLUMN made int")
    home.configure('exclude = ["hits"]\n' + BASE + '[tables.songs]\nrename = { year = "made" }\n')
    other = config(home)
    plan = make_plan(home.settings, mine, ["songs"])
    with closing(connect(home.settings, autocommit=True)) as connection:
        indexes.add_sync_columns(connection, plan.tables[0])
        runs = RangeLedger(connection, 30).begin(plan.ranges, plan.shapes)
        note_runs(connection, runs, mine.agreed)
    said = "of songs was started with a different tables.songs.rename than here"
    with pytest.raises(SettingsError, match=f"the backfill {said}"):
        copy_job(home.settings, other, runs, NEVER)
    assert copy_job(home.settings, mine, runs, NEVER) > 0
    quiet = Show(lambda _: None, lambda _: None, lambda _: None)
    runs = begin_pass(home.settings, mine, plan, DriftRequest(), quiet)
    with pytest.raises(SettingsError, match=f"the drift {said}"):
        check_job(home.settings, other, runs, NEVER)


@pytest.mark.slow
def test_proof_is_by_table(home: Place) -> None:
    """Would break: excluding one table, or a pass over another one, voids hours of passes over all the others."""
    assert home.commands.run("backfill", "--workers", "1").code == 0
    for _ in range(2):
        assert home.commands.run("drift-report", "--workers", "1").code == 0
    assert gates(home)["proof"]["figure"] == "2 clean full passes in a row of 2 tables (at least 2)"
    home.configure('exclude = ["hits", "genres"]\n' + BASE)
    assert gates(home)["proof"]["green"], "the passes over songs are what they were"
    home.configure('exclude = ["hits"]\n' + BASE)
    home.sql("UPDATE genres SET name = 'other'")
    assert home.commands.run("drift-report", "--workers", "1", "--table", "genres").code == 2
    gate = gates(home)["proof"]
    assert not gate["green"] and gate["figure"].startswith(
        "1 of 2 tables with 2 clean full passes in a row; genres: 0 clean, pass 3"
    )
    home.sql("UPDATE genres SET name = 'old'")
    for passes in (1, 2):
        assert home.commands.run("drift-report", "--workers", "1", "--table", "genres").code == 0
        assert gates(home)["proof"]["green"] is (passes == 2), "a pass of one table counts for that table"
    home.sql(
        "INSERT INTO sync.disturbance (table_name, why) VALUES ('genres', 'a write that could not be repeated was settled')"
    )
    assert "1 of 2 tables" in gates(home)["proof"]["figure"], "what disturbs one table's proof leaves the others'"
    home.sql("ALTER TABLE songs ADD COLUMN made int")
    home.configure('exclude = ["hits"]\n' + BASE + '[tables.songs]\nrename = { year = "made" }\n')
    assert "songs: 0 clean, pass 2 was made before the schema or sync.toml changed" in gates(home)["proof"]["figure"]


def test_counters_block_no_flow(home: Place) -> None:
    """Would break: preflight refuses counters, or says that a flow is not possible which is."""
    home.configure(BASE)
    assert home.commands.run("schema", "apply").code == 0
    done = home.commands.run("preflight", "--json")
    (said,) = [p for p in done.json["problems"] if p["where"] == "hits"]
    assert done.code == 0 and said["level"] == "warning"
    assert said["text"] == "counters are copied as the numbers they show, and are written by `increment` alone"
    assert all(flow["possible"] for flow in done.json["flows"].values()), done.json["flows"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('exclude = ["songz"]\n', "sync.toml names songz, which keyspace"),
        ('only = ["songs"]\nexclude = ["songs"]\n', "only and exclude both name songs"),
    ],
)
def test_a_wrong_exclude_is_an_error(home: Place, text: str, says: str) -> None:
    """Would break: a misspelt name leaves the table in, and nobody notices."""
    home.configure(text + BASE)
    assert says in home.commands.run("preflight").out + home.commands.run("preflight").err


def test_a_class_without_its_successor_blocks_the_cut_over(home: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: with `new=None` every call is an AttributeError as soon as Postgres is primary."""

    class Old:
        def save(self, key: dict[str, Any]) -> bool:
            return True

    for name, value in home.commands.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(home.commands.folder)
    writes = {"save": lambda key: ("songs", key)}
    with DualWriteStore.wrap(Old(), None, writes):
        gate = gates(home)["settings"]
        assert not gate["green"] and "wraps a class for Astra, and none for Postgres" in gate["figure"]
    with DualWriteStore.wrap(Old(), Old(), writes):
        assert gates(home)["settings"]["green"]


def test_what_a_writer_was_started_with_is_shown(home: Place) -> None:
    """Would break: to find which of thirty writers has the wrong file, one must search thirty hosts."""
    with DualWriteStore(home.settings, config(home)):
        (told,) = json.loads(home.commands.run("writers", "--json").out)["writers"]
        assert told["settings"]["exclude"] == ["hits"]


def test_disturbances_do_not_gather(home: Place) -> None:
    """Would break: each write that could not be repeated leaves a row for ever, and each switch reads them all."""
    home.sql(
        "INSERT INTO sync.disturbance (table_name, why, at) SELECT t, 'w' || n, clock_timestamp() + make_interval(secs => n) "
        "FROM unnest(ARRAY['songs', 'genres']) AS t, generate_series(1, 50) AS n",
        "INSERT INTO sync.disturbance (table_name, why, at) VALUES ('hits', 'before this epoch', clock_timestamp() - interval '1 day')",
    )
    assert home.commands.run("drift-report", "--workers", "1", "--table", "songs").code == 2
    assert home.sql("SELECT table_name, why FROM sync.disturbance ORDER BY 1") == [("genres", "w50"), ("songs", "w50")]
