"""SQL writers beside everything else: the store's writes, its transactions, workers, counters, rows that expire, the commands."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from support.backfills import until
from support.dual import Table
from support.places import NewPlace, Place
from support.prepared_places import prepared
from support.reverse import be_primary
from support.sql_writers import REFUSED, foreign, refusal

from sync.core.ring import UNKNOWN_TOKEN
from sync.errors import WriteRefusedNow
from sync.settings import Config, DualWriteTuning, load_config
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
TUNING = DualWriteTuning(connections=24, heartbeat_seconds=0.2, max_wait_seconds=20)
CONFIG = Config(schema_files=(), dual_write=TUNING, tables={"things": {"ttl": "expire"}})
SECONDS = float(os.environ.get("SYNC_SQL_SECONDS", "15"))
"""How long both write; by hand for minutes."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS + 600)]


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    with prepared(
        new_place, CONFIG, songs="id uuid PRIMARY KEY, title text, year int", plays="song uuid PRIMARY KEY, times counter",
        things="id int PRIMARY KEY, a text",
    ) as place:  # fmt: skip
        yield place


@pytest.fixture
def songs(home: Place) -> Iterator[Table]:
    yield from opened(home, "songs")


def opened(home: Place, name: str) -> Iterator[Table]:
    with closing(Table(home.cassandra, home.settings, CONFIG, name)) as table:
        table.sql("UPDATE sync.writer SET state = 'signed_off'")
        be_primary(table, "postgres")
        yield table


@pytest.fixture
def store(home: Place, songs: Table) -> Iterator[DualWriteStore]:
    with DualWriteStore(home.settings.model_copy(update={"storage_backend": "postgres"}), CONFIG) as made:
        yield made


def owners(table: Table) -> list[str]:
    table.expanded()
    return [owner for (owner,) in table.sql("SELECT owner FROM sync.intent ORDER BY id")]


def test_the_store_s_own_writes_are_not_announced_again(songs: Table, store: DualWriteStore) -> None:
    """Would break: each write of the store is sent twice, and costs twice."""
    key = {"id": uuid4()}
    store.put("songs", {**key, "title": "a", "year": 1})
    store.update("songs", key, {"year": 2})
    store.delete("songs", key)
    assert "SQL" not in owners(songs)


def test_what_a_transaction_of_the_store_does_by_its_own_sql_arrives(songs: Table, store: DualWriteStore) -> None:
    """Would break: the store's mark hides what the application itself has written in between."""
    a, b, c = (uuid4() for _ in range(3))
    with store.transaction() as tx:
        tx.execute("INSERT INTO songs (id, title) VALUES (%s, 'before')", (a,))
        tx.put("songs", {"id": b, "title": "store", "year": 1})
        tx.execute("INSERT INTO songs (id, title) VALUES (%s, 'after')", (c,))
    assert owners(songs).count("SQL") == 2
    until(lambda: songs.drain() == 0 and not songs.intents(), what="all is sent")
    assert [songs.source(songs.key(id=n)) for n in (a, b, c)] == [
        {"title": "before", "year": None}, {"title": "store", "year": 1}, {"title": "after", "year": None},
    ]  # fmt: skip


def test_counters_become_equal(home: Place) -> None:
    for table in opened(home, "plays"):
        number = uuid4()
        with closing(foreign(home.settings)) as sql:
            sql.execute("INSERT INTO plays (song, times) VALUES (%s, 5)", (number,))
            assert table.settled(table.key(song=number)) == {"times": 5}
            sql.execute("UPDATE plays SET times = times - 7 WHERE song = %s", (number,))
            assert table.settled(table.key(song=number)) == {"times": -2}


def test_another_expiry_is_another_ttl(home: Place) -> None:
    for table in opened(home, "things"):
        with closing(foreign(home.settings)) as sql:
            ttl = "SELECT TTL(a) FROM KS.things WHERE id = 1"
            sql.execute("INSERT INTO things (id, a, expires_at) VALUES (1, 'x', now() + interval '1 hour')")
            table.drained()
            assert 3000 < home.cql(ttl)[0][0] <= 3601
            sql.execute("UPDATE things SET expires_at = NULL")
            table.drained()
            assert home.cql(ttl)[0][0] is None
            sql.execute("UPDATE things SET expires_at = now() + interval '2 hours'")
            table.drained()
            assert 6000 < home.cql(ttl)[0][0] <= 7201


