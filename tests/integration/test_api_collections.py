"""Collections through the store interface: with a double over the embedded Cassandra, and a real Data API if there is one.

Nothing here looks behind the API; what is stored in CQL is tested in test_api_layout.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from astrapy.ids import ObjectId
from support import endpoint
from support.dataapi.server import data_api, settings_of
from support.places import NewPlace

from sync.adapters.astra.api import open_api
from sync.demo.documents import create_collection
from sync.errors import QueryNotSupported, WriteRefused
from sync.settings import Settings
from sync.stores import AstraStore

pytest_plugins = ("support.fixtures",)
PLAIN, VECTORS = f"plain_{uuid4().hex[:8]}", f"vectors_{uuid4().hex[:8]}"


@contextmanager
def _double(new_place: NewPlace) -> Iterator[Settings]:
    with new_place() as place, data_api(place.cassandra.session) as double:
        yield settings_of(place.settings, double)


@pytest.fixture(scope="module", params=["double", "endpoint"])
def settings(request: pytest.FixtureRequest, new_place: NewPlace) -> Iterator[Settings]:
    opened = _double(new_place) if request.param == "double" else endpoint.keyspace(endpoint.given())
    with opened as found:
        api = open_api(found, 60)
        create_collection(api, found, PLAIN)
        with endpoint.vectors():
            create_collection(api, found, VECTORS, 3)
        try:
            yield found
        finally:
            api.database.drop_collection(PLAIN)
            api.database.drop_collection(VECTORS)


@pytest.fixture(scope="module")
def store(settings: Settings) -> Iterator[AstraStore]:
    with AstraStore(settings, 20) as opened:
        yield opened


IDS = [
    "a text", "é𝄞 \" \\ ' {\"$number\": 1}", uuid4(), ObjectId("507f191e810c19729de860ea"), 42, -7, 2**70, 1.5, 1e300, True,
    False, None, datetime(2020, 1, 2, 3, 4, 5, 6000, UTC),
]  # fmt: skip


@pytest.mark.parametrize("identifier", IDS, ids=[f"{type(i).__name__}-{n}" for n, i in enumerate(IDS)])
def test_ids_of_every_type(store: AstraStore, identifier: Any) -> None:
    """Would break: an _id is written as one type and looked up as another."""
    key = {"_id": identifier}
    assert store.put(PLAIN, {**key, "title": "one"})
    assert store.get(PLAIN, key) == {**key, "title": "one"}
    assert store.delete(PLAIN, key) is True
    assert store.get(PLAIN, key) is None
    assert store.delete(PLAIN, key) is True


def test_ids_that_look_alike_are_different_documents(store: AstraStore) -> None:
    """Would break: the number 1, the text "1" and true share one key."""
    for identifier in (1, "1", True, "true", None, "null"):
        store.put(PLAIN, {"_id": identifier, "is": repr(identifier)})
    for identifier in (1, "1", True, "true", None, "null"):
        assert (store.get(PLAIN, {"_id": identifier}) or {})["is"] == repr(identifier)
        store.delete(PLAIN, {"_id": identifier})


VALUES: list[Any] = [
    "héllo \U0001f3b5 \t\n\"\\ ", "", 0, -0.0, 1.5, 1e300, 5e-324, 2**63, 10**40, True, None, [], {}, [1, [2, {"a": None}]],
    {"a.b": 1, "a&b": 2, "ü": {"x y": [True]}}, UUID(int=1), datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999000, UTC), ObjectId("507f191e810c19729de860ea"),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=[str(n) for n in range(len(VALUES))])
def test_values_come_back_as_they_were(store: AstraStore, value: Any) -> None:
    """Would break: a document comes back different from what was stored."""
    key = {"_id": uuid4().hex}
    store.put(PLAIN, {**key, "value": value, "in": {"list": [value]}})
    found = store.get(PLAIN, key)
    assert found == {**key, "value": value, "in": {"list": [value]}}
    store.delete(PLAIN, key)


def test_a_put_replaces_the_whole_document(store: AstraStore) -> None:
    """Would break: fields of the old document stay."""
    key = {"_id": uuid4().hex}
    store.put(PLAIN, {**key, "title": "a", "year": 1, "in": {"x": 1}})
    store.put(PLAIN, {**key, "title": "b"})
    assert store.get(PLAIN, key) == {**key, "title": "b"}


def test_an_update_changes_what_it_names(store: AstraStore) -> None:
    """Would break: partial updates, nested ones, those of names with dots, and of a document that is absent."""
    key = {"_id": uuid4().hex}
    assert store.update(PLAIN, key, {"title": "a", "in.x": 1}) is True
    assert store.get(PLAIN, key) == {**key, "title": "a", "in": {"x": 1}}
    store.update(PLAIN, key, {"in.y": [1], "a&.b": 2, "title": None})
    assert store.get(PLAIN, key) == {**key, "title": None, "in": {"x": 1, "y": [1]}, "a.b": 2}


def test_an_identical_put_changes_nothing(store: AstraStore) -> None:
    """Would break: the store takes "nothing modified" for a failure."""
    row = {"_id": uuid4().hex, "title": "a"}
    assert [store.put(PLAIN, row) for _ in range(2)] == [True, True]
    assert store.get(PLAIN, {"_id": row["_id"]}) == row


@pytest.mark.slow
def test_many_documents_are_counted_page_by_page(store: AstraStore) -> None:
    """Would break: a count stops after the first page, or at 1,000, the most that the server counts."""
    before = store.count(PLAIN)
    rows = [{"_id": f"many-{n}", "n": n} for n in range(1005)]
    assert store.put_many(PLAIN, rows) is True
    assert store.count(PLAIN) == before + len(rows)
    for row in rows:
        store.delete(PLAIN, {"_id": row["_id"]})
    assert store.count(PLAIN) == before


def test_search_gives_documents_with_their_vectors(store: AstraStore, request: pytest.FixtureRequest) -> None:
    """Would break: `$vector` is left out, as it is unless asked for; or the similarity is among the document's own fields."""
    endpoint.need(request, endpoint.VECTORS)
    vectors = {"x": [1.0, 0.0, 0.0], "near": [0.75, 0.5, 0.0], "y": [0.0, 1.0, 0.0], "none": None}
    for name, vector in vectors.items():
        store.put(VECTORS, {"_id": name, **({"$vector": vector} if vector else {})})
    found = store.search(VECTORS, "$vector", [2.0, 0.0, 0.0], 10)
    assert [row["_id"] for row, _ in found] == ["x", "near", "y"]
    assert [row for row, _ in found] == [{"_id": n, "$vector": pytest.approx(vectors[n])} for n in ("x", "near", "y")]
    assert [score for _, score in found] == pytest.approx([1.0, 0.91602515, 0.5], abs=1e-6)
    assert len(store.search(VECTORS, "$vector", [1.0, 0.0, 0.0], 2)) == 2
    assert store.get(VECTORS, {"_id": "x"}) == {"_id": "x", "$vector": [1.0, 0.0, 0.0]}


