"""Writes to both sides through the Data API: recorded, made, read back over CQL by the store or a worker; nothing is lost."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from astrapy import Database
from astrapy.ids import ObjectId
from support.backfills import until
from support.commands import environment
from support.dataapi import errors
from support.dataapi.server import DataApi, answers, cut, data_api, of, settings_of, status
from support.dual import WINDOW_PASSES, prepare
from support.places import NewPlace, Place

from sync.adapters.astra.api import open_api
from sync.errors import WriteRefused, WriteUnsure
from sync.settings import Config, DualWriteTuning, Settings
from sync.stores import ApiDualWriteStore, AsyncDualWriteStore, DualWriteStore, open_store
from sync.wiring.dual_write.worker import drain_job

pytest_plugins = ("support.fixtures",)
CONFIG = Config(
    schema_files=(),
    dual_write=DualWriteTuning(
        connections=4, heartbeat_seconds=0.3, primary_timeout_seconds=1.0, secondary_timeout_seconds=30
    ),
)
WRITES = {"insertOne", "findOneAndReplace", "updateOne", "deleteOne"}
NO_CQL = {"cassandra_contact_points": None}


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as place:
        place.cql("CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text, tags map<text, text>)")
        with data_api(place.cassandra.session) as double:
            database(place, double).create_collection("docs", definition={"vector": {"dimension": 2, "metric": "cosine"}})
        prepare(place.settings, CONFIG, "songs", "docs")
        yield place


def database(place: Place, double: DataApi) -> Database:
    return open_api(settings_of(place.settings, double), 30).database


@pytest.fixture
def double(home: Place) -> Iterator[DataApi]:
    with data_api(home.cassandra.session) as opened:
        yield opened


@pytest.fixture
def settings(home: Place, double: DataApi) -> Settings:
    return settings_of(home.settings, double)


@pytest.fixture(params=["inline", "by workers"])
def store(request: pytest.FixtureRequest, settings: Settings) -> Iterator[ApiDualWriteStore]:
    """With CQL settings it reads back itself; without, workers do."""
    own = settings if request.param == "inline" else settings.model_copy(update=NO_CQL)
    with ApiDualWriteStore(own, CONFIG) as opened:
        yield opened


@pytest.fixture
def inline(settings: Settings) -> Iterator[ApiDualWriteStore]:
    with ApiDualWriteStore(settings, CONFIG) as opened:
        yield opened


class Seen:
    """The target's rows, and the intents that are left."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def doc(self, form: str) -> tuple[Any, Any] | None:
        rows = self.place.sql(f"SELECT doc, vector::text FROM docs WHERE _id = '{form}'")
        return rows[0] if rows else None

    def song(self, key: UUID) -> tuple[Any, Any] | None:
        rows = self.place.sql(f"SELECT title, tags FROM songs WHERE id = '{key}'")
        return rows[0] if rows else None

    def intents(self) -> list[tuple[str, str]]:
        return [(str(kind), str(state)) for kind, state in self.place.sql("SELECT kind, state FROM sync.intent ORDER BY id")]

    def settle(self, later: bool = False) -> None:
        """Drain as workers do; with `later`, as if calls that failed could no longer arrive."""
        if later:
            self.place.sql(WINDOW_PASSES)
        self.place.sql("UPDATE sync.intent SET lease_until = NULL")
        for table in ("songs", "docs"):
            drain_job(self.place.settings, CONFIG, table, lambda: False)
        assert self.intents() == []


@pytest.fixture
def seen(home: Place) -> Iterator[Seen]:
    home.sql("DELETE FROM sync.intent; DELETE FROM sync.sql_change")
    yield Seen(home)


