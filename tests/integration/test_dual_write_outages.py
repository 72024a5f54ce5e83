"""Servers that go away while an application writes to both sides: what it sees, and that nothing is lost (invariants 1 and 8).

These tests stop and kill servers, so they have servers of their own.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from cassandra import DriverException
from cassandra.cluster import NoHostAvailable
from chaos.explain import Op, explained
from support.backfills import until
from support.dual import Table, prepare
from support.reverse import authority

from sync import failpoints
from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.cutover.writers import fence, list_writers
from sync.errors import SourceUnavailable, StoreClosed, SyncError, Unreachable, WriteRefused, WriteUnsure
from sync.local.stack import Stack
from sync.settings import Config, DualWriteTuning, Settings
from sync.stores import DualWriteStore

pytest_plugins = ("support.own_servers",)
pytestmark = pytest.mark.slow


def tuned(**more: Any) -> Config:
    quick = {"heartbeat_seconds": 0.3, "writer_lease_seconds": 2.0, "secondary_timeout_seconds": 1.0}
    return Config(schema_files=(), dual_write=DualWriteTuning(**{**quick, "primary_timeout_seconds": 2.0, **more}))


REFUSE, ACCEPT = tuned(on_postgres_down="refuse"), tuned(on_postgres_down="accept")


@pytest.fixture(scope="module")
def settings(own_settings: Settings) -> Settings:  # in place of the shared servers'
    return own_settings


@pytest.fixture(scope="module")
def cassandra(settings: Settings, own_cassandra: Cassandra) -> Cassandra:
    for statement in ("pairs (id uuid PRIMARY KEY, a text, b text)", "others (id uuid PRIMARY KEY, a text)"):
        own_cassandra.session.execute(f"CREATE TABLE {settings.astra_db_keyspace}.{statement}")
    prepare(settings, REFUSE, "pairs", "others")
    return own_cassandra


@pytest.fixture
def table(stack: Stack, settings: Settings, cassandra: Cassandra) -> Iterator[Table]:
    """The table from outside; servers that a test left down are up again after it, and both sides are equal."""
    with closing(Table(cassandra, settings, REFUSE, "pairs")) as opened:
        yield opened
        for server in stack.servers:
            server.start()
        until(lambda: connected(cassandra), 60, "this module's own session is back")
    with closing(Table(cassandra, settings, REFUSE, "pairs")) as opened:
        opened.sql("UPDATE sync.writer SET state = 'unclean' WHERE state = 'active'")
        opened.drained()
        opened.check_equal()


def connected(cassandra: Cassandra) -> bool:
    """Whether the driver has connected again to a server that was restarted."""
    try:
        return bool(cassandra.session.execute("SELECT key FROM system.local"))
    except (DriverException, NoHostAvailable):
        return False


def works(store: DualWriteStore) -> bool:
    """Whether a write goes through."""
    try:
        return store.put("pairs", {"id": uuid4(), "a": "again"})
    except SyncError:
        return False


def timed(call: Callable[[], object], times: int) -> list[float]:
    """How long each of some calls took, sorted."""
    found = []
    for _ in range(times):
        begin = time.monotonic()
        call()
        found.append(time.monotonic() - begin)
    return sorted(found)


def test_rule_28_refuse_while_postgres_is_away(stack: Stack, table: Table, settings: Settings) -> None:
    """Would break: a write that nothing records is made; or writes are still refused when Postgres is back."""
    key = {"id": uuid4()}
    with DualWriteStore(settings, REFUSE) as store:
        store.put("pairs", {**key, "a": "before"})
        stack.postgres.stop()

        def refused() -> None:
            with pytest.raises(WriteRefused):
                store.put("pairs", {**key, "a": "away"})

        slowest = timed(refused, 10)
        assert slowest[5] < 0.5, "the breaker spares the application the wait"
        assert slowest[-1] < 4
        assert store.get("pairs", key) == {**key, "a": "before", "b": None}
        stack.postgres.start()
        until(lambda: works(store), what="writes go on")
        assert store.update("pairs", key, {"b": "after"})
    assert table.settled(table.key(**key)) == {"a": "before", "b": "after"}


def test_reads_go_on_where_postgres_dies_within_a_switch(stack: Stack, table: Table, settings: Settings) -> None:
    """Would break: each read asks a server that is unreachable which store is primary, and waits for its timeout."""
    key = {"id": uuid4()}
    with DualWriteStore(settings, REFUSE) as store:
        store.put("pairs", {**key, "a": "before"})
        with authority(table) as epochs:
            switch = epochs.begin("cutover")
            until(lambda: not epochs.not_ready(switch), what="the store has acknowledged")
        stack.postgres.stop()
        for _ in range(2):
            assert store.get("pairs", key) == {**key, "a": "before", "b": None}
            assert store._registration.breaker.is_open, "the next read does not ask"
        stack.postgres.start()
        until(lambda: works(store), what="writes go on")
        with authority(table) as epochs:
            epochs.abandon(switch, "a test")


def test_rules_28_and_31_accept_while_postgres_is_away(stack: Stack, table: Table, settings: Settings) -> None:
    """Would break: the application waits for a sick secondary, or what it wrote meanwhile is never in Postgres."""
    changed, deleted, new = ({"id": uuid4()} for _ in range(3))
    with DualWriteStore(settings, ACCEPT) as store:
        for key in (changed, deleted):
            store.put("pairs", {**key, "a": "before"})
        usual = timed(lambda: store.put("pairs", {"id": uuid4(), "a": "usual"}), 20)
        stack.postgres.stop()
        outage = timed(lambda: works(store), 1) + timed(lambda: store.update("pairs", changed, {"b": "away"}), 20)
        store.delete("pairs", deleted)
        store.put("pairs", {**new, "a": "away"})
        assert store.get("pairs", deleted) is None
        assert outage[10] < max(0.1, 3 * usual[10]), f"p50 {outage[10]:.3f} s, usually {usual[10]:.3f} s"
        stack.postgres.start()
        until(lambda: not store._registration.write_behind._unrecorded, what="what was unrecorded is recorded")
        until(lambda: ours(table, store)["unrecorded"] == 0, what="and it says so")
        assert ("delete", "finished") in table.intents(table.key(**deleted))
        table.drained()
        assert table.settled(table.key(**changed)) == {"a": "before", "b": "away"}
        assert table.settled(table.key(**deleted)) is None
        assert table.settled(table.key(**new)) == {"a": "away", "b": None}


def ours(table: Table, store: DualWriteStore) -> dict[str, Any]:
    with table.pool.connection() as connection:
        return next(w for w in list_writers(connection) if w["id"] == store._registration.writer.id)


def last_heartbeat(table: Table, store: DualWriteStore) -> datetime:
    ((at,),) = table.sql("SELECT heartbeat_at FROM sync.writer WHERE id = %s", (store._registration.writer.id,))
    found: datetime = at
    return found


def test_rule_29_a_writer_with_unrecorded_writes_cannot_sign_off(stack: Stack, table: Table, settings: Settings) -> None:
    """Would break: a process ends with writes that only it knew of, and the gate takes it for clean."""
    with DualWriteStore(settings, ACCEPT) as store:
        works(store)
        stack.postgres.stop()
        until(lambda: works(store))
        assert store._registration.write_behind._unrecorded
        name = store._registration.writer.id
    stack.postgres.start()
    with closing(connect(settings, autocommit=True)) as connection:
        (left,) = [w for w in list_writers(connection) if w["id"] == name]
        assert left["state"] == "active", "a cut-over waits for it"
        fence(connection, name)
        (left,) = [w for w in list_writers(connection) if w["id"] == name]
        assert left["state"] == "unclean", "and asks for a drift pass"
    # What the drift pass of rule 31 would repair is repaired by hand here.
    rows = table.cassandra.session.execute(f"SELECT id FROM {settings.astra_db_keyspace}.pairs")
    for row in rows:
        key = table.key(id=row.id)
        if table.target(key) != table.source(key):
            table.sql(
                "INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner) "
                "VALUES ('pairs', %s, %s, 'recheck', 'finished', 1, 1, 'drift')",
                (key.canonical, key.token),
            )


def test_rule_29_a_store_that_closes_under_load_leaves_nothing_unrecorded(
    stack: Stack, table: Table, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: a deployment ends a process whose last write only Cassandra has, and its writer counts as clean."""
    key = {"id": uuid4()}
    store = DualWriteStore(settings, ACCEPT)
    works(store)
    stack.postgres.stop()
    monkeypatch.setitem(failpoints._PLAN, "write.unrecorded", "sleep:4")
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(store.put, "pairs", {**key, "a": "last"})
        until(lambda: table.source(table.key(**key)) is not None, what="the primary has it, and nobody else knows of it")
        stack.postgres.start()
        store.close()
        assert writing.result(20) is True
    monkeypatch.undo()
    with closing(Table(table.cassandra, settings, REFUSE, "pairs")) as seen:
        assert seen.sql("SELECT state FROM sync.writer WHERE id = %s", (store._registration.writer.id,)) == [("signed_off",)]
        assert seen.intents(seen.key(**key)) == [("recheck", "finished")], "the primary has the values"
    with pytest.raises(StoreClosed):
        store.put("pairs", {**key, "a": "later"})


