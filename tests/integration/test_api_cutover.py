"""Collections there and back: after the cut-over, documents are written to Postgres, and go back through the Data API."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Event
from typing import Any
from uuid import UUID

import pytest
from astrapy import Collection
from astrapy.data_types import DataAPIVector
from astrapy.ids import ObjectId
from support.commands import Commands
from support.dataapi.server import DataApi, cut, data_api, of, settings_of, status
from support.places import NewPlace, Place
from support.running_commands import until

from sync.adapters.astra.api import open_api
from sync.errors import Unreachable, WriteRefused
from sync.settings import Settings, load_config
from sync.stores import ApiDualWriteStore
from sync.wiring.dual_write.worker import drain_job

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
TOML = """
schema_files = []
[dual_write]
heartbeat_seconds = 0.3
primary_timeout_seconds = 1.0
connections = 8
[drift]
grace_seconds = 0.05
[collections.docs]
vector = "embedding"
[collections.docs.fields]
title = "text"
"meta.year" = { type = "integer", column = "year" }
added = "timestamptz"
"""
WRITES = {"findOneAndReplace", "deleteOne"}
IDS: dict[str, Any] = {
    "text": "text", "whole": 7, "round": 100.0, "half": 1.5, "yes": True, "none": None, "uuid": UUID(int=7),
    "object": ObjectId("507f191e810c19729de860ea"), "date": datetime(2020, 1, 1, tzinfo=UTC), "tagged": '{"$number": 7}',
}  # fmt: skip


def document(identifier: Any, n: int) -> dict[str, Any]:
    return {
        "_id": identifier, "title": f"Tune {n}", "meta": {"year": 1900 + n, "x": 1.5}, "added": datetime(2020, 1, 2, tzinfo=UTC),
        "owner": UUID(int=n), "length": float(n), "large": 1e300, "more": [1, {"a.b": None}], "$vector": [1.0, float(n)],
    }  # fmt: skip


@pytest.fixture
def home(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as place:
        place.configure(TOML)
        yield place


@pytest.fixture
def double(home: Place) -> Iterator[DataApi]:
    with data_api(home.cassandra.session) as opened:
        yield opened


@pytest.fixture
def settings(home: Place, double: DataApi) -> Settings:
    return settings_of(home.settings, double)


@pytest.fixture
def docs(settings: Settings) -> Collection[Any]:
    database = open_api(settings, 30).database
    return database.create_collection("docs", definition={"vector": {"dimension": 2, "metric": "cosine"}})


@pytest.fixture
def commands(home: Place, double: DataApi) -> Commands:
    return home.commands.but(ASTRA_DB_API_ENDPOINT=double.endpoint)


def run(commands: Commands, *argv: str) -> Any:
    done = commands.run(*argv, "--json", timeout=120)
    assert done.code == 0, done
    return done.json


def backfilled(commands: Commands, docs: Collection[Any], *documents: Any) -> None:
    """Insert these documents into Astra, and copy them to Postgres."""
    for each in documents:
        docs.insert_one(each)
    run(commands, "schema", "apply")
    run(commands, "backfill", "--workers", "1")


def switch(commands: Commands, command: str, *flags: str) -> None:
    for _ in range(2):
        run(commands, "drift-report", "--workers", "1")
    assert run(commands, command, "--yes", *flags)["switched"]


def test_documents_there_and_back(
    home: Place, double: DataApi, settings: Settings, docs: Collection[Any], commands: Commands
) -> None:
    """Would break: a rollback restores other documents, or filters go stale because documents are written by CQL."""
    backfilled(commands, docs, *(document(identifier, n) for n, identifier in enumerate(IDS.values())))
    before = {name: docs.find_one({"_id": i}, projection={"*": True}) for name, i in IDS.items()}
    config = load_config(home.commands.folder / "sync.toml")
    with ApiDualWriteStore(settings, config) as store:
        switch(commands, "cutover")
        assert {name: docs.find_one({"_id": i}, projection={"*": True}) for name, i in IDS.items()} == before
        for n, identifier in enumerate(IDS.values()):  # the same answers from Postgres
            assert plain(store.get("docs", {"_id": identifier})) == plain(document(identifier, n))
            store.put("docs", {**document(identifier, n), "title": "changed", "added": None, "new": "field"})
        assert store.delete("docs", {"_id": "text"}) is True
        assert store.get("docs", {"_id": "text"}) is None
        assert store.count("docs") == len(IDS) - 1
        near = store.search("docs", "$vector", [1.0, 9.0], 2)
        assert [row["title"] for row, _ in near] == ["changed", "changed"] and near[0][1] > near[1][1]
        drained(home, settings)
        assert docs.find_one({"_id": "text"}) is None
        for name, identifier in IDS.items():
            found = docs.find_one({"_id": identifier}, projection={"*": True})
            assert found == (
                None if name == "text" else {**(before[name] or {}), "title": "changed", "added": None, "new": "field"}
            )
        assert docs.count_documents({}, upper_bound=1000) == len(IDS) - 1, "an id came back as another key"
        assert 7 in [d["_id"] for d in docs.find({"new": "field"})], "a filter of before"
        switch(commands, "rollback")
        store.put("docs", {"_id": "after", "title": "again in Astra"})
        assert (docs.find_one({"_id": "after"}) or {})["title"] == "again in Astra"
    assert home.sql("SELECT title FROM docs WHERE _id = 'after'") == [("again in Astra",)]
    assert run(commands, "drift-report", "--workers", "1")["clean"]


def plain(row: Any) -> Any:
    """The row with an ObjectId in its JSON form, as the store returns it while Postgres is primary."""
    return {**row, "_id": row["_id"] if not isinstance(row["_id"], ObjectId) else {"$objectId": str(row["_id"])}}


def reported(home: Place) -> None:
    """Wait until the writer has reported, in the background, how its writes ended; then make their intents due."""
    until(lambda: home.sql("SELECT count(*) FROM sync.intent WHERE state = 'open'") == [(0,)])
    home.sql("UPDATE sync.intent SET lease_until = NULL")


def drained(home: Place, settings: Settings, left: int = 0) -> None:
    """Drain as workers do, until `left` intents remain: an API that is slow to answer is asked again."""

    def settled() -> bool:
        reported(home)
        drain_job(settings, load_config(home.commands.folder / "sync.toml"), "docs", lambda: False)
        rows = home.sql("SELECT coalesce(error, '') FROM sync.intent")
        assert all(error for (error,) in rows), "what is left says why"
        return len(rows) == left

    until(settled, what=f"{left} intents are left")


def test_a_part_of_a_document_is_changed(
    home: Place, double: DataApi, settings: Settings, docs: Collection[Any], commands: Commands
) -> None:
    """Would break: an update while Postgres is primary loses fields, misses its column, or loses another update's change."""
    backfilled(commands, docs, *(document(identifier, n) for n, identifier in enumerate(IDS.values())))
    before = {name: docs.find_one({"_id": i}, projection={"*": True}) for name, i in IDS.items()}
    changes = {"title": "new", "meta.year": 2001, "meta.list": [1, {"b": UUID(int=3)}], "added": None, "more.1": 2.0}
    with ApiDualWriteStore(settings, load_config(home.commands.folder / "sync.toml")) as store:
        switch(commands, "cutover")
        for identifier in IDS.values():
            assert store.update("docs", {"_id": identifier}, {**changes, "$vector": [5.0, 6.0]}) is True
        assert store.update("docs", {"_id": "nowhere"}, changes) is False
        assert home.sql("SELECT count(*), count(DISTINCT key) FROM sync.intent") == [(len(IDS), len(IDS))]
        rows = home.sql("SELECT title, year, added, embedding::text FROM docs")
        assert rows == [("new", 2001, None, "[5,6]")] * len(IDS)
        for bad in ({"title.x": 1}, {"_id": 1}, {}, {"$vector": [1.0]}, {"meta.year": "soon"}):
            with pytest.raises(WriteRefused):
                store.update("docs", {"_id": "text"}, bad)
        with ThreadPoolExecutor(8) as threads:
            fields = [f"n.{n}" for n in range(60)]
            assert all(threads.map(lambda field: store.update("docs", {"_id": "text"}, {field: field}), fields))
        drained(home, settings)
        for name, identifier in IDS.items():
            found = docs.find_one({"_id": identifier}, projection={"*": True})
            was = before[name] or {}
            expected = {**was, "title": "new", "meta": {**was["meta"], "year": 2001, "list": changes["meta.list"]}}
            expected |= {"added": None, "more": [1, 2], "$vector": DataAPIVector([5.0, 6.0])}
            assert found == (expected | {"n": {str(n): f"n.{n}" for n in range(60)}} if name == "text" else expected)
        assert 7 in [d["_id"] for d in docs.find({"meta.year": 2001})], "a filter of before"
        assert store.delete("docs", {"_id": "text"}) is True
        assert store.update("docs", {"_id": "text"}, {"title": "again"}) is False
        drained(home, settings)
        switch(commands, "rollback")
    assert run(commands, "drift-report", "--workers", "1")["clean"]


