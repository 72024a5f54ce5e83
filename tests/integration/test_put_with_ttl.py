"""`put(ttl=…)` through every store, with either primary: a row expires on both sides at the same moment, and nobody reads it then."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
from support.backfills import NEVER, Site
from support.expiring import KEY, ROW, TOML, both_expire, is_clean, left, switch, until_sent
from support.running_commands import until

from sync.adapters.cassandra.rows.moments import row_until
from sync.adapters.postgres.dual_write import expired
from sync.adapters.postgres.schema import expiry_function
from sync.core.encode.base import INT64
from sync.core.expiry import EXPIRY_NAME, moment_after
from sync.core.mutations import Mutation
from sync.errors import NotSupported, WriteRefused
from sync.ports import Replay
from sync.stores import CqlStore, DualWriteStore, PostgresStore
from sync.wiring.dual_write.expired import ExpirySweeper
from sync.wiring.dual_write.worker import drain_job

pytest_plugins = ("support.fixtures", "support.expiring")
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("primary", ["astra", "postgres"])
@pytest.mark.parametrize(("ttl", "seconds"), [(1000, 1000), (None, 5000), (0, None)])
def test_a_row_expires_on_both_sides(
    site: Site, store: DualWriteStore, primary: str, ttl: int | None, seconds: int | None
) -> None:
    """Would break: the TTL of the call, or the table's default, reaches one side alone, or the default one that asked for none."""
    switch(site, primary)
    assert store.put("things", ROW, ttl=ttl)
    until_sent(site)
    both_expire(site, seconds)
    assert store.get("things", KEY) == ROW
    assert is_clean(site)


@pytest.mark.parametrize(("ttl", "seconds"), [(1000, 1000), (None, 5000), (0, None)])
def test_a_row_that_a_transaction_writes_expires(
    site: Site, store: DualWriteStore, ttl: int | None, seconds: int | None
) -> None:
    """Would break: a put in a transaction of the application's loses its TTL, or the table's default."""
    switch(site, "postgres")
    with store.transaction() as tx:
        assert tx.put("things", ROW, ttl=ttl)
        with pytest.raises(WriteRefused, match="read the row, and put it with its ttl"):
            tx.update("things", KEY, {"a": "y"})
        assert tx.get("things", KEY) == ROW
    until_sent(site)
    both_expire(site, seconds)
    assert is_clean(site)


@pytest.mark.parametrize("primary", ["astra", "postgres"])
def test_a_worker_brings_what_is_left_of_the_ttl(site: Site, primary: str) -> None:
    """Would break: a write that is left to a worker expires as much later on the side that follows."""
    site.configure(more=TOML + '\n[dual_write]\nasync_secondary = ["things"]')
    with closing(DualWriteStore(site.settings, site.config)) as store:
        switch(site, primary)
        store.put("things", ROW, ttl=1000)
        until(lambda: site.sql("SELECT state FROM sync.intent") == [("finished",)], what="the mark")
        time.sleep(7)
        assert drain_job(site.settings, site.config, "things", NEVER) == 1
    there, here = left(site)
    assert there is not None and here is not None and there <= 994 and abs(there - here) <= 3
    assert is_clean(site)


def test_a_write_that_is_sent_again_has_what_is_left_of_its_ttl(site: Site, store: DualWriteStore) -> None:
    """Would break: a write that is repeated has its whole TTL again; or, repeated after that, it comes back (rule 15b)."""
    flows = store._of("things")

    def put(i: int, seconds: int) -> Mutation:
        """The write as its intent has it, so many seconds before it expires."""
        row = {**ROW, "id": i}
        cells = row_until(flows.mapped.source, flows.cells, row, 1000)
        return Mutation("put", flows.cells.key(row), {**cells, EXPIRY_NAME: INT64.pack(moment_after(seconds))})

    version = time.time_ns() // 1000 - 10**6
    for i, seconds in ((1, 10), (2, -1)):
        assert flows.rows.write_again(Replay(put(i, seconds), version, 1))[0] == "written"
    (found,) = site.cql("SELECT TTL(a) FROM {ks}.things WHERE id = 1")
    assert found[0] in range(6, 11)
    assert flows.rows.write(put(2, 1000), version)[0] == "written", "the first attempt, late"
    assert [row.id for row in site.cql("SELECT id FROM {ks}.things")] == [1]


