"""Shadow reads: what the application reads is asked of the other side, too, and a difference that stays is found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date
from decimal import Decimal
from functools import partial
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from support.dual import Actor, Table, forget_migration
from support.places import Place
from support.prepared_places import home_of
from support.proxies import Proxy
from support.reverse import be_primary
from support.running_commands import until

from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.drift import shadow_ledger
from sync.adapters.postgres.drift.shadow_ledger import MAX_KEYS, Difference
from sync.errors import ValueUnreadable
from sync.settings import Config, DriftTuning, DualWriteTuning, Settings
from sync.stores import AsyncDualWriteStore, DualWriteStore
from sync.stores.both_sides.first_look import ShadowRead
from sync.stores.both_sides.shadow_reads import MAX_ROWS, MAX_WAITING

pytest_plugins = ("support.fixtures",)
TUNING = {"connections": 4, "heartbeat_seconds": 0.5, "primary_timeout_seconds": 2.0}


def config(share: float = 1.0, wait_seconds: float = 1.0) -> Config:
    dual_write = DualWriteTuning(**{**TUNING, "shadow_reads": share, "secondary_timeout_seconds": wait_seconds})  # type: ignore[arg-type]
    named = {"target": "elsewhere", "rename": {"old": "New Name"}, "ignore": ["secret"]}
    tables: Any = {"named": named, "partly": {"ignore": ["secret"]}}
    return Config(schema_files=(), tables=tables, dual_write=dual_write, drift=DriftTuning(grace_seconds=0.05))


CONFIG = config()
TOML = (
    "schema_files = []\n[dual_write]\nshadow_reads = 1.0\n"
    '[tables.named]\ntarget = "elsewhere"\nrename = { old = "New Name" }\nignore = ["secret"]\n'
    '[tables.partly]\nignore = ["secret"]\n'
)
TABLES = {
    "songs": "id uuid PRIMARY KEY, title text, year int",
    "kinds": "d decimal, c int, f float, dbl double, s set<text>, m map<int, text>, tu tuple<int, text>, du duration, ip inet, "
    "l list<timestamp>, far list<timestamp>, dt date, x blob, v vector<float, 3>, n decimal, PRIMARY KEY (d, c)",
    "notes": "piece text, at int, words text, PRIMARY KEY (piece, at)",
    "near": "id int PRIMARY KEY, name text, v vector<float, 2>",
    "named": "id uuid PRIMARY KEY, old text, secret text",
    "partly": "id uuid PRIMARY KEY, a text, secret text",
}
home = home_of(CONFIG, **TABLES)
READS = 4000
FAR_MS = 253402300800000  # the year 10000, of which Python has no datetime, and JSON a text


@pytest.fixture
def table(home: Place) -> Iterator[Table]:
    with closing(Table(home.cassandra, home.settings, CONFIG, "songs")) as opened:
        as_copied(opened)
        yield opened


def as_copied(table: Table, *names: str) -> None:
    """As behind a backfill, with nothing found yet."""
    forget_migration(table)
    table.sql("TRUNCATE sync.shadow_reads, sync.shadow_difference, sync.drift_pass")
    for name in names or TABLES:
        table.sql("INSERT INTO sync.run (kind, table_name, state, floor) VALUES ('backfill', %s, 'done', 1)", (name,))


def under(table: Table, primary: Any) -> Settings:
    be_primary(table, primary)
    return table.settings.model_copy(update={"storage_backend": primary})


def counts(table: Table) -> tuple[int, int, int]:
    """How many reads were compared, how many skipped, and how many keys differed."""
    ((compared, skipped, differing),) = table.sql(
        "SELECT coalesce(sum(compared), 0)::int, coalesce(sum(skipped), 0)::int, coalesce(sum(differing), 0)::int "
        "FROM sync.shadow_reads"
    )
    return compared, skipped, differing


def become(table: Table, *expected: int) -> None:
    """The counts become these: nothing is under way then, as each read is counted once."""
    until(lambda: sum(counts(table)[:2]) >= sum(expected[:2]), 30, f"{sum(expected[:2])} reads are counted")
    assert counts(table) == expected


def compared(table: Table, read: Callable[[], Any]) -> Any:
    """What this reads, until a read is compared: where heartbeats are late, since the machine is busy, some are skipped."""
    for _ in range(30):
        before = counts(table)
        found = read()
        until(lambda before=before: sum(counts(table)[:2]) > sum(before[:2]), 30, "the read is counted")
        if counts(table)[0] > before[0]:
            return found
    raise AssertionError("no read was compared")


def kept(table: Table) -> list[tuple[str, str]]:
    return table.sql("SELECT table_name, kind FROM sync.shadow_difference ORDER BY id")


def punctual(table: Table) -> Actor:
    """A writer of which nobody thinks that it may have unrecorded writes, though it has no heartbeat."""
    actor = table.writer()
    table.sql("UPDATE sync.writer SET accepts = false WHERE id = %s", (actor.name,))
    return actor


# what is found


@pytest.mark.parametrize("primary", ["astra", "postgres"])
@pytest.mark.parametrize("where", ["target", "source"])
def test_a_difference_is_found_by_reads_and_reconciled(table: Table, where: str, primary: str) -> None:
    """Would break: somebody writes one side without the store, and nobody learns of it before the cut-over."""
    with DualWriteStore(under(table, primary), CONFIG) as store:
        song = {"id": uuid4(), "title": "Air", "year": 1720}
        key = table.key(id=song["id"])
        store.put("songs", song)
        until(lambda: table.intents(key) == [], 30, "the write has settled")
        assert store.get("songs", {"id": song["id"]}) == song
        become(table, 1, 0, 0)
        if where == "target":
            table.sql("UPDATE songs SET title = 'planted' WHERE id = %s", (song["id"],))
        else:  # with the clock's own timestamp: it is newer
            name = f'"{table.mapped.source.keyspace}".songs'
            table.cassandra.session.execute(f"UPDATE {name} SET title = 'planted' WHERE id = {song['id']}")
        of_primary = "planted" if (where == "source") is (primary == "astra") else "Air"
        assert (store.get("songs", {"id": song["id"]}) or {})["title"] == of_primary
        become(table, 2, 0, 1)
        assert table.intents(key) == [("recheck", "finished")]
        ((shown, columns, epoch, writer),) = table.sql("SELECT shown, columns, epoch, writer FROM sync.shadow_difference")
        assert (shown, columns, epoch) == ({"id": str(song["id"])}, ["title"], table.epoch)
        assert table.sql("SELECT count(*) FROM sync.writer WHERE id = %s", (writer,)) == [(1,)]
        assert (table.settled(key) or {})["title"] == of_primary
        store.get("songs", {"id": song["id"]})
        become(table, 3, 0, 1)


@pytest.mark.parametrize("primary", ["astra", "postgres"])
def test_reads_of_many_rows_are_compared(home: Place, table: Table, primary: str) -> None:
    """Would break: only single rows are compared; a list that is read to its end is not, or one that is not is."""
    with DualWriteStore(under(table, primary), CONFIG) as store:
        notes = [{"piece": primary, "at": at, "words": "w"} for at in range(5)]
        store.put_many("notes", notes)
        until(lambda: table.sql("SELECT count(*) FROM sync.intent") == [(0,)], 30, "the writes have settled")
        assert list(store.find("notes", {"piece": primary})) == notes
        become(table, 1, 0, 0)
        table.sql("UPDATE notes SET words = 'planted' WHERE piece = %s AND at = 3", (primary,))
        table.sql("DELETE FROM notes WHERE piece = %s AND at = 4", (primary,))
        assert len(store.get_many("notes", [{"piece": primary, "at": at} for at in (0, 3, 4, 9)])) == 4
        become(table, 3, 0, 2)
        assert sorted(kind for name, kind in kept(table) if name == "notes") == ["different", "missing"]
        table.sql("DELETE FROM sync.intent; DELETE FROM sync.sql_change")  # a key that has one is not judged
        next(store.find("notes", {"piece": primary}, page_rows=1))  # not read to its end
        assert len(list(store.find("notes", {"piece": primary}))) == (5 if primary == "astra" else 4)
        until(lambda: counts(table)[2] == 4, 30, "both are found once more")


def test_rows_that_one_side_lacks(table: Table) -> None:
    """Would break: only rows that both sides have are compared, and a row that was lost is not found."""
    with DualWriteStore(under(table, "astra"), CONFIG) as store:
        lost, extra = uuid4(), uuid4()
        store.put("songs", {"id": lost, "title": "lost"})
        table.sql("DELETE FROM songs WHERE id = %s", (lost,))
        table.sql("INSERT INTO songs (id, title) VALUES (%s, 'by hand')", (extra,))
        found = [compared(table, partial(store.get, "songs", {"id": id})) for id in (lost, extra, uuid4())]
        assert found == [{"id": lost, "title": "lost", "year": None}, None, None]
        read, _, differing = counts(table)
        assert (read, differing) == (3, 2)
        assert sorted(kept(table)) == [("songs", "extra"), ("songs", "missing")]
        assert len(table.intents()) == 2
        table.drained()
        for key in (lost, extra):
            compared(table, partial(store.get, "songs", {"id": key}))
        read, _, differing = counts(table)
        assert (read, differing) == (5, 2)


def test_a_worker_reconciles_it_and_status_shows_it(home: Place, table: Table) -> None:
    """Would break: counts that nobody sees; a recheck that no worker takes."""
    home.configure(TOML)
    song = {"id": uuid4(), "title": "Air", "year": 1720}
    with DualWriteStore(under(table, "astra"), CONFIG) as store:
        store.put("songs", song)
        table.sql("UPDATE songs SET title = 'planted' WHERE id = %s", (song["id"],))
        store.get("songs", {"id": song["id"]})
        become(table, 1, 0, 1)
        told = home.commands.run("status", "--json").json["shadow_reads"]
        (key,) = told.pop("keys")
        assert told == {"compared": 1, "skipped": 0, "differing": 1, "since_repair": 1}
        assert {n: key[n] for n in ("table_name", "key", "kind", "columns")} == {
            "table_name": "songs", "key": {"id": str(song["id"])}, "kind": "different", "columns": ["title"],
        }  # fmt: skip
        assert "planted" not in str(key) and "Air" not in str(key)
        shown = home.commands.run("status").out
        assert "shadow reads: 1 compared, 0 skipped, 1 differed; 1 key since the last repair\n" in shown
        assert f"  songs: id={song['id']}: different, at 20" in shown
        worker = home.commands.start("worker", "-n", "1")
        try:
            until(lambda: table.intents() == [], 60, "the worker has reconciled it")
        finally:
            worker.terminate()
            home.commands.ended(worker)
        assert table.target(table.key(id=song["id"])) == {"title": "Air", "year": 1720}
        assert home.commands.run("drift-report", "--repair", "--table", "songs", "--workers", "1").code in (0, 2)
        told = home.commands.run("status", "--json").json["shadow_reads"]
        assert (told["since_repair"], len(told["keys"])) == (0, 1)


def test_a_search_compares_the_rows_that_both_answers_have(table: Table) -> None:
    """Would break: two approximate indexes that find other rows, or in another order, are differences."""
    with DualWriteStore(under(table, "astra"), CONFIG) as store:
        table.cassandra.session.execute(
            f"CREATE CUSTOM INDEX IF NOT EXISTS ON \"{table.mapped.source.keyspace}\".near (v) USING 'StorageAttachedIndex'"
        )
        for n in range(4):
            store.put("near", {"id": n, "name": f"n{n}", "v": [1.0, n / 10]})
        table.sql("INSERT INTO near (id, name, v) VALUES (9, 'only here', '[1,0]')")
        assert [row["id"] for row, _ in store.search("near", "v", [1.0, 0.0], 3)] == [0, 1, 2]
        become(table, 1, 0, 0)
        table.sql("UPDATE near SET name = 'planted' WHERE id = 1")
        store.search("near", "v", [1.0, 0.0], 3)
        become(table, 2, 0, 1)
        assert table.sql("SELECT shown FROM sync.shadow_difference") == [({"id": 1},)]


def test_what_python_can_represent_on_one_side_only(table: Table) -> None:
    """Would break: after the cut-over a call raises that did not before, or the other way round."""
    name = f'"{table.mapped.source.keyspace}".kinds'
    with DualWriteStore(under(table, "astra"), CONFIG) as store:
        key = {"d": Decimal("1.50"), "c": 1}
        store.put("kinds", {**key, "dt": date(2000, 1, 1)})
        table.sql("UPDATE kinds SET dt = '0044-03-15 BC' WHERE d = '1.50'")
        assert (store.get("kinds", key) or {})["dt"] == date(2000, 1, 1)
        become(table, 1, 0, 1)
        assert kept(table) == [("kinds", "different")]
        # The same value on both sides: JSON has a text for it.
        far = {"d": Decimal("1.50"), "c": 2}
        store.put("kinds", far)
        table.cassandra.session.execute(f"UPDATE {name} SET far = [{FAR_MS}] WHERE d = 1.50 AND c = 2")
        with closing(Table(table.cassandra, table.settings, CONFIG, "kinds")) as kinds:
            kinds.sql("TRUNCATE sync.intent")
            with pytest.raises(ValueUnreadable):
                store.get("kinds", far)
            become(table, 2, 0, 2)
            assert kept(table)[-1] == ("kinds", "different")
            kinds.drained()
        with pytest.raises(ValueUnreadable):
            store.get("kinds", far)
        become(table, 3, 0, 3)
        assert kept(table) == [("kinds", "different"), ("kinds", "unreadable")]


# what is not found


def test_types_of_which_the_other_side_has_another_are_equal(table: Table) -> None:
    """Would break: a table with a set, a map or a decimal key is nothing but differences."""
    with DualWriteStore(under(table, "astra"), CONFIG) as store:
        key = {"d": Decimal("1.50"), "c": 7}
        row = {
            **key, "f": float("nan"), "dbl": float("nan"), "s": {"b", "a"}, "m": {1: "x"}, "tu": (1, "a"), "ip": "10.0.0.1",
            "x": b"\x00\xff", "v": [0.1, 0.2, 0.3], "n": Decimal("1.50"), "dt": date(1, 1, 1),
        }  # fmt: skip
        store.put("kinds", row)
        assert store.get("kinds", key) is not None
        become(table, 1, 0, 0)
        name = f'"{table.mapped.source.keyspace}".kinds'
        table.cassandra.session.execute(f"UPDATE {name} SET du = 1mo2d3s, l = [{FAR_MS - 1}] WHERE d = 1.50 AND c = 7")
        with closing(Table(table.cassandra, table.settings, CONFIG, "kinds")) as kinds:
            table.sql(
                "INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner) "
                "VALUES ('kinds', %s, %s, 'recheck', 'finished', 1, 1, 'drift report')",
                ((one := kinds.key(**key)).canonical, one.token),
            )
            kinds.drained()
        assert (store.get("kinds", key) or {})["du"] is not None
        become(table, 2, 0, 0)


@pytest.mark.parametrize("primary", ["astra", "postgres"])
def test_columns_that_one_side_has_alone(table: Table, primary: str) -> None:
    """Would break: `ignore`, or a column of one's own in Postgres, makes every row a difference."""
    key = {"id": uuid4()}
    table.sql("ALTER TABLE partly ADD COLUMN IF NOT EXISTS own int DEFAULT 7")
    with DualWriteStore(under(table, primary), CONFIG) as store:
        store.put("partly", {**key, "a": "x"})
        with closing(Table(table.cassandra, table.settings, CONFIG, "partly")) as partly:
            until(lambda: partly.intents() == [], 30, "the write has settled")
            keyspace = table.mapped.source.keyspace
            table.cassandra.session.execute(f"UPDATE \"{keyspace}\".partly SET secret = 's' WHERE id = {key['id']}")
            assert (store.get("partly", key) or {})["a"] == "x"
            become(table, 1, 0, 0)
            partly.sql("UPDATE partly SET a = 'planted' WHERE id = %s", (key["id"],))
            store.get("partly", key)
            become(table, 2, 0, 1)


