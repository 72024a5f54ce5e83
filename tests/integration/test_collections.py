"""Collections in the Data API's own layout become rows: all of a document, or chosen fields as columns; and the proof says so."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid1, uuid4

import hypothesis
import psycopg
import pytest
from astrapy import Collection, Database
from astrapy.exceptions import DataAPIResponseException
from astrapy.ids import ObjectId
from hypothesis import strategies as st
from support.commands import Done
from support.dataapi.server import DataApi, data_api, settings_of
from support.places import NewPlace, Place

from sync.adapters.astra.api import open_api
from sync.adapters.postgres.connection.connect import Connection, connect
from sync.core.encode.base import Reject
from sync.core.encode.documents import careful_json, document

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
NO_FILES = "schema_files = []\n"


@pytest.fixture
def place(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as made:
        made.configure(NO_FILES)
        yield made


@pytest.fixture
def double(place: Place) -> Iterator[DataApi]:
    with data_api(place.cassandra.session) as opened:
        yield opened


@pytest.fixture
def database(place: Place, double: DataApi) -> Database:
    return open_api(settings_of(place.settings, double), 30).database


@pytest.fixture
def docs(database: Database) -> Collection[Any]:
    vectors = {"vector": {"dimension": 3, "metric": "cosine"}}
    return database.create_collection("docs", definition=vectors)


def migrated(place: Place, code: int = 0) -> dict[str, Any]:
    done = place.commands.run("migrate", "--json", timeout=120)
    assert done.code == code, done
    return dict(done.json)


def checked(place: Place, code: int = 0) -> dict[str, Any]:
    done: Done = place.commands.run("drift-report", "--json", timeout=120)
    assert done.code == code, done
    return dict(done.json["tables"][0])


def rows(place: Place) -> dict[str, tuple[Any, Any]]:
    return {row[0]: row[1:] for row in place.sql("SELECT _id, doc, vector::text FROM docs")}


HARD: dict[str, Any] = {
    "dotted": {"a.b": 1, "a&b": {"c.d": 2}, "$x" [1:]: 4},
    "numbers": [0, -0.0, 1.5, 1e300, 5e-324, 2**70, 10**90, -7],
    "texts": ["", "héllo 𝄞", '"\\/\b\f\n\r\t\u001f\u007f\u2028', "$vector", '"$vector":[1]', "\\u0000"],
    "extended": [datetime(2020, 1, 2, 3, 4, 5, 6000, UTC), UUID(int=5), ObjectId("507f191e810c19729de860ea")],
    "nested": {"deep": [[[{"x": None}]], {}, [], True, False]},
}  # fmt: skip


def test_every_document_arrives_and_the_report_says_so(place: Place, docs: Collection[Any]) -> None:
    """Would break: a document is different in Postgres, two ids share a key, or a drift pass cannot read documents."""
    identifiers: list[Any] = [
        "text", "1", 1, 1.5, 100.0, 1e300, -7, 2**70, True, "true", None, "null", datetime(2020, 1, 1, tzinfo=UTC), UUID(int=7),
        ObjectId("507f191e810c19729de860ea"), '{"$number": 1}', '{"$text": "x"}', "é𝄞",
    ]  # fmt: skip
    for n, identifier in enumerate(identifiers):
        docs.insert_one({"_id": identifier, "n": n, **HARD, **({"$vector": [1.0, n, 0.1]} if n % 2 else {})})
    docs.insert_one({"_id": "large", "parts": [{"text": "é" * 3500, "n": n} for n in range(150)]})
    migrated(place)
    found = checked(place)
    assert found["rows"]["same"] == found["rows"]["source"] == found["rows"]["target"] == len(identifiers) + 1
    there = rows(place)
    assert {there[form][0]["n"]: form for form in there if form != "large"} == dict(enumerate([
        "text", "1", '{"$number": 1}', '{"$number": 1.5}', '{"$number": 1E+2}', '{"$number": 1E+300}', '{"$number": -7}',
        f'{{"$number": {2**70}}}', '{"$boolean": true}', "true", '{"$null": null}', "null", '{"$date": 1577836800000}',
        str(UUID(int=7)), "507f191e810c19729de860ea", '{"$text": "{\\"$number\\": 1}"}', '{"$text": "{\\"$text\\": \\"x\\"}"}', "é𝄞",
    ]))  # fmt: skip
    doc, vector = there["1"]
    assert vector == "[1,1,0.1]" and "$vector" not in doc
    assert doc["extended"] == [
        {"$date": 1577934245006},
        {"$uuid": str(UUID(int=5))},
        {"$objectId": "507f191e810c19729de860ea"},
    ]
    assert doc["texts"] == HARD["texts"] and doc["nested"] == HARD["nested"] and doc["dotted"] == HARD["dotted"]
    assert [Decimal(str(n)) for n in doc["numbers"]] == [Decimal(str(n)) for n in HARD["numbers"]]
    assert there[str(UUID(int=7))][0]["_id"] == {"$uuid": str(UUID(int=7))}, "the id's own type is in the document"


def insert_by_cql(place: Place, identifier: tuple[int, str], doc: str, vector: list[float] | None = None) -> None:
    """A row as the server writes it, whatever this project's double makes of a document."""
    text = f'INSERT INTO "{place.keyspace}".docs (key, tx_id, doc_json, query_vector_value) VALUES (?, ?, ?, ?) IF NOT EXISTS'
    place.cassandra.session.execute(place.cassandra.session.prepare(text), (identifier, uuid1(), doc, vector))


