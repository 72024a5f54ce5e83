"""No search path decides which table is meant: not the role's, not the database's, not a pooler's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from support.places import NewPlace, Place

from sync.adapters.postgres.connection.connect import connection_string
from sync.adapters.postgres.schema.catalogue import read_target
from sync.stores.one_side.postgres import PostgresStore

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow


@pytest.fixture
def place(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as made:
        made.configure("schema_files = []\n")
        made.cql("CREATE TABLE KS.metadata (id int PRIMARY KEY, v text)", "INSERT INTO KS.metadata (id, v) VALUES (1, 'a')")
        yield made


def run(place: Place, command: str) -> str:
    found = place.commands.run(*command.split(), timeout=120)
    assert found.code == 0, found
    return found.out


def homes(place: Place) -> list[tuple[str]]:
    return place.sql("SELECT schemaname::text FROM pg_tables WHERE tablename = 'metadata' ORDER BY 1")


@pytest.mark.parametrize("path", ["sync, public", "evil, public", "evil", "public, pg_temp, evil"])
def test_a_path_with_something_in_front(place: Place, path: str) -> None:
    """Would break: rows land in the schema that `sync finish` drops, or in a table that happens to be found first."""
    place.sql(
        "CREATE SCHEMA evil", "CREATE TABLE evil.metadata (id int PRIMARY KEY, v text)", "CREATE TABLE evil.intent (id int)",
        "CREATE TABLE public.sync_stage_metadata (id int)", "CREATE FUNCTION evil.md5(text) RETURNS text AS 'SELECT ''x''' LANGUAGE sql",
        f'ALTER DATABASE "{place.keyspace}" SET search_path = {path}',
    )  # fmt: skip
    run(place, "schema apply")
    assert homes(place) == [("evil",), ("public",)]
    run(place, "migrate")
    run(place, "migrate")  # through the stage
    assert place.sql("SELECT v FROM public.metadata") == [("a",)]
    assert place.sql("SELECT count(*) FROM evil.metadata") == [(0,)]
    run(place, "drift-report --workers 1")
    with PostgresStore(place.settings) as store:
        store.put("metadata", {"id": 2, "v": "b"})
        assert store.get("metadata", {"id": 2}) == {"id": 2, "v": "b"}
    assert place.sql("SELECT count(*) FROM public.metadata") == [(2,)]


def test_a_role_named_like_the_states_schema_through_a_pooler(place: Place) -> None:
    """Its search path begins with its own schema, and through a pooler no session can change that."""
    run(place, "migrate")
    place.sql("CREATE TABLE sync.metadata (id int PRIMARY KEY)")
    with closing(psycopg.connect(connection_string(place.settings), autocommit=True)) as connection:
        assert connection.execute("SELECT current_user::text, to_regclass('metadata')::text").fetchone() == (
            "sync",
            "metadata",
        )
        found = read_target(connection, "metadata")
    assert found is not None
    assert (found.schema, [c.name for c in found.columns]) == ("public", ["id", "v"])


def test_what_the_application_would_find_is_said(place: Place) -> None:
    run(place, "migrate")
    place.sql(
        "CREATE SCHEMA app", "CREATE TABLE app.metadata (id int)",
        f'ALTER DATABASE "{place.keyspace}" SET search_path = app, public',
    )  # fmt: skip
    assert "the search path finds app.metadata before public.metadata" in run(place, "preflight")