def test_another_name_in_the_target(table: Table) -> None:
    """Would break: the other side is asked for a table that it does not have, and nothing of it is ever compared."""
    key, gone = {"id": uuid4()}, {"id": uuid4()}
    with DualWriteStore(under(table, "astra"), CONFIG) as store:
        store.put("named", {**key, "old": "x", "secret": "s"})
        assert store.get("named", key) == {**key, "old": "x", "secret": "s"}
        become(table, 1, 0, 0)
        table.sql("UPDATE elsewhere SET \"New Name\" = 'planted' WHERE id = %s", (key["id"],))
        table.sql("INSERT INTO elsewhere (id) VALUES (%s)", (gone["id"],))
        store.get("named", key)
        assert store.get("named", gone) is None
        become(table, 3, 0, 2)
        assert sorted(kept(table)) == [("named", "different"), ("named", "extra")]


def test_a_key_that_is_being_written_is_no_difference(table: Table) -> None:
    """Would break: every write between the two reads is a finding, and each leaves one more recheck."""
    with DualWriteStore(under(table, "astra"), CONFIG) as store:
        key = table.key(id=uuid4())
        id_ = table.cells.values({"id": key.cells[0]})
        write = punctual(table).put(key, title="new", year=None).primary()
        assert store.get("songs", id_) == {**id_, "title": "new", "year": None}
        become(table, 1, 0, 0)
        assert table.intents(key) == [("put", "open")]
        assert write.target()
        store.get("songs", id_)
        become(table, 2, 0, 0)


