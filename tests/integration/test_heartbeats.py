"""A live writer looks alive: under load, with much to record, and without constant polling (rules 28 to 31)."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import pairwise
from uuid import uuid4

import pytest
from support.backfills import until
from support.dual import Table, holding
from support.places import Place
from support.prepared_places import home_of
from support.reverse import authority, be_primary

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.pool import open_pool
from sync.adapters.postgres.dual_write import registration
from sync.adapters.postgres.dual_write.registration import Registration
from sync.adapters.postgres.dual_write.resend_in_order import OrderedResends
from sync.adapters.postgres.dual_write.write_behind import WriteBehind
from sync.core.mutations import Key, Mutation
from sync.errors import EpochChanged, TargetBusy
from sync.ports import Epoch
from sync.settings import Config, DualWriteTuning

pytest_plugins = ("support.fixtures",)
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=4, heartbeat_seconds=0.3, writer_lease_seconds=2))


home = home_of(CONFIG, pairs="id uuid PRIMARY KEY, a text, b text")


@pytest.fixture
def table(home: Place) -> Iterator[Table]:
    with closing(Table(home.cassandra, home.settings, CONFIG, "pairs")) as opened:
        for name in ("intent", "writer"):
            opened.sql(f"DELETE FROM sync.{name}")
        be_primary(opened, "astra")
        yield opened


@pytest.fixture
def one(home: Place) -> Iterator[Registration]:
    """A writer with two connections."""
    with closing(open_pool(home.settings, 2, 1.0)) as pool:
        made = Registration(pool, CONFIG.dual_write, lambda _: None)
        try:
            yield made
        finally:
            made.end()


def test_a_pool_that_is_taken_stops_no_heartbeat(table: Table, one: Registration) -> None:
    """Would break: a writer under load looks dead, and workers send again what it is sending, which adds to the load."""
    with ExitStack() as taken:
        for _ in range(2):
            taken.enter_context(one._pool.connection())
        seen: set[object] = set()

        def beats() -> bool:
            seen.update(table.sql("SELECT heartbeat_at FROM sync.writer WHERE host <> 'test'"))
            return len(seen) > 3

        until(beats, what="its heartbeat goes on")


def gaps(moments: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(moments)]


def keys(table: Table, count: int) -> list[Key]:
    return [table.key(id=uuid4()) for _ in range(count)]


@pytest.mark.slow
def test_100000_unrecorded_writes(table: Table, one: Registration, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: the application runs out of memory; or, when Postgres is back, the writer looks dead for minutes."""
    send, sent = one._send_heartbeat, list[int]()

    def counted() -> object:
        sent.append(one.write_behind.unrecorded_count)
        return send()

    monkeypatch.setattr(one, "_send_heartbeat", counted)
    monkeypatch.setattr(one, "_tuning", CONFIG.dual_write.model_copy(update={"heartbeat_seconds": 0.05}))
    journal, made = table.writer().journal, keys(table, 100_000)
    write_behind = WriteBehind(True, lambda _: None)
    tracemalloc.start()
    for key in made[:5000]:
        write_behind.add_unrecorded(
            journal, Mutation("put", key, {"a": b"x" * 6000, "b": None}), write_behind.stamp(key), "finished"
        )
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < write_behind._unrecorded._bytes < 5000 * 2000, "what is counted is what is taken, and values are not kept"
    for key in made:
        one.write_behind.add_unrecorded(
            journal, Mutation("put", key, {"a": b"x", "b": None}), one.write_behind.stamp(key), "finished"
        )
    assert not one.write_behind._unrecorded.is_full
    until(lambda: one.write_behind.unrecorded_count == 0, what="all is recorded")
    assert len([left for left in sent if 0 < left < 100_000]) > 3, "heartbeats come while there is much to record"
    assert table.sql("SELECT count(*), count(DISTINCT key) FROM sync.intent") == [(100_000, 100_000)]
    assert not one.write_behind._accepted and one.write_behind._unrecorded._bytes == 0


def test_no_more_is_kept_than_may_be(home: Place, table: Table) -> None:
    """Would break: in a long outage of Postgres the application runs out of memory, and all that it kept is lost."""
    tuning = CONFIG.dual_write.model_copy(update={"max_unrecorded_mb": 1})
    with closing(open_pool(home.settings, 2, 1.0)) as pool:
        small = Registration(pool, tuning, lambda _: None)
        small._end.set()
        small._thread.join()
        journal, count = table.writer().journal, 0
        while small.write_behind.begin_accepting():
            (key,) = keys(table, 1)
            small.write_behind.add_unrecorded(
                journal, Mutation("put", key, {"a": b"x" * 6000, "b": None}), small.write_behind.stamp(key), "unsure"
            )
            small.write_behind.end_accepting()
            count += 1
        assert 100 < count < 200
        again = keys(table, 1) * 500
        for key in again:
            small.write_behind.add_unrecorded(
                journal, Mutation("put", key, {"a": b"x"}), small.write_behind.stamp(key), "finished"
            )
        assert small.write_behind.unrecorded_count == count + 1, "one for a key"
        small.end()
    assert sorted(table.intents()) == [("put", "unsure")] * count + [("recheck", "finished")]
    assert table.sql("SELECT state FROM sync.writer WHERE host <> 'test'") == [("signed_off",)]


