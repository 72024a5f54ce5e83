"""A table with static columns, which are not migrated where sync.toml says so."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support.places import NewPlace, Place

from sync.settings import load_config
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
TOML = 'schema_files = []\n[tables.row_keys]\nignore = ["mtime"]\n[dual_write]\nheartbeat_seconds = 0.2\n'


@pytest.fixture
def home(new_place: NewPlace) -> Iterator[Place]:
    """Two rows, and partitions that hold nothing but the static column."""
    with new_place() as place:
        place.cql(
            "CREATE TABLE KS.row_keys (metric text, host text, mtime timeuuid static, value text, PRIMARY KEY (metric, host))",
            "INSERT INTO KS.row_keys (metric, host, mtime, value) VALUES ('m', 'a', now(), 'x')",
            "INSERT INTO KS.row_keys (metric, host, value) VALUES ('m', 'b', 'y')",
            *(f"INSERT INTO KS.row_keys (metric, mtime) VALUES ('only-static-{n}', now())" for n in range(20)),
        )
        yield place


def test_the_rows_arrive_without_an_ignored_static_column(home: Place) -> None:
    """Would break: a table cannot be carried at all, though its owner is ready to lose its static column."""
    home.configure(TOML)
    assert home.commands.run("schema", "apply").code == 0
    done = home.commands.run("migrate", "--workers", "1", "--json")
    assert done.code == 0, done
    rows = [("m", "a", "x"), ("m", "b", "y")]
    assert home.sql("SELECT metric, host, value FROM row_keys ORDER BY host") == rows
    assert home.sql("SELECT count(*) FROM sync.reject") == [(0,)], "a partition without rows is no row"
    report = home.commands.run("drift-report", "--workers", "1", "--format", "json")
    assert report.code == 0, report
    (table,) = json.loads(report.out)["tables"]
    assert (table["rows"]["source"], table["rows"]["target"], table["rows"]["rejected"]) == (2, 2, 0)


def test_it_is_written_to_both_sides(home: Place) -> None:
    """Would break: the application cannot write a table that the copy carries."""
    home.configure(TOML)
    assert home.commands.run("schema", "apply").code == 0
    with DualWriteStore(home.settings, load_config(home.commands.folder / "sync.toml")) as store:
        key = {"metric": "m", "host": "a"}
        assert store.put("row_keys", {**key, "value": "new"}) and store.update("row_keys", key, {"value": "newer"})
        assert (store.get("row_keys", key) or {})["value"] == "newer"
    assert home.sql("SELECT value FROM row_keys") == [("newer",)]
    (kept,) = home.cql("SELECT mtime, value FROM KS.row_keys WHERE metric = 'm' AND host = 'a'")
    assert kept.mtime is not None and kept.value == "newer"
    assert home.commands.run("backfill", "--workers", "1").code == 0
    done = home.commands.run("drift-report", "--workers", "1")
    assert done.code == 0, done