def test_a_value_that_is_rejected_is_no_difference(table: Table) -> None:
    """Would break: what `sync rejects` lists is found once more by each read of it, and rechecked each time."""
    with DualWriteStore(under(table, "astra"), CONFIG) as store:
        id_ = {"id": uuid4()}
        table.cassandra.session.execute(
            f"INSERT INTO \"{table.mapped.source.keyspace}\".songs (id, title) VALUES ({id_['id']}, 'a\0b')"
        )
        store.get("songs", id_)
        become(table, 1, 0, 1)
        table.drained()
        for _ in range(3):
            assert store.get("songs", id_) is not None
        become(table, 4, 0, 1)
        assert table.intents() == []


# what is skipped


def test_while_writes_may_be_unrecorded_a_difference_says_nothing(table: Table) -> None:
    """Would break: after an outage of Postgres every key that was written meanwhile is a finding."""
    with DualWriteStore(under(table, "astra"), CONFIG) as store:
        song = {"id": uuid4(), "title": "Air", "year": None}
        store.put("songs", song)
        table.sql("UPDATE songs SET title = 'older' WHERE id = %s", (song["id"],))
        other = punctual(table)
        table.sql("UPDATE sync.writer SET unrecorded = 1 WHERE id = %s", (other.name,))
        store.get("songs", {"id": song["id"]})
        become(table, 0, 1, 0)
        table.sql("UPDATE sync.writer SET unrecorded = 0 WHERE id = %s", (other.name,))
        store.get("songs", {"id": song["id"]})
        become(table, 1, 1, 1)


