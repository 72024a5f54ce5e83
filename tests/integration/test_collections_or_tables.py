"""What is taken for a collection of the Data API, and what is a plain table whose columns only have the same names."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID, uuid1

import pytest
from support.dataapi.collections import Collections
from support.places import NewPlace, Place

pytest_plugins = ("support.fixtures",)
LAYOUT = "key frozen<tuple<tinyint, text>> PRIMARY KEY, tx_id timeuuid, doc_json text"
ONE, MOMENT = UUID(int=1), uuid1()


@pytest.fixture
def place(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as made:
        made.configure("schema_files = []\n")
        yield made


def migrated(place: Place) -> None:
    for command in ("schema apply", "backfill --workers 1", "drift-report --workers 1"):
        done = place.commands.run(*command.split(), timeout=120)
        assert done.code == 0, done


def test_a_table_with_a_collections_names_is_a_table(place: Place) -> None:
    """Its key is not a document's: every column is copied."""
    place.cql(
        "CREATE TABLE KS.ledger (key text PRIMARY KEY, tx_id uuid, doc_json text, amount decimal)",
        f"INSERT INTO KS.ledger (key, tx_id, doc_json, amount) VALUES ('k1', {ONE}, '{{\"a\":1}}', 9.99)",
    )
    migrated(place)
    assert place.sql("SELECT key, tx_id, doc_json, amount::text FROM ledger") == [("k1", ONE, '{"a":1}', "9.99")]


@pytest.mark.parametrize("name", ["amount", "query_amount_values", "query_text_values"])
def test_a_table_with_a_collections_types_and_more_is_a_table(place: Place, name: str) -> None:
    """A column that no collection has is the application's; so is one with a collection column's name and another type."""
    place.cql(
        f"CREATE TABLE KS.ledger ({LAYOUT}, {name} int)",
        f"INSERT INTO KS.ledger (key, tx_id, doc_json, {name}) VALUES ((1, 'k1'), {MOMENT}, '{{}}', 9)",
    )
    migrated(place)
    assert place.sql(f"SELECT tx_id, doc_json, {name} FROM ledger") == [(MOMENT, "{}", 9)]


def test_sync_toml_says_which(place: Place) -> None:
    """It can declare a collection that has more columns than the layout, and a table that has exactly the layout."""
    place.cql(
        f"CREATE TABLE KS.grown ({LAYOUT}, shiny int)",
        f"INSERT INTO KS.grown (key, tx_id, doc_json, shiny) VALUES ((1, 'k1'), {MOMENT}, '{{\"_id\":\"k1\"}}', 9)",
        f"CREATE TABLE KS.alike ({LAYOUT})",
        f"INSERT INTO KS.alike (key, tx_id, doc_json) VALUES ((1, 'k1'), {MOMENT}, 'no JSON at all')",
    )
    place.configure('schema_files = []\n[collections.grown]\ndocument = "body"\n[tables.alike]\ncollection = false\n')
    migrated(place)
    assert place.sql("SELECT _id, body FROM grown") == [("k1", {"_id": "k1"})]
    assert place.sql("SELECT tx_id, doc_json FROM alike") == [(MOMENT, "no JSON at all")]


def test_what_is_no_collection_cannot_be_said_to_be_one(place: Place) -> None:
    place.cql("CREATE TABLE KS.ledger (key text PRIMARY KEY, tx_id uuid, doc_json text)")
    place.configure("schema_files = []\n[collections.ledger]\n")
    found = place.commands.run("preflight").out
    assert "ledger: sync.toml names it under [collections.ledger]; it belongs under [tables.ledger]" in found


def test_the_servers_own_layout_is_a_collection(place: Place) -> None:
    """Every column that the server makes is known."""
    Collections(place.cassandra.session, place.keyspace).create({"name": "docs", "options": {}})
    found = place.commands.run("preflight").out
    assert '("_id" text, "doc" jsonb, PRIMARY KEY' in found