def test_both_forms_of_a_vector_and_java_numbers(place: Place, docs: Collection[Any]) -> None:
    """Would break: `$vector` in either form is left in the document; 1E+2 and 1.50 are hashed as they were written."""
    binary = base64.b64encode(struct.pack(">3f", 1, 2, 3)).decode()
    insert_by_cql(place, (1, "binary"), f'{{"_id":"binary","$vector":{{"$binary":"{binary}"}},"n":1E+2}}', [1, 2, 3])
    insert_by_cql(place, (1, "list"), '{"_id":"list","n":1.50,"$vector":[1,2.0,3E0],"m":-0.0}', [1, 2, 3])
    insert_by_cql(place, (1, "spaced"), '{ "_id" : "spaced", "$vector" : [ 1, 2, 3 ] , "b":1,"a":2, "aa":3 }', [1, 2, 3])
    insert_by_cql(place, (1, "named"), '{"_id":"named","in":{"$vector":[9]},"text":"\\"$vector\\":[1]"}')
    migrated(place)
    checked(place)
    ((texts),) = [place.sql("SELECT doc::text FROM docs WHERE _id IN ('binary', 'list', 'spaced', 'named') ORDER BY _id")]
    assert [row[0] for row in texts] == [
        '{"n": 100, "_id": "binary"}', '{"m": 0.0, "n": 1.50, "_id": "list"}',
        '{"in": {"$vector": [9]}, "_id": "named", "text": "\\"$vector\\":[1]"}', '{"a": 2, "b": 1, "aa": 3, "_id": "spaced"}',
    ]  # fmt: skip
    assert {row[0] for row in place.sql("SELECT vector::text FROM docs WHERE _id <> 'named'")} == {"[1,2,3]"}


def test_what_postgres_cannot_hold_is_recorded(place: Place, docs: Collection[Any]) -> None:
    """Would break: a document with U+0000, half a character or no JSON ends the backfill, or is silently dropped."""
    bad = {"nul": '"a\\u0000b"', "half": '"\\ud800"', "long": f"1e{10**6}", "none": "}"}
    for name, value in bad.items():
        insert_by_cql(place, (1, name), f'{{"_id":"{name}","value":{value}}}')
    insert_by_cql(place, (9, "strange"), '{"_id":"strange"}')
    insert_by_cql(place, (1, "good"), '{"_id":"good"}')
    migrated(place)
    done = place.commands.run("rejects", "--json")
    found = {str(r["key"]["key"]): (r["column"], r["reason"]) for r in done.json["rejects"]}
    assert {name: column for name, (column, _) in found.items()} == {
        **dict.fromkeys(bad, "doc_json"),
        next(k for k in found if k not in bad): "key",
    }
    assert [row[0] for row in place.sql("SELECT _id FROM docs")] == ["good"]
    place.configure(NO_FILES + '[collections.docs.on_reject]\ndoc = "strip-nul"\n')
    migrated(place)
    assert place.sql("SELECT doc->>'value' FROM docs WHERE _id = 'nul'") == [("ab",)]


