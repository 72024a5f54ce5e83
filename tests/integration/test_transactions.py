"""`transaction()` against real servers: the application's SQL and the store's writes are committed together, or not at all."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier, Event
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.errors import UniqueViolation
from support.backfills import until
from support.commands import environment
from support.dual import Table, until_waiting
from support.pgbouncer import Pooler, running
from support.places import Place
from support.prepared_places import home_of
from support.reverse import authority, be_primary, both, write_time

from sync.errors import GateRefused, NotSupported, StoreClosed, WriteRefused, WriteRefusedNow, WriteUnsure
from sync.ports import Primary, SwitchKind
from sync.settings import Config, DualWriteTuning
from sync.stores import CqlStore, DualWriteStore, PostgresStore, Transaction
from sync.stores.one_side.renamed import RenamedStore

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
TUNING = DualWriteTuning(connections=24, heartbeat_seconds=0.2, max_wait_seconds=20)
CONFIG = Config(schema_files=(), dual_write=TUNING)
SHORT = CONFIG.model_copy(update={"dual_write": TUNING.model_copy(update={"secondary_timeout_seconds": 0.6})})
"""A transaction takes 1.2 s at most."""
LISTENS = (
    "CREATE TABLE IF NOT EXISTS listens (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, song uuid NOT NULL, "
    "listener text NOT NULL, UNIQUE (song, listener) DEFERRABLE)"
)
LISTEN = "INSERT INTO listens (song, listener) VALUES (%s, %s)"
SESSION = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
Store = DualWriteStore | PostgresStore | RenamedStore
Key = dict[str, UUID]

home = home_of(
    CONFIG, songs="id uuid PRIMARY KEY, title text, year int", notes="piece uuid, at int, words text, PRIMARY KEY (piece, at)"
)


@pytest.fixture
def table(home: Place) -> Iterator[Table]:
    """Songs; Postgres is primary, and nothing is open."""
    with closing(Table(home.cassandra, home.settings, CONFIG, "songs")) as opened:
        opened.sql("UPDATE sync.switch SET finished_at = clock_timestamp(), state = 'abandoned' WHERE finished_at IS NULL")
        opened.sql("DELETE FROM sync.intent; DELETE FROM sync.sql_change")
        opened.sql("UPDATE sync.writer SET state = 'signed_off'")
        opened.sql(LISTENS)
        be_primary(opened, "postgres")
        yield opened


@pytest.fixture
def key() -> Key:
    return {"id": uuid4()}


def opened(
    home: Place, config: Config = CONFIG, primary: Primary = "postgres", pooler: Pooler | None = None
) -> DualWriteStore:
    settings = pooler.settings(home.settings) if pooler else home.settings
    return DualWriteStore(settings.model_copy(update={"storage_backend": primary}), config)


@pytest.fixture
def dual(home: Place, table: Table) -> Iterator[DualWriteStore]:
    with opened(home) as store:
        yield store


@pytest.fixture(params=["dual", "postgres", "renamed"])
def store(request: pytest.FixtureRequest, home: Place, table: Table) -> Iterator[Store]:
    """Every store that has transactions."""
    made: dict[str, Callable[[], Store]] = {
        "dual": lambda: opened(home),
        "postgres": lambda: PostgresStore(home.settings),
        "renamed": lambda: RenamedStore(PostgresStore(home.settings), CONFIG),
    }
    with made[request.param]() as made_store:
        yield made_store


def listeners(table: Table, key: Key) -> list[str]:
    return [name for (name,) in table.sql("SELECT listener FROM listens WHERE song = %s ORDER BY id", (key["id"],))]


def settle(table: Table) -> None:
    """Until both sides are equal, while the store is open."""
    until(lambda: table.drain() >= 0 and not table.intents(), what="nothing is open")


def is_one_sided(store: Store) -> bool:
    return not isinstance(store, DualWriteStore)


# all or nothing


def test_it_commits_all_at_its_end(store: Store, table: Table, key: Key) -> None:
    """Would break: a part of it is seen before the rest, or the application cannot read what it has written."""
    other, late = {"id": uuid4()}, {"id": uuid4()}
    store.put("songs", {**other, "title": "old", "year": 1})
    store.put("songs", {**late, "title": "late"})
    with store.transaction() as tx:
        assert isinstance(tx, Transaction)
        assert tx.put("songs", {**key, "title": "a"}) is True
        assert tx.insert("songs", {**key, "title": "b"}) is False
        assert tx.update("songs", key, {"year": 1959}) is True
        assert tx.update("songs", {"id": uuid4()}, {"year": 1}) is False
        assert tx.delete("songs", other) is True
        assert tx.put_many("songs", [{**late, "title": "1"}, {"id": uuid4(), "title": "x"}, {**late, "title": "2"}])
        tx.execute(LISTEN, (key["id"], "me"))
        assert tx.execute(
            "SELECT title FROM songs JOIN listens ON song = songs.id WHERE songs.id = %s", (key["id"],)
        ).fetchall() == [("a",)]
        assert tx.get("songs", key) == {**key, "title": "a", "year": 1959}
        assert tx.get_many("songs", [other, late]) == [None, {**late, "title": "2", "year": None}]
        assert tx.count("songs") == store.count("songs") + 1, "two are new, one is deleted"
        assert (store.get("songs", key), store.get("songs", other)) == (None, {**other, "title": "old", "year": 1})
        assert listeners(table, key) == []
    assert store.get("songs", key) == {**key, "title": "a", "year": 1959}
    assert store.get("songs", other) is None
    assert listeners(table, key) == ["me"]
    if not is_one_sided(store):
        settle(table)
        assert both(table, table.key(**key)) == ({"title": "a", "year": 1959},) * 2
        assert both(table, table.key(**other)) == (None, None)
        assert both(table, table.key(**late)) == ({"title": "2", "year": None},) * 2
        assert write_time(table, table.key(**late), "title") == table.version(table.key(**late))


def test_it_reads_partitions(store: Store) -> None:
    """Would break: a read within it goes over another connection, and does not see its rows."""
    piece = uuid4()
    with store.transaction() as tx:
        for at in (2, 1):
            tx.put("notes", {"piece": piece, "at": at, "words": "la"})
        rows = tx.find("notes", {"piece": piece}, page_rows=1)
        assert next(rows)["at"] == 1
        assert list(store.find("notes", {"piece": piece})) == []
    with pytest.raises(StoreClosed, match="has ended"):
        next(rows)


def test_an_error_of_the_block_rolls_all_of_it_back(store: Store, table: Table, key: Key) -> None:
    """Would break: half of it is written; or an intent is left that sends a write which never was."""
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:
        tx.put("songs", {**key, "title": "a"})
        tx.execute(LISTEN, (key["id"], "me"))
        _ = 1 / 0
    assert (store.get("songs", key), listeners(table, key), table.intents()) == (None, [], [])
    assert table.source(table.key(**key)) is None


def test_psycopg_s_own_rollback_ends_it_without_an_error(store: Store, table: Table, key: Key) -> None:
    """Would break: writes that were rolled back are sent to Cassandra."""
    with store.transaction() as tx:
        tx.put("songs", {**key, "title": "a"})
        raise psycopg.Rollback
    with store.transaction() as tx:
        tx.put("songs", {"id": UUID(int=3), "title": "later"})  # is sent after anything of the former
    if not is_one_sided(store):
        until(lambda: table.source(table.key(id=UUID(int=3))) is not None)
    assert both(table, table.key(**key)) == (None, None)


def test_an_error_that_is_caught_is_no_commit(store: Store, table: Table, key: Key) -> None:
    """Would break: Postgres answers the COMMIT of a failed transaction with a ROLLBACK, and the caller takes it for done."""
    with (
        pytest.raises(WriteRefused, match="a statement of this transaction has failed before") as told,
        store.transaction() as tx,
    ):
        tx.put("songs", {**key, "title": "a"})
        with pytest.raises(psycopg.errors.UndefinedTable):
            tx.execute("SELECT * FROM nowhere")
        with pytest.raises(WriteRefused, match="has failed before"):
            tx.put("songs", {**key, "title": "b"})
        with pytest.raises(WriteRefused, match="has failed before"):
            tx.execute("SELECT 1")
    assert type(told.value) is WriteRefused
    assert (store.get("songs", key), table.intents()) == (None, [])


def test_what_a_savepoint_undoes_is_not_sent(store: Store, table: Table, key: Key) -> None:
    """Would break: a write that Postgres does not have arrives in Cassandra, and returns at a rollback."""
    other = {"id": uuid4()}
    with store.transaction() as tx:
        tx.put("songs", {**key, "title": "a"})
        with pytest.raises(ZeroDivisionError), tx.connection.transaction():
            tx.put("songs", {**key, "title": "undone"})
            tx.put("songs", {**other, "title": "undone"})
            _ = 1 / 0
        tx.update("songs", key, {"year": 1})
    assert store.get("songs", key) == {**key, "title": "a", "year": 1}
    if not is_one_sided(store):
        settle(table)
        assert both(table, table.key(**key)) == ({"title": "a", "year": 1},) * 2
        assert both(table, table.key(**other)) == (None, None)


def test_what_postgres_refuses_to_commit(store: Store, table: Table, key: Key) -> None:
    """Would break: a constraint that is checked at the end leaves the caller without an answer, or with a half."""
    with pytest.raises(WriteRefused, match=r"refuses to commit: duplicate key .*") as told, store.transaction() as tx:
        tx.execute("SET CONSTRAINTS ALL DEFERRED")
        tx.put("songs", {**key, "title": "a"})
        for _ in range(2):
            tx.execute(LISTEN, (key["id"], "me"))
    assert type(told.value) is WriteRefused
    assert (store.get("songs", key), listeners(table, key), table.intents()) == (None, [], [])


def test_errors_of_own_sql_are_psycopg_s(store: Store, table: Table, key: Key) -> None:
    """Would break: an application cannot tell that a row of its own table is there already."""
    with pytest.raises(UniqueViolation), store.transaction() as tx:
        tx.put("songs", {**key, "title": "a"})
        for _ in range(2):
            tx.execute(LISTEN, (key["id"], "me"))
    assert (store.get("songs", key), table.intents()) == (None, [])


def test_one_within_another_is_refused(store: Store, table: Table, key: Key) -> None:
    """Would break: the inner one is committed although the outer one is not, or waits for the outer one's locks."""
    with pytest.raises(WriteRefused, match="use a savepoint"), store.transaction() as tx:
        tx.put("songs", {**key, "title": "a"})
        with store.transaction():
            raise AssertionError
    with store.transaction() as tx:  # it has ended
        assert tx.get("songs", key) is None


