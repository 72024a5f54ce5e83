"""Nothing that is kept or shown of an error holds a row's values, which Postgres quotes in its further lines."""

from __future__ import annotations

import zlib
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from support.places import NewPlace, Place

pytest_plugins = ("support.fixtures",)
SECRET = "hunter2-private"


@pytest.fixture
def place(new_place: NewPlace) -> Iterator[Place]:
    """A place of the test's own, with a row in it."""
    with new_place() as made:
        made.configure("schema_files = []\n")
        made.cql(
            "CREATE TABLE KS.songs (id int PRIMARY KEY, title text)",
            f"INSERT INTO KS.songs (id, title) VALUES (1, '{SECRET}')",
        )
        assert made.commands.run("schema", "apply").code == 0
        yield made


def errors_in(client: redis.Redis) -> str:
    """The errors that RQ keeps, compressed, of failed jobs."""
    entries: list[Any] = [fields for key in client.scan_iter("rq:results:*") for _, fields in client.xrange(key)]
    return "".join(zlib.decompress(b64decode(e[b"exc_string"])).decode() for e in entries if b"exc_string" in e)


def test_an_unforeseen_error_keeps_no_value(place: Place) -> None:
    """Would break: `sync.run` and Redis hold a row's private values after a trigger failed, and `status` shows them."""
    place.sql(
        "CREATE FUNCTION strange() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a strange error' "
        "USING ERRCODE = 'XX000', DETAIL = 'Failing row contains (' || NEW.title || ')'; END $$; "
        "CREATE TRIGGER strange BEFORE INSERT ON songs FOR EACH ROW EXECUTE FUNCTION strange()"
    )
    done = place.commands.run("backfill", "--workers", "1", timeout=120)
    assert done.code == 1 and "a strange error" in done.out + done.err
    assert SECRET not in done.out + done.err
    kept = place.sql("SELECT coalesce(string_agg(to_jsonb(r)::text, ''), '') FROM sync.run r")[0][0]
    kept += place.sql("SELECT coalesce(string_agg(to_jsonb(r)::text, ''), '') FROM sync.range r")[0][0]
    assert "a strange error" in kept and SECRET not in kept
    with redis.Redis.from_url(place.commands.env["REDIS_URL"]) as client:
        found = errors_in(client)
    assert "a strange error" in found and SECRET not in found