def test_planted_differences_are_found_and_repaired(place: Place, docs: Collection[Any]) -> None:
    """Would break: drift and reconcile of documents, by key."""
    for n in range(40):
        docs.insert_one({"_id": n if n % 2 else f"t{n}", "n": n, "$vector": [n, 1, 2]})
    migrated(place)
    place.sql("UPDATE docs SET doc = doc || '{\"n\": 4.0}' WHERE _id = 't4'")
    place.sql("""DELETE FROM docs WHERE _id = '{"$number": 5}'""")
    place.sql("UPDATE docs SET vector = '[6,1,2.0000002]' WHERE _id = 't6'")
    place.sql("INSERT INTO docs (_id, doc) VALUES ('by hand', '{}')")
    found = checked(place, 2)
    assert sorted((f["kind"], f["key"]["key"], tuple(f["columns"])) for f in found["findings"]) == [
        ("different", "t4", ("doc_json",)), ("different", "t6", ("query_vector_value",)), ("extra", "by hand", ()),
        ("missing", '{"$number": 5}', ()),
    ]  # fmt: skip
    done = place.commands.run("drift-report", "--repair", "--json", timeout=120)
    assert done.code in (0, 2), done
    assert checked(place)["rows"]["same"] == 40


GUIDE = """
only = ["songs"]
[collections.songs]
id = "id"
document = "rest"
vector = "embedding"
[collections.songs.fields]
title = "text"
"meta.year" = { column = "year", type = "integer" }
"meta.length" = { column = "length", type = "double precision" }
added = "timestamptz"
owner = "uuid"
tags = "jsonb"
live = "boolean"
"a&.b" = { column = "dotted", type = "numeric" }
"""


def song(n: int) -> dict[str, Any]:
    return {
        "_id": str(UUID(int=n)), "title": f"Tune {n}", "meta": {"year": 1900 + n, "length": n / 8, "other": True},
        "added": datetime(2020, 1, 1, n, tzinfo=UTC), "owner": uuid4(), "tags": {"region": "é", "n": n}, "live": n % 2 == 0,
        "a.b": Decimal("0.10") if n == 1 else n, "more": {"x": [n]}, "$vector": [1.0, n, 0.5],
    }  # fmt: skip


def test_fields_become_columns_of_their_own(place: Place, database: Database) -> None:
    """Would break: a collection cannot become the table that an application wants."""
    songs: Collection[Any] = database.create_collection("songs", definition={"vector": {"dimension": 3, "metric": "cosine"}})
    made = [song(n) for n in range(1, 20)]
    for each in made:
        songs.insert_one({**each, "a.b": float(each["a.b"])})
    songs.insert_one({"_id": str(UUID(int=99)), "title": None, "meta": 5})
    place.configure(NO_FILES + GUIDE)
    place.sql(
        "CREATE EXTENSION vector", "CREATE TABLE songs (id uuid PRIMARY KEY, rest jsonb, embedding vector(3), title text)"
    )
    migrated(place)
    assert checked(place)["rows"]["same"] == 20
    found = place.sql(
        "SELECT title, year, length, added, owner, tags, live, dotted, rest, embedding::text FROM songs WHERE id = "
        f"'{UUID(int=3)}'"
    )
    three = made[2]
    assert found == [(
        "Tune 3", 1903, 0.375, three["added"], three["owner"], three["tags"], False, Decimal("3"),
        {"_id": three["_id"], "meta": {"other": True}, "more": {"x": [3]}}, "[1,3,0.5]",
    )]  # fmt: skip
    # A null stays in the document, and a value that is no object has no fields: both can be put back as they were.
    assert place.sql(f"SELECT title, year, rest FROM songs WHERE id = '{UUID(int=99)}'") == [
        (None, None, {"_id": str(UUID(int=99)), "title": None, "meta": 5})
    ]


def test_a_vector_in_a_collection_without_vectors_stays(place: Place, database: Database) -> None:
    """Would break: the API refuses to insert one there, but takes it in a replacement, and the copy loses it."""
    plain: Collection[Any] = database.create_collection("plain")
    with pytest.raises(DataAPIResponseException, match="VECTOR_SEARCH_NOT_SUPPORTED"):
        plain.insert_one({"_id": "new", "$vector": [1.0, 2.5]})
    plain.replace_one({"_id": "x"}, {"_id": "x", "$vector": [1.0, 2.5]}, upsert=True)
    migrated(place)
    assert place.sql("SELECT doc FROM plain") == [({"_id": "x", "$vector": {"$binary": "P4AAAEAgAAA="}},)]
    plain.replace_one({"_id": "x"}, {"_id": "x", "$vector": [1.0, 2.75]})
    assert checked(place, 2)["rows"]["different"] == 1


