"""What goes wrong while servers run: values that do not fit, tables that change, clocks, rechecks left by a backfill."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime
from datetime import time as clock_time
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid1, uuid4

import pytest
from chaos.explain import Op, explained
from support.dual import Actor, Table, WriteBehind, holding, now_us, prepare
from support.places import NewPlace, Place
from support.prepared_places import prepared
from support.running_commands import until

from sync.adapters.cassandra.connection.pages import quoted
from sync.adapters.postgres.backfill.range_ledger import RangeLedger
from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.dual_write.locks import lock_of
from sync.core.ring import WHOLE_RING
from sync.flows.dual_write import ForwardWrite
from sync.settings import Config, DualWriteTuning, load_config
from sync.stores import DualWriteStore
from sync.wiring.backfill.command import make_plan
from sync.wiring.backfill.worker import copy_job

pytest_plugins = ("support.fixtures",)
SECOND = 1_000_000
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=4, heartbeat_seconds=0.2))
OF_THE_LAST = "SELECT {} FROM sync.writer WHERE id = (SELECT id FROM sync.writer ORDER BY registered_at DESC LIMIT 1) AND {}"


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as place:
        place.cql(
            "CREATE TABLE KS.texts (id uuid PRIMARY KEY, t text, n int)",
            "CREATE TABLE KS.strict (id uuid PRIMARY KEY, t text, n int)",
            "CREATE TABLE KS.changing (id uuid PRIMARY KEY, t text, n int)",
        )
        place.sql(
            "CREATE TABLE texts (id uuid PRIMARY KEY, t text, n int)",
            "CREATE INDEX ON texts (t)",
            "CREATE TABLE strict (id uuid PRIMARY KEY, t text NOT NULL, n int CHECK (n < 100))",
        )
        prepare(place.settings, CONFIG, "texts", "strict", "changing")
        yield place


@pytest.fixture(scope="module")
def store(home: Place) -> Iterator[DualWriteStore]:
    with DualWriteStore(home.settings, CONFIG) as opened:
        yield opened


def opened(home: Place, name: str, config: Config = CONFIG) -> Any:
    return closing(Table(home.cassandra, home.settings, config, name))


def rejects(home: Place, table: str) -> list[tuple[Any, ...]]:
    return home.sql(f"SELECT column_name, action, reason FROM sync.reject WHERE table_name = '{table}'")


# values that Postgres cannot hold


def test_a_value_that_postgres_cannot_hold_is_recorded_and_leaves_no_older_row(home: Place, store: DualWriteStore) -> None:
    """Would break: the application's write fails, or the target keeps the older row as if it were this one."""
    key = {"id": uuid4()}
    with opened(home, "texts") as table:
        store.put("texts", {**key, "t": "good", "n": 1})
        assert store.update("texts", key, {"t": "a\0b"}) is True
        assert [state for _, state in table.intents()] == ["finished"]
        table.drained()
        assert table.target(table.key(**key)) is None
        ((column, action, reason),) = rejects(home, "texts")
        assert (column, action) == ("t", "reject")
        assert "NUL" in reason
        assert store.get("texts", key) == {**key, "t": "a\0b", "n": 1}
        store.update("texts", key, {"t": "good again"})
        assert table.settled(table.key(**key)) == {"t": "good again", "n": 1}
        assert rejects(home, "texts") == []


def test_a_deleted_reject_is_no_reject(home: Place, store: DualWriteStore) -> None:
    """Would break: a reject stays for ever and blocks the cut-over."""
    key = {"id": uuid4()}
    with opened(home, "texts") as table:
        store.put("texts", {**key, "t": "\0"})
        table.drained()
        assert len(rejects(home, "texts")) == 1
        store.delete("texts", key)
        table.drained()
        assert rejects(home, "texts") == []


def test_a_reject_that_a_new_put_mends_is_no_reject(home: Place, store: DualWriteStore) -> None:
    """Would break: the same, where the guarded write itself brings the good row."""
    key = {"id": uuid4()}
    with opened(home, "texts") as table:
        store.put("texts", {**key, "t": "\0"})
        table.drained()
        store.put("texts", {**key, "t": "good"})
        assert table.settled(table.key(**key)) == {"t": "good", "n": None}
        assert rejects(home, "texts") == []