def test_a_table_that_is_not_copied_yet(table: Table) -> None:
    """Would break: each row that the backfill has not reached is a finding."""
    as_copied(table, "near")
    table.cassandra.session.execute(
        f"INSERT INTO \"{table.mapped.source.keyspace}\".songs (id, title) VALUES ({(key := uuid4())}, 'old')"
    )
    with DualWriteStore(under(table, "astra"), CONFIG) as store:
        assert store.get("songs", {"id": key}) is not None
        become(table, 0, 1, 0)


def test_without_a_share_nothing_is_asked(table: Table) -> None:
    """Would break: the other side has twice the reads, though nobody asked for it."""
    with DualWriteStore(under(table, "astra"), config(0.0)) as store:
        store.put("songs", {"id": (key := uuid4()), "title": "Air"})
        for _ in range(20):
            store.get("songs", {"id": key})
        assert store._shadow._reads._thread is None and store._shadow._suspects._thread is None
    assert counts(table) == (0, 0, 0)


async def asked(settings: Settings, key: Any) -> None:
    async with AsyncDualWriteStore(settings, CONFIG) as store:
        await store.get("songs", {"id": key})
        await store.get("songs", {"id": key})


def test_a_store_that_closes_records_what_it_has_counted(table: Table) -> None:
    """Would break: a process that lives for a second, a job for one, never counts."""
    asyncio.run(asked(under(table, "astra"), uuid4()))
    assert sum(counts(table)[:2]) == 2