def _bad_calls(store: AstraStore) -> dict[str, Any]:
    key = {"_id": "bad"}
    return {
        "_id": lambda: store.put(PLAIN, {"title": "a"}),
        "_id ": lambda: store.get(PLAIN, {}),
        "_id  ": lambda: store.delete(PLAIN, {}),
        "_id   ": lambda: store.update(PLAIN, {}, {"a": 1}),
        "_id    ": lambda: store.update(PLAIN, key, {"_id": "x"}),
        "title": lambda: store.get(PLAIN, {**key, "title": "a"}),
        "without columns": lambda: store.update(PLAIN, key, {}),
        r"\$odd": lambda: store.put(PLAIN, {**key, "$odd": 1}),
        "empty": lambda: store.put(PLAIN, {**key, "": 1}),
        "3": lambda: store.put(VECTORS, {**key, "$vector": [1.0]}),
        "vector ": lambda: store.search(PLAIN, "$vector", [1.0]),
        "vector  ": lambda: store.search(VECTORS, "title", [1.0, 2.0, 3.0]),
        "3 numbers": lambda: store.search(VECTORS, "$vector", [1.0]),
        "1,000": lambda: store.search(VECTORS, "$vector", [1.0, 2.0, 3.0], 1001),
        "8000": lambda: store.put(PLAIN, {**key, "text": "x" * 8001}),
        "JSON": lambda: store.put(PLAIN, {**key, "value": float("nan")}),
        "nowhere": lambda: store.put("nowhere", key),
        "_id     ": lambda: store.put(PLAIN, {"_id": [1]}),
    }


@pytest.mark.parametrize("name", list(_bad_calls(None)))  # type: ignore[arg-type]
def test_bad_calls_are_refused_by_name(store: AstraStore, name: str) -> None:
    """Would break: the caller gets a library's traceback, or half a write is made."""
    with pytest.raises((WriteRefused, QueryNotSupported), match=f"(?i){name.strip()}") as found:
        _bad_calls(store)[name]()
    assert "\n" not in str(found.value)
    assert store.get(PLAIN, {"_id": "bad"}) is None


def test_a_document_of_a_megabyte(store: AstraStore) -> None:
    """Would break: a limit of our own refuses what the server takes."""
    row = {"_id": "large", "parts": [{"text": "é" * 3500, "n": n} for n in range(150)]}
    store.put(PLAIN, row)
    assert store.get(PLAIN, {"_id": "large"}) == row
    store.delete(PLAIN, {"_id": "large"})


def test_a_document_above_the_servers_limit_is_refused(store: AstraStore) -> None:
    """Would break: "too large" is taken for an error to repeat for ever, or for an unsure write."""
    row = {"_id": "huge", "parts": [{"text": "x" * 7990, "n": n} for n in range(510)]}
    with pytest.raises(WriteRefused, match=r"(?i)size"):
        store.put(PLAIN, row)
    assert store.get(PLAIN, {"_id": "huge"}) is None


def test_many_documents_of_one_call_are_cut_into_requests(settings: Settings) -> None:
    """Would break: callers must themselves keep to the hundred documents that one request takes."""
    collection = open_api(settings, 30).database.get_collection(PLAIN)
    found = collection.insert_many([{"_id": f"cut-{n}"} for n in range(120)])
    assert len(found.inserted_ids) == 120
    for n in range(120):
        collection.delete_one({"_id": f"cut-{n}"})