def test_a_row_too_large_for_an_index_is_a_reject_and_stops_nobody(home: Place, store: DualWriteStore) -> None:
    """Would break: one row that Postgres refuses with another class of error stops every drain for ever."""
    bad, good = {"id": uuid4()}, [{"id": uuid4()} for _ in range(3)]
    incompressible = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=20_000))
    with opened(home, "texts") as table:
        assert store.put("texts", {**bad, "t": incompressible}) is True
        writer = table.writer()
        for key in good:
            writer.put(table.key(**key), t="x").primary().mark("finished")
        table.drained()
        assert table.target(table.key(**bad)) is None
        assert [table.target(table.key(**key)) for key in good] == [{"t": "x", "n": None}] * 3
        ((_, action, reason),) = rejects(home, "texts")
        assert action == "reject"
        assert "index row" in reason
        store.delete("texts", bad)
        table.drained()


def test_constraints_of_the_target_are_rejects(home: Place, store: DualWriteStore) -> None:
    """Would break: a CHECK or NOT NULL of the target fails the application's write, or loses it silently."""
    unfit, empty = {"id": uuid4()}, {"id": uuid4()}
    with opened(home, "strict") as table:
        assert store.put("strict", {**unfit, "t": "a", "n": 100}) is True
        assert store.put("strict", {**empty, "n": 1}) is True
        table.drained()
        assert [table.target(table.key(**k)) for k in (unfit, empty)] == [None, None]
        assert len(rejects(home, "strict")) == 2
        store.put("strict", {**unfit, "t": "a", "n": 99})
        store.update("strict", empty, {"t": "now"})
        assert table.settled(table.key(**unfit)) == {"t": "a", "n": 99}
        assert table.settled(table.key(**empty)) == {"t": "now", "n": 1}


def test_an_update_beside_a_column_that_takes_no_null_is_written_at_once(home: Place, store: DualWriteStore) -> None:
    """Would break: every partial update of such a table is taken for a reject and waits for a worker."""
    key = {"id": uuid4()}
    store.put("strict", {**key, "t": "a", "n": 1})
    store.update("strict", key, {"n": 2})
    with opened(home, "strict") as table:
        assert table.intents(table.key(**key)) == []
        assert table.target(table.key(**key)) == {"t": "a", "n": 2}


def test_what_sync_toml_says_of_rejects_holds_for_dual_writes(home: Place) -> None:
    """Would break: a backfill strips NULs as it was told, and a write of the same row is rejected."""
    home.configure('schema_files = []\n[tables.texts.on_reject]\nt = "strip-nul"\n')
    config = load_config(home.commands.folder / "sync.toml")
    key = {"id": uuid4()}
    with DualWriteStore(home.settings, config) as store, opened(home, "texts", config) as table:
        store.put("texts", {**key, "t": "a\0b"})
        table.drained()
        assert table.target(table.key(**key)) == {"t": "ab", "n": None}
        assert [action for _, action, _ in rejects(home, "texts")] == ["strip-nul"]
    home.sql("DELETE FROM sync.reject")


def test_a_target_that_lost_a_column_costs_the_caller_nothing(home: Place, store: DualWriteStore) -> None:
    """Would break: the primary has acknowledged, and the application gets Postgres's error (invariant 8)."""
    key = {"id": uuid4()}
    store.put("changing", {**key, "t": "a", "n": 1})
    home.sql("ALTER TABLE changing RENAME COLUMN n TO m")
    try:
        assert store.put("changing", {**key, "t": "b", "n": 2}) is True
        assert store.update("changing", key, {"n": 3}) is True
        with opened_before(home) as table:
            assert table.drain() == 0
            ((attempts, error),) = set(home.sql("SELECT attempts, error FROM sync.intent WHERE table_name = 'changing'"))
            assert attempts == 1
            assert '"n"' in error
    finally:
        home.sql("ALTER TABLE changing RENAME COLUMN m TO n")
    with opened(home, "changing") as table:
        assert table.settled(table.key(**key)) == {"t": "b", "n": 3}


