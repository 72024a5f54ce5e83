"""`ttl = "expire"`: rows expire in the target as they do in the source, and the two sides are compared with that in mind."""

from __future__ import annotations

import time

import pytest
from support.backfills import NEVER, Site
from support.drift import kinds, table_of
from support.expiring import TOML, report_of
from support.running_commands import until

from sync.core.ring import WHOLE_RING
from sync.wiring.dual_write.worker import drain_job

pytest_plugins = ("support.fixtures", "support.expiring")
pytestmark = pytest.mark.slow
MOMENTS = "SELECT id, extract(epoch FROM expires_at)::float8 FROM things ORDER BY id"


def put(site: Site, i: int, ttl: int = 0) -> float:
    """Write a row to the source alone; the moment at which it expires."""
    site.cql(f"INSERT INTO {{ks}}.things (id, part, a, tags) VALUES ({i}, 0, 'a{i}', ['x', 'y']) USING TTL {ttl}")
    return time.time() + ttl


def is_about(moment: float | None, expected: float) -> bool:
    return moment is not None and abs(moment - expected) <= 3


def test_a_copy_brings_the_moment_at_which_each_row_expires(site: Site) -> None:
    """Would break: rows that the source lets go stay in Postgres, or go there at another moment."""
    put(site, 1)
    long, short = put(site, 2, 1000), put(site, 3, 60)
    site.backfill()
    (_, never), (_, second), (_, third) = site.sql(MOMENTS)
    assert never is None and is_about(second, long) and is_about(third, short)
    report = report_of(site)
    assert report["clean"] and table_of(report, "things")["rows"]["same"] == 3


def test_a_row_whose_cells_expire_apart_is_a_reject_and_says_so(site: Site) -> None:
    """Would break: a row of Postgres lives too long, or loses values that Cassandra still has."""
    for i in range(1, 5):
        put(site, i, 1000)
    where = "WHERE id = {} AND part = 0"
    site.cql("UPDATE {ks}.things USING TTL 5000 SET a = 'later' " + where.format(1))
    site.cql("UPDATE {ks}.things USING TTL 9000 SET tags = tags + ['z'] " + where.format(2))
    site.cql("UPDATE {ks}.things USING TTL 0 SET a = 'for good' " + where.format(3))
    site.cql("INSERT INTO {ks}.things (id, part) VALUES (5, 0) USING TTL 1000")
    assert site.backfill()["things"].rows_rejected == 4
    reasons = [why for (why,) in site.sql("SELECT reason FROM sync.reject")]
    assert sum("expire at different times" in why for why in reasons) == 3
    assert sum("does not report when" in why for why in reasons) == 1
    rows = table_of(report_of(site), "things")["rows"]
    assert (rows["same"], rows["rejected"], rows["missing"]) == (1, 4, 0)


def test_another_moment_is_a_finding_and_is_repaired(site: Site) -> None:
    """Would break: what expires in one store alone is called equal."""
    for i, ttl in ((1, 1000), (2, 1000), (3, 0), (4, 1000), (5, 0)):
        put(site, i, ttl)
    site.backfill()
    site.sql("UPDATE things SET expires_at = expires_at + interval '2 seconds' WHERE id = 1")
    site.sql("UPDATE things SET expires_at = expires_at + interval '20 seconds' WHERE id = 2")
    site.sql("UPDATE things SET expires_at = now() + interval '1 hour' WHERE id = 3")
    site.sql("UPDATE things SET expires_at = NULL WHERE id = 4")
    site.sql("UPDATE things SET expires_at = now() - interval '1 hour' WHERE id = 5")
    table = table_of(report_of(site), "things")
    found = {kind: sorted(key["id"] for key in keys) for kind, keys in kinds(table).items()}
    assert found == {"different": [2, 3, 4], "missing": [5]}
    assert {column for each in table["findings"] for column in each["columns"]} == {"ttl()"}
    assert not report_of(site, repair=True)["clean"]
    assert report_of(site)["clean"]
    assert [moment is None for _, moment in site.sql(MOMENTS)] == [False, False, True, False, True]


def test_a_row_that_is_about_to_expire_is_no_finding(site: Site) -> None:
    """Would break: one side lets a row go a moment earlier than the other, and a repair writes it once more."""
    put(site, 1, 6)
    put(site, 2)
    site.backfill()
    site.sql("UPDATE things SET expires_at = expires_at + interval '4 seconds' WHERE id = 1")
    until(lambda: len(site.cql("SELECT id FROM {ks}.things")) == 1, what="the source lets it go")
    assert site.sql("SELECT count(*) FROM things WHERE expires_at IS NULL OR expires_at > now()") == [(2,)]
    report = report_of(site)
    assert report["clean"] and table_of(report, "things")["rows"]["source"] == 1


def test_what_expires_between_two_looks_is_no_finding(site: Site) -> None:
    """Would break: each pass over a busy table finds rows that one side has just let go."""
    for i in range(40):
        put(site, i, 4 + i % 8)
    site.backfill()
    assert site.sql("SELECT count(*) > 10 FROM things") == [(True,)]
    while site.cql("SELECT id FROM {ks}.things"):
        assert report_of(site)["clean"]
    assert report_of(site)["clean"]
    assert site.sql("SELECT count(*) > 10 FROM things") == [(True,)], "nobody has deleted them yet"


def test_a_reconcile_and_a_second_copy_bring_the_new_moment(site: Site) -> None:
    """Would break: a row that was written again with another TTL keeps the old one in Postgres."""
    put(site, 1, 1000)
    put(site, 2)
    site.backfill()
    first, second = put(site, 1, 5000), put(site, 2, 3000)
    site.backfill(["things"], WHOLE_RING.split(1))
    assert drain_job(site.settings, site.config, "things", NEVER) == 2
    assert all(is_about(found, at) for (_, found), at in zip(site.sql(MOMENTS), (first, second), strict=True))
    site.backfill(["things"], WHOLE_RING.split(1))
    assert site.sql("SELECT count(*) FROM sync.intent") == [(0,)], "a second of difference is no reason to read a row again"


def test_migrate_and_preflight_know_of_it(site: Site) -> None:
    """Would break: `sync migrate` calls rows that expire meanwhile different; or a target without the column is written."""
    for i in range(20):
        put(site, i, 3 + i)
    done = site.run("migrate", "--workers", "1", "--json")
    assert done.code == 0, done.err
    site.sql("COMMENT ON COLUMN things.expires_at IS NULL")
    assert "is not marked as the moment at which a row expires: `sync schema apply`" in site.run("preflight").out
    site.sql("ALTER TABLE things DROP COLUMN expires_at")
    assert "when a row expires has no column expires_at in Postgres" in site.run("preflight").out
    site.configure()
    assert 'set ttl = "expire" under [tables.things] in sync.toml' in site.run("preflight").out
    site.configure(more=TOML)
    site.apply()
    assert site.sql("SELECT count(*) FROM pg_indexes WHERE tablename = 'things' AND indexdef LIKE '%%(expires_at)'") == [(1,)]
