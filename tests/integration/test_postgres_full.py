"""A Postgres that can be read but not written (no room, no memory, read-only after a failover) counts as unreachable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from uuid import uuid4

import pytest
from support.dual import Table
from support.places import Place
from support.prepared_places import home_of
from support.running_commands import until

from sync.errors import WriteRefused
from sync.settings import Config, DualWriteTuning
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
STATES = {
    "53100": "could not extend file: No space left on device",
    "53200": "out of memory",
    "53400": "configuration limit exceeded",
    "25006": "cannot execute INSERT in a read-only transaction",
}


def tuned(away: str) -> Config:
    return Config(schema_files=(), dual_write=DualWriteTuning(connections=2, heartbeat_seconds=0.3, on_postgres_down=away))


home = home_of(tuned("accept"), songs="id uuid PRIMARY KEY, title text")


@pytest.fixture
def table(home: Place) -> Iterator[Table]:
    with closing(Table(home.cassandra, home.settings, tuned("accept"), "songs")) as opened:
        yield opened


@contextmanager
def raising(home: Place, state: str, where: str) -> Iterator[None]:
    """Make every insert into this table fail with this state."""
    home.sql(
        f"CREATE OR REPLACE FUNCTION public.sick() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$BEGIN RAISE EXCEPTION USING ERRCODE = '{state}', MESSAGE = '{STATES[state]}'; END$$",
        f"CREATE TRIGGER sick BEFORE INSERT ON {where} FOR EACH ROW EXECUTE FUNCTION public.sick()",
    )
    try:
        yield
    finally:
        home.sql(f"DROP TRIGGER sick ON {where}", "DROP FUNCTION public.sick()")


@pytest.mark.parametrize("state", STATES)
def test_accepted_writes_are_recorded_when_there_is_room(home: Place, table: Table, state: str) -> None:
    """Would break: a full secondary stops the application, or never receives what it wrote meanwhile."""
    key = {"id": uuid4()}
    with DualWriteStore(home.settings, tuned("accept")) as store:
        store.put("songs", {**key, "title": "before"})
        with raising(home, state, "sync.intent"):
            assert store.put("songs", {**key, "title": "full"})
            assert store.get("songs", key) == {**key, "title": "full"}
            assert store._registration.write_behind.unrecorded_count == 1
        until(lambda: store._registration.write_behind.unrecorded_count == 0, what="it is recorded")
    assert table.settled(table.key(**key)) == {"title": "full"}


@pytest.mark.parametrize("state", STATES)
def test_refused_writes_leave_nothing(home: Place, table: Table, state: str) -> None:
    """Would break: the caller gets the driver's error, or the primary has a write that nobody remembers."""
    key = {"id": uuid4()}
    with DualWriteStore(home.settings, tuned("refuse")) as store:
        store.put("songs", {**key, "title": "before"})
        with raising(home, state, "sync.intent"):
            with pytest.raises(
                WriteRefused, match=r"^songs: the journal in Postgres is unreachable \(.*\); nothing was written$"
            ):
                store.put("songs", {**key, "title": "full"})
            assert store.get("songs", key) == {**key, "title": "before"}
        until(lambda: works(store), what="writes go on")
    assert table.settled(table.key(**key)) == {"title": "before"}


def works(store: DualWriteStore) -> bool:
    try:
        return store.put("songs", {"id": uuid4(), "title": "again"})
    except WriteRefused:
        return False


@pytest.mark.parametrize("state", STATES)
def test_the_second_half_is_left_to_workers(home: Place, table: Table, state: str) -> None:
    """Would break: a write that the primary has is refused, or a row that Postgres had no room for counts as a reject."""
    key = {"id": uuid4()}
    with DualWriteStore(home.settings, tuned("refuse")) as store, raising(home, state, "public.songs"):
        assert store.put("songs", {**key, "title": "full"})
    assert table.settled(table.key(**key)) == {"title": "full"}