def test_postgres_away_from_the_beginning(stack: Stack, table: Table, settings: Settings) -> None:
    """Would break: the application gets a driver's error, or an unregistered writer accepts (rule 28)."""
    with DualWriteStore(settings, ACCEPT) as store:
        stack.postgres.stop()
        with pytest.raises(WriteRefused, match="others"):
            store.put("others", {"id": uuid4(), "a": "its columns are not known yet"})
        with DualWriteStore(settings, ACCEPT) as late:
            with pytest.raises(WriteRefused, match="not registered"):
                late.put("pairs", {"id": uuid4()})
            assert late.count("others") == 0
            stack.postgres.start()
            until(lambda: works(late), what="it is registered")
        assert store.count("others") == 0


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_invariant_1_postgres_restarted_under_load(stack: Stack, table: Table, settings: Settings, end: str) -> None:
    """Would break: a write acknowledged around a restart is lost, or is on one side."""
    keys, stop, lock = [uuid4() for _ in range(4)], threading.Event(), threading.Lock()
    ops: list[tuple[UUID, Op]] = []

    def load(n: int) -> None:
        rng, i = random.Random(n), 0
        while not stop.is_set():
            i += 1
            kind, key, values = rng.choice(["put", "update", "delete"]), rng.choice(keys), {}
            if kind != "delete":
                values = {"a": f"{n}.{i}", "b": f"{n}.{i}"} if kind == "put" else {rng.choice("ab"): f"{n}.{i}"}
            begin, fate = time.monotonic(), "must"
            try:
                if kind == "put":
                    store.put("pairs", {"id": key, **values})
                elif kind == "update":
                    store.update("pairs", {"id": key}, values)
                else:
                    store.delete("pairs", {"id": key})
            except WriteRefused:
                fate = "never"
            except WriteUnsure:
                fate = "may"
            with lock:
                ops.append((key, Op(kind, values, begin, time.monotonic(), fate)))  # type: ignore[arg-type]
            time.sleep(0.02 if fate == "must" else 0.1)

    with DualWriteStore(settings, REFUSE) as store, ThreadPoolExecutor(3) as pool:
        loads = [pool.submit(load, n) for n in range(3)]
        for _ in range(2):
            time.sleep(0.6)
            getattr(stack.postgres, end)()
            stack.postgres.start()
        until(lambda: works(store), what="writes go on")
        until(lambda: sum(op.fate == "must" for _, op in list(ops)) > 20, what="enough writes to judge")
        stop.set()
        for done in loads:
            done.result(30)
    for key in keys:
        row = table.settled(table.key(id=key))
        mine = [op for k, op in ops if k == key]
        assert explained(None, mine, (row["a"], row["b"]) if row else None), (row, mine)