def test_a_commit_in_the_sql_is_told(dual: DualWriteStore, table: Table, key: Key) -> None:
    """Would break: the rest is written without the epoch's lock, statement by statement, and can pass a switch."""
    with pytest.raises(WriteUnsure, match="COMMIT or ROLLBACK in the SQL"), dual.transaction() as tx:
        tx.put("songs", {**key, "title": "a"})
        tx.execute("COMMIT")
        tx.put("songs", {**key, "title": "b"})
    settle(table)
    assert both(table, table.key(**key)) == ({"title": "a", "year": None},) * 2


def test_one_that_the_sql_begins_anew_holds_the_epoch_and_sends_all(dual: DualWriteStore, table: Table, key: Key) -> None:
    """Would break: a write without the epoch's lock, which a switch does not wait for (rule 20)."""
    with dual.transaction() as tx:
        tx.put("songs", {**key, "title": "a"})
        tx.execute("COMMIT")
        with pytest.raises(WriteUnsure):
            tx.execute("BEGIN")
        tx._writes.held._connection.execute("BEGIN")  # type: ignore[attr-defined]
        tx.put("songs", {**key, "title": "b"})
        with authority(table) as switches, pytest.raises(GateRefused, match="a writer has held the epoch"):
            switches.close(switches.begin("rollback"), 0.3)
    settle(table)
    assert both(table, table.key(**key)) == ({"title": "b", "year": None},) * 2


