"""`insert` against real servers: threads, clocks that differ, answers that are lost, a switch in the middle."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from threading import Barrier, Event
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import pytest
from cassandra import OperationTimedOut, Unavailable
from support.backfills import until
from support.breakers import open_breaker
from support.commands import environment
from support.dual import WINDOW_PASSES, Table, disturbed
from support.places import Place
from support.prepared_places import home_of
from support.reverse import authority, be_primary, both, write_time

from sync.errors import StillOpen, WriteRefused, WriteUnsure
from sync.ports import Primary
from sync.settings import Config, DualWriteTuning
from sync.stores import AsyncDualWriteStore, CqlStore, DualWriteStore

pytest_plugins = ("support.fixtures",)
CONFIG = Config(
    schema_files=(),
    dual_write=DualWriteTuning(connections=16, heartbeat_seconds=0.2, max_wait_seconds=20),
    tables={"songs": {"lightweight_transactions": True}},  # type: ignore[dict-item]
)
THREADS = 25
TOML = "schema_files = []\n[dual_write]\nconnections = 4\n[tables.songs]\nlightweight_transactions = true\n"
APPLICATION = """
from uuid import UUID
from sync.stores import open_store
with open_store() as store:
    for n in range(1, 9):
        print(n, "begun", flush=True)
        print(n, store.insert("songs", {"id": UUID(int=n), "title": str(n)}), flush=True)
"""
PRIMARIES = pytest.mark.parametrize("primary", ["astra", "postgres"])

home = home_of(CONFIG, songs="id uuid PRIMARY KEY, title text, year int", plain="id uuid PRIMARY KEY, title text")


@pytest.fixture
def table(home: Place) -> Iterator[Table]:
    """Songs; Astra is primary, and nothing is open."""
    with closing(Table(home.cassandra, home.settings, CONFIG, "songs")) as opened:
        opened.sql("UPDATE sync.switch SET finished_at = clock_timestamp(), state = 'abandoned' WHERE finished_at IS NULL")
        opened.sql("DELETE FROM sync.intent; DELETE FROM sync.sql_change")
        opened.sql("UPDATE sync.writer SET state = 'signed_off'")
        be_primary(opened, "astra")
        yield opened


@pytest.fixture
def key() -> dict[str, UUID]:
    return {"id": uuid4()}


@contextmanager
def stores(home: Place, count: int = 2, primary: Primary = "astra") -> Iterator[list[DualWriteStore]]:
    """So many stores, as of so many processes."""
    with ExitStack() as stack:
        settings = home.settings.model_copy(update={"storage_backend": primary})
        yield [stack.enter_context(DualWriteStore(settings, CONFIG)) for _ in range(count)]


@contextmanager
def shifted(seconds: float) -> Iterator[None]:
    """This host's clock goes wrong by so much."""
    now = time.time_ns
    with patch.object(time, "time_ns", lambda: now() + int(seconds * 1e9)):
        yield


def settle(table: Table) -> None:
    """Until both sides are equal, while the stores are open."""
    until(lambda: table.drain() >= 0 and not table.intents(), what="nothing is open")


def answer(insert: Callable[[], bool]) -> bool | str:
    try:
        return insert()
    except WriteUnsure:
        return "unsure"


# one of many


@PRIMARIES
def test_one_of_many_inserts_of_a_key_is_done(home: Place, table: Table, primary: Primary) -> None:
    """Would break: two callers each believe that the row is theirs, or the sides have different ones."""
    be_primary(table, primary)
    with stores(home, 2, primary) as opened, ThreadPoolExecutor(2 * THREADS) as pool:
        for _ in range(2):
            row, start = {"id": uuid4()}, Barrier(2 * THREADS)

            def insert(n: int, row: dict[str, Any] = row, start: Barrier = start) -> bool | str:
                start.wait(60)
                return answer(lambda: opened[n % 2].insert("songs", {**row, "title": f"{n}", "year": n}))

            answers = list(pool.map(insert, range(2 * THREADS)))
            assert answers.count(True) == 1, Counter(answers)
            assert "unsure" not in answers, Counter(answers)
            settle(table)
            winner = str(answers.index(True))
            assert both(table, table.key(**row)) == ({"title": winner, "year": int(winner)},) * 2