# the caller is not affected


class Slow:
    """A read that the caller gets at once; behind its back it waits until it is let go."""

    def __init__(self, rows: int = 1) -> None:
        self.go, self._rows = Event(), rows

    def __call__(self, store: Any) -> list[dict[str, Any]]:
        if store is not self.primary:
            assert self.go.wait(60)
        return [{"id": uuid4(), "title": None, "year": None} for _ in range(self._rows)]

    def asked_of(self, store: DualWriteStore) -> None:
        self.primary = store._primary_of("songs")
        store._read(ShadowRead("songs", self, lambda rows: rows))


def test_what_there_is_no_room_for_is_skipped(table: Table) -> None:
    """Would break: the caller waits for the slower side; or the process's memory grows with it."""
    slow = Slow()
    with DualWriteStore(under(table, "astra"), CONFIG) as store:
        for _ in range(3 * MAX_WAITING):
            slow.asked_of(store)
        until(lambda: counts(table)[1] >= MAX_WAITING, 30, "what there was no room for is counted")
        slow.go.set()
        until(lambda: sum(counts(table)[:2]) >= 3 * MAX_WAITING, 60, "all are counted")
        assert MAX_WAITING <= counts(table)[1] < 3 * MAX_WAITING, "those that waited were compared"


def test_a_long_answer_is_skipped(table: Table) -> None:
    """Would break: a page of everything is copied and kept in memory a hundred times."""
    with DualWriteStore(under(table, "astra"), CONFIG) as store:
        Slow(MAX_ROWS + 1).asked_of(store)
        become(table, 0, 1, 0)


