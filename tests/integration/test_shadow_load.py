"""Shadow reads of a few keys that are written all the time: no difference is found where there is none."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from uuid import UUID

import pytest
from support.dual import Table, forget_migration
from support.places import Place
from support.prepared_places import home_of
from support.reverse import be_primary

from sync.settings import Config, DriftTuning, DualWriteTuning
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
CONFIG = Config(
    schema_files=(),
    dual_write=DualWriteTuning(connections=8, heartbeat_seconds=0.3, shadow_reads=1.0, async_secondary=frozenset({"later"})),
    drift=DriftTuning(grace_seconds=0.05),
)
COLUMNS = "id uuid PRIMARY KEY, a text, n int, l list<int>"
KEYS = [UUID(int=n) for n in range(6)]
home = home_of(CONFIG, pairs=COLUMNS, later=COLUMNS)


@pytest.fixture
def tables(home: Place) -> Iterator[dict[str, Table]]:
    pairs, later = (Table(home.cassandra, home.settings, CONFIG, name) for name in ("pairs", "later"))
    with closing(pairs), closing(later):
        for table in (pairs, later):  # without the rows of the test before, whose intents go with its state
            home.cql(f"TRUNCATE KS.{table.name}")
            table.sql(f"TRUNCATE {table.name}")
        forget_migration(pairs)
        pairs.sql("TRUNCATE sync.shadow_reads, sync.shadow_difference")
        pairs.sql(
            "INSERT INTO sync.run (kind, table_name, state, floor) SELECT 'backfill', n, 'done', 1 FROM unnest(%s::text[]) AS n",
            (["pairs", "later"],),
        )
        yield {"pairs": pairs, "later": later}


def use(store: DualWriteStore, seed: int, ended: threading.Event) -> None:
    """Writes and reads of few keys in both tables."""
    chosen = random.Random(seed)
    while not ended.is_set():
        table, key = chosen.choice(("pairs", "later")), {"id": chosen.choice(KEYS)}
        kind = chosen.random()
        if kind < 0.15:
            store.put(table, {**key, "a": str(chosen.random()), "n": seed, "l": [seed, chosen.randrange(9)]})
        elif kind < 0.25:
            store.update(table, key, {"a": str(chosen.random())})
        elif kind < 0.3:
            store.delete(table, key)
        else:
            store.get(table, key)


@pytest.mark.parametrize("primary", ["astra", "postgres"])
@pytest.mark.parametrize("seconds", [6, pytest.param(60, marks=pytest.mark.slow)])
def test_no_difference_is_found_where_there_is_none(tables: dict[str, Table], primary: Any, seconds: int) -> None:
    """Would break: an operator who is woken by every busy key, and learns not to look."""
    pairs, ended = tables["pairs"], threading.Event()
    for table in tables.values():
        be_primary(table, primary)
    settings = pairs.settings.model_copy(update={"storage_backend": primary})
    with (
        DualWriteStore(settings, CONFIG) as store,
        DualWriteStore(settings, CONFIG) as other,
        ThreadPoolExecutor(6) as threads,
    ):
        users = [threads.submit(use, (store, other)[n % 2], n, ended) for n in range(4)]
        users.append(threads.submit(drain, tables["later"], ended))
        users.append(threads.submit(drain, pairs, ended))
        time.sleep(seconds)
        ended.set()
        for user in users:
            user.result()
    ((compared, skipped, differing),) = pairs.sql("SELECT sum(compared), sum(skipped), sum(differing) FROM sync.shadow_reads")
    print(f"{primary}: {seconds} s: {compared} compared, {skipped} skipped")
    assert differing == 0, pairs.sql("SELECT table_name, shown, kind, columns FROM sync.shadow_difference")
    assert compared > 100
    for table in tables.values():
        table.drained()
        table.check_equal()


def drain(table: Table, ended: threading.Event) -> None:
    """What a worker does."""
    while not ended.wait(0.05):
        table.drain()