@PRIMARIES
def test_after_a_delete_one_may_insert_again(home: Place, table: Table, key: dict[str, UUID], primary: Primary) -> None:
    """Would break: the delete, which has a timestamp of ours, hides the row that Cassandra stamps, and each insert is the first."""
    be_primary(table, primary)
    with stores(home, 1, primary) as (store,):
        for n in range(25):
            assert store.insert("songs", {**key, "title": f"{n}"}) is True
            assert store.insert("songs", {**key, "title": "other"}) is False
            assert store.get("songs", key) == {**key, "title": f"{n}", "year": None}
            store.delete("songs", key)
    table.drained()
    assert both(table, table.key(**key)) == (None, None)


@PRIMARIES
def test_a_row_that_is_there_stays_as_it_is(home: Place, table: Table, key: dict[str, UUID], primary: Primary) -> None:
    """Would break: an insert that writes all the same, on either side."""
    be_primary(table, primary)
    with stores(home, 1, primary) as (store,):
        store.put("songs", {**key, "title": "first", "year": 1})
        settle(table)
        before = write_time(table, table.key(**key), "title")
        assert store.insert("songs", {**key, "title": "second"}) is False
        assert (store.get("songs", key) or {})["title"] == "first"
    table.drained()
    assert both(table, table.key(**key)) == ({"title": "first", "year": 1},) * 2
    assert write_time(table, table.key(**key), "title") == before


def test_postgres_sends_the_row_to_the_source_with_its_version(home: Place, table: Table, key: dict[str, UUID]) -> None:
    """Would break: a rollback to a source that has never heard of the row (rule 25)."""
    be_primary(table, "postgres")
    with stores(home, 1, "postgres") as (store,):
        store.delete("songs", key)
        assert store.insert("songs", {**key, "title": "a"}) is True
        assert store.insert("songs", {**key, "title": "b"}) is False
    table.drained()
    assert both(table, table.key(**key)) == ({"title": "a", "year": None},) * 2
    assert write_time(table, table.key(**key), "title") == table.version(table.key(**key))


# clocks


@pytest.mark.parametrize("seconds", [0.4, -0.4])
def test_a_delete_that_is_newer_does_not_hide_the_row(
    home: Place, table: Table, key: dict[str, UUID], seconds: float
) -> None:
    """Would break: where hosts' clocks differ, Cassandra applies an insert that nobody ever sees, and then the next one."""
    with stores(home) as (one, other):
        with shifted(seconds):
            one.put("songs", {**key, "title": "old"})
            one.delete("songs", key)
        assert other.insert("songs", {**key, "title": "new"}) is True
        assert other.insert("songs", {**key, "title": "newer"}) is False
    assert both(table, table.key(**key)) == ({"title": "new", "year": None},) * 2
    assert table.intents() == []


@pytest.mark.parametrize("seconds", [0.4, -0.4])
@pytest.mark.parametrize("make", [lambda s: CqlStore(s), lambda s: DualWriteStore(s, CONFIG)], ids=["cql", "dual"])
def test_what_follows_an_insert_is_newer(home: Place, key: dict[str, UUID], make: Any, seconds: float) -> None:
    """Would break: with a clock behind Cassandra's, a put is acknowledged and has no effect; with one ahead, the insert has none."""
    with make(home.settings) as store, shifted(seconds):
        for n in range(3):
            assert store.insert("songs", {**key, "title": "inserted"}) is True
            assert store.put("songs", {**key, "title": f"put {n}"}) is True
            assert (store.get("songs", key) or {})["title"] == f"put {n}"
            store.delete("songs", key)
            assert store.get("songs", key) is None


