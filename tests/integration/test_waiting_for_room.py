"""A server that is temporarily unavailable is waited for: the status shows its error, no range fails, the command goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.backfills import Site
from support.running_commands import until
from support.sources import make_corpus

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.settings import Settings

WORDS = "could not extend file: No space left on device"
FULL = f"""
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '{WORDS}' USING ERRCODE = '%s'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON songs EXECUTE FUNCTION full_disk();
"""


@pytest.fixture
def site(settings: Settings, cassandra: Cassandra, tmp_path: Path) -> Iterator[Site]:
    opened = Site(settings, cassandra, tmp_path)
    make_corpus(opened, songs=200, notes=20)
    yield opened
    opened.close()


@pytest.mark.parametrize("state", ["53100", "25006"])
def test_a_target_without_room_is_waited_for(site: Site, state: str) -> None:
    """Would break: "its worker died 8 times: out of memory?" after eight minutes, and no error in `sync status` meanwhile."""
    site.sql(FULL % state)
    running = site.start("backfill", "--json", "--table", "songs", "--workers", "1")
    until(lambda: WORDS in running.err, what="its words on stderr")
    until(lambda: WORDS in site.run("status", "--json").out, what="its words in the status")
    assert not running.ended
    ((attempts,),) = site.sql("SELECT max(attempts) FROM sync.range")
    assert attempts <= 1, "to wait is no attempt"
    site.sql("DROP TRIGGER full_disk ON songs")
    result = running.wait(100)
    assert result.code == 0, result.err
    assert "Traceback" not in result.err
    assert json.loads(result.out)["tables"][0]["ranges_failed"] == 0
    site.check_done()
    site.check_equal("songs")
