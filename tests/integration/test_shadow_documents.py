"""Shadow reads where the application uses the Data API: rows and documents, on either side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest
from support.dataapi.server import DataApi, data_api, settings_of
from support.dual import Table, forget_migration, prepare
from support.places import NewPlace, Place
from support.reverse import be_primary
from support.running_commands import until

from sync.adapters.astra.api import open_api
from sync.settings import Config, DriftTuning, DualWriteTuning
from sync.stores import ApiDualWriteStore
from sync.wiring.dual_write.worker import drain_job

pytest_plugins = ("support.fixtures",)
CONFIG = Config(
    schema_files=(),
    dual_write=DualWriteTuning(connections=4, heartbeat_seconds=0.3, shadow_reads=1.0),
    drift=DriftTuning(grace_seconds=0.05),
)
NO_CQL = {"cassandra_contact_points": None}


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as place:
        place.cql("CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text, tags map<text, text>)")
        with data_api(place.cassandra.session) as double:
            database = open_api(settings_of(place.settings, double), 30).database
            database.create_collection("docs", definition={"vector": {"dimension": 2, "metric": "cosine"}})
        prepare(place.settings, CONFIG, "songs", "docs")
        yield place


@pytest.fixture
def double(home: Place) -> Iterator[DataApi]:
    with data_api(home.cassandra.session) as opened:
        yield opened


@pytest.fixture
def table(home: Place) -> Iterator[Table]:
    with closing(Table(home.cassandra, home.settings, CONFIG, "songs")) as opened:
        forget_migration(opened)
        opened.sql("TRUNCATE sync.shadow_reads, sync.shadow_difference")
        for name in ("songs", "docs"):
            opened.sql("INSERT INTO sync.run (kind, table_name, state, floor) VALUES ('backfill', %s, 'done', 1)", (name,))
        yield opened


def become(table: Table, *expected: int) -> None:
    """So many reads are compared and skipped, so many keys differ."""

    def counts() -> tuple[int, ...]:
        return table.sql(
            "SELECT coalesce(sum(compared), 0)::int, coalesce(sum(skipped), 0)::int, coalesce(sum(differing), 0)::int "
            "FROM sync.shadow_reads"
        )[0]

    until(lambda: sum(counts()[:2]) >= sum(expected[:2]), 30, "all reads are counted")
    assert counts() == expected


PLANTED = {
    "songs": "UPDATE songs SET title = 'planted' WHERE id = %s",
    "docs": "UPDATE docs SET doc = jsonb_set(doc, '{title}', '\"planted\"') WHERE doc ->> 'title' = 'Air'",
}


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("primary", ["astra", "postgres"])
def test_rows_and_documents_are_compared(home: Place, table: Table, double: DataApi, name: str, primary: Any) -> None:
    """Would break: an application of documents is told of each document, as Postgres has rows; or of none."""
    be_primary(table, primary)
    settings = settings_of(home.settings, double).model_copy(update={"storage_backend": primary})
    key = {"id": uuid4()} if name == "songs" else {"_id": uuid4().hex}
    row = {
        **key,
        "title": "Air",
        **({"tags": {"a": "b"}} if name == "songs" else {"n": [1, {"x": 2.5}], "$vector": [1.0, 0.5]}),
    }
    with ApiDualWriteStore(settings, CONFIG) as store:
        store.put(name, row)

        def has_settled() -> bool:
            drain_job(settings, CONFIG, name, lambda: False)
            return table.sql("SELECT count(*) FROM sync.intent") == [(0,)]

        until(has_settled, 30, "the write has settled")
        found = store.get(name, key)
        assert found is not None and found["title"] == "Air"
        become(table, 1, 0, 0)
        if name == "docs":
            assert [document["_id"] for document, _ in store.search(name, "$vector", [1.0, 0.5], 1)] == [key["_id"]]
            become(table, 2, 0, 0)
        before = 2 if name == "docs" else 1
        table.sql(PLANTED[name], (key["id"],) if name == "songs" else None)
        assert (store.get(name, key) or {})["title"] == ("Air" if primary == "astra" else "planted")
        become(table, before + 1, 0, 1)
        until(has_settled, 30, "a worker has reconciled it")
        store.get(name, key)
        become(table, before + 2, 0, 1)
        store.delete(name, key)
        until(has_settled, 30, "nothing is left to the next test")


def test_without_cql_what_differs_is_skipped(home: Place, table: Table, double: DataApi) -> None:
    """Would break: a difference is counted that nobody has looked at; or one that was is none."""
    settings = settings_of(home.settings, double).model_copy(update=NO_CQL)
    with ApiDualWriteStore(settings, CONFIG) as store:
        store.put("songs", {"id": (key := uuid4()), "title": "Air"})
        assert store.get("songs", {"id": key}) is not None
        become(table, 0, 1, 0)