def test_redis_away(stack: Stack, table: Table, settings: Settings) -> None:
    """Would break: the queue is needed for more than to wake workers (invariant 6)."""
    key = {"id": uuid4()}
    with DualWriteStore(settings, REFUSE) as store:
        stack.valkey.kill()
        store.update("pairs", key, {"a": "1"})  # there is no row: it is left to a worker, which is notified
        beat = last_heartbeat(table, store)
        until(lambda: last_heartbeat(table, store) > beat, what="the heart goes on beating")
        assert store.update("pairs", key, {"b": "2"})
    with DualWriteStore(settings, REFUSE) as store:
        assert store.put("pairs", {"id": uuid4()})
    assert table.settled(table.key(**key)) == {"a": "1", "b": "2"}


def test_cassandra_away(stack: Stack, table: Table, settings: Settings, cassandra: Cassandra) -> None:
    """Would break: an unsure write is taken for done or for refused, or is not settled when Cassandra is back."""
    keys = [{"id": uuid4()} for _ in range(4)]
    with DualWriteStore(settings, REFUSE) as store:
        for key in keys:
            store.put("pairs", {**key, "a": "before"})
        stack.cassandra.kill()
        with pytest.raises(WriteUnsure):
            store.put("pairs", {**keys[0], "a": "put"})
        with pytest.raises(WriteUnsure):
            store.update("pairs", keys[1], {"b": "updated"})
        with pytest.raises(WriteUnsure):
            store.delete("pairs", keys[2])
        with pytest.raises(SourceUnavailable):
            store.get("pairs", keys[3])
        with pytest.raises(WriteRefused, match="others"):
            store.put("others", {"id": uuid4()})
        with pytest.raises(Unreachable):
            DualWriteStore(settings, REFUSE)
        assert {state for key in keys[:3] for _, state in table.intents(table.key(**key))} == {"unsure"}
        table.drain()
        assert len(table.intents()) >= 3, "they wait for Cassandra"
        stack.cassandra.start()
        until(lambda: connected(cassandra), 60, "this module's own session is back")
        until(lambda: works(store), 60, "writes go on")
    assert table.settled(table.key(**keys[0])) == {"a": "put", "b": None}
    assert table.settled(table.key(**keys[1])) == {"a": "before", "b": "updated"}
    assert table.settled(table.key(**keys[2])) is None
    assert table.settled(table.key(**keys[3])) == {"a": "before", "b": None}
