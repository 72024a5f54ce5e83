"""Counters on both sides: every store's `increment`, also from many threads, in both directions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from support.counters import CONFIG, PLAYS, settle, sums
from support.dual import Table
from support.places import Place
from support.prepared_places import home_of
from support.reverse import be_primary, both

from sync.errors import WriteRefused
from sync.ports import Primary
from sync.stores import AsyncDualWriteStore, CqlStore, DualWriteStore, PostgresStore

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
PRIMARIES = pytest.mark.parametrize("primary", ["astra", "postgres"])
home = home_of(CONFIG, plays=PLAYS, songs="id uuid PRIMARY KEY, title text, n bigint")


@pytest.fixture
def table(home: Place) -> Iterator[Table]:
    """Counters; Astra is primary, and nothing is open."""
    with closing(Table(home.cassandra, home.settings, CONFIG, "plays")) as opened:
        opened.sql("DELETE FROM sync.intent; DELETE FROM sync.sql_change")
        opened.sql("DELETE FROM sync.disturbance")
        opened.sql("UPDATE sync.writer SET state = 'signed_off'")
        be_primary(opened, "astra")
        yield opened


@pytest.fixture
def key() -> dict[str, UUID]:
    return {"song": uuid4()}


@contextmanager
def opened(home: Place, primary: Primary = "astra", count: int = 1) -> Iterator[list[DualWriteStore]]:
    """So many stores, as of so many processes."""
    with ExitStack() as stack:
        settings = home.settings.model_copy(update={"storage_backend": primary})
        yield [stack.enter_context(DualWriteStore(settings, CONFIG)) for _ in range(count)]


@PRIMARIES
def test_both_sides_count(home: Place, table: Table, key: dict[str, UUID], primary: Primary) -> None:
    """Would break: an increment is on one side only; or a negative one, or one of several counters, is not what it says."""
    be_primary(table, primary)
    with opened(home, primary) as (store,):
        assert store.increment("plays", key, {"times": 1}) is True
        assert store.get("plays", key) == {**key, "times": 1, "skips": None}
        assert store.increment("plays", key, {"times": -3, "skips": 5}) is True
        assert store.increment("plays", key, {"skips": 0}) is True
        assert store.get("plays", key) == {**key, "times": -2, "skips": 5}
        settle(table)
    assert both(table, table.key(**key)) == sums(-2, 5)


@PRIMARIES
def test_a_counter_that_is_null_becomes_0(home: Place, table: Table, key: dict[str, UUID], primary: Primary) -> None:
    """Would break: 0 on one side, null on the other, and a drift report that is never clean."""
    be_primary(table, primary)
    with opened(home, primary) as (store,):
        store.increment("plays", key, {"times": 0})
        settle(table)
    assert both(table, table.key(**key)) == sums(0)


@PRIMARIES
def test_many_threads_count_a_few_keys(home: Place, table: Table, primary: Primary) -> None:
    """Would break: an older sum over a newer one, or an increment that is sent twice."""
    be_primary(table, primary)
    keys = [{"song": uuid4()} for _ in range(3)]
    with opened(home, primary, 2) as stores, ThreadPoolExecutor(34) as pool:
        ended: list[bool] = []
        drains = [pool.submit(lambda: [table.drain() for _ in iter(lambda: bool(ended), True)]) for _ in range(2)]
        list(pool.map(lambda n: stores[n % 2].increment("plays", keys[n % 3], {"times": 1, "skips": n % 5}), range(320)))
        ended.append(True)
        assert all(drain.result() for drain in drains)
        settle(table)
    for n, each in enumerate(keys):
        mine = [i for i in range(320) if i % 3 == n]
        assert both(table, table.key(**each)) == sums(len(mine), sum(i % 5 for i in mine))


REFUSED: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "no counter": ("songs", {"id": uuid4()}, {"n": 1}, "n is not a counter"),
    "unknown": ("plays", {"song": uuid4()}, {"rate": 1}, "rate is not a counter; counters: skips, times"),
    "key": ("plays", {"song": uuid4()}, {"song": 1}, "song is not a counter"),
    "nothing": ("plays", {"song": uuid4()}, {}, "without columns"),
    "no key": ("plays", {}, {"times": 1}, "the key column song is missing"),
    "not of the key": ("plays", {"song": uuid4(), "times": 1}, {"times": 1}, "times is not part of the key"),
    "float": ("plays", {"song": uuid4()}, {"times": 1.0}, "times is incremented by an int, not by this float"),
    "bool": ("plays", {"song": uuid4()}, {"times": True}, "not by this bool"),
    "too much": ("plays", {"song": uuid4()}, {"times": 2**63}, "beyond 64 bits"),
}


@PRIMARIES
def test_what_is_no_increment_is_refused(home: Place, table: Table, primary: Primary) -> None:
    """Would break: an error of a driver, an announcement that is left open, or a number that is not what was asked for."""
    be_primary(table, primary)
    with opened(home, primary) as (both_sides,), CqlStore(home.settings) as cql:
        for store in (both_sides, cql):
            for name, which, amounts, said in REFUSED.values():
                with pytest.raises(WriteRefused, match=said):
                    store.increment(name, which, amounts)
            for write in (
                lambda store=store: store.put("plays", {"song": uuid4(), "times": 1}),
                lambda store=store: store.put_many("plays", [{"song": uuid4(), "times": 1}]),
                lambda store=store: store.update("plays", {"song": uuid4()}, {"times": 1}),
                lambda store=store: store.delete("plays", {"song": uuid4()}),
                lambda store=store: store.insert("plays", {"song": uuid4(), "times": 1}),
            ):
                with pytest.raises(WriteRefused, match=r"plays is a table of counters.*use increment"):
                    write()
    assert table.intents() == []


def test_postgres_alone_counts(home: Place, key: dict[str, UUID]) -> None:
    """Would break: the application's counters end with the migration."""
    with PostgresStore(home.settings) as store:
        for _ in range(2):
            assert store.increment("plays", key, {"times": 2}) is True
        assert store.get("plays", key) == {**key, "times": 4, "skips": None}
        for which, amounts, said in (
            (key, {}, "without columns"),
            (key, {"song": 1}, "song is no counter"),
            (key, {"rate": 1}, "rate is not a column"),
            (key, {"times": 2**63}, "beyond 64 bits"),
            (key, {"times": 2**63 - 1}, "bigint out of range"),
            ({}, {"times": 1}, "song"),
        ):
            with pytest.raises(WriteRefused, match=said):
                store.increment("plays", which, amounts)
        with pytest.raises(WriteRefused, match="title is no counter"):
            store.increment("songs", {"id": uuid4()}, {"title": 1})
        assert store.get("plays", key) == {**key, "times": 4, "skips": None}


def test_a_sum_beyond_64_bits(home: Place, table: Table, key: dict[str, UUID]) -> None:
    """Would break: both sides differ for ever where Cassandra wraps; or a sum that Cassandra cannot hold is accepted in Postgres."""
    with opened(home) as (store,):
        store.increment("plays", key, {"times": 2**63 - 1})
        store.increment("plays", key, {"times": 2})
        settle(table)
        assert both(table, table.key(**key)) == sums(-(2**63) + 1)
    be_primary(table, "postgres")
    with opened(home, "postgres") as (store,):
        with pytest.raises(WriteRefused, match="out of range"):
            store.increment("plays", key, {"times": -2})
        assert table.intents() == []
        store.increment("plays", key, {"times": 2**63 - 1})
        settle(table)
    assert both(table, table.key(**key)) == sums(0)


def test_an_asyncio_application_counts(home: Place, table: Table, key: dict[str, UUID]) -> None:
    """Would break: a method that the asyncio store lacks."""

    async def count() -> None:
        async with AsyncDualWriteStore(home.settings, CONFIG) as store:
            assert await store.increment("plays", key, {"times": 1}) is True

    asyncio.run(count())
    table.drained()
    assert both(table, table.key(**key)) == sums(1)