def test_a_field_of_another_form_is_recorded(place: Place, database: Database) -> None:
    """Would break: a text in a column of numbers is dropped, or stops the migration."""
    songs: Collection[Any] = database.create_collection("songs")
    songs.insert_one({"_id": str(UUID(int=1)), "meta": {"year": "unknown"}})
    songs.insert_one({"_id": "no uuid", "title": "x"})
    songs.insert_one({"_id": str(UUID(int=2)), "title": 5})
    songs.insert_one({"_id": str(UUID(int=3)), "title": "good"})
    place.configure(NO_FILES + GUIDE.replace('vector = "embedding"\n', ""))
    place.sql("CREATE TABLE songs (id uuid PRIMARY KEY, rest jsonb)")
    migrated(place)
    found = place.commands.run("rejects", "--json").json["rejects"]
    assert {(r["column"], r["reason"]) for r in found} == {
        ("meta.year", "a field that is not a whole number"), ("key", "an _id that is not a uuid in its usual form"),
        ("title", "a field that is not a string"),
    }  # fmt: skip
    assert place.sql("SELECT title FROM songs") == [("good",)]


def test_a_section_of_the_wrong_kind_is_an_error(place: Place, docs: Collection[Any]) -> None:
    """Would break: settings that have no effect are accepted."""
    place.cql("CREATE TABLE KS.plain (id uuid PRIMARY KEY, title text)")
    place.configure(NO_FILES + '[tables.docs]\ntarget = "other"\n[collections.plain]\nid = "x"\n')
    said = place.commands.rows()
    assert any("docs: sync.toml names it under [tables.docs]; it belongs under [collections.docs]" in line for line in said)
    assert any(
        "plain: sync.toml names it under [collections.plain]; it belongs under [tables.plain]" in line for line in said
    )
    place.configure(NO_FILES + '[collections.nowhere]\nid = "x"\n')
    assert any("nowhere" in line for line in place.commands.rows())


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(st.text(max_size=6) | st.just("$vector"), JSONS, max_size=6)
WRITTEN = [
    '{"a":[1.50,-0.0,1E+300,1E-7,1e5,0.1,100.0,-0,0e5,1.0E+2,5e-324,1.7976931348623157e308]}', '{"a":' + "9" * 5000 + "}",
    '{"a":1,"a":2}', "[1]", '{"a":"\\u2028\\u00ad<>&\\/"}', '{ "b" : 1.0 , "$vector" : [ 1 ], "aa":1,"a":2 }', '{"a":{"$vector":[1]}}',
    '{"$vector":[0.1,2],"x":{"$vector":{"$binary":"AA"}}}', '{"a":"\\\\u0000"}', "5", '"$vector"',
]  # fmt: skip
REFUSED = ['{"a":"x\\u0000y"}', '{"a":"\\ud800"}', '{"a":1e200000}', "nope", '{"a":NaN}', '{"a":1,}', ""]


def printed(connection: Connection, text: str) -> bytes:
    """Postgres's text of a document, without its vector."""
    row = connection.execute(
        "SELECT CASE WHEN jsonb_typeof(j) = 'object' THEN j - '$vector' ELSE j END::text FROM (SELECT %s::jsonb) AS t (j)",
        (text,),
    )
    return str((row.fetchone() or ("",))[0]).encode()


def test_a_document_is_what_jsonb_prints(place: Place) -> None:
    """Would break: hashes differ because of a number, an escape or an order of keys that nobody thought of."""
    with closing(connect(place.settings, autocommit=True)) as connection:
        encode = document(True)

        @hypothesis.settings(max_examples=400, deadline=None)
        @hypothesis.given(DOCUMENTS)
        def check(value: dict[str, Any]) -> None:
            text = json.dumps(value, ensure_ascii=len(value) % 2 == 0)
            hypothesis.assume("\\u0000" not in json.dumps(value) and not any("\ud800" <= c <= "\udfff" for c in text))
            assert encode(text.encode())[1:] == printed(connection, text) == careful_json(text.encode())

        check()
        for text in WRITTEN:
            assert encode(text.encode())[1:] == printed(connection, text), text
        for text in REFUSED:
            with pytest.raises(Reject):
                encode(text.encode())
            with pytest.raises(psycopg.Error):
                printed(connection, text)
