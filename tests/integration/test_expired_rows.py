"""`ttl = "keep"`: what expires in the source stays in the target, is counted as kept, and only a delete removes it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.backfills import NEVER, Site
from support.drift import drift, kinds, table_of
from support.running_commands import until

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.rows.cells import cells_of
from sync.adapters.postgres.backfill import ahead
from sync.adapters.postgres.drift.keys import TargetKeys
from sync.core.encode.rows import RowEncoder
from sync.core.mutations import pack_key
from sync.core.ring import WHOLE_RING
from sync.settings import Settings
from sync.stores import DualWriteStore
from sync.wiring.backfill.command import make_plan
from sync.wiring.drift.command import DriftRequest
from sync.wiring.dual_write.worker import drain_job

ROWS = "SELECT id, a, b FROM things ORDER BY id"
WHOLE = [(1, "a1", "b1"), (2, "a2", "b2"), (3, "a3", "b3"), (5, "a5", "b5")]
TOML = '\n[drift]\ngrace_seconds = 0.02\ntries = 3\n[tables.things]\nttl = "keep"'


@pytest.fixture
def site(settings: Settings, cassandra: Cassandra, tmp_path: Path) -> Iterator[Site]:
    """Four rows, copied whole; since then two of them and a column of a third have expired in the source."""
    opened = Site(settings, cassandra, tmp_path)
    opened.configure(more=TOML)
    opened.cql("CREATE TABLE {ks}.things (id int PRIMARY KEY, a text, b text) WITH default_time_to_live = 100000")
    row = "INSERT INTO {{ks}}.things (id, a, b) VALUES ({0}, 'a{0}', 'b{0}')"
    for i, *_ in WHOLE:
        opened.cql(row.format(i))
    opened.apply()
    opened.backfill()
    assert opened.sql(ROWS) == WHOLE
    for i in (2, 5):  # again, with a TTL: nothing of the first write is left
        opened.cql(row.format(i) + " USING TTL 1")
    opened.cql("UPDATE {ks}.things USING TTL 1 SET b = 'b3' WHERE id = 3")
    gone = "SELECT id, b FROM {ks}.things"
    until(lambda: sorted(map(tuple, opened.cql(gone))) == [(1, "b1"), (3, None)], what="the rows expire")
    yield opened
    opened.close()


def report_of(site: Site, **asked: Any) -> dict[str, Any]:
    return drift(site, ["things"], asked=DriftRequest(**asked), ranges=WHOLE_RING.split(2))


def test_what_expired_is_kept_and_no_finding(site: Site) -> None:
    """Would break: the proof of such a table is never green, and `--repair` deletes what was to be kept for good."""
    for repair in (False, True):
        report = report_of(site, repair=repair)
        table = table_of(report, "things")
        assert report["clean"] and table["findings"] == [] and not table["repaired"]
        rows = table["rows"]
        assert (rows["source"], rows["target"], rows["same"], rows["kept"], rows["extra"]) == (2, 4, 2, 2, 0)
        assert table["kept_columns"] == 1, "of the third row"
    assert site.sql(ROWS) == WHOLE


def test_what_nobody_copied_is_extra_and_a_lost_value_is_different(site: Site) -> None:
    """Would break: whatever differs in such a table is taken for expired."""
    site.sql("INSERT INTO things (id, a) VALUES (4, 'by hand')")
    site.sql("UPDATE things SET a = 'other' WHERE id = 1")
    site.sql("UPDATE things SET a = NULL WHERE id = 3")
    report = report_of(site)
    found = {kind: [key["id"] for key in keys] for kind, keys in kinds(table_of(report, "things")).items()}
    assert not report["clean"]
    assert found == {"extra": [4], "different": found["different"]} and sorted(found["different"]) == [1, 3]


def test_a_search_for_write_times_takes_nothing_away(site: Site) -> None:
    """Would break: a row that was written ahead of the clock, and has expired since, is deleted from the target."""
    (table,) = make_plan(site.settings, site.config, ["things"]).tables
    key = cells_of(table.source, RowEncoder(table, 0)).key({"id": 2})
    with closing(site.connect()) as connection:
        connection.autocommit = True
        ahead.note(connection, table, [(key, time.time_ns())])
        assert ahead.recheck(connection, ["things"]) == 1
    assert site.sql("SELECT source_key FROM sync.intent") == [(pack_key(key.cells),)]
    assert drain_job(site.settings, site.config, "things", NEVER) == 1
    assert site.sql(ROWS) == WHOLE


def look_again(site: Site, *ids: int) -> None:
    """Have keys reconciled, as after a copy or a comparison that found them different."""
    (table,) = make_plan(site.settings, site.config, ["things"]).tables
    encoder = RowEncoder(table, 0)
    cells = cells_of(table.source, encoder)
    with closing(site.connect()) as connection:
        TargetKeys(connection, table, encoder).request_recheck([cells.key({"id": i}) for i in ids])
    assert drain_job(site.settings, site.config, "things", NEVER) == len(ids)
    assert site.sql("SELECT count(*) FROM sync.intent") == [(0,)]


def test_a_reconcile_keeps_what_expired(site: Site) -> None:
    """Would break: a key that is only read again is deleted, or loses its column, since the source let it expire."""
    before = dict(site.sql("SELECT id, _sync_version FROM things"))
    site.cql("UPDATE {ks}.things SET a = 'new' WHERE id = 3")
    look_again(site, 1, 2, 3, 5)
    assert site.sql(ROWS) == [WHOLE[0], WHOLE[1], (3, "new", "b3"), WHOLE[3]]
    assert all(version > before[i] for i, version in site.sql("SELECT id, _sync_version FROM things")), "rule 1"
    site.backfill(["things"], WHOLE_RING.split(1))
    drain_job(site.settings, site.config, "things", NEVER)
    assert site.sql(ROWS) == [WHOLE[0], WHOLE[1], (3, "new", "b3"), WHOLE[3]], "nor does a second copy take anything away"
    assert report_of(site)["clean"]


def test_what_others_tell_of_a_row_that_expired_takes_nothing_away(site: Site) -> None:
    """Would break: a script fills a column of each row, or a follower is late, and what was to be kept for good is deleted."""
    with closing(site.connect()) as connection:
        for number, owner in ((5, "SQL"), (2, "follow a feed"), (2, "announce")):
            connection.execute(
                "INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner) SELECT 'things', "
                "%s, _sync_token, 'recheck', 'finished', _sync_version + length(%s), 1, %s FROM things WHERE id = %s",
                (b"\x00\x00\x00\x04" + number.to_bytes(4, "big"), owner, owner, number),
            )
    assert drain_job(site.settings, site.config, "things", NEVER) == 2
    assert site.sql(ROWS) == WHOLE


def test_a_delete_deletes(site: Site) -> None:
    """Would break: a row that the application deletes stays, since in the source it looks as if it had expired."""
    with closing(DualWriteStore(site.settings, site.config)) as store:
        assert store.delete("things", {"id": 2})
        assert site.sql("SELECT count(*) FROM things WHERE id = 2") == [(0,)]
    with closing(site.connect()) as connection:  # the same where workers do it
        connection.execute(
            "INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner) SELECT 'things', "
            "'\\x0000000400000005', _sync_token, 'delete', 'finished', _sync_version + 1, 1, 'a writer' FROM things WHERE id = 5"
        )
    assert drain_job(site.settings, site.config, "things", NEVER) == 1
    assert [i for i, *_ in site.sql(ROWS)] == [1, 3]


def test_the_last_write_of_a_row_that_expired_arrives(site: Site) -> None:
    """Would break: a row that expires before a worker writes it to the target stays there as it was before."""
    site.configure(more=TOML + '\n[dual_write]\nasync_secondary = ["things"]')
    with closing(DualWriteStore(site.settings, site.config)) as store:
        store.put("things", {"id": 2, "a": "last", "b": None})
    site.cql("DELETE FROM {ks}.things WHERE id = 2")  # as good as expired, and no intent says otherwise
    drain_job(site.settings, site.config, "things", NEVER)
    assert site.sql("SELECT a, b FROM things WHERE id = 2") == [("last", None)]


def test_migrate_keeps_and_says_equal(site: Site) -> None:
    """Would break: `sync migrate` of a table whose rows expire while it runs ends with exit code 2."""
    site.sql("UPDATE things SET b = NULL WHERE id = 3")
    done = site.run("migrate", "--workers", "1", "--json")
    assert done.code == 0, done.err
    (rows,) = [t["rows"] for t in json.loads(done.out)["verification"]["tables"]]
    assert (rows["kept"], rows["extra"]) == (2, 0)