def opened_before(home: Place) -> Any:
    """A worker that has read the table's columns before they were changed."""
    home.sql("ALTER TABLE changing RENAME COLUMN m TO n")
    made = Table(home.cassandra, home.settings, CONFIG, "changing")
    home.sql("ALTER TABLE changing RENAME COLUMN n TO m")
    return closing(made)


# clocks


@pytest.mark.parametrize("seed", range(4))
def test_clocks_five_seconds_apart_converge_to_cassandras_answer(home: Place, seed: int) -> None:
    """Would break: the host whose clock is behind loses its acknowledged writes, or the sides differ."""
    rng, key_id = random.Random(seed), uuid4()
    with opened(home, "texts") as table:
        key, ops = table.key(id=key_id), list[list[Any]]()
        writers = [table.writer(clock=now_us() + skew * SECOND) for skew in (5, -5)]
        waiting: list[tuple[int, Any]] = []
        for n in range(14):
            writer: Actor = rng.choice(writers)
            kind = rng.choice(["put", "update", "update", "delete"])
            values = {"put": {"t": f"p{n}", "n": n}, "update": {"t": f"u{n}"} if n % 2 else {"n": n}, "delete": {}}[kind]
            begin = time.monotonic()
            write = writer.begin(kind, key, **values).primary()  # type: ignore[arg-type]
            late = rng.random() < 0.4
            if late:
                waiting.append((n, write))
            else:
                write.target()
            # It is answered at its last step: until then the others are concurrent with it.
            ops.append([kind, values, begin, float("inf") if late else time.monotonic()])
            if waiting and rng.random() < 0.4:
                late_n, held = waiting.pop(rng.randrange(len(waiting)))
                held.target()
                ops[late_n][3] = time.monotonic()
        for _, held in waiting:
            held.target()
        last = table.settled(key)
        made = [Op(k, {"ab"["tn".index(c)]: str(v) for c, v in vs.items()}, b, e, "must") for k, vs, b, e in ops]
        state = None if last is None else tuple(None if last[c] is None else str(last[c]) for c in "tn")
        assert explained(None, made, state), (last, made)  # type: ignore[arg-type]


def test_a_skewed_writer_is_shown(home: Place) -> None:
    """Would break: nobody sees that a clock is wrong."""
    with DualWriteStore(home.settings, CONFIG) as store:
        store.put("texts", {"id": uuid4()})
        measured = OF_THE_LAST.format("clock_skew_us", "clock_skew_us IS NOT NULL")
        ((skew,),) = until(lambda: home.sql(measured), what="it is measured")
        assert abs(skew) < SECOND


# what a backfill leaves

COMPOSITE = (
    "CREATE TABLE KS.wide (u uuid, t text, ts timestamp, dt date, tm time, n decimal, vi varint, ip inet, b blob, o boolean, "
    "i int, s smallint, y tinyint, bi bigint, d double, tu timeuuid, fl frozen<list<int>>, fs frozen<set<text>>, "
    "fm frozen<map<text, int>>, ft frozen<tuple<int, text>>, x text, "
    "PRIMARY KEY ((u, t), ts, dt, tm, n, vi, ip, b, o, i, s, y, bi, d, tu, fl, fs, fm, ft))"
)
VALUES: list[dict[str, Any]] = [
    {
        "u": UUID(int=1), "t": "", "ts": datetime(2020, 1, 2, 3, 4, 5, 6000, UTC), "dt": date(2020, 2, 29),
        "tm": clock_time(23, 59, 59, 999999), "n": Decimal("1.50"), "vi": -(2**70), "ip": "10.0.0.1", "b": b"\x00\xff",
        "o": True, "i": -1, "s": -2, "y": -3, "bi": -4, "d": -0.5, "tu": uuid1(), "fl": [2, 1], "fs": {"b", "a"},
        "fm": {"b": 1, "a": 2}, "ft": (1, "x"),
    },
    {
        "u": UUID(int=2), "t": "ü", "ts": datetime(1, 1, 1, tzinfo=UTC), "dt": date(9999, 12, 31), "tm": clock_time(0),
        "n": Decimal("-0.00"), "vi": 0, "ip": "2001:db8::1", "b": b"", "o": False, "i": 0, "s": 0, "y": 0, "bi": 2**63 - 1,
        "d": 0.1, "tu": uuid1(), "fl": [], "fs": set(), "fm": {}, "ft": (2, ""),
    },
]  # fmt: skip


