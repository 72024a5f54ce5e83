"""Puts of many threads and tasks that share batches, on the real servers: each has its own answer, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import pytest
from support.dual import Table, holding, stamping, until_waiting
from support.places import Place
from support.prepared_places import home_of
from support.reverse import authority, be_primary
from support.running_commands import until

from sync.adapters.cassandra.rows.rows import SourceRows
from sync.adapters.postgres.dual_write import batch_journal
from sync.adapters.postgres.dual_write.batch_journal import RowsJournal
from sync.core.mutations import Mutation
from sync.errors import SyncError, WriteRefused, WriteUnsure
from sync.flows import shared_puts
from sync.flows.gathering import Limit
from sync.settings import Config, DualWriteTuning
from sync.stores import AsyncDualWriteStore, DualWriteStore

pytest_plugins = ("support.fixtures",)
THREADS = 32
# Nobody gives up while a test holds a lock: whoever waits for it waits until the test lets go.
PATIENT = DualWriteTuning(connections=8, heartbeat_seconds=0.3, primary_timeout_seconds=60, secondary_timeout_seconds=120)
CONFIG = Config(schema_files=(), dual_write=PATIENT)
QUEUED = CONFIG.model_copy(update={"dual_write": PATIENT.model_copy(update={"async_secondary": frozenset({"pairs"})})})
home = home_of(CONFIG, pairs="id uuid PRIMARY KEY, a text, b text")


@pytest.fixture
def table(home: Place) -> Iterator[Table]:
    """The table, with Astra as primary, no rows and no intents; both sides are equal at the end."""
    with closing(Table(home.cassandra, home.settings, CONFIG, "pairs")) as opened:
        opened.sql("UPDATE sync.switch SET finished_at = clock_timestamp(), state = 'abandoned' WHERE finished_at IS NULL")
        be_primary(opened, "astra")
        home.cql("TRUNCATE KS.pairs")
        opened.sql("TRUNCATE pairs, sync.intent, sync.tombstone, sync.reject")
        yield opened
        opened.at_rest()
        opened.check_equal()


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each batch had that was begun."""
    opened, found = RowsJournal.open, list[int]()

    def counted(self: RowsJournal, puts: Sequence[Mutation], above: Sequence[int]) -> Any:
        found.append(len(puts))
        return opened(self, puts, above)

    monkeypatch.setattr(RowsJournal, "open", counted)
    monkeypatch.setattr(shared_puts, "PATIENCE_SECONDS", 600.0)
    return found


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each batch had that the target took together."""
    write, found = RowsJournal.write, list[int]()

    def counted(self: RowsJournal, written: Sequence[Any], waits: bool = True) -> int:
        accepted = write(self, written, waits)
        found.append(len(written))
        return accepted

    monkeypatch.setattr(RowsJournal, "write", counted)
    return found


@contextmanager
def gathered(table: Table, store: DualWriteStore, keys: Sequence[UUID]) -> Iterator[list[Future[bool]]]:
    """Puts of these keys, made by a thread each, wait until the block begins, and go together then."""
    gathering = store._of("pairs").puts._gathering
    gathering._limit = Limit(1, 1)  # of several that end at once each would call one to lead
    with ThreadPoolExecutor(1 + len(keys)) as pool:
        with stamping(table):
            pool.submit(store.put, "pairs", {"id": uuid4(), "a": "first"})
            until_waiting(table)
            puts = []
            for number, key in enumerate(keys):
                puts.append(pool.submit(store.put, "pairs", {"id": key, "a": f"{number}"}))
                until(lambda number=number: len(gathering) == number + 1)  # type: ignore[misc]
        yield puts


def keys_of(count: int) -> list[UUID]:
    return [uuid4() for _ in range(count)]


def test_those_that_wait_are_one_batch_and_both_sides_have_each(home: Place, table: Table, batches: list[int]) -> None:
    """Would break: a row has another's answer, version or values."""
    keys = keys_of(20)
    with DualWriteStore(home.settings, CONFIG) as store, gathered(table, store, keys) as puts:
        assert [put.result(60) for put in puts] == [True] * 20
        assert batches == [20]
        for number, key in enumerate(keys):
            assert store.get("pairs", {"id": key}) == {"id": key, "a": f"{number}", "b": None}
    assert table.intents() == []
    assert table.check_equal() == 20 + 1


def test_puts_of_a_key_keep_their_order(home: Place, table: Table, batches: list[int]) -> None:
    """Would break: the older value is what stays, on one side or on both."""
    (key,) = keys_of(1)
    with DualWriteStore(home.settings, CONFIG) as store, gathered(table, store, [key, *keys_of(3), key, key]) as puts:
        assert all(put.result(60) for put in puts)
        assert batches[0] == 4
    assert table.target(table.key(id=key)) == {"a": "5", "b": None}