def hammer(home: Place, store: DualWriteStore, keys: list[UUID], seconds: float) -> tuple[list[str], dict[str, int]]:
    """Write the keys by SQL, by the store and by a worker, for so long; the errors, and how many of each."""
    until, errors, done = time.monotonic() + seconds, list[str](), {"store": 0, "SQL": 0, "drained": 0}

    def by_store(seed: int) -> None:
        dice = random.Random(seed)
        while time.monotonic() < until:
            key, n = {"id": dice.choice(keys)}, done["store"]
            try:
                match dice.randrange(3):
                    case 0:
                        store.put("songs", {**key, "title": f"store {n}", "year": n})
                    case 1:
                        store.update("songs", key, {"title": f"changed {n}"})
                    case _:
                        store.delete("songs", key)
                done["store"] += 1
            except WriteRefusedNow as error:
                errors.append(str(error))

    def by_sql(seed: int) -> None:
        dice = random.Random(seed)
        with closing(foreign(home.settings)) as sql:
            while time.monotonic() < until:
                some, n = dice.sample(keys, 3), done["SQL"]
                statements: list[tuple[str, Any]] = [
                    ("INSERT INTO songs (id, title) SELECT unnest(%s::uuid[]), 'SQL' ON CONFLICT (id) DO UPDATE SET year = 1", (some[:1],)),
                    ("UPDATE songs SET year = %s WHERE id = %s", (n, some[0])),
                    ("DELETE FROM songs WHERE id = %s", (some[0],)),
                    ("UPDATE songs SET year = year + 1 WHERE id = (SELECT id FROM songs ORDER BY random() LIMIT 1)", ()),
                ]  # fmt: skip
                if seed == 0:  # one alone: two of them would deadlock with each other
                    statements.append(("UPDATE songs SET year = year + 1", ()))
                try:
                    sql.execute(*dice.choice(statements))
                    done["SQL"] += 1
                except psycopg.Error as error:
                    errors.append(f"{error.sqlstate}: {error}")

    def by_worker() -> None:
        with closing(Table(home.cassandra, home.settings, CONFIG, "songs")) as table:
            be_primary(table, "postgres")
            while time.monotonic() < until:
                table.sql("UPDATE sync.intent SET lease_until = NULL WHERE state <> 'open' AND attempts > 0")
                done["drained"] += table.drain(lease=2.0)

    with ThreadPoolExecutor(8) as executor:
        jobs = [executor.submit(by_store, n) for n in range(3)] + [executor.submit(by_sql, n) for n in range(3)]
        for job in [*jobs, executor.submit(by_worker), executor.submit(by_worker)]:
            job.result()
    return errors, done


def test_both_on_few_keys(home: Place, songs: Table, store: DualWriteStore) -> None:
    """Would break: a resend and a statement wait for each other's rows, or a version is too low and the sides differ."""
    errors, done = hammer(home, store, [uuid4() for _ in range(6)], SECONDS)
    print(f"\n{done}, errors {errors[:5]}")
    assert errors == []
    assert min(done.values()) > 20, done
    songs.at_rest()
    songs.check_equal()
    assert songs.sql("SELECT 1 FROM songs WHERE _sync_token IS NULL OR _sync_token = %s", (UNKNOWN_TOKEN,)) == []
    assert songs.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(0,)]