def test_one_that_cannot_be_recorded_holds_up_no_other(table: Table, one: Registration) -> None:
    """Would break: because the journal refuses one write, the writer is never clean, and the others are not recorded."""
    table.sql("ALTER TABLE sync.intent ADD CONSTRAINT poison CHECK (version % 1000 <> 7)")
    journal, made = table.writer().journal, keys(table, 1001)
    try:
        for n, key in enumerate(made):
            one.write_behind.stamp(key)
            one.write_behind.add_unrecorded(
                journal, Mutation("recheck", key, {}), 1_000_000 * n + (7 if n == 500 else 8), "finished"
            )
        until(lambda: table.sql("SELECT count(*) FROM sync.intent") == [(1000,)], what="all others")
        assert one.write_behind.unrecorded_count == 1
        until(lambda: table.sql("SELECT unrecorded FROM sync.writer WHERE id = %s", (one.writer.id,)) == [(1,)])
    finally:
        table.sql("ALTER TABLE sync.intent DROP CONSTRAINT poison")
    until(lambda: one.write_behind.unrecorded_count == 0, what="it is tried again")


@pytest.mark.parametrize("step", ["mark", "withdraw", "remove", "record"])
def test_an_intent_that_is_held_makes_postgres_no_sick_one(table: Table, one: Registration, step: str) -> None:
    """Would break: because of one busy key, all writes go without a journal for seconds."""
    from sync.adapters.postgres.dual_write.journal import Journal
    from sync.ports import Written

    writer, (key,) = table.writer(), keys(table, 1)
    journal = Journal(one._pool, table.mapped, table.encoder, writer.journal._writer, one.breaker)
    write = writer.put(key, a="1")
    calls = {
        "mark": lambda: journal.mark([write.intent], "unsure", ""),
        "withdraw": lambda: journal.withdraw(write.intent),
        "remove": lambda: journal.remove([write.intent]),
        "record": lambda: journal.record([Written(write.mutation, 1, "unsure")]),
    }
    held = "LOCK TABLE sync.intent IN ACCESS EXCLUSIVE MODE" if step == "record" else "SELECT FROM sync.intent FOR UPDATE"
    with holding(table, held), pytest.raises(TargetBusy):
        calls[step]()
    assert one.breaker.failures == 0


def test_writers_do_not_ask_all_the_time(table: Table, one: Registration, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: 250 writers ask 25,000 times a second for a minute, on the server that is about to become primary."""
    looks: list[float] = []
    real = registration.read_epoch

    def counted(connection: Connection) -> Epoch:
        looks.append(time.monotonic())
        return real(connection)

    monkeypatch.setattr(registration, "read_epoch", counted)
    with authority(table) as epochs:
        switch = epochs.begin("cutover")
        until(lambda: one._is_switching, what="it has heard of it")
        looks.clear()
        until(lambda: len(looks) > 5, what="it looks")
        assert min(gaps(looks)) > 0.2, "announced: nobody waits"
        epochs.close(switch, 30)
        with pytest.raises(EpochChanged) as turned_away:
            table.writer().put(keys(table, 1)[0], a="1")
        one.epoch_changed(turned_away.value)
        until(lambda: one.epoch.state != "open", what="it knows")
        looks.clear()
        waiting = threading.Thread(target=one.wait_open, args=(30,))
        waiting.start()
        until(lambda: len(looks) > 45, what="closed: it looks often")
        assert min(gaps(looks)[32:]) > 0.04, "and less often, the longer it takes"
        epochs.abandon(switch, "")
        before = len(looks)
        waiting.join()
        assert one.epoch.state == "open" and len(looks) - before < 4, "the first look that finds it open ends the wait"


def test_a_new_epoch_is_logged_whoever_learns_it(table: Table, one: Registration, caplog: pytest.LogCaptureFixture) -> None:
    """Would break: if a write that is turned away learns it before the heartbeat, the log never names the new primary."""
    told = EpochChanged(one.epoch.epoch + 1, "postgres", "open")
    one.epoch_changed(told)
    lines = [record.getMessage() for record in caplog.records]  # the heartbeat finds the true one again, and says so
    assert lines.count(f"epoch {told.epoch}: postgres is primary now") == 1


def test_16_threads_take_turns(home: Place, table: Table) -> None:
    """Would break: each thread holds a connection and waits for a second one, until all of them give up."""

    class Resend:
        def __init__(self) -> None:
            self.together = threading.Barrier(2)

        def keys(self, wanted: list[Key], failed: object) -> int:
            with pool.connection() as connection:
                connection.execute("SELECT pg_sleep(0.05)")
            return len(wanted)

    with closing(open_pool(home.settings, 4, 3.0)) as pool, ThreadPoolExecutor(16) as threads:
        turns = OrderedResends(pool, Resend())  # type: ignore[arg-type]
        done = list(threads.map(lambda key: turns.keys([key], lambda *_: None), keys(table, 64)))
    assert done == [1] * 64