# where it is not possible


def test_before_the_cut_over_it_is_refused(home: Place, table: Table, key: Key) -> None:
    """Would break: the application's rows are committed, and those of the store in another database, or not."""
    be_primary(table, "astra")
    with CqlStore(home.settings) as cql, pytest.raises(NotSupported, match="after the cut-over"):
        cql.transaction()
    with opened(home, primary="astra") as store:
        with pytest.raises(NotSupported, match=r"Astra is primary: .* after the cut-over"), store.transaction():
            raise AssertionError
        store.put("songs", {**key, "title": "a"})
        be_primary(table, "postgres")
        with store.transaction() as tx:  # although this process may not know yet
            assert tx.update("songs", key, {"year": 1})
    table.drained()
    assert both(table, table.key(**key)) == ({"title": "a", "year": 1},) * 2


def test_a_table_that_is_not_migrated_is_refused(home: Place, table: Table, key: Key) -> None:
    """Would break: a row of it is in Postgres alone."""
    with opened(home, CONFIG.model_copy(update={"exclude": ("notes",)})) as store:
        with pytest.raises(WriteRefused, match="notes is not migrated"), store.transaction() as tx:
            tx.put("notes", {"piece": uuid4(), "at": 1})
        with pytest.raises(WriteRefused, match="notes is not migrated"), store.transaction() as tx:
            tx.get("notes", {"piece": uuid4(), "at": 1})