def test_a_row_that_somebody_has_locked_is_waited_for_by_its_own_caller_alone(
    home: Place, table: Table, batches: list[int]
) -> None:
    """Would break: all that went with it wait until a stranger's transaction ends."""
    keys = keys_of(8)
    with DualWriteStore(home.settings, CONFIG) as store:
        store.put("pairs", {"id": keys[3], "a": "before"})
        locked = holding(table, "SELECT 1 FROM pairs WHERE id = %s FOR UPDATE", (keys[3],))
        with locked as stranger, gathered(table, store, keys) as puts:
            others = [put for number, put in enumerate(puts) if number != 3]
            assert [put.result(60) for put in others] == [True] * 7
            assert not puts[3].done()
            assert store.put("pairs", {"id": keys[0], "a": "later"}), "nor do those that come then wait"
            stranger.commit()
            assert puts[3].result(60)
    assert batches == [8]
    assert table.target(table.key(id=keys[3])) == {"a": "3", "b": None}


@pytest.fixture
def merge(table: Table) -> Iterator[None]:
    """A backfill's merge holds all ranges of the table."""
    table.sql("INSERT INTO sync.run (kind, table_name, floor) VALUES ('backfill', 'pairs', 0)")
    table.sql(
        "INSERT INTO sync.range (run_id, table_name, range_start, range_end) "
        "SELECT max(id), 'pairs', -9223372036854775808, 9223372036854775807 FROM sync.run"
    )
    try:
        with holding(table, "SELECT 1 FROM sync.range FOR UPDATE"):
            yield
    finally:
        table.sql("UPDATE sync.run SET state = 'done'")


@pytest.fixture
def patient_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for the merge waits until the test has failed."""
    for longest in ("_SHORT_WAIT_SECONDS", "_SHORT_STATEMENT_SECONDS"):
        monkeypatch.setattr(batch_journal, longest, 100.0)


def test_a_merge_of_their_ranges_is_not_waited_for(
    home: Place, table: Table, batches: list[int], taken: list[int], merge: None, patient_batches: None
) -> None:
    """Would break: as long as a backfill runs, every put waits for the batches that it loads; or they hold up the backfill."""
    with DualWriteStore(home.settings, CONFIG) as store, gathered(table, store, keys_of(8)) as puts:
        assert [put.result(60) for put in puts] == [True] * 8
    assert (batches, taken, table.intents()) == ([8], [8], [])


def test_a_merge_is_not_waited_for_by_tasks(
    home: Place, table: Table, batches: list[int], merge: None, patient_batches: None
) -> None:
    """Would break: the same; or most rows of a batch are left to workers, which read each of them again."""
    keys = keys_of(60)

    async def run() -> list[bool]:
        async with AsyncDualWriteStore(home.settings, CONFIG) as store:
            puts = (store.put("pairs", {"id": key, "a": "a"}) for key in keys)
            return await asyncio.wait_for(asyncio.gather(*puts), 60)

    assert asyncio.run(run()) == [True] * 60
    assert any(size > 1 for size in batches)
    assert table.intents() == []


def test_what_the_target_cannot_hold_of_one_row_it_holds_of_the_others(home: Place, table: Table, batches: list[int]) -> None:
    keys = keys_of(6)
    table.sql("ALTER TABLE pairs ADD CONSTRAINT no_poison CHECK (a <> '2')")
    try:
        with DualWriteStore(home.settings, CONFIG) as store, gathered(table, store, keys) as puts:
            assert [put.result(60) for put in puts] == [True] * 6
        assert (batches, table.intents()) == ([6], [("put", "finished")])
        assert [table.target(table.key(id=key)) is None for key in keys] == [number == 2 for number in range(6)]
    finally:
        table.sql("ALTER TABLE pairs DROP CONSTRAINT no_poison")


def test_with_workers_for_the_target_they_are_left_to_them(home: Place, table: Table, batches: list[int]) -> None:
    with DualWriteStore(home.settings, QUEUED) as store, gathered(table, store, keys_of(8)) as puts:
        assert [put.result(60) for put in puts] == [True] * 8
    assert batches == [8]
    assert table.intents() == [("put", "finished")] * (8 + 1), "the store has recorded them before it closed"


def test_a_leader_that_is_interrupted_leaves_rows_that_are_reconciled(
    home: Place, table: Table, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: the others wait for ever, or are told of success; or what was stamped for them is on one side."""
    keys = keys_of(6)

    def interrupted(self: SourceRows, writes: Sequence[tuple[Mutation, int]]) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(SourceRows, "write_many", interrupted)
    with DualWriteStore(home.settings, CONFIG) as store, gathered(table, store, keys) as puts:
        ends = [put.exception(60) for put in puts]
        assert [type(end) for end in ends] == [KeyboardInterrupt, *[WriteUnsure] * 5]
        assert store.put("pairs", {"id": keys[0], "b": "later"}), "and others are written"
    table.at_rest()
    assert [table.source(table.key(id=key)) for key in keys[1:]] == [{"a": f"{n}", "b": None} for n in range(1, 6)]
    assert table.source(table.key(id=keys[0])) == {"a": None, "b": "later"}


