"""A process dies at a step of an increment or of its reconcile, while others count: nothing is lost, nothing counted twice.

`COUNTER_TRIALS=50` repeats each step as often.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from uuid import UUID, uuid4

import pytest
from support.counter_children import bounds, count, start
from support.counters import CLAIM_PASSES, CONFIG, PLAYS, faulty
from support.dual import WINDOW_PASSES, Table
from support.places import Place
from support.prepared_places import home_of
from support.reverse import be_primary, both

from sync.ports import Primary
from sync.settings import Config, Settings
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow

TRIALS = int(os.environ.get("COUNTER_TRIALS", "2"))
MARKS = ("write_behind.before_mark", "write_behind.marked")
STEPS: list[tuple[Primary, str, str]] = [
    *(("astra", "count", step) for step in ("wrapped.announcing", "wrapped.announced", "wrapped.called", "wrapped.marked")),
    *(("astra", "count", f"reconcile.{step}") for step in ("claimed", "read", "before_commit", "applied")),
    ("astra", "drain", "drain.leased"),
    *(("astra", "drain", f"reconcile.{step}") for step in ("claimed", "read", "before_commit", "applied")),
    *(("postgres", "count", f"reverse.{step}") for step in ("before_write", "before_commit", "committed")),
    *(("postgres", "count", step) for step in MARKS),
    ("postgres", "drain", "drain.leased"),
    *(("postgres", "drain", f"counters.{step}") for step in ("claimed", "read", "sent", "before_end", "ended")),
]
FAULTS = ("lost", "landed", "late", "refused")

QUEUED = CONFIG.model_copy(
    update={"dual_write": CONFIG.dual_write.model_copy(update={"async_secondary": frozenset({"plays"})})}
)
"""Workers reconcile, and not the writer."""

home = home_of(CONFIG, plays=PLAYS)


@pytest.fixture
def table(home: Place) -> Iterator[Table]:
    with closing(Table(home.cassandra, home.settings, CONFIG, "plays")) as opened:
        opened.sql("DELETE FROM sync.intent; DELETE FROM sync.sql_change")
        yield opened


@pytest.mark.parametrize(("primary", "role", "step"), STEPS, ids=lambda value: str(value))
def test_what_was_acknowledged_is_counted_once(
    home: Place, table: Table, tmp_path: Path, primary: Primary, role: str, step: str
) -> None:
    """Would break: after a crash an increment is missing, or counted twice, on one side or on both."""
    be_primary(table, primary)
    settings = home.settings.model_copy(update={"storage_backend": primary})
    config = QUEUED if role == "drain" else CONFIG
    with DualWriteStore(settings, config) as store:
        arena = Arena(table, store, settings, config)
        killed, n = 0, 0
        while n < TRIALS or not killed:
            assert n < TRIALS + 8, "no process reached the step"
            killed += trial(arena, tmp_path / f"record-{n}", role, step, f"{step} {n}")
            n += 1


@dataclass
class Arena:
    """The table, this process's own store, and what other processes open theirs with."""

    table: Table
    store: DualWriteStore
    settings: Settings
    config: Config


def trial(arena: Arena, record: Path, role: str, step: str, seed: str) -> bool:
    """One crash; whether the process was killed."""
    table, rng, keys = arena.table, random.Random(seed), [str(uuid4()) for _ in range(2)]
    record.touch()
    more = {"seconds": 1.5} if role == "drain" else {"record": str(record), "keys": keys, "seed": seed, "times": 15}
    plan = [rng.choice(["", "", "", "", "", *FAULTS]) for _ in range(30)]
    stop = Event()
    with ThreadPoolExecutor(3) as pool, faulty(*plan) as faults:
        child = start(role, {step: f"kill:{rng.randint(1, 3)}"}, arena.settings, arena.config, **more)
        counts = [pool.submit(count, arena.store, record, keys, random.Random(f"{seed} {n}"), 12) for n in range(2)]
        if role == "count":
            pool.submit(_drain_now_and_then, table, stop)
        child.join(60)
        stop.set()
        assert all(done.result(60) is None for done in counts)
        faults.land()
    assert child.exitcode in (0, -9), f"the process failed: {child.exitcode}"
    _drain_all(table)
    for key in keys:
        source, target = both(table, table.key(song=UUID(key)))
        least, most = bounds(record, key)
        assert source == target, f"{seed}: the sides differ: {source}, {target}"
        shown = (source or {}).get("times") or 0
        assert least <= shown <= most, f"{seed}: {shown} is shown, {least} to {most} were counted"
    return child.exitcode == -9


def _drain_now_and_then(table: Table, stop: Event) -> None:
    while not stop.wait(0.1):
        table.drain()


def _drain_all(table: Table) -> None:
    """As if every writer were gone, and nothing could arrive any more."""
    time.sleep(0.1)  # what the dead one has sent arrives
    table.sql("UPDATE sync.writer SET heartbeat_at = clock_timestamp() - interval '1 hour' WHERE pid <> %s", (os.getpid(),))
    end = time.monotonic() + 60
    while table.intents():
        assert time.monotonic() < end, f"intents are left: {table.intents()}"
        table.sql(WINDOW_PASSES)
        table.sql(CLAIM_PASSES)
        table.drain()