def test_a_transaction_takes_few_locks(dual: DualWriteStore, table: Table) -> None:
    """Would break: Postgres runs out of its table of locks, for every session at once (rule “locks”)."""
    keys = [{"id": uuid4()} for _ in range(65)]
    with dual.transaction() as tx:
        for each in keys[:64]:
            tx.put("songs", {**each, "title": "a"})
            tx.update("songs", each, {"year": 1})
        ((locks,),) = tx.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
        assert locks == 65, "64 keys and the epoch"
        with pytest.raises(WriteRefused, match="64 rows of the store at most"):
            tx.put("songs", keys[64])
        with pytest.raises(WriteRefused, match="64 rows of the store at most"):
            tx.put_many("songs", keys)
    assert dual.get_many("songs", [keys[0], keys[64]]) == [{**keys[0], "title": "a", "year": 1}, None]


# two of them, and switches


def test_two_that_wait_for_each_other(store: Store, table: Table) -> None:
    """Would break: both wait for ever, or one is half done; or the error does not say that a retry helps."""
    keys, barrier = [{"id": uuid4()}, {"id": uuid4()}], Barrier(2)
    store.put_many("songs", keys)

    def work(n: int) -> str:
        try:
            with store.transaction() as tx:
                tx.update("songs", keys[n], {"title": f"{n}"})
                tx.execute(LISTEN, (keys[0]["id"], f"{n}"))
                barrier.wait(20)
                tx.update("songs", keys[1 - n], {"title": f"{n}"})
        except WriteRefusedNow as error:
            assert "nothing was written" in str(error)
            return "refused"
        return f"{n}"

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(work, range(2)))
    assert sorted(answers)[1] == "refused", answers
    winner = sorted(answers)[0]
    assert [row and row["title"] for row in store.get_many("songs", keys)] == [winner, winner]
    assert listeners(table, keys[0]) == [winner]
    if not is_one_sided(store):
        settle(table)
        assert [both(table, table.key(**each)) for each in keys] == [({"title": winner, "year": None},) * 2] * 2


