"""A whole migration of counters while they are counted: backfill, drift, cut-over, rollback, cut-over; none is lost."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import pytest
from support.backfills import until
from support.counter_children import bounds, count
from support.counters import PLAYS
from support.places import NewPlace, Place

from sync.settings import load_config
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
TOML = """
schema_files = []
[dual_write]
heartbeat_seconds = 0.2
connections = 8
[drift]
grace_seconds = 0.1
tries = 8
"""


@pytest.fixture
def home(new_place: NewPlace) -> Iterator[Place]:
    """Counters that were counted before the migration."""
    with new_place() as place:
        place.cql(f"CREATE TABLE KS.plays ({PLAYS})")
        place.configure(TOML)
        assert place.commands.run("schema", "apply").code == 0
        yield place


def run(place: Place, *argv: str, code: int = 0) -> Any:
    done = place.commands.run(*argv)
    assert done.code == code, done
    return done


def rows(place: Place) -> dict[UUID, tuple[int | None, int | None]]:
    """The counters of every key; they are equal on both sides."""
    source = {row.song: (row.times, row.skips) for row in place.cql("SELECT song, times, skips FROM KS.plays")}
    assert {song: (times, skips) for song, times, skips in place.sql("SELECT song, times, skips FROM plays")} == source
    return source


@contextmanager
def counting(place: Place, record: Path, keys: list[str]) -> Iterator[DualWriteStore]:
    """An application of four threads that counts, and a worker, during the block; then nothing is left open."""
    config, stop = load_config(place.commands.folder / "sync.toml"), Event()

    def counts(store: DualWriteStore, n: int) -> None:
        rng = random.Random(n)
        while not stop.wait(0.25):
            count(store, record, keys, rng, 1)

    worker = place.commands.start("worker", "-n", "1")
    try:
        with DualWriteStore(place.settings, config) as store, ThreadPoolExecutor(4) as pool:
            working = [pool.submit(counts, store, n) for n in range(4)]
            try:
                yield store
            finally:
                stop.set()
            assert all(each.result(60) is None for each in working)
        until(lambda: not place.sql("SELECT 1 FROM sync.intent"), what="nothing is left open")
    finally:
        worker.terminate()
        done = place.commands.ended(worker)
    assert done.code == 0, done


def test_no_increment_is_lost_on_the_way(home: Place, tmp_path: Path) -> None:
    """Would break: an increment around the copy, a pass or a switch is missing in the new primary, or counted twice."""
    keys, before = [str(uuid4()) for _ in range(40)], {uuid4(): n for n in range(-150, 150)}
    for song, n in before.items():
        home.cql(f"UPDATE KS.plays SET times = times + {n} WHERE song = {song}")
    record = tmp_path / "record"
    with counting(home, record, keys) as store:
        run(home, "backfill", "--workers", "1")
        for kind, primary in (("cutover", "postgres"), ("rollback", "astra"), ("cutover", "postgres")):
            home.prove()
            run(home, kind, "--yes")
            assert store.primary == primary
            store.increment("plays", {"song": next(iter(before))}, {"skips": 1})
    held = rows(home)
    assert {song: held[song][0] for song in before} == before
    assert held[next(iter(before))][1] == 3
    for key in keys:
        least, most = bounds(record, key)
        assert least <= (held[UUID(key)][0] or 0) <= most
        assert least == most, "no outcome was unsure"
    assert sum(held[UUID(key)][0] or 0 for key in keys) > 500, "it counted all the while"
    run(home, "drift-report", "--workers", "1")


def test_what_others_count_is_found_and_repaired_in_the_primary_s_direction(home: Place) -> None:
    """Would break: increments by others are never seen; or a repair takes the wrong side's number, or deletes a counter."""
    one, two, three = (uuid4() for _ in range(3))
    home.cql(*(f"UPDATE KS.plays SET times = times + 5, skips = skips + 0 WHERE song = {song}" for song in (one, two)))
    run(home, "backfill", "--workers", "1")
    home.cql(
        f"UPDATE KS.plays SET times = times - 7 WHERE song = {one}",
        f"UPDATE KS.plays SET skips = skips + 1 WHERE song = {three}",
    )
    found = run(home, "drift-report", "--workers", "1", "--format", "json", code=2).json["tables"][0]["findings"]
    assert len(found) == 2, found
    run(home, "drift-report", "--workers", "1", "--repair", code=2)
    home.prove()
    assert rows(home) == {one: (-2, 0), two: (5, 0), three: (None, 1)}
    run(home, "cutover", "--yes", "--no-writers")
    home.cql(f"UPDATE KS.plays SET times = times + 100, skips = skips + 1 WHERE song = {one}")
    home.sql(f"UPDATE plays SET times = 6 WHERE song = '{two}'")
    run(home, "drift-report", "--workers", "1", code=2)
    run(home, "drift-report", "--workers", "1", "--repair", code=2)
    run(home, "drift-report", "--workers", "1")
    assert rows(home) == {one: (-2, 0), two: (6, 0), three: (None, 1)}