@pytest.mark.slow
def test_documents_on_both_sides(store: ApiDualWriteStore, seen: Seen) -> None:
    """Would break: a put, update or delete of a document never reaches Postgres."""
    for identifier, form in (("a", "a"), (7, '{"$number": 7}'), (None, '{"$null": null}'), (ObjectId("5" * 24), "5" * 24)):
        key = {"_id": identifier}
        assert store.put("docs", {**key, "n": 1, "$vector": [1.0, 2.0]}) is True
        _settled(store, seen)
        doc, vector = seen.doc(form) or ({}, "")
        assert (doc["n"], vector, "$vector" in doc) == (1, "[1,2]", False)
        assert store.update("docs", key, {"in.x": 2}) is True
        _settled(store, seen)
        assert (seen.doc(form) or ({},))[0]["in"] == {"x": 2}
        assert (store.get("docs", key) or {})["$vector"] == [1.0, 2.0]
        assert store.delete("docs", key) is True
        _settled(store, seen)
        assert seen.doc(form) is None
    assert store.put_many("docs", [{"_id": f"many{n}", "n": n} for n in range(10)])
    _settled(store, seen)
    assert [(seen.doc(f"many{n}") or ({},))[0]["n"] for n in range(10)] == list(range(10))


def test_rows_on_both_sides(store: ApiDualWriteStore, seen: Seen) -> None:
    """Would break: a table's writes through the API never reach Postgres."""
    key = {"id": uuid4()}
    store.put("songs", {**key, "title": "a", "tags": {"x": "y"}})
    _settled(store, seen)
    assert seen.song(key["id"]) == ("a", {"x": "y"})
    store.update("songs", key, {"tags": None})
    _settled(store, seen)
    assert seen.song(key["id"]) == ("a", None)
    store.delete("songs", key)
    _settled(store, seen)
    assert seen.song(key["id"]) is None


def _settled(store: ApiDualWriteStore, seen: Seen) -> None:
    if not store._source.has_cql:
        assert set(seen.intents()) == {("recheck", "finished")}, "workers have nothing to go by"
        seen.settle()
    assert seen.intents() == []


def test_an_identical_put_changes_nothing_and_settles(inline: ApiDualWriteStore, seen: Seen, home: Place) -> None:
    """Would break: the API writes nothing, so no newer timestamp ever appears, and the key's intent stays."""
    row = {"_id": "same", "n": 1}
    inline.put("docs", row)
    stamps = home.cql("SELECT writetime(doc_json) FROM KS.docs WHERE key = (1, 'same')")
    inline.put("docs", row)
    assert home.cql("SELECT writetime(doc_json) FROM KS.docs WHERE key = (1, 'same')") == stamps
    assert seen.intents() == []
    assert (seen.doc("same") or ({},))[0] == row


TABLES: dict[str, Callable[[], dict[str, Any]]] = {"songs": lambda: {"id": uuid4()}, "docs": lambda: {"_id": uuid4().hex}}


def held(seen: Seen, table: str, key: dict[str, Any]) -> Any:
    """The title in Postgres."""
    if table == "songs":
        return (seen.song(key["id"]) or (None,))[0]
    return (seen.doc(key["_id"]) or ({},))[0].get("title")


@pytest.mark.parametrize("table", TABLES)
def test_an_answer_that_is_lost_settles(inline: ApiDualWriteStore, double: DataApi, seen: Seen, table: str) -> None:
    """Would break: a write that the caller was told is unsure has arrived, and Postgres never gets it."""
    key = TABLES[table]()
    inline.put(table, {**key, "title": "before"})
    double.after = of(WRITES, cut())
    with pytest.raises(WriteUnsure):
        inline.put(table, {**key, "title": "landed"})
    double.after = lambda _: None
    assert ("recheck", "unsure") in seen.intents()
    assert held(seen, table, key) == "before"
    seen.settle(later=True)
    assert held(seen, table, key) == "landed"


@pytest.mark.parametrize("table", TABLES)
def test_an_attempt_that_may_come_late_is_looked_at_once_more(
    inline: ApiDualWriteStore, settings: Settings, double: DataApi, seen: Seen, table: str
) -> None:
    """Would break: the first attempt lands after the reconcile of the second, and nobody reads the key again."""
    key = TABLES[table]()
    double.before = of(WRITES, cut(1))
    assert inline.put(table, {**key, "title": "a"}) is True
    assert seen.intents() == [("recheck", "unsure")]
    assert held(seen, table, key) == "a"
    with_another_client = open_api(settings, 10).database
    if table == "docs":
        with_another_client.get_collection("docs").update_one(key, {"$set": {"title": "late"}})
    else:
        with_another_client.get_table("songs").insert_one({"id": str(key["id"]), "title": "late"})
    seen.settle(later=True)
    assert held(seen, table, key) == "late"