def test_a_put_waits_for_it_and_is_newer(dual: DualWriteStore, table: Table, key: Key) -> None:
    """Would break: a put of the same key overtakes, and Cassandra keeps another row than Postgres (rules 5 and 23)."""
    with ThreadPoolExecutor(1) as pool:
        with dual.transaction() as tx:
            tx.put("songs", {**key, "title": "first"})
            waiting = pool.submit(dual.put, "songs", {**key, "title": "second"})
            until_waiting(table)
        assert waiting.result() is True
    settle(table)
    assert both(table, table.key(**key)) == ({"title": "second", "year": None},) * 2


def switched(table: Table, kind: SwitchKind = "rollback", pause: float = 5.0) -> bool:
    """Switch as the commands do, without their gates; whether it was possible."""
    with authority(table) as switches:
        switch = switches.begin(kind)
        try:
            until(lambda: table.drain() >= 0 and not switches.not_ready(switch), what="every writer has answered")
            switches.close(switch, pause)
            until(lambda: table.drain() >= 0 and not switches.open_intents(), what="nothing is open")
            table.epoch = switches.switch_primary(switch, {})[0].epoch
        except GateRefused:
            switches.abandon(switch, "refused")
            return False
        return True


def test_a_switch_waits_for_it(dual: DualWriteStore, table: Table, key: Key) -> None:
    """Would break: it commits in Postgres after Astra has become primary, and that is lost (rule 20)."""
    with ThreadPoolExecutor(2) as pool:
        with dual.transaction() as tx:
            tx.put("songs", {**key, "title": "a"})
            tx.execute(LISTEN, (key["id"], "me"))
            switching = pool.submit(switched, table)
            until_waiting(table)
            late: Future[str] = pool.submit(begin_late, dual, key)
            tx.update("songs", key, {"year": 1})
        assert switching.result() is True
        assert late.result() == "refused", "Astra is primary by then"
    assert both(table, table.key(**key)) == ({"title": "a", "year": 1},) * 2
    assert table.sql("SELECT * FROM sync.intent") == []


def begin_late(store: DualWriteStore, key: Key) -> str:
    """A transaction that begins while a switch is under way."""
    try:
        with store.transaction() as tx:
            tx.update("songs", key, {"title": "late"})
    except NotSupported:
        return "refused"
    return "done"


def test_a_switch_gives_up_on_a_long_one(dual: DualWriteStore, table: Table, key: Key) -> None:
    """Would break: it does not hold the epoch until its first write; or holds up a switch, and all writes with it, for long."""
    with dual.transaction() as tx:
        tx.execute(LISTEN, (key["id"], "me"))
        assert switched(table, pause=0.5) is False
        tx.put("songs", {**key, "title": "a"})
    settle(table)
    assert both(table, table.key(**key)) == ({"title": "a", "year": None},) * 2


@pytest.mark.parametrize("waits", ["in the application", "between statements"])
def test_it_does_not_take_for_ever(home: Place, table: Table, key: Key, waits: str) -> None:
    """Would break: an application that hangs holds the epoch, and no switch can ever begin."""
    with opened(home, SHORT) as store:
        store.get("songs", key)
        with pytest.raises(WriteRefusedNow, match="nothing was written"), store.transaction() as tx:
            tx.put("songs", {**key, "title": "a"})
            if waits == "in the application":
                time.sleep(1.6)
            else:
                for _ in range(20):
                    tx.execute("SELECT pg_sleep(0.1)")
        with store.transaction() as tx:
            assert tx.get("songs", key) is None
    assert table.intents() == []