def test_a_store_closes_while_the_other_side_does_not_answer(table: Table) -> None:
    """Would break: a deployment waits for shadow reads."""
    slow = Slow()
    try:
        with DualWriteStore(under(table, "astra"), CONFIG) as store:
            for _ in range(10):
                slow.asked_of(store)
        assert not slow.go.is_set()
    finally:
        slow.go.set()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stall", "cut"])
@pytest.mark.parametrize("primary", ["astra", "postgres"])
def test_the_other_side_is_sick(table: Table, primary: str, how: str) -> None:
    """Would break: reads fail, or wait, because of the side that the application does not read from."""
    settings = table.settings
    if primary == "astra":
        host, port, name = "127.0.0.1", settings.postgres_port, "postgres_port"
    else:
        host, port, name = str(settings.cassandra_contact_points), settings.cassandra_port, "cassandra_port"
    with closing(Proxy(host, port)) as proxy:
        through = under(table, primary).model_copy(update={name: proxy.port})
        # No read may wait as long: if Postgres is primary, for a connection of its pool on a busy machine.
        with DualWriteStore(through, config(wait_seconds=10.0 if primary == "postgres" else 1.0)) as store:
            song = {"id": uuid4(), "title": "Air", "year": None}
            store.put("songs", song)
            until(lambda: table.intents() == [], 30, "the write has settled")

            def get(_: object) -> Any:
                return store.get("songs", {"id": song["id"]})

            assert get(0) == song
            become(table, 1, 0, 0)
            getattr(proxy, how)()
            with ThreadPoolExecutor(4) as threads:  # if each waited for a second, that would take longer than a test may
                assert list(threads.map(get, range(READS))) == [song] * READS
            proxy.heal()
            until(lambda: sum(counts(table)[:2]) >= READS + 1, 60, "all are counted once Postgres takes it")
            compared, skipped, differing = counts(table)
            assert (compared + skipped, differing) == (READS + 1, 0) and skipped > READS - 2 * MAX_WAITING
            until(lambda: get(0) == song and counts(table)[0] > compared, 60, "reads are compared again")


# what is kept


def test_the_last_keys_are_kept_and_all_are_counted(table: Table) -> None:
    """Would break: state that grows with what is wrong; or a key that is found again and again pushes the others out."""
    keys = [table.key(id=uuid4()) for _ in range(MAX_KEYS + 20)]
    with closing(connect(table.settings, autocommit=True)) as connection:
        for at in range(0, len(keys), 60):
            found = [Difference(table.mapped, key, "missing") for key in keys[at : at + 60]]
            shadow_ledger.record(connection, "w", 1, {"compared": 60, "differing": len(found)}, found)
        shadow_ledger.record(
            connection, "w", 1, {"differing": 1}, [Difference(table.mapped, keys[20], "different", ("title",))]
        )
        told = shadow_ledger.shadow_status(connection)
    assert (told["differing"], len(told["keys"]), told["since_repair"]) == (len(keys) + 1, MAX_KEYS, MAX_KEYS)
    ids = [str(table.cells.values({"id": key.cells[0]})["id"]) for key in keys]
    assert [k["key"]["id"] for k in told["keys"]] == [ids[20], *reversed(ids[21:])]
    assert (told["keys"][0]["kind"], told["keys"][0]["columns"]) == ("different", ["title"])


def test_counts_of_writers_that_are_gone_are_added_up(table: Table) -> None:
    """Would break: a row for each process that ever ran; or its counts are lost with it."""
    alive = table.writer().name
    with closing(connect(table.settings, autocommit=True)) as connection:
        for writer, epoch in (("gone 1", 1), ("gone 2", 1), ("gone 2", 2), (alive, 1), ("gone 3", 2), (alive, 2)):
            shadow_ledger.record(connection, writer, epoch, {"compared": 3, "skipped": 2, "differing": 1}, [])
    assert table.sql("SELECT writer, epoch, compared, skipped, differing FROM sync.shadow_reads ORDER BY epoch, writer") == [
        ("", 1, 6, 4, 2), (alive, 1, 3, 2, 1), ("", 2, 6, 4, 2), (alive, 2, 3, 2, 1),
    ]  # fmt: skip