def test_a_node_whose_clock_comes_late(home: Place, key: dict[str, UUID], monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: the time that the answer took is taken for a smaller difference of the clocks, and the next put is hidden."""
    with CqlStore(home.settings) as store, shifted(-0.4):
        session = store.cassandra.session
        ask = session.execute_async

        def late(*given: Any, **options: Any) -> Any:
            future = ask(*given, **options)
            answer = future.result
            future.result = lambda: (answer(), time.sleep(0.3))[0]
            return future

        monkeypatch.setattr(session, "execute_async", late)
        assert store.insert("songs", {**key, "title": "inserted"}) is True
        monkeypatch.undo()
        assert store.put("songs", {**key, "title": "put"}) is True
        assert (store.get("songs", key) or {})["title"] == "put"


@pytest.mark.parametrize("seconds", [30, -30])
def test_clocks_too_far_apart_are_refused(home: Place, table: Table, key: dict[str, UUID], seconds: float) -> None:
    """Would break: a call that waits for half a minute, or a row that is hidden for as long."""
    before = disturbed(table)
    with stores(home, 1) as (store,):
        with shifted(seconds), pytest.raises(WriteRefused, match=r"the clock of Cassandra's node .* is (29|30)\.\d s"):
            store.insert("songs", {**key, "title": "a"})
        table.drained()
    assert both(table, table.key(**key)) == (None, None)
    assert disturbed(table) == before, "a definite refusal leaves nothing unsure"


# what can go wrong


def test_without_the_setting_it_is_refused_by_name(home: Place, table: Table, key: dict[str, UUID]) -> None:
    """Would break: reconciles that read past a transaction in progress (rule 17)."""
    with stores(home, 1) as (store,):
        with pytest.raises(WriteRefused, match=r"lightweight_transactions = true.*\[tables\.plain\]"):
            store.insert("plain", key)
        assert table.sql("SELECT * FROM sync.intent") == []
        assert store.get("plain", key) is None


@pytest.mark.parametrize("landed", [True, False])
@pytest.mark.parametrize("error", [OperationTimedOut(), Unavailable("commit")])
def test_an_answer_that_is_lost_leaves_the_key_unsure(
    home: Place, table: Table, key: dict[str, UUID], monkeypatch: pytest.MonkeyPatch, landed: bool, error: Exception
) -> None:
    """Would break: a row that one side has and nobody looks for; or a caller who is told that nothing was written."""
    with stores(home, 1) as (store,):
        cassandra = store._source.store.cassandra
        assert cassandra is not None
        execute = cassandra.raw.execute

        def lost(statement: Any, **more: Any) -> Any:
            if "host" not in more:
                return execute(statement, **more)
            if landed:
                execute(statement, **more)
            raise error

        monkeypatch.setattr(cassandra.raw, "execute", lost)
        with pytest.raises(WriteUnsure, match="did not acknowledge"):
            store.insert("songs", {**key, "title": "a"})
        assert table.intents(table.key(**key)) == [("recheck", "unsure")]
        assert table.drain() == 0, "the window is not over"
    table.sql(WINDOW_PASSES)
    table.drained()
    assert both(table, table.key(**key)) == (({"title": "a", "year": None} if landed else None),) * 2


@pytest.mark.parametrize("away", ["accept", "refuse"])
def test_without_a_journal(home: Place, table: Table, key: dict[str, UUID], away: str) -> None:
    """Would break: an insert that nobody remembers (rules 28 and 31)."""
    tuning = CONFIG.dual_write.model_copy(update={"on_postgres_down": away, "heartbeat_seconds": 0.5})
    with DualWriteStore(home.settings, CONFIG.model_copy(update={"dual_write": tuning})) as store:
        store.get("songs", key)
        store.insert("songs", {"id": uuid4()})
        with open_breaker(store._registration.breaker):
            if away == "refuse":
                with pytest.raises(WriteRefused, match="journal"):
                    store.insert("songs", {**key, "title": "a"})
                assert table.source(table.key(**key)) is None
                return
            assert store.insert("songs", {**key, "title": "a"}) is True
            assert store.insert("songs", {**key, "title": "b"}) is False
        until(lambda: store._registration.write_behind.unrecorded_count == 0)
    table.drained()
    assert both(table, table.key(**key)) == ({"title": "a", "year": None},) * 2


def test_a_row_that_python_cannot_read_is_there_all_the_same(home: Place) -> None:
    """Would break: the row that Cassandra returns with its answer is decoded, and the caller sees the driver's error."""
    year_33658 = 1_000_000_000_000_000
    home.cql(
        "CREATE TABLE KS.days (id int PRIMARY KEY, at timestamp)", f"INSERT INTO KS.days (id, at) VALUES (1, {year_33658})"
    )
    with CqlStore(home.settings) as store:
        assert store.insert("days", {"id": 1}) is False
        assert store.insert("days", {"id": 2}) is True


@pytest.mark.parametrize("point", ["wrapped.announced", "wrapped.called", "wrapped.marked", "reverse.before_commit"])
def test_a_killed_application_leaves_no_difference(home: Place, table: Table, tmp_path: Path, point: str) -> None:
    """Would break: a row whose writer died at this step is on one side only, or one that was acknowledged is on none."""
    primary = "postgres" if point.startswith("reverse") else "astra"
    be_primary(table, primary)
    (tmp_path / "sync.toml").write_text(TOML)
    home.cql("TRUNCATE KS.songs")
    table.sql("TRUNCATE songs")
    found = {
        **environment(home.settings), "SYNC_CONFIG": str(tmp_path / "sync.toml"), "SYNC_DUAL_WRITE": "true",
        "STORAGE_BACKEND": primary, "SYNC_FAILPOINTS": f"{point}=kill:4",
    }  # fmt: skip
    command = [sys.executable, "-c", APPLICATION]
    done = subprocess.run(command, env=found, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == -9, f"it was to be killed: {done.stderr}"
    assert done.stdout.split()[-4:] == ["3", "True", "4", "begun"]
    table.sql(WINDOW_PASSES)
    table.sql("UPDATE sync.writer SET heartbeat_at = heartbeat_at - interval '1 day'")
    table.drained()
    for n in range(1, 9):
        source, target = both(table, table.key(id=UUID(int=n)))
        assert source == target
        assert source == ({"title": f"{n}", "year": None} if n < 4 else None) or n == 4


def test_for_asyncio(home: Place, table: Table, key: dict[str, UUID]) -> None:
    """Would break: the awaited store has another interface."""

    async def run() -> list[bool]:
        async with AsyncDualWriteStore(home.settings, CONFIG) as store:
            return await asyncio.gather(*(store.insert("songs", {**key, "title": f"{n}"}) for n in range(10)))

    answers = asyncio.run(run())
    assert answers.count(True) == 1
    assert table.settled(table.key(**key)) == {"title": f"{answers.index(True)}", "year": None}


@pytest.mark.parametrize("make", [lambda s: CqlStore(s), lambda s: DualWriteStore(s, CONFIG)], ids=["cql", "dual"])
def test_a_column_dropped_under_the_store(home: Place, table: Table, key: dict[str, UUID], make: Any) -> None:
    """Would break: each insert is refused until the process is started again."""
    home.cql("ALTER TABLE KS.songs ADD junk text")
    home.sql("ALTER TABLE songs ADD junk text")
    with make(home.settings) as store:
        assert store.insert("songs", {"id": uuid4(), "junk": "x"}) is True
        home.cql("ALTER TABLE KS.songs DROP junk")
        home.sql("ALTER TABLE songs DROP junk")
        assert store.insert("songs", {**key, "title": "a"}) is True
        assert store.insert("songs", {**key, "title": "b"}) is False
    assert table.source(table.key(**key)) == {"title": "a", "year": None}


# a switch


@pytest.mark.slow
def test_inserts_at_a_switch_are_done_once(home: Place, table: Table) -> None:
    """Would break: an insert begins under one primary and ends under the other: two callers are told that they were first."""
    keys, ended = [uuid4() for _ in range(4000)], Event()
    answers: dict[UUID, list[bool | str]] = {key: [] for key in keys}

    def work(store: DualWriteStore, name: str) -> int:
        for n, key in enumerate(keys):
            if ended.is_set():
                return n
            answers[key].append(answer(lambda key=key: store.insert("songs", {"id": key, "title": name})))  # type: ignore[misc]
        return len(keys)

    with stores(home) as opened, authority(table) as epochs, ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(work, opened[n % 2], f"{n}") for n in range(4)]
        for begun, kind in enumerate(("cutover", "rollback", "cutover")):
            until(lambda begun=begun: sum(map(bool, answers.values())) > 60 * (begun + 1), what="they insert")  # type: ignore[misc]
            _switch(table, epochs, kind)
        ended.set()
        reached = max(worker.result(60) for worker in workers)
    assert reached < len(keys), "the switches came after the inserts"
    table.drained()
    for key in filter(answers.get, keys):
        given = Counter(answers[key])
        assert given[True] <= 1, (key, given)
        assert given[True] == 1 or given["unsure"], (key, given)
        source, target = both(table, table.key(id=key))
        assert source == target, (key, source, target)
        assert (source is not None) >= bool(given[True]), (key, given)
    be_primary(table, "astra")


def _switch(table: Table, epochs: Any, kind: Any) -> None:
    """As the command does: announce, close, drain, switch."""
    switch = epochs.begin(kind)
    until(lambda: not epochs.not_ready(switch), what="the writers answer")
    epochs.close(switch, 20.0)
    for _ in range(50):
        table.sql("UPDATE sync.intent SET lease_until = NULL")
        table.drain()
        try:
            epochs.switch_primary(switch, {})
        except StillOpen:
            time.sleep(0.1)
            continue
        table.epoch += 1
        return
    raise AssertionError(f"intents are left: {table.intents()}")