def test_before_version_17_the_application_s_pauses_are_limited(home: Place, table: Table, key: Key) -> None:
    """Would break: on Postgres 16, which has no transaction_timeout, a process that is suspended holds the epoch."""
    with opened(home, SHORT) as store, pytest.raises(WriteRefusedNow), store.transaction() as tx:
        tx.execute("SET LOCAL transaction_timeout = 0")
        tx.put("songs", {**key, "title": "a"})
        pid = tx.connection.info.backend_pid
        until(lambda: table.sql(SESSION, (pid,)) == [], 3)
    assert table.intents() == []


@pytest.mark.parametrize("ended", ["before", "at"])
def test_a_connection_that_breaks(dual: DualWriteStore, table: Table, key: Key, ended: str) -> None:
    """Would break: a caller is told that nothing was written when it was, or the other way round (invariant 1)."""
    table.sql(
        "CREATE OR REPLACE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_advisory_xact_lock(43); RETURN NULL; END $$"
    )
    table.sql(
        "CREATE CONSTRAINT TRIGGER held AFTER INSERT ON listens DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
        "EXECUTE FUNCTION held()"
    )
    kind = WriteUnsure if ended == "at" else WriteRefusedNow
    try:
        with table.pool.connection() as holding, holding.transaction(), ThreadPoolExecutor(1) as pool:
            holding.execute("SELECT pg_advisory_xact_lock(43)")
            with pytest.raises(kind) as told, dual.transaction() as tx:
                tx.put("songs", {**key, "title": "a"})
                pid = tx.connection.info.backend_pid
                if ended == "before":
                    table.sql("SELECT pg_terminate_backend(%s)", (pid,))
                else:
                    tx.execute(LISTEN, (key["id"], "me"))
                    pool.submit(lambda: (until_waiting(table), table.sql("SELECT pg_terminate_backend(%s)", (pid,))))
                if ended == "before":
                    time.sleep(0.1)
                    tx.put("songs", {**key, "title": "b"})
    finally:
        table.sql("DROP TRIGGER held ON listens")
    assert type(told.value) is kind
    settle(table)
    assert both(table, table.key(**key)) == (None, None)


def test_the_store_closes_after_it(home: Place, table: Table, key: Key) -> None:
    """Would break: what a transaction commits while the store closes is never sent, though the writer has signed off."""
    store = opened(home)
    with ThreadPoolExecutor(1) as pool:
        with store.transaction() as tx:
            tx.put("songs", {**key, "title": "a"})
            closing_ = pool.submit(store.close)
            time.sleep(0.2)
            assert not closing_.done()
            with pytest.raises(StoreClosed), store.transaction():
                raise AssertionError
        closing_.result()
    table.drained()
    assert both(table, table.key(**key)) == ({"title": "a", "year": None},) * 2


# crashes

APPLICATION = """
from uuid import UUID
from sync.stores import open_store
with open_store() as store:
    for n in range(1, 6):
        print(n, "begun", flush=True)
        with store.transaction() as tx:
            for row in range(3):
                tx.put("songs", {"id": UUID(int=10 * n + row), "title": f"{n}"})
            tx.delete("songs", {"id": UUID(int=10 * n + 1)})
            tx.execute("INSERT INTO listens (song, listener) VALUES (%s, 'me')", [UUID(int=10 * n)])
        print(n, "done", flush=True)
"""


