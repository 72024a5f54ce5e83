"""A really full disk under Postgres: what waits says why at once, goes on by itself when there is room, and loses nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr
from support.backfills import Site
from support.running_commands import until
from support.small_disk import SmallDisk, need_small_disk

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.postgres.connection.connect import connect
from sync.errors import WriteRefused
from sync.settings import Settings
from sync.stores import DualWriteStore
from sync.wiring.dual_write.worker import drain_job

pytestmark = pytest.mark.slow

WORDS = "No space left on device"
MB = 1 << 20
ROWS = 600
SOME = "SELECT 1 FROM sync.range JOIN sync.run ON run.id = run_id AND run.state = 'open' WHERE range.state = 'done' OFFSET 3"
BUILDING = (
    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND datname = current_database()"
)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    need_small_disk()
    server = SmallDisk(tmp_path_factory.mktemp("small"), 64 * MB)
    server.start()
    yield server
    server.remove()


@pytest.fixture
def site(disk: SmallDisk, settings: Settings, cassandra: Cassandra, tmp_path: Path) -> Iterator[Site]:
    """A table of vectors and long texts, none copied yet."""
    name = f"d_{uuid4().hex[:12]}"
    disk.create_small(name)
    there = {"postgres_port": disk.port, "postgres_password": SecretStr(disk.password), "postgres_database": name}
    opened = Site(settings.model_copy(update=there), cassandra, tmp_path)
    there_too = opened.settings.model_copy(update={"postgres_database": "postgres"})
    opened.configure("lease_seconds = 5\nmin_ranges = 24\nstreams = 1", "[drift]\ngrace_seconds = 0.05")
    opened.cql("CREATE TABLE {ks}.songs (id uuid PRIMARY KEY, words text, meaning vector<float, 8>)")
    rows = ((uuid4(), str(i) * 900, [float(i), 1, 2, 3, 4, 5, 6, 7]) for i in range(ROWS))
    opened.fill("INSERT INTO {ks}.songs (id, words, meaning) VALUES (?, ?, ?)", rows)
    opened.apply()
    yield opened
    opened.close()
    with closing(connect(there_too, autocommit=True)) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_what_has_no_room_says_so_at_once_and_goes_on_by_itself(site: Site, disk: SmallDisk) -> None:
    """Would break: a command ends, fails ranges, or does not say why it stands still, since there is no room to store it."""
    slowly = "backfill.read=sleep:0.1,drift.read=sleep:0.1"
    for command in ("backfill", "drift-report"):
        with disk.full():
            running = site.start(command, "--json", "--workers", "1", failpoints=slowly)
            until(lambda: WORDS in running.err, what="it cannot begin, and says why")  # noqa: B023
            assert site.sql("SELECT count(*) FROM sync.run WHERE state = 'open'") == [(0,)]
        until(lambda: site.sql(SOME), what="some ranges")
        site.sql("VACUUM FULL sync.range")  # no page of it has room for another version of a row
        said = len(running.err)
        with disk.full():
            until(lambda: WORDS in running.err[said:], what="its words on stderr")  # noqa: B023
            until(lambda: WORDS in site.run("status").out, what="its words in the status")
            assert not running.ended
        result = running.wait(60)
        assert (result.code, "Traceback" in result.err) == (0, False), result.err
        if command == "backfill":
            assert result.tables["songs"]["ranges_failed"] == 0
            site.check_done()
            site.check_equal("songs")
    assert json.loads(result.out)["tables"][0]["rows"]["same"] == ROWS


def test_an_index_without_room_is_said_and_takes_none(site: Site, disk: SmallDisk) -> None:
    """Would break: the user must guess what to do; or a half-built index takes the last room from the application."""
    site.sql("CREATE INDEX songs_words ON songs (words)")
    site.sql("CREATE INDEX songs_meaning ON songs USING hnsw (meaning vector_l2_ops)")
    with closing(site.connect()) as holder:
        running = site.start("backfill", "--json", "--workers", "1")
        until(lambda: site.sql("SELECT 1 FROM sync.range WHERE state = 'done'"), what="it copies")
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE songs IN ROW EXCLUSIVE MODE")  # which a concurrent build waits for
        until(lambda: site.sql(BUILDING) == [(1,)], what="it builds")
        with disk.full():
            holder.execute("COMMIT")
            result = running.wait(60)
            assert result.code == 1
            last = result.err.splitlines()[-1]
            assert last.startswith("sync backfill: index ") and WORDS in last and "make room and run it again" in last
            assert site.sql("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]
    again = site.run("backfill", "--json", "--workers", "1")
    assert again.code == 0, again.err
    assert again.tables["songs"]["rows_read"] == ROWS, "what was copied was copied once"
    assert site.sql("SELECT count(*) FROM sync.index") == [(0,)]
    assert site.sql("SELECT count(*) FROM pg_index WHERE indrelid = 'songs'::regclass AND indisvalid") == [(4,)]
    site.check_equal("songs")


@pytest.mark.parametrize("away", ["refuse", "accept"])
def test_an_application_writes_and_reads_as_configured(site: Site, disk: SmallDisk, away: str) -> None:
    """Would break: it stands still while the secondary is full; or a write made meanwhile ends up on one side only."""
    assert site.run("backfill", "--json", "--workers", "1").code == 0
    site.configure("min_ranges = 32", f'[dual_write]\non_postgres_down = "{away}"\nheartbeat_seconds = 0.3\nconnections = 2')
    keys = [{"id": uuid4()} for _ in range(200)]
    with DualWriteStore(site.settings, site.config) as store:
        before = {"id": uuid4(), "words": "before", "meaning": None}
        assert store.put("songs", before)
        with disk.full():
            refused = ""
            for i, key in enumerate(keys):
                try:
                    assert store.put("songs", {**key, "words": str(i) * 8000})
                except WriteRefused as error:
                    refused = str(error)
                    break
                if store._registration.write_behind.unrecorded_count:
                    break
            assert store.get("songs", {"id": before["id"]}) == before
            assert (store.get("songs", key) is None) == bool(refused) == (away == "refuse")
            if refused:
                assert refused.startswith("songs: the journal in Postgres is unreachable (") and refused.endswith(
                    "nothing was written"
                )
                assert WORDS in refused
        until(lambda: store._registration.write_behind.unrecorded_count == 0, what="it is recorded")
        until(lambda: works(store), what="writes go on")
    drain_job(site.settings, site.config, "songs", lambda: False)
    assert site.sql("SELECT count(*) FROM sync.intent") == [(0,)]
    report = site.run("drift-report", "--json", "--workers", "1")
    assert report.code == 0, report.out


def works(store: DualWriteStore) -> bool:
    try:
        return store.put("songs", {"id": uuid4(), "words": "again"})
    except WriteRefused:
        return False