def test_rechecks_of_a_backfill_are_drained_whatever_their_key(new_place: NewPlace) -> None:
    """Would break: a key that a backfill left for a recheck cannot be read from its bytes, and is stuck."""
    with new_place() as place:
        place.cql(COMPOSITE)
        prepare(place.settings, CONFIG, "wide")
        with opened(place, "wide") as table:
            for values in VALUES:
                put_by_cql(place, values, "before")
            backfill(place)
            assert table.check_count() == len(VALUES)
            for values in VALUES:
                put_by_cql(place, values, "after")
            backfill(place)
            assert table.intents() == [("recheck", "finished")] * len(VALUES)
            table.drained()
            assert {row["x"] for row in table._all_target().values()} == {"after"}
            assert table.check_count() == len(VALUES)


def test_a_key_that_python_has_no_value_of_settles_like_any_other(new_place: NewPlace) -> None:
    """Would break: one intent with such a key fails for ever, or ends every drain of its table."""
    with prepared(new_place, CONFIG, wide="ts timestamp PRIMARY KEY, x text") as place:
        year_10000 = 253_402_300_800_000
        with opened(place, "wide") as table:
            for x in ("before", "after"):
                for ts in (year_10000, 0):
                    put_by_cql(place, {"ts": ts}, x)
                backfill(place)
            assert table.intents() == [("recheck", "finished")] * 2
            assert table.drain() == 2
            assert table.intents() == []
            assert table.sql("SELECT x FROM wide") == [("after",)] * 2