@pytest.mark.parametrize("point", ["transaction.before_commit", "transaction.committed", "reverse.committed"])
def test_a_killed_application_leaves_all_or_nothing(home: Place, table: Table, tmp_path: Path, point: str) -> None:
    """Would break: a transaction of which one side has a part, after its process ended at this step (invariant 1)."""
    (tmp_path / "sync.toml").write_text("schema_files = []\n")
    home.cql("TRUNCATE KS.songs")
    table.sql("TRUNCATE songs, listens")
    given = {
        **environment(home.settings), "SYNC_CONFIG": str(tmp_path / "sync.toml"), "SYNC_DUAL_WRITE": "true",
        "STORAGE_BACKEND": "postgres", "SYNC_FAILPOINTS": f"{point}=kill:{9 if point.startswith('reverse') else 3}",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", APPLICATION], env=given, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == -9, f"it was to be killed: {done.stderr}"
    assert done.stdout.split()[-4:] == ["2", "done", "3", "begun"]
    table.sql("UPDATE sync.writer SET heartbeat_at = heartbeat_at - interval '1 day'")
    table.drained()
    last = 3 if point == "transaction.before_commit" else 4
    for n in range(1, 6):
        there = ({"title": f"{n}", "year": None},) * 2 if n < last else (None, None)
        assert [both(table, table.key(id=UUID(int=10 * n + row))) for row in (0, 2)] == [there, there]
        assert both(table, table.key(id=UUID(int=10 * n + 1))) == (None, None)
        assert listeners(table, {"id": UUID(int=10 * n)}) == (["me"] if n < last else [])


def test_through_a_transaction_pooler(home: Place, table: Table, key: Key, tmp_path: Path) -> None:
    """Would break: a statement of it goes to another server session, outside of the transaction (rule “pooler”)."""
    with running(home.settings, tmp_path, size=8) as pooler, opened(home, SHORT, pooler=pooler) as store:
        for n in range(20):
            with store.transaction() as tx:
                tx.put("songs", {**key, "title": f"{n}"})
                tx.execute(LISTEN, (key["id"], f"{n}"))
                tx.update("songs", key, {"year": n})
        with pytest.raises(ZeroDivisionError), store.transaction() as tx:
            tx.put("songs", {**key, "title": "undone"})
            _ = 1 / 0
        with pytest.raises(WriteRefusedNow), store.transaction() as tx:
            tx.put("songs", {**key, "title": "late"})
            time.sleep(1.6)
    assert len(listeners(table, key)) == 20
    table.drained()
    assert both(table, table.key(**key)) == ({"title": "19", "year": 19},) * 2


# load


def test_random_load_leaves_both_sides_equal(home: Place, table: Table) -> None:
    """Would break: an interleaving that none of the other tests has. Each transaction moves a unit from one row to another."""
    keys = [{"id": uuid4()} for _ in range(12)]
    stop, moved = Event(), 0
    home.cql("TRUNCATE KS.songs")
    table.sql("TRUNCATE songs")
    with opened(home) as one, opened(home) as other:
        one.put_many("songs", [{**each, "title": "", "year": 100} for each in keys])

        def load(n: int) -> int:
            rng, store, done = random.Random(n), (one, other)[n % 2], 0
            while not stop.is_set():
                taken, given = rng.sample(keys, 2)
                try:
                    if n % 4 == 3:  # what does not change the sum
                        store.update("songs", taken, {"title": f"{n}"})
                        continue
                    with store.transaction() as tx:
                        tx.execute(LISTEN, (uuid4(), f"{n}"))
                        # Both rows are locked before they are read; those of the application may well wait for each other.
                        for each in (taken, given):
                            tx.update("songs", each, {"title": f"{n}"})
                        rows = [tx.get("songs", each) or {} for each in (taken, given)]
                        tx.update("songs", taken, {"year": rows[0]["year"] - 1})
                        if rng.random() < 0.1:
                            raise ZeroDivisionError
                        tx.put("songs", {**rows[1], "year": rows[1]["year"] + 1})
                except (WriteRefusedNow, ZeroDivisionError, NotSupported):
                    continue
                done += 1
            return done

        with ThreadPoolExecutor(8) as pool:
            running = [pool.submit(load, n) for n in range(8)]
            for _ in range(5):
                time.sleep(5)
                if switched(table):
                    time.sleep(0.5)
                    until(lambda: switched(table, "cutover"), what="Postgres is primary again")
            stop.set()
            moved = sum(each.result() for each in running)
        assert moved > 200, moved
        settle(table)
        rows = one.get_many("songs", keys)
    assert sum((row or {})["year"] for row in rows) == 1200
    assert table.check_equal() == 12
