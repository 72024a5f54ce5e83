"""A thousand tasks share one store of both sides: its threads, its connections, and what becomes of a task that is cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from uuid import UUID, uuid4

import pytest
from support.dual import prepare
from support.places import NewPlace, Place
from support.running_commands import until

from sync.adapters.postgres.connection.connect import connect
from sync.ports import MAX_LOCKS
from sync.settings import Config, DualWriteTuning
from sync.stores import AsyncDualWriteStore

pytest_plugins = ("support.fixtures",)
CONNECTIONS, TASKS = 4, 1000
# Nobody may give up while the test holds the table: the writes are still to be made when it lets go.
PATIENT = DualWriteTuning(connections=CONNECTIONS, primary_timeout_seconds=60, secondary_timeout_seconds=120)
CONFIG = Config(schema_files=(), dual_write=PATIENT)
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as place:
        place.cql("CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text)")
        prepare(place.settings, CONFIG, "songs")
        yield place


@contextmanager
def held(place: Place) -> Iterator[None]:
    """Nobody else can read or write the target's table."""
    with closing(connect(place.settings)) as connection:
        connection.execute("LOCK TABLE songs IN ACCESS EXCLUSIVE MODE")
        yield
        connection.rollback()


def store_threads() -> int:
    return sum(thread.name.startswith("sync-store") for thread in threading.enumerate())


@pytest.mark.slow
def test_a_thousand_tasks_of_which_half_are_cancelled(home: Place) -> None:
    """Would break: a thread a task; a write that blocks the event loop; a cancelled task that leaves half of its write."""
    keys = [uuid4() for _ in range(TASKS)]

    async def run() -> list[bool | BaseException]:
        async with AsyncDualWriteStore(home.settings, CONFIG) as store:
            await store.get("songs", {"id": keys[0]})
            with held(home):
                tasks = [asyncio.create_task(store.put("songs", {"id": key, "title": "a"})) for key in keys]
                # If a put blocked the loop, this would not be reached before the table is free.
                await asyncio.to_thread(until, lambda: home.sql(WAITING)[0][0] == CONNECTIONS)
                assert not any(task.done() for task in tasks)
                assert store_threads() == CONNECTIONS
                for task in tasks[::2]:
                    task.cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = asyncio.run(run())
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[::2])
    assert outcomes[1::2] == [True] * (TASKS // 2)
    cassandra: set[UUID] = {row[0] for row in home.cql("SELECT id FROM KS.songs")}
    assert cassandra >= set(keys[1::2])
    # Of the cancelled ones only those were written, and wholly, that had begun.
    assert len(cassandra & set(keys[::2])) <= CONNECTIONS * MAX_LOCKS // 2 + 1
    assert {row[0] for row in home.sql("SELECT id FROM songs")} == cassandra
    assert home.sql("SELECT count(*) FROM sync.intent")[0][0] == 0
    assert store_threads() == 0
