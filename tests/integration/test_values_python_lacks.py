"""Values that Python cannot represent, and values that drivers round: the former are named in an error, all others exact."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.dual import prepare
from support.places import NewPlace, Place
from support.sql_writers import without_triggers

from sync.errors import ValueUnreadable
from sync.settings import Config
from sync.stores import CqlStore, DualWriteStore, PostgresStore

pytest_plugins = ("support.fixtures",)
CONFIG = Config(schema_files=())
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FAR_MS = 253402300800000  # the year 10000
FAR = {
    "ts": ("timestamp", str(FAR_MS)),
    "before": ("timestamp", "-62135596800001"),
    "dt": ("date", "2150416545"),  # 2^31 + the days to the year 10000
    "t": ("text", "blobAsText(0xeda080)"),
    "l": ("list<timestamp>", f"[{FAR_MS}]"),
    "m": ("map<text, frozen<set<timestamp>>>", f"{{'a': {{{FAR_MS}}}}}"),
}


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as place:
        columns = ", ".join(f"{name} {kind}" for name, (kind, _) in FAR.items())
        place.cql(
            f"CREATE TABLE KS.far (id int PRIMARY KEY, {columns}, v vector<float, 2>)",
            "CREATE CUSTOM INDEX ON KS.far (v) USING 'StorageAttachedIndex'",
            "CREATE TYPE KS.part (at timestamp)",
            "CREATE TABLE KS.exact (id int PRIMARY KEY, ts timestamp, l list<timestamp>, s set<timestamp>, "
            "m map<timestamp, timestamp>, tu tuple<timestamp, int>, u frozen<part>, v vector<float, 2>)",
            "CREATE CUSTOM INDEX ON KS.exact (v) USING 'StorageAttachedIndex'",
        )
        place.sql(
            "CREATE EXTENSION IF NOT EXISTS vector",
            "CREATE TABLE public.dates (id int PRIMARY KEY, d date, ts timestamp, tz timestamptz, t time, ds date[], "
            "iv interval, v vector(2))",
        )
        prepare(place.settings, CONFIG, "exact")
        yield place


@pytest.mark.parametrize("column", FAR)
def test_cassandra_names_the_value(home: Place, column: str) -> None:
    """Would break: OverflowError or UnicodeDecodeError in the application, which name neither row nor column."""
    home.cql(
        f"INSERT INTO KS.far (id, {column}, v) VALUES (1, {FAR[column][1]}, [1, 0])",
        "INSERT INTO KS.far (id, v) VALUES (2, [0.9, 0.1])",
    )
    with CqlStore(home.settings) as store:
        with pytest.raises(ValueUnreadable, match=rf"^far: id=1: {column}: Python cannot represent this \S+.* \(.+\)$"):
            store.get("far", {"id": 1})
        with pytest.raises(ValueUnreadable, match=f"^far: id=1: {column}: "):
            store.search("far", "v", [1.0, 0.0], 2)
        assert (store.get("far", {"id": 2}) or {})["v"]
        store.put("far", {"id": 1, "v": [1.0, 0.0]})
        assert len(store.search("far", "v", [1.0, 0.0], 2)) == 2


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("d", "10000-01-01"), ("d", "infinity"), ("d", "-infinity"), ("d", "0044-03-15 BC"), ("ts", "10000-01-01"),
        ("ts", "infinity"), ("tz", "infinity"), ("tz", "294276-12-31 23:59:59+00"), ("tz", "0044-03-15 BC"), ("t", "24:00:00"),
        ("ds", "{2000-01-01,10000-01-01}"), ("iv", "170000000 years"),
    ],
)  # fmt: skip
def test_postgres_names_the_value(home: Place, column: str, value: str) -> None:
    """Would break: psycopg's own DataError, for every row that is read with it."""
    home.sql("DELETE FROM public.dates", f"INSERT INTO public.dates (id, {column}, v) VALUES (1, '{value}', '[1,0]')")
    home.sql("INSERT INTO public.dates (id, v) VALUES (2, '[0.9,0.1]')")
    with PostgresStore(home.settings) as store:
        with pytest.raises(ValueUnreadable, match=rf"^dates: id=1: {column}: Python cannot represent .+ \(.+\)$"):
            store.get("dates", {"id": 1})
        with pytest.raises(ValueUnreadable, match=f"^dates: id=1: {column}: "):
            store.search("dates", "v", [1.0, 0.0], 2)
        assert (store.get("dates", {"id": 2}) or {})["v"]
        store.put("dates", {"id": 1, "v": [1.0, 0.0]})
        assert len(store.search("dates", "v", [1.0, 0.0], 2)) == 2


def moments() -> list[datetime]:
    """Moments in milliseconds from all years, the ends included."""
    chosen = random.Random(8)
    first, last = -62135596800000, FAR_MS - 1
    numbers = [first, last, -1, 0, 1, *(chosen.randint(first, last) for _ in range(300))]
    far = datetime(2300, 1, 1, tzinfo=UTC)
    return [EPOCH + timedelta(milliseconds=n) for n in numbers] + [far + timedelta(milliseconds=n) for n in range(200)]


def test_moments_come_back_exactly(home: Place) -> None:
    """Would break: a quarter of the moments of the year 2300 are a millisecond off, and are written back that way."""
    found = moments()
    without_triggers(home)
    with (
        DualWriteStore(home.settings, CONFIG) as dual,
        CqlStore(home.settings) as cql,
        PostgresStore(home.settings) as target,
    ):
        row: dict[str, Any] = {
            "id": 1, "ts": found[-1], "l": found, "s": sorted(set(found)), "m": {m: m for m in found[:50]},
            "tu": (found[-2], 1), "u": {"at": found[-3]}, "v": [1.0, 0.0],
        }  # fmt: skip
        dual.put("exact", row)
        for store in (dual, cql):
            read = store.get("exact", {"id": 1}) or {}
            assert read["ts"] == row["ts"]
            assert read["l"] == row["l"]
            assert read["s"] == row["s"]
            assert read["m"] == row["m"]
            assert tuple(read["tu"]) == row["tu"]
            assert read["u"] == row["u"]
            ((near, _),) = store.search("exact", "v", [1.0, 0.0], 1)
            assert near == read
        for n, moment in enumerate(found[::10]):
            dual.put("exact", {"id": 2 + n, "ts": moment})
            assert (target.get("exact", {"id": 2 + n}) or {})["ts"] == moment
            target.update("exact", {"id": 2 + n}, {"ts": moment})
            assert (target.get("exact", {"id": 2 + n}) or {})["ts"] == moment