def put_by_cql(place: Place, values: dict[str, Any], x: str) -> None:
    names = [*values, "x"]
    prepared = place.cassandra.session.prepare(
        f"INSERT INTO {quoted(place.keyspace)}.wide ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    )
    place.cassandra.session.execute(prepared, [*values.values(), x])


def backfill(place: Place) -> None:
    plan = make_plan(place.settings, CONFIG, None)
    with closing(connect(place.settings, autocommit=True)) as connection:
        ledger = RangeLedger(connection, 30)
        runs = ledger.begin({t.name: WHOLE_RING.split(2) for t in plan.tables})
        copy_job(place.settings, CONFIG, runs, lambda: False)
        assert all(ledger.finish(run) for run in runs)


def test_many_stuck_intents_are_drained(home: Place) -> None:
    """Would break: after a long outage the drain takes as long again, or holds everything in memory."""
    with opened(home, "texts") as table:
        writer = table.writer()
        mutations = [writer.mutation("put", table.key(id=uuid4()), t=f"{i}") for i in range(600)]
        flow = ForwardWrite(writer.journal, table.rows, WriteBehind(), "async")
        for mutation in mutations:
            flow.write(mutation)
        assert len(table.intents()) == len(mutations)
        table.drained()
        assert table.target(mutations[-1].key) == {"t": "599", "n": None}


def test_a_write_after_an_outage_exceeds_those_that_are_not_recorded_yet(home: Place) -> None:
    """Would break: Postgres is back, what was accepted meanwhile is not recorded yet, and the next write loses to it."""
    config = Config(schema_files=(), dual_write=DualWriteTuning(connections=2, heartbeat_seconds=600))
    key = {"id": uuid4()}
    with opened(home, "texts") as table, DualWriteStore(home.settings, config) as store:
        beaten = OF_THE_LAST.format("id", "heartbeat_at > registered_at")
        until(lambda: home.sql(beaten), what="its first heartbeat")
        table.writer(clock=now_us() + 30 * SECOND).put(table.key(**key), t="ahead").done()
        store.put("texts", {**key, "t": "1"})
        store._registration.breaker.failures = 1
        store.put("texts", {**key, "t": "2"})
        store.put("texts", {**key, "t": "3"})
        assert (store.get("texts", key) or {})["t"] == "3"
        store._registration.breaker.reset()
        store.put("texts", {**key, "t": "4"})
        assert (store.get("texts", key) or {})["t"] == "4"
        store._registration.write_behind.record()
        assert table.settled(table.key(**key)) == {"t": "4", "n": None}


def test_accepted_stamps_do_not_run_ahead_of_the_clock(home: Place) -> None:
    """Would break: many accepted writes a second push the stamps of all keys into the future, until they are refused."""
    config = Config(schema_files=(), dual_write=DualWriteTuning(connections=2, heartbeat_seconds=600))
    with opened(home, "texts") as table, DualWriteStore(home.settings, config) as store:
        keys = [table.key(id=uuid4()) for _ in range(2000)]
        stamps = [store._registration.write_behind.stamp(key) for key in keys]
        assert max(stamps) < now_us() + SECOND
        assert store._registration.write_behind.stamp(keys[0]) > stamps[0]


# a sick Postgres


def test_a_postgres_that_does_not_answer_in_time_delays_few_writes(home: Place) -> None:
    """Would break: the application's writes and reads wait for a secondary that hangs (invariant 8)."""
    tuning = DualWriteTuning(connections=4, heartbeat_seconds=30, secondary_timeout_seconds=0.5)
    config = Config(schema_files=(), dual_write=tuning)
    keys = [{"id": uuid4()} for _ in range(10)]
    with DualWriteStore(home.settings, config) as store, opened(home, "texts", config) as table:
        store.put("texts", {**keys[0], "t": "before"})
        with holding(table, "LOCK TABLE texts IN ACCESS EXCLUSIVE MODE"):
            seconds = []
            for key in keys:
                begin = time.monotonic()
                assert store.put("texts", {**key, "t": "meanwhile"}) is True
                assert store.get("texts", key) == {**key, "t": "meanwhile", "n": None}
                seconds.append(time.monotonic() - begin)
        assert seconds[0] < 3
        assert sorted(seconds)[5] < 0.3, "after the first the breaker is open"
        store._registration._heartbeat()
        assert not store._registration.write_behind._unrecorded
        for key in keys:
            assert table.settled(table.key(**key)) == {"t": "meanwhile", "n": None}


def test_more_threads_than_connections(home: Place) -> None:
    """Would break: a full pool is taken for an unreachable Postgres."""
    config = Config(schema_files=(), dual_write=DualWriteTuning(connections=1, on_postgres_down="refuse"))
    with DualWriteStore(home.settings, config) as store, opened(home, "texts", config) as table:
        keys = [{"id": uuid4()} for _ in range(64)]
        with ThreadPoolExecutor(32) as pool:
            assert all(pool.map(lambda key: store.put("texts", {**key, "t": "x"}), keys))
        assert table.intents() == []
        assert {str(table.target(table.key(**key))) for key in keys} == {"{'t': 'x', 'n': None}"}


def test_a_key_that_is_held_makes_postgres_no_sick_one(home: Place) -> None:
    """Would break: one hot key under reconcile (rule 16) opens the breaker, and all other writes go without a journal."""
    tuning = DualWriteTuning(connections=4, heartbeat_seconds=600, secondary_timeout_seconds=1, on_postgres_down="refuse")
    config = Config(schema_files=(), dual_write=tuning)
    hot, cold = {"id": uuid4()}, {"id": uuid4()}
    with DualWriteStore(home.settings, config) as store, opened(home, "texts", config) as table:
        store.put("texts", {**hot, "t": "before"})
        with holding(table, "SELECT pg_advisory_xact_lock(%s)", (lock_of(table.key(**hot)),)):
            begin = time.monotonic()
            assert store.put("texts", {**hot, "t": "held"}) is True
            assert time.monotonic() - begin < 3
            assert store.put("texts", {**cold, "t": "free"}) is True
            assert table.intents() == [("put", "finished")]
        assert table.settled(table.key(**hot)) == {"t": "held", "n": None}
        assert table.settled(table.key(**cold)) == {"t": "free", "n": None}