def test_what_a_slow_source_lets_live_longer_is_read_back(
    site: Site, store: DualWriteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: the source counts a TTL from when it executes a write, and Postgres lets the row go earlier."""
    slow = itertools.count(0, 7)
    monkeypatch.setattr("sync.flows.dual_write.time", SimpleNamespace(monotonic=lambda: next(slow)))
    store.put("things", ROW, ttl=1000)
    monkeypatch.undo()
    assert site.sql("SELECT state FROM sync.intent") == [("finished",)] and site.sql("SELECT 1 FROM things") == []
    assert drain_job(site.settings, site.config, "things", NEVER) == 1
    both_expire(site, 1000)


def test_what_a_slow_source_lets_live_longer_is_sent_again(
    site: Site, store: DualWriteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: with Postgres as primary the source's row lives longer, no intent is left, and a rollback brings it back."""
    switch(site, "postgres")
    slow = itertools.count(0, 7)
    for timed in ("flows.reverse_write", "adapters.cassandra.rows.timed_requests"):
        monkeypatch.setattr(f"sync.{timed}.time", SimpleNamespace(monotonic=lambda: next(slow)))
    store.put("things", ROW, ttl=1000)
    until(lambda: site.sql("SELECT state FROM sync.intent") == [("finished",)], what="the mark")
    assert drain_job(site.settings, site.config, "things", NEVER) == 0, "a worker's write was slow, too"
    monkeypatch.undo()
    site.sql("UPDATE sync.intent SET lease_until = NULL")
    assert drain_job(site.settings, site.config, "things", NEVER) == 1
    both_expire(site, 1000)
    assert site.sql("SELECT 1 FROM sync.intent") == []


def test_refusals_say_what_to_set(site: Site, store: DualWriteStore) -> None:
    """Would break: a TTL is silently lost on one side, or a row is written that cannot expire as a whole."""
    with pytest.raises(WriteRefused, match=r'set ttl = "expire" under \[tables.plain\]'):
        store.put("plain", {"id": 1, "a": "x"}, ttl=5)
    with pytest.raises(WriteRefused, match="read the row, and put it with its ttl"):
        store.update("things", KEY, {"a": "y"})
    others: tuple[Any, ...] = (-1, 700_000_000, 1.5, True)
    for other in others:
        with pytest.raises(WriteRefused, match="whole number of seconds"):
            store.put("things", ROW, ttl=other)
    for ttl in (5, 0, None):
        with pytest.raises(WriteRefused, match="a row needs a value besides its key"):
            store.put("things", KEY, ttl=ttl)
    with pytest.raises(WriteRefused, match="expires_at is not a column"):
        store.put("things", {**ROW, "expires_at": None})
    with closing(PostgresStore(site.settings)) as alone, pytest.raises(WriteRefused, match="has no column that says when"):
        alone.put("plain", {"id": 1, "a": "x"}, ttl=5)
    assert site.sql("SELECT count(*) FROM sync.intent") == [(0,)] and site.cql("SELECT id FROM {ks}.things") == []


READS: list[Callable[[Any], Any]] = [
    lambda store: store.get("things", KEY),
    lambda store: store.get_many("things", [KEY, {"id": 2, "part": 0}]),
    lambda store: list(store.find("things", {"id": 1})),
    lambda store: sorted(row["id"] for row in store.scan("things")),
    lambda store: store.count("things"),
]


def test_nobody_reads_what_has_expired(site: Site, store: DualWriteStore) -> None:
    """Would break: Postgres, which deletes nothing by itself, answers with rows that Cassandra does not have any more."""
    for i in (1, 2):
        store.put("things", {**ROW, "id": i}, ttl=1000)
    store.put("things", {**ROW, "id": 3}, ttl=2)
    with closing(CqlStore(site.settings)) as cql, closing(PostgresStore(site.settings)) as postgres:
        until(lambda: cql.count("things") == 2, what="one row expires")
        for read in READS:
            assert read(cql) == read(postgres) == read(store)
        site.sql("UPDATE things SET expires_at = now() WHERE id = 1")
        assert postgres.get("things", KEY) is None and postgres.count("things") == 1
        assert list(postgres.find("things", {"id": 1})) == [] and [r["id"] for r in postgres.scan("things")] == [2]
        site.sql("DROP TRIGGER _sync_begins ON things")  # a store of Postgres alone writes after `sync finish`
        assert not postgres.update("things", KEY, {"a": "y"}), "a row that has expired is not there"
        with pytest.raises(WriteRefused, match="expire as a whole"):
            postgres.increment("things", KEY, {"a": 1})
        assert postgres.insert("things", {**ROW, "a": "new"}) and not postgres.insert("things", ROW)
        assert postgres.get("things", KEY) == {**ROW, "a": "new"}
        for ttl, seconds in ((50, 50), (None, 5000), (0, None)):
            assert postgres.put("things", ROW, ttl=ttl)
            ((until_then,),) = site.sql("SELECT round(extract(epoch FROM expires_at - now()))::int FROM things WHERE id = 1")
            assert until_then == seconds or (seconds and abs(until_then - seconds) <= 2)
        assert cql.put("things", ROW, ttl=70) and left(site)[0] in range(60, 71)
        assert cql.put("things", ROW, ttl=0) and left(site)[0] is None


def test_an_insert_takes_the_place_of_what_has_expired(site: Site, store: DualWriteStore) -> None:
    """Would break: a row that nobody can read any more keeps an insert from being made; or it has no TTL."""
    assert store.insert("things", ROW) and not store.insert("things", ROW)
    both_expire(site, 5000)
    switch(site, "postgres")
    assert not store.insert("things", ROW)
    site.sql("UPDATE things SET expires_at = now() - interval '1 second'")
    assert store.insert("things", {**ROW, "a": "again"})
    until_sent(site)
    both_expire(site, 5000)
    assert store.get("things", KEY) == {**ROW, "a": "again"} and is_clean(site)


def test_what_expired_while_postgres_was_primary_is_gone_after_the_rollback(site: Site, store: DualWriteStore) -> None:
    """Would break: a row that the source has not seen yet is sent with a new TTL after it has expired."""
    switch(site, "postgres")
    store.put("things", ROW, ttl=1000)
    until_sent(site)
    site.sql("UPDATE things SET expires_at = now() - interval '10 seconds'")
    assert not is_clean(site), "the source still has it"
    assert not is_clean(site, repair=True) and site.cql("SELECT id FROM {ks}.things") == [], (
        "a delete, with the row's version"
    )
    assert is_clean(site)
    switch(site, "astra")
    assert store.get("things", KEY) is None and is_clean(site)
    store.put("things", ROW, ttl=1000)
    both_expire(site, 1000)
    assert store.get("things", KEY) == ROW


def test_a_sweep_deletes_what_has_expired_and_nothing_newer(
    site: Site, store: DualWriteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: Postgres grows without end; a put that comes between the look and the delete is lost; or, with the row's
    version forgotten, a later write is stamped below the source's expired cells, which then hide it."""
    monkeypatch.setattr(expired, "MARGIN_SECONDS", 0)
    for i in range(1, 101):
        store.put("things", {**ROW, "id": i}, ttl=1000)
    ahead = 10**15 * 3
    site.sql("UPDATE things SET expires_at = now() - interval '1 second' WHERE id <= 90")
    site.sql("UPDATE things SET _sync_version = %s WHERE id = 1", (ahead,))
    at: dict[str, Callable[[], object]] = {"expired.found": lambda: store.put("things", {**ROW, "id": 2}, ttl=1000)}
    monkeypatch.setattr(expired, "failpoint", lambda name: at.pop(name, lambda: None)())
    ExpirySweeper(site.settings, site.config).sweep()
    assert site.sql("SELECT id FROM things WHERE id <= 90") == [(2,)]
    assert site.sql("SELECT count(*) FROM sync.tombstone") == [(89,)] and site.sql("SELECT count(*) FROM sync.intent") == [
        (0,)
    ]
    store.put("things", ROW, ttl=1000)
    assert site.sql("SELECT _sync_version > %s FROM things WHERE id = 1", (ahead,)) == [(True,)]
    assert not site.sql("SELECT 1 FROM sync.disturbance WHERE table_name = 'things'")


def test_finish_leaves_what_deletes_expired_rows(site: Site, store: DualWriteStore) -> None:
    """Would break: when `sync` is gone, nothing deletes expired rows, or the store returns them."""
    store.put("things", ROW, ttl=1000)
    store.put("things", {**ROW, "id": 2})
    switch(site, "postgres")
    store.close()
    with closing(site.connect()) as connection, connection.transaction(force_rollback=True):
        connection.execute("CREATE ROLE of_no_rights")
        connection.execute("SET LOCAL ROLE of_no_rights")
        printed = expiry_function.make(connection)
        assert printed and not printed.is_made and "DELETE FROM public.things" in printed.definition
    done = site.run("finish")
    assert done.code == 0, done.err
    assert "SELECT cron.schedule('delete expired rows', '* * * * *', 'SELECT public.sync_delete_expired()');" in done.out
    assert site.sql("SELECT to_regnamespace('sync')") == [(None,)]
    site.sql("UPDATE things SET expires_at = now() - interval '1 second' WHERE id = 1")
    with closing(PostgresStore(site.settings)) as alone:
        assert alone.get("things", KEY) is None and alone.count("things") == 1
        assert site.sql("SELECT public.sync_delete_expired()") == [(1,)]
        assert site.sql("SELECT public.sync_delete_expired()") == [(0,)]
        alone.put("things", ROW)
        assert site.sql("SELECT expires_at - now() BETWEEN '4990 s' AND '5000 s' FROM things WHERE id = 1") == [(True,)]


def test_the_data_api_takes_no_ttl() -> None:
    """Would break: a TTL is dropped without a word."""
    from sync.stores.one_side.astra import refuse_ttl

    with pytest.raises(NotSupported, match="takes no TTL"):
        refuse_ttl("things", 5)
    refuse_ttl("things", None)