REFUSED = {
    "rate limit": lambda double: setattr(double, "before", of(WRITES, status(429))),
    "overloaded": lambda double: setattr(double, "before", of(WRITES, answers(errors.overloaded))),
    "credentials": lambda double: setattr(double, "token", "another"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("table", TABLES)
def test_a_refused_write_is_on_neither_side(
    inline: ApiDualWriteStore, double: DataApi, seen: Seen, table: str, name: str
) -> None:
    """Would break: the secondary has what the primary refused; the intent of a call that failed is lost, or never ends."""
    key, token = TABLES[table](), double.token
    REFUSED[name](double)
    with pytest.raises(WriteRefused):
        inline.put(table, {**key, "title": "a"})
    assert held(seen, table, key) is None
    double.before, double.token = (lambda _: None), token
    seen.settle(later=True)
    assert held(seen, table, key) is None
    assert inline.put(table, {**key, "title": "b"})
    assert held(seen, table, key) == "b"


def test_a_collection_that_is_dropped_leaves_intents_that_say_so(
    home: Place, settings: Settings, double: DataApi, seen: Seen
) -> None:
    """Would break: a missing collection ends a worker, and other tables' intents are left undone."""
    other = database(home, double).create_collection("gone")
    prepare(home.settings, CONFIG, "gone")
    with ApiDualWriteStore(settings.model_copy(update=NO_CQL), CONFIG) as store:
        store.put("gone", {"_id": "a"})
        other.drop()
        with pytest.raises(WriteRefused, match=r"gone.*does not exist"):
            store.put("gone", {"_id": "b"})
        store.put("docs", {"_id": "other", "title": "x"})
    drain_job(home.settings, CONFIG, "docs", lambda: False)
    assert held(seen, "docs", {"_id": "other"}) == "x"
    assert len(seen.intents()) == 2, "those of the collection that is gone"


def test_bad_calls_leave_no_intent(inline: ApiDualWriteStore, seen: Seen) -> None:
    """Would break: the journal fills with calls that were never made."""
    for call in (
        lambda: inline.put("docs", {"title": "x"}),
        lambda: inline.put("docs", {"_id": [1]}),
        lambda: inline.put("docs", {"_id": "a\0b"}),
        lambda: inline.update("docs", {"_id": "x"}, {}),
        lambda: inline.delete("docs", {}),
        lambda: inline.put("songs", {"id": "x"}),
        lambda: inline.put("songs", {"id": uuid4(), "title": 5}),
        lambda: inline.put_many("docs", [{"_id": "fine"}, {"title": "x"}]),
    ):
        with pytest.raises(WriteRefused):
            call()
    assert seen.intents() == []
    assert inline.get("docs", {"_id": "fine"}) is None


class Songs:
    """An application's own astrapy calls."""

    def __init__(self, database: Database) -> None:
        self.docs = database.get_collection("docs")

    def save(self, song: dict[str, Any]) -> Any:
        return self.docs.insert_one(song).inserted_id

    def count_play(self, song: str) -> Any:
        return self.docs.find_one_and_update({"_id": song}, {"$inc": {"plays": 1}}, upsert=True, return_document="after")

    def forget_title(self, song: str) -> None:
        self.docs.update_one({"_id": song}, {"$unset": {"title": ""}})

    def swap(self, song: str, new: dict[str, Any]) -> Any:
        return self.docs.find_one_and_replace({"_id": song}, new)

    def forget(self, song: str) -> None:
        self.docs.find_one_and_delete({"_id": song})


def test_an_applications_own_calls_are_reconciled(
    home: Place, settings: Settings, double: DataApi, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: upserts, unset, find-and-modify and deletes of an application that keeps its own astrapy code."""
    home.configure("schema_files = []\n[dual_write]\nheartbeat_seconds = 0.3\n")
    for name, value in environment(home.settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SYNC_CONFIG", str(home.commands.folder / "sync.toml"))
    describe = lambda song, *_: ("docs", {"_id": song["_id"] if isinstance(song, dict) else song})  # noqa: E731
    writes: Any = dict.fromkeys(("save", "count_play", "forget_title", "swap", "forget"), describe)
    with DualWriteStore.wrap(Songs(database(home, double)), None, writes) as songs:
        assert songs.save({"_id": "own", "title": "a"}) == "own"
        assert seen.doc("own") == ({"_id": "own", "title": "a"}, None)
        assert songs.count_play("own")["plays"] == 1
        songs.forget_title("own")
        assert seen.doc("own") == ({"_id": "own", "plays": 1}, None)
        songs.count_play("new")
        assert seen.doc("new") == ({"_id": "new", "plays": 1}, None)
        songs.swap("new", {"$vector": [0.5, 1.5]})
        assert seen.doc("new") == ({"_id": "new"}, "[0.5,1.5]")
        songs.forget("own")
        assert seen.doc("own") is None
    assert seen.intents() == []


def test_the_environment_asks_for_it(home: Place, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: an endpoint is set, and no store uses it."""
    home.configure("schema_files = []\n")
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SYNC_CONFIG", str(home.commands.folder / "sync.toml"))
    monkeypatch.setenv("SYNC_DUAL_WRITE", "true")
    with open_store() as store:
        assert type(store) is ApiDualWriteStore
        store.put("docs", {"_id": "by environment"})
        until(lambda: home.sql("SELECT 1 FROM docs WHERE _id = 'by environment'"))


LIMITED_SECONDS = 30.0


@pytest.mark.slow
def test_rate_limited_for_thirty_seconds(inline: ApiDualWriteStore, double: DataApi, seen: Seen) -> None:
    """Would break: an intent or an acknowledged write is lost, or errors that nobody understands, while the API says "later"."""
    until_then = time.monotonic() + LIMITED_SECONDS
    left = Counter[str]()

    def limited(_: str) -> None:
        if time.monotonic() < until_then and next(ticks) % 4:  # one request in four gets through
            left["429"] += 1
            status(429, 1, {"Retry-After": "0.05"})("")

    ticks = itertools.count()
    double.before = of(WRITES, limited)
    acknowledged: dict[str, int] = {}

    def work(name: str) -> list[str]:
        errors, n = [], 0
        while time.monotonic() < until_then + 0.5:
            n += 1
            try:
                inline.put("docs", {"_id": name, "title": f"{n}", "n": n})
                acknowledged[name] = n
            except WriteRefused as error:
                errors.append(str(error))
        return errors

    names = [f"limited{n}" for n in range(4)]
    with ThreadPoolExecutor(len(names)) as pool:
        said = {error for errors in pool.map(work, names) for error in errors}
    assert left["429"] > 50, "the limit was not met"
    assert all("rate limit" in error and "\n" not in error for error in said)
    seen.settle(later=True)
    for name in names:
        assert inline.get("docs", {"_id": name}) == {"_id": name, "title": f"{acknowledged[name]}", "n": acknowledged[name]}
        assert (seen.doc(name) or ({},))[0]["n"] == acknowledged[name]


def test_the_same_for_asyncio(home: Place, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: an application on asyncio has no store over the Data API."""
    home.configure("schema_files = []\n")
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SYNC_CONFIG", str(home.commands.folder / "sync.toml"))

    async def use() -> Any:
        async with AsyncDualWriteStore() as store:
            await asyncio.gather(*(store.put("docs", {"_id": f"async{n}", "n": n}) for n in range(20)))
            found = [await store.get("docs", {"_id": f"async{n}"}) for n in range(20)]
            await store.delete("docs", {"_id": "async0"})
            return (
                type(store._store).__name__,
                [row and row["n"] for row in found],
                await store.get("docs", {"_id": "async0"}),
            )

    for dual, kind in (("false", "ReadBackStore"), ("true", "ApiDualWriteStore")):
        monkeypatch.setenv("SYNC_DUAL_WRITE", dual)
        assert asyncio.run(use()) == (kind, list(range(20)), None)
