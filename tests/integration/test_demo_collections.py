"""`sync demo --source collections`: against the double, and without a Data API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.dataapi.server import data_api
from support.places import NewPlace, Place

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow


@pytest.fixture
def place(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as made:
        yield made


def test_the_demo_of_collections(place: Place) -> None:
    """Would break: the demo fails, leaves its collections behind, or writes into somebody's own table."""
    with data_api(place.cassandra.session) as double:
        commands = place.commands.but(ASTRA_DB_API_ENDPOINT=double.endpoint)
        done = commands.fresh("demo", "--source", "collections", "--limit", "60", "--json", timeout=240)
        assert done.code == 0, done
        assert done.json["ok"] is True
        assert done.json["compared"] == done.json["documents"] > 180
        assert done.json["found"][0]["data_api"] == pytest.approx(1)
        assert place.cql("SELECT table_name FROM system_schema.tables WHERE keyspace_name = '" + place.keyspace + "'") == []
        place.cql("CREATE TABLE KS.songs (id uuid PRIMARY KEY)")
        done = commands.fresh("demo", "--source", "collections", "--limit", "60", timeout=240)
        assert done.code == 1
        assert "has songs already" in done.err


def test_without_a_data_api_it_says_what_is_missing(place: Place) -> None:
    """Would break: a demo that ends in a library's traceback, or starts servers for nothing."""
    said = place.commands.line("demo", "--source", "collections")
    assert "ASTRA_DB_API_ENDPOINT is not set" in said and "docs/data-api.md" in said
    without_cql = place.commands.but(ASTRA_DB_API_ENDPOINT="http://127.0.0.1:9", CASSANDRA_CONTACT_POINTS=None)
    assert "CASSANDRA_CONTACT_POINTS" in without_cql.line("demo", "--source", "collections")
