"""Indexes of a table that is being filled: dropped for the load, all valid after it, even after an interrupted build."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from support.backfills import Site
from support.running_commands import until

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.settings import Settings

TARGET = (
    "CREATE EXTENSION vector",
    "CREATE TABLE tunes (id uuid PRIMARY KEY, title text, code text UNIQUE, tags jsonb, feel vector(3))",
    "CREATE INDEX tunes_feel ON tunes USING hnsw (feel vector_cosine_ops) WITH (m = 8)",
    "CREATE INDEX tunes_tags ON tunes USING gin (tags)",
    'CREATE INDEX "Tunes by title" ON tunes (lower(title) DESC) WHERE title IS NOT NULL',
)
INDEXES = (
    "SELECT i.relname, pg_get_indexdef(i.oid), x.indisvalid FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid "
    "WHERE x.indrelid = 'tunes'::regclass ORDER BY 1"
)
REMOVED = {"tunes_feel", "tunes_tags", "Tunes by title"}
BUILDING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'CREATE INDEX CONCURRENTLY%'"


@pytest.fixture
def site(settings: Settings, cassandra: Cassandra, tmp_path: Path) -> Iterator[Site]:
    """300 tunes in the source, an empty target with indexes of several kinds."""
    opened = Site(settings, cassandra, tmp_path)
    opened.cql(
        "CREATE TABLE {ks}.tunes (id uuid PRIMARY KEY, title text, code text, tags map<text, text>, feel vector<float, 3>)"
    )
    rows = ((UUID(int=i), f"tune {i}", f"c{i}", {"a": "b"}, [1.0, float(i), 2.0]) for i in range(300))
    opened.fill("INSERT INTO {ks}.tunes (id, title, code, tags, feel) VALUES (?, ?, ?, ?, ?)", rows)
    opened.apply(*TARGET)
    yield opened
    opened.close()


def _defined(site: Site) -> dict[str, str]:
    """Name and definition of each index; all are valid."""
    found = site.sql(INDEXES)
    assert all(valid for *_, valid in found)
    return {name: definition for name, definition, _ in found if not name.startswith("_sync")}


def test_indexes_of_an_empty_table_are_built_after_the_load_and_those_of_a_filled_one_stay(site: Site) -> None:
    """Would break: rows go one by one into an HNSW graph; afterwards an index is missing, invalid, or a different one.

    And a second backfill slows down the searches of a target that is already in use.
    """
    before = _defined(site)
    running = site.start("backfill", "--json", "--workers", "1", failpoints="backfill.encoded=sleep:0.05")
    until(lambda: site.sql("SELECT 1 FROM sync.range WHERE state = 'done'"), what="the load is under way")
    assert before.keys() - _defined(site).keys() == REMOVED
    result = running.wait()
    assert result.code == 0, result.err
    assert "will be built after the load" in result.err
    assert _defined(site) == before
    assert any(name.startswith("_sync_token") for name, *_ in site.sql(INDEXES))
    assert site.sql("SELECT count(*) FROM sync.index") == [(0,)]
    site.check_equal("tunes")
    oids = site.sql("SELECT indexrelid FROM pg_index WHERE indrelid = 'tunes'::regclass ORDER BY 1")
    again = site.run("backfill", "--json", "--workers", "1")
    assert again.code == 0, again.err
    assert "will be built" not in again.err
    assert site.sql("SELECT indexrelid FROM pg_index WHERE indrelid = 'tunes'::regclass ORDER BY 1") == oids


@contextmanager
def _builds_wait(site: Site) -> Iterator[None]:
    """A transaction that wrote the table: a concurrent build waits for its end."""
    with closing(site.connect()) as writer:
        writer.execute("BEGIN")
        writer.execute("LOCK TABLE tunes IN ROW EXCLUSIVE MODE")
        yield
        writer.execute("ROLLBACK")


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_build_is_taken_up_without_copying_again(site: Site, sign: signal.Signals) -> None:
    """Would break: an invalid index stays for ever; everything is copied again; the dead command's build blocks the next."""
    before = _defined(site)
    running = site.start("backfill", "--json", "--workers", "1", failpoints="backfill.encoded=sleep:0.02")
    until(lambda: site.sql("SELECT 1 FROM sync.range WHERE state = 'done'"), what="the load is under way")
    with _builds_wait(site):
        until(lambda: site.sql(BUILDING), what="a build waits")
        os.kill(running.pid, sign)
        if sign == signal.SIGINT:
            result = running.wait(30)
            assert (result.code, "Traceback" in result.err) == (130, False)
            assert "Resume with: sync backfill" in result.err
        until(lambda: not site.sql(BUILDING), what="the build ends with its command")
        assert not all(valid for *_, valid in site.sql(INDEXES)), "the build left its index behind"
    copied = site.sql("SELECT id, rows_read, finished_at FROM sync.range ORDER BY id")
    again = site.run("backfill", "--json", "--workers", "1")
    assert again.code == 0, again.err
    assert site.sql("SELECT id, rows_read, finished_at FROM sync.range ORDER BY id") == copied
    assert _defined(site) == before
    assert site.sql("SELECT count(*), (SELECT state FROM sync.run) FROM sync.index") == [(0, "done")]