def test_a_sick_data_api_is_not_noticed_and_caught_up_with(
    home: Place, double: DataApi, settings: Settings, docs: Collection[Any], commands: Commands
) -> None:
    """Would break: the application waits for the secondary, or a document is lost on its way back."""
    backfilled(commands, docs, document("a", 1))
    with ApiDualWriteStore(settings, load_config(home.commands.folder / "sync.toml")) as store:
        switch(commands, "cutover")
        for fault in (of(WRITES, status(429)), of(WRITES, cut())):
            double.before = fault
            assert store.put("docs", {**document("a", 2), "title": "while it was sick"}) is True
            drained(home, settings, left=int(home.sql("SELECT count(*) FROM sync.intent")[0][0]))
            assert (docs.find_one({"_id": "a"}) or {})["title"] == "Tune 1"
        double.before = of(WRITES, cut(1))  # one more attempt that may arrive late: the intent must stay
        drained(home, settings, left=int(home.sql("SELECT count(*) FROM sync.intent")[0][0]))
        double.before = lambda _: None
        drained(home, settings)
        assert (docs.find_one({"_id": "a"}) or {})["title"] == "while it was sick"


def test_two_workers_send_one_document_in_turn(
    home: Place, double: DataApi, settings: Settings, docs: Collection[Any], commands: Commands
) -> None:
    """Would break: the API takes no timestamp, so the older of two sends that are under way at once arrives last."""
    backfilled(commands, docs, document("a", 1))
    config, held, go_on = load_config(home.commands.folder / "sync.toml"), Event(), Event()

    def first_waits(_: str) -> None:
        if not held.is_set():
            held.set()
            assert go_on.wait(30)

    with ApiDualWriteStore(settings, config) as store, ThreadPoolExecutor(2) as threads:
        switch(commands, "cutover")
        patient = config.model_copy(
            update={"dual_write": config.dual_write.model_copy(update={"primary_timeout_seconds": 30})}
        )
        drains = []
        for title in ("old", "new"):
            store.put("docs", {**document("a", 1), "title": title})
            reported(home)
            double.before = of(WRITES, first_waits)
            drains.append(threads.submit(drain_job, settings, patient, "docs", lambda: False))
            assert held.wait(30)
        until(lambda: drains[1].done() or home.sql(_WAITING) == [(1,)], what="the second worker has sent it, or waits")
        go_on.set()
        for drain in drains:
            drain.result(30)
        drained(home, settings)
        assert (docs.find_one({"_id": "a"}) or {})["title"] == "new"


_WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


def test_without_a_data_api_there_is_no_cut_over(home: Place, docs: Collection[Any], commands: Commands) -> None:
    """Would break: a cut-over after which no change can go back into a collection."""
    backfilled(commands, docs, document("a", 1))
    for _ in range(2):
        run(commands, "drift-report", "--workers", "1")
    done = home.commands.run("cutover", "--yes", "--no-writers")
    assert done.code == 2, done
    assert "ASTRA_DB_API_ENDPOINT" in done.out + done.err
    assert run(commands, "cutover", "--yes", "--no-writers")["switched"]


def test_a_process_starts_while_the_data_api_is_away(
    home: Place, settings: Settings, docs: Collection[Any], commands: Commands
) -> None:
    """Would break: after the cut-over, an application cannot be restarted while Astra is down (invariant 8)."""
    backfilled(commands, docs, document("a", 1))
    config = load_config(home.commands.folder / "sync.toml")
    away = settings.model_copy(update={"astra_db_api_endpoint": "http://127.0.0.1:9"})
    with pytest.raises(Unreachable, match="the connection failed"):
        ApiDualWriteStore(away, config)
    switch(commands, "cutover", "--no-writers")
    with ApiDualWriteStore(away.model_copy(update={"storage_backend": "postgres"}), config) as store:
        assert store.put("docs", document("b", 2)) is True
        assert (store.get("docs", {"_id": "b"}) or {})["title"] == "Tune 2"
        assert store.delete("docs", {"_id": "a"}) is True
        with pytest.raises(WriteRefused, match="nowhere"):
            store.put("nowhere", {"_id": 1})
    drained(home, settings)
    assert [d["_id"] for d in docs.find({})] == ["b"]
