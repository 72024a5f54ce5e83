"""A managed Redis that forbids administrative commands: INFO, CLIENT LIST, KEYS, CONFIG, FLUSHALL."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
import redis
from support.places import NewPlace, Place

from sync import local

pytest_plugins = ("support.fixtures",)
USER = "narrow"


@pytest.fixture
def narrow(new_place: NewPlace, valkey: local.ValkeyServer) -> Iterator[Place]:
    with redis.Redis.from_url(valkey.url) as admin, new_place() as place:
        admin.execute_command("ACL", "SETUSER", USER, "on", ">narrow", "~rq:*", "&rq:*", "+@all", "-@admin", "-@dangerous")
        where = valkey.url.removeprefix("redis://").rpartition("@")[2]
        yield Place(place.cassandra, place.settings, place.commands.but(REDIS_URL=f"redis://{USER}:narrow@{where}"))
        admin.execute_command("ACL", "DELUSER", USER)


def test_a_queue_that_forbids_administration_will_do(narrow: Place) -> None:
    """Would break: INFO is asked for a version to print, and its refusal ends the command; or workers cannot start."""
    narrow.cql("CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text)")
    for _ in range(5):
        narrow.cql(f"INSERT INTO KS.songs (id, title) VALUES ({uuid4()}, 'a')")
    narrow.configure("schema_files = []")
    assert narrow.commands.run("schema", "apply").code == 0
    looked = narrow.commands.run("preflight")
    assert (looked.code, "queue: version unknown, Redis at" in looked.out) == (0, True), looked
    for command in (("backfill", "--workers", "1"), ("drift-report", "--workers", "1"), ("status",)):
        done = narrow.commands.run(*command)
        assert done.code == 0, done
    assert narrow.sql("SELECT count(*) FROM songs") == [(5,)]