SLOW = (
    "CREATE FUNCTION slow(vector) RETURNS vector(3) IMMUTABLE PARALLEL SAFE LANGUAGE plpgsql "
    "AS $$ BEGIN PERFORM pg_sleep(0.01); RETURN $1; END $$",
    "CREATE INDEX tunes_slow ON tunes USING hnsw ((slow(feel)::vector(3)) vector_cosine_ops)",
)


def test_an_index_on_vectors_is_built_in_parallel_however_few_pages_its_table_has(site: Site) -> None:
    """Would break: vectors of more than 2 kB lie beside the table, and one process builds the index of 100,000 of them."""
    site.apply(*SLOW)
    running = site.start("backfill", "--json", "--workers", "1")
    parallel = (
        "SELECT 1 FROM pg_stat_activity JOIN pg_stat_progress_create_index AS p ON p.pid = leader_pid "
        "WHERE backend_type = 'parallel worker' AND index_relid = to_regclass('tunes_slow')"
    )
    until(lambda: site.sql(parallel), what="another process builds, too")
    assert running.wait().code == 0


def test_an_index_is_built_by_one_process_where_there_is_no_room_for_what_several_share(site: Site) -> None:
    """Would break: a container's /dev/shm of 64 MB is enough for the load, and no run ever comes to its end."""
    before = _defined(site)
    too_much = shutil.disk_usage("/dev/shm").total // 2**20 + 64  # MB; no more: some servers would write it to the disk
    statement = f"format('ALTER DATABASE %I SET maintenance_work_mem = %L', current_database(), '{too_much}MB')"
    site.sql(f"DO $$ BEGIN EXECUTE {statement}; END $$")
    result = site.run("backfill", "--json", "--workers", "1")
    assert result.code == 0, result.err
    assert _defined(site) == before


def test_an_index_that_cannot_be_built_is_said_in_one_line(site: Site) -> None:
    """Would break: a traceback after hours of copying, or a run that counts as done without its index."""
    site.sql("CREATE FUNCTION picky(text) RETURNS int IMMUTABLE LANGUAGE sql AS $$ SELECT $1::int $$")
    site.sql("CREATE INDEX tunes_picky ON tunes (picky(title))")
    for _ in range(2):
        result = site.run("backfill", "--json", "--workers", "1")
        assert result.code == 1
        assert "tunes_picky could not be built: invalid input syntax" in result.err.splitlines()[-1]
        assert "Traceback" not in result.err
    site.sql("CREATE OR REPLACE FUNCTION picky(text) RETURNS int IMMUTABLE LANGUAGE sql AS $$ SELECT length($1) $$")
    assert site.run("backfill", "--workers", "1").code == 0
    assert _defined(site).keys() > {*REMOVED, "tunes_picky"}
