"""A writer that was suspended through a whole cut-over, fenced and cleared, wakes up at each step of a write (rules 30, 31).

It cannot reach Postgres then: nothing tells it what has happened. The suspension is simulated: its clock jumps.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from support.backfills import until
from support.dual import Table, prepare
from support.places import NewPlace, Place
from support.reverse import authority, be_primary

from sync.adapters import suspension
from sync.adapters.postgres.cutover.writers import fence
from sync.adapters.postgres.dual_write.registration import Registration
from sync.errors import TargetUnavailable, WriteRefusedNow, WriteUnsure
from sync.flows import dual_write
from sync.settings import Config, DualWriteTuning
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=4, heartbeat_seconds=0.2, max_wait_seconds=20))


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as place:
        place.cql("CREATE TABLE KS.pairs (id uuid PRIMARY KEY, a text, b text)")
        prepare(place.settings, CONFIG, "pairs")
        yield place


@pytest.fixture
def table(home: Place) -> Iterator[Table]:
    with closing(Table(home.cassandra, home.settings, CONFIG, "pairs")) as opened:
        opened.sql("UPDATE sync.writer SET state = 'signed_off'")
        be_primary(opened, "astra")
        yield opened


@pytest.fixture
def store(table: Table) -> Iterator[DualWriteStore]:
    with DualWriteStore(table.settings, CONFIG) as opened:
        opened.put("pairs", {"id": uuid4(), "a": "before"})
        yield opened


class CutOff:
    """A registration's connection, broken; `back` restores it."""

    closed = True

    def __init__(self, one: Registration) -> None:
        self._one, self._own, self.tried = one, one._own, threading.Event()
        one._own = self  # type: ignore[assignment]
        assert self.tried.wait(10), "a heartbeat that was on its way would close the breaker, and record what was accepted"
        one.breaker.failures = one.breaker.threshold

    def connection(self) -> object:
        self.tried.set()
        raise TargetUnavailable("cut off")

    def back(self) -> None:
        self._one._own = self._own


def sleep_through_a_cutover(table: Table, one: Registration) -> None:
    """What others do while it is suspended; then it wakes up."""
    with authority(table) as epochs:
        fence(epochs.connection, one.writer.id)
        table.sql("UPDATE sync.writer SET fenced_at = fenced_at - interval '1 minute'")
        assert epochs.clear(datetime.now(UTC), 10, 0) == [one.writer.id]
        switch = epochs.begin("cutover")
        epochs.close(switch, 20)
        epochs.switch_primary(switch, {})
    table.epoch += 1
    late = one.suspension._now() + 100
    one.suspension._now = lambda: late + suspension._now() - begun
    begun = suspension._now()


@pytest.fixture
def asleep_at(table: Table, store: DualWriteStore, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], threading.Event]:
    """Suspend the writer when it first comes to a failpoint; returns an event that is set when it wakes up."""

    def planned(place: str) -> threading.Event:
        woken = threading.Event()

        def point(name: str) -> None:
            if name == place and not woken.is_set():
                sleep_through_a_cutover(table, store._registration)
                woken.set()

        monkeypatch.setattr(dual_write, "failpoint", point)
        return woken

    return planned


def settled(table: Table, id: object) -> object:
    """What both sides hold after the sleeper has recorded what it held."""
    until(
        lambda: not table.sql("SELECT 1 FROM sync.writer WHERE state = 'active' AND unrecorded > 0"), what="all is recorded"
    )
    until(lambda: not table.drain() and not table.intents(), what="all is settled")
    return table.settled(table.key(id=id))


def test_it_waits_and_writes_to_the_new_primary(
    table: Table, store: DualWriteStore, asleep_at: Callable[[str], threading.Event]
) -> None:
    """Would break: it accepts a write into the old primary and reports success, and nobody carries the write over."""
    woken, id, cut_off = asleep_at("write.before_intent"), uuid4(), CutOff(store._registration)
    with ThreadPoolExecutor(1) as executor:
        writing = executor.submit(store.put, "pairs", {"id": id, "a": "new"})
        assert woken.wait(10)
        cut_off.tried.clear()
        assert cut_off.tried.wait(10), "it asks"
        assert not writing.done()
        cut_off.back()
        assert writing.result(15) is True
    assert store.primary == "postgres"
    assert store.get("pairs", {"id": id}) == {"id": id, "a": "new", "b": None}
    assert settled(table, id) == {"a": "new", "b": None}


@pytest.mark.parametrize("place", ["write.accepted", "write.unrecorded"])
def test_what_it_was_about_to_accept_is_unsure(
    table: Table, store: DualWriteStore, asleep_at: Callable[[str], threading.Event], place: str
) -> None:
    """Would break: the write reaches the old primary after the cut-over, the caller gets success, and it is lost."""
    id, cut_off = uuid4(), CutOff(store._registration)
    asleep_at(place)
    with pytest.raises(WriteUnsure, match="suspended within the write"):
        store.put("pairs", {"id": id, "a": "late"})
    cut_off.back()
    until(lambda: store.primary == "postgres", what="it asks")
    assert settled(table, id) is None
    assert store.put("pairs", {"id": id, "a": "again"}) is True
    assert settled(table, id) == {"a": "again", "b": None}


def test_where_postgres_stays_away_it_refuses(table: Table, store: DualWriteStore) -> None:
    """Would break: it waits for ever; or it takes the wait for an answer."""
    one, id, cut_off = store._registration, uuid4(), CutOff(store._registration)
    assert store.put("pairs", {"id": uuid4(), "a": "alone"}) is True, "it has run all the time"
    one.suspension._max_wait = 0.5
    sleep_through_a_cutover(table, one)
    for _ in range(2):
        with pytest.raises(WriteRefusedNow):
            store.put("pairs", {"id": uuid4(), "a": "late"})
    assert not one.suspension.awaits_answer
    cut_off.back()
    until(lambda: store.primary == "postgres", what="it asks")
    assert store.put("pairs", {"id": id, "a": "after"}) is True
    assert settled(table, id) == {"a": "after", "b": None}