def test_from_the_first_command_to_the_last(new_place: NewPlace) -> None:
    """Would break: the gate, the rollback or the end of a migration does not know of the triggers."""
    toml = "schema_files = []\n[drift]\ngrace_seconds = 0.1\n"
    with new_place() as place:
        place.cql(
            "CREATE TABLE KS.songs (id int PRIMARY KEY, title text)", "INSERT INTO KS.songs (id, title) VALUES (1, 'a')"
        )
        place.configure(toml)

        def run(*argv: str, code: int = 0) -> str:
            done = place.commands.run(*argv, timeout=120)
            assert done.code == code, done
            return done.out + done.err

        assert "songs: triggers for SQL writers" in run("schema", "apply")
        assert "nothing to do" in run("schema", "apply")
        run("backfill", "--workers", "1")
        with DualWriteStore(place.settings, load_config(place.commands.folder / "sync.toml")):
            pass  # no plain copy
        with closing(foreign(place.settings)) as sql:
            assert refusal(lambda: sql.execute("UPDATE songs SET title = 'x'")) == REFUSED
            place.prove()
            sql.execute("ALTER TABLE songs DISABLE TRIGGER _sync_updated")
            assert "public.songs lacks _sync_updated" in run("cutover", "--yes", "--no-writers", code=2)
            run("schema", "apply")
            run("cutover", "--yes", "--no-writers")
            sql.execute("UPDATE songs SET title = 'SQL'")
            sql.execute("INSERT INTO songs (id, title) VALUES (2, 'new')")
            with closing(
                Table(place.cassandra, place.settings, load_config(place.commands.folder / "sync.toml"), "songs")
            ) as table:
                be_primary(table, "postgres")
                sql.execute("UPDATE songs SET id = 3 WHERE id = 2")
                table.drain()
            place.prove()
            sql.execute("DELETE FROM songs WHERE id = 1")
            run("rollback", "--yes", "--no-writers")
            assert place.cql("SELECT id, title FROM KS.songs") == [(3, "new")]
            assert refusal(lambda: sql.execute("DELETE FROM songs")) == REFUSED
            place.prove()
            run("cutover", "--yes", "--no-writers")
            run("finish", "--yes")
            sql.execute("UPDATE songs SET title = 'free'")
            sql.execute("TRUNCATE songs")
            assert sql.execute("SELECT 1 FROM pg_trigger WHERE NOT tgisinternal").fetchall() == []


def test_a_table_that_is_excluded_later_is_told_of_no_more(new_place: NewPlace) -> None:
    """Would break: somebody clears the copy of a table that was given up, and workers delete its live rows in Cassandra."""
    with new_place() as place:
        place.cql(*(f"CREATE TABLE KS.{name} (id int PRIMARY KEY, a text)" for name in ("songs", "plays", "moved")))
        place.configure("schema_files = []\n")
        assert place.commands.run("schema", "apply").code == 0
        with DualWriteStore(place.settings, load_config(place.commands.folder / "sync.toml")):
            pass  # no plain copy
        place.sql("CREATE TABLE elsewhere (LIKE moved INCLUDING ALL)")
        place.configure('schema_files = []\nexclude = ["plays"]\n[tables.moved]\ntarget = "elsewhere"\n')
        gates = {gate["name"]: gate for gate in place.commands.run("cutover", "--dry-run", "--json").json["gates"]}
        assert "public.plays has triggers" in gates["SQL writers"]["figure"]
        assert "public.moved has triggers" in gates["SQL writers"]["figure"]
        done = place.commands.run("schema", "apply").out
        assert "public.plays: no triggers" in done and "public.moved: no triggers" in done
        with closing(foreign(place.settings)) as sql:
            for name in ("plays", "moved"):
                sql.execute(f"INSERT INTO {name} (id) VALUES (1)".encode())
                sql.execute(f"TRUNCATE {name}".encode())
            assert refusal(lambda: sql.execute("DELETE FROM songs")) == REFUSED
        assert place.sql("SELECT (SELECT count(*) FROM sync.intent), (SELECT count(*) FROM sync.sql_change)") == [(0, 0)]
        assert place.commands.run("schema", "apply").out.startswith("nothing to do")


def test_the_end_comes_while_an_application_writes_by_sql(home: Place, songs: Table) -> None:
    """Would break: the application on Postgres alone leaves rechecks without end, and `sync finish` is refused for ever."""
    with closing(foreign(home.settings)) as sql:
        sql.execute("INSERT INTO songs (id, title) VALUES (gen_random_uuid(), 'by SQL')")
        gates = {gate["name"]: gate for gate in home.commands.run("finish", "--dry-run", "--json").json["gates"]}
        assert songs.intents() == [("recheck", "finished")]
        assert gates["intents"]["green"], gates["intents"]
        columns = "table_name, key, token, kind, state, version, epoch, owner"
        songs.sql(f"INSERT INTO sync.intent ({columns}) VALUES ('songs', 'x', 1, 'put', 'finished', 1, 1, 'w')")
        gates = {gate["name"]: gate for gate in home.commands.run("finish", "--dry-run", "--json").json["gates"]}
        assert not gates["intents"]["green"], "a write of a store that Astra lacks counts"
        songs.sql("DELETE FROM sync.intent; DELETE FROM sync.sql_change")
