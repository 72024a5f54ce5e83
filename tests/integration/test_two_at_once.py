"""Two commands at once, from two terminals: one does what only one can do, the other waits and says so; both end well."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.backfills import Site
from support.running_commands import until
from support.sources import make_corpus

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.postgres.schema import index_lease
from sync.settings import Settings

pytestmark = pytest.mark.slow

BUILDING = (
    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND datname = current_database()"
)


@pytest.fixture
def site(settings: Settings, cassandra: Cassandra, tmp_path: Path) -> Iterator[Site]:
    opened = Site(settings, cassandra, tmp_path)
    opened.configure(more="[drift]\ngrace_seconds = 0.05")
    make_corpus(opened, songs=200, notes=50)
    yield opened
    opened.close()


def test_two_backfills_build_each_index_once(site: Site) -> None:
    """Would break: both build the same index, wait for each other, and Postgres ends one with a deadlock."""
    site.sql("CREATE INDEX songs_year ON songs (year)")
    with closing(site.connect()) as holder:
        first = site.start("backfill", "--json", "--table", "songs", "--workers", "1")
        until(lambda: site.sql("SELECT 1 FROM sync.range WHERE state = 'running' OR state = 'done'"), what="it copies")
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE songs IN ROW EXCLUSIVE MODE")  # which a concurrent build waits for
        until(lambda: site.sql(BUILDING) == [(1,)], what="the first builds")
        second = site.start("backfill", "--json", "--table", "songs", "--workers", "1")
        until(lambda: "waiting" in second.err and "index" in second.err, what="the second says that it waits")
        assert site.sql(BUILDING) == [(1,)]
        holder.execute("COMMIT")
    for running in (first, second):
        result = running.wait(100)
        assert result.code == 0, result.err
    assert site.sql("SELECT count(*) FROM pg_index WHERE indrelid = 'songs'::regclass AND NOT indisvalid") == [(0,)]
    assert site.sql("SELECT count(*) FROM pg_index WHERE indrelid = 'songs'::regclass") == [(3,)]
    assert site.sql("SELECT count(*) FROM sync.index") == [(0,)]
    site.check_equal("songs")


@pytest.mark.parametrize("command", ["backfill", "drift-report"])
def test_a_start_while_an_index_is_built_holds_up_no_writer(site: Site, command: str) -> None:
    """Would break: it asks for a lock on the whole table, waits for the build's end, and every write waits behind it."""
    assert site.run("backfill", "--json", "--table", "songs", "--workers", "1").code == 0
    site.sql("CREATE INDEX songs_year ON songs (year)")
    with closing(site.connect()) as builder, closing(site.connect()) as writer:
        builder.execute("BEGIN")
        builder.execute(
            "LOCK TABLE songs IN SHARE UPDATE EXCLUSIVE MODE"
        )  # as a concurrent build does for as long as it takes
        running = site.start(command, "--json", "--table", "songs", "--workers", "1")
        until(lambda: site.sql("SELECT 1 FROM sync.range WHERE state = 'done'") or running.ended, what="it works")
        writer.execute("SET lock_timeout = '2s'")
        writer.execute("UPDATE songs SET year = year")
        until(
            lambda: site.sql("SELECT 1 FROM sync.run WHERE state = 'open'") == [] or running.ended,
            what="it has done its part",
        )
        builder.execute("COMMIT")
    result = running.wait(100)
    assert result.code == 0, result.err


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("schema", "apply"), ("schema", "apply")),
        (("drift-report", "--json", "--workers", "1"), ("drift-report", "--json", "--workers", "1")),
        (("backfill", "--json", "--workers", "1"), ("drift-report", "--json", "--workers", "1")),
    ],
)
def test_pairs_end_well(site: Site, one: tuple[str, ...], other: tuple[str, ...]) -> None:
    """Would break: one of two terminals shows a deadlock, a duplicate name or a traceback."""
    if one[0] == "drift-report":
        assert site.run("backfill", "--json", "--workers", "1").code == 0
    started = [site.start(*one), site.start(*other)]
    results = [running.wait(100) for running in started]
    for result in results:
        assert "Traceback" not in result.err
        assert "deadlock" not in result.err
    assert results[0].code == 0, results[0].err
    if one == other:
        assert results[1].code == 0, results[1].err
    if one == other and one[0] == "drift-report":
        first, second = (json.loads(result.out) for result in results)
        assert first["clean"] and second["clean"]


def test_a_builder_that_died_is_followed(site: Site) -> None:
    """Would break: the lease of a command that was killed keeps everybody else waiting for ever."""
    assert site.run("backfill", "--json", "--table", "songs", "--workers", "1").code == 0
    with closing(site.connect()) as connection:
        assert index_lease.claim(connection, "songs", "somebody", 0.5)
        assert not index_lease.claim(connection, "songs", "another", 30)
        until(lambda: index_lease.claim(connection, "songs", "another", 30), what="the lease ends")
        assert not index_lease.claim(connection, "songs", "somebody", 30)
        index_lease.release(connection, "songs", "another")
        assert index_lease.claim(connection, "songs", "somebody", 30)
