"""Tables and columns that have other names in Postgres: the application goes on with its own, on every side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from support.dual import Table
from support.places import NewPlace, Place
from support.reverse import be_primary

from sync import open_store
from sync.settings import Config, DualWriteTuning, load_config
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
TOML = """
schema_files = []
[tables.lists]
target = "other.play list"
rename = { owner = "who", at = "moment", words = "owner" }
[tables.vectors]
rename = { v = "vector" }
"""
TABLES = (
    "CREATE TABLE KS.lists (owner int, at int, words text, genre text, PRIMARY KEY (owner, at)) WITH CLUSTERING ORDER BY (at DESC)",
    "CREATE CUSTOM INDEX ON KS.lists (words) USING 'StorageAttachedIndex'",
    "CREATE TABLE KS.vectors (id int PRIMARY KEY, v vector<float, 2>)",
    "CREATE CUSTOM INDEX ON KS.vectors (v) USING 'StorageAttachedIndex' WITH OPTIONS = {'similarity_function': 'cosine'}",
)
ROWS = [{"owner": 1, "at": at, "words": "ab"[at % 2], "genre": None} for at in range(9, -1, -1)]


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as place:
        place.cql(*TABLES)
        place.sql("CREATE SCHEMA other")
        place.configure(TOML)
        assert place.commands.run("schema", "apply").code == 0
        place.sql('CREATE INDEX ON other."play list" (owner)')
        yield place


@pytest.fixture(scope="module")
def config(home: Place) -> Config:
    read = load_config(Path(home.commands.folder) / "sync.toml")
    return read.model_copy(update={"dual_write": DualWriteTuning(connections=4, heartbeat_seconds=0.3)})


def holds_all(store: Any) -> None:
    """Every read answers by the application's names."""
    assert store.get("lists", {"owner": 1, "at": 3}) == ROWS[6]
    assert store.get_many("lists", [{"owner": 1, "at": at} for at in (9, 44)]) == [ROWS[0], None]
    assert list(store.find("lists", {"owner": 1, "at": {"<": 5}}, order_by=[("at", "asc")])) == ROWS[:4:-1]
    assert sorted(row["at"] for row in store.find("lists", {"words": "a"})) == [0, 2, 4, 6, 8]
    rows = store.scan("lists", page_rows=2)
    begun = list(islice(rows, 3))
    assert begun + list(store.scan("lists", after=rows.cursor)) == ROWS
    assert store.count("lists") == 10
    assert store.search("vectors", "v", [1.0, 0.0], 1)[0][0] == {"id": 1, "v": [1.0, 0.0]}


@pytest.mark.parametrize("primary", ["astra", "postgres"])
def test_the_applications_names_stay(home: Place, config: Config, primary: str) -> None:
    """Would break: behind the cut-over every read of such a table says that there is no such table."""
    settings = home.settings.model_copy(update={"storage_backend": primary})
    with closing(Table(home.cassandra, home.settings, config, "lists")) as table:
        be_primary(table, primary)
        with DualWriteStore(settings, config) as store:
            store.put_many("lists", ROWS)
            store.put("vectors", {"id": 1, "v": [1.0, 0.0]})
            store.update("lists", {"owner": 1, "at": 3}, {"words": "x"})
            assert store.get("lists", {"owner": 1, "at": 3}) == {**ROWS[6], "words": "x"}
            store.put("lists", ROWS[6])
            holds_all(store)


def test_after_the_migration(home: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: the same code on Postgres alone, when the migration is over."""
    for name, value in {**home.commands.env, "STORAGE_BACKEND": "postgres", "SYNC_ALLOW_ONE_SIDED": "true"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(home.commands.folder)
    with open_store() as store:
        store.put_many("lists", ROWS)
        store.put("vectors", {"id": 1, "v": [1.0, 0.0]})
        holds_all(store)
        store.update("lists", {"owner": 1, "at": 0}, {"words": "new"})
        assert store.get("lists", {"owner": 1, "at": 0}) == {**ROWS[9], "words": "new"}
        assert store.insert("lists", ROWS[0]) is False
        store.delete("lists", {"owner": 1, "at": 0})
        assert store.get("lists", {"owner": 1, "at": 0}) is None