@pytest.mark.slow
@pytest.mark.parametrize("config", [CONFIG, QUEUED], ids=["inline", "queued"])
def test_many_threads_lose_nothing_at_a_cutover(
    home: Place, table: Table, batches: list[int], config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: a batch is written into the former primary, or its rows are refused, or twice; or a caller waits for ever."""
    monkeypatch.setattr(shared_puts, "PATIENCE_SECONDS", 0.25)
    ended, acknowledged = Event(), dict[UUID, str]()
    own, shared = keys_of(THREADS), keys_of(4)

    def work(thread: int) -> int:
        number = 0
        while not ended.is_set():
            number += 1
            for key in (own[thread], shared[number % 4]):
                assert store.put("pairs", {"id": key, "a": f"{thread}.{number}"})
            acknowledged[own[thread]] = f"{thread}.{number}"
        return number

    with DualWriteStore(home.settings, config) as store, ThreadPoolExecutor(THREADS) as pool:
        threads = [pool.submit(work, n) for n in range(THREADS)]
        try:
            until(lambda: any(size > 1 for size in batches), what="some share a batch")
            with authority(table) as epochs:
                switch = epochs.begin("cutover")
                until(lambda: not epochs.not_ready(switch), what="the store has acknowledged")
                epochs.close(switch, 60)
                until(lambda: (table.drain(), table.intents())[1] == [], what="nothing is left")  # type: ignore[func-returns-value]
                epochs.switch_primary(switch, {})
                table.epoch += 1
            until(lambda: store.primary == "postgres", what="it has heard of it")
            before = dict(acknowledged)
            until(lambda: all(acknowledged.get(key) != before.get(key) for key in own), what="all go on")
        finally:
            ended.set()
        assert all(thread.result(60) for thread in threads)
    table.drained()
    assert table.check_equal() == THREADS + 4
    for key, value in acknowledged.items():
        assert table.target(table.key(id=key)) == {"a": value, "b": None}


@pytest.mark.slow
@pytest.mark.parametrize("tasks", [200, 1000])
def test_many_tasks_share_batches(home: Place, table: Table, batches: list[int], tasks: int) -> None:
    """Would break: a task has another's answer; or tasks go one by one, a thread each."""
    keys = keys_of(tasks)

    async def run() -> list[bool | BaseException]:
        async with AsyncDualWriteStore(home.settings, CONFIG) as store:
            first = await asyncio.gather(*(store.put("pairs", {"id": key, "a": f"{key}"}) for key in keys))
            assert first == [True] * tasks
            rows: list[dict[str, Any]] = [{"id": key, "b": "again"} for key in keys]
            rows[7] = {"id": keys[7], "c": "no such column"}
            return await asyncio.gather(*(store.put("pairs", row) for row in [*rows, rows[3]]), return_exceptions=True)

    ends = asyncio.run(run())
    assert [number for number, end in enumerate(ends) if end is not True] == [7]
    assert isinstance(ends[7], SyncError)
    assert sum(batches) > tasks, "most of them"
    assert table.intents() == []
    assert table.check_equal() == tasks
    assert table.target(table.key(id=keys[7])) == {"a": f"{keys[7]}", "b": None}


@pytest.mark.slow
@pytest.mark.parametrize("which", [slice(50, 51), slice(10, 90, 4)], ids=["one", "twenty"])
def test_locked_rows_keep_no_other_task_waiting(home: Place, table: Table, batches: list[int], which: slice) -> None:
    """Would break: a place, or a thread of each batch, waits for a stranger's transaction."""
    keys = keys_of(100)
    locked = keys[which]

    async def run() -> None:
        async with AsyncDualWriteStore(home.settings, CONFIG) as store:
            await store.put_many("pairs", [{"id": key, "a": "before"} for key in locked])
            with holding(table, "SELECT 1 FROM pairs WHERE id = ANY (%s) FOR UPDATE", (locked,)):
                tasks = {key: asyncio.create_task(store.put("pairs", {"id": key, "a": "after"})) for key in keys}
                others = [task for key, task in tasks.items() if key not in locked]
                assert await asyncio.wait_for(asyncio.gather(*others), 60) == [True] * len(others)
                assert not all(tasks[key].done() for key in locked), "some of them are waited for"
            assert await asyncio.gather(*tasks.values()) == [True] * 100

    asyncio.run(run())
    assert any(size > 1 for size in batches)
    table.drained()
    assert [table.target(table.key(id=key)) for key in keys] == [{"a": "after", "b": None}] * 100


@pytest.mark.slow
def test_what_the_primary_refuses_of_a_batch_leaves_no_intent(
    home: Place, table: Table, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: a refused row is written later by a reconcile, or its caller hears that it is unsure."""
    monkeypatch.setattr(SourceRows, "write_many", lambda _, writes: [("refused", "too few replicas", 0.1) for _ in writes])
    keys = keys_of(12)
    with DualWriteStore(home.settings, CONFIG) as store, gathered(table, store, keys) as puts:
        ends = [put.exception(60) for put in puts]
    assert batches == [12]
    assert [type(end) for end in ends] == [WriteRefused] * 12
    assert table.intents() == []
    assert [table.source(table.key(id=key)) for key in keys] == [None] * 12
