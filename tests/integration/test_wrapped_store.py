"""`DualWriteStore.wrap`: an application's own class, which stamps nothing, has its keys made equal by reconcile (rule 17)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import UUID, uuid4

import pytest
from cassandra import ConsistencyLevel
from support.backfills import until
from support.breakers import open_breaker
from support.commands import environment
from support.dual import LEASE, WINDOW_PASSES, Table, disturbed
from support.places import Place
from support.prepared_places import home_of
from support.reverse import be_primary

from sync.core.mutations import Mutation
from sync.errors import SettingsError, WriteRefused
from sync.settings import Config, DualWriteTuning
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=4, heartbeat_seconds=0.3))


class Songs:
    """An application's store from before the migration: its own CQL, the server's timestamps."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def save(self, song: dict[str, Any]) -> str:
        self._place.cassandra.session.execute(
            f'INSERT INTO "{self._place.keyspace}".songs (id, title) VALUES (%s, %s)', (song["id"], song["title"])
        )
        return "saved"

    def forget(self, song: UUID) -> None:
        self._place.cassandra.session.execute(f'DELETE FROM "{self._place.keyspace}".songs WHERE id = %s', (song,))

    def rename(self, song: UUID, title: str) -> None:
        self.save({"id": song, "title": title})
        raise TimeoutError("the driver gave up waiting")

    def title(self, song: UUID) -> str | None:
        rows = self._place.cassandra.session.execute(
            f'SELECT title FROM "{self._place.keyspace}".songs WHERE id = %s', (song,)
        )
        return next((row[0] for row in rows), None)


WRITES: Any = {
    "save": lambda song: ("songs", {"id": song["id"]}),
    "forget": lambda song: ("songs", {"id": song}),
    "rename": lambda song, title: ("songs", {"id": song}),
}


home = home_of(CONFIG, songs="id uuid PRIMARY KEY, title text")


@pytest.fixture
def table(home: Place) -> Iterator[Table]:
    with closing(Table(home.cassandra, home.settings, CONFIG, "songs")) as opened:
        yield opened


@pytest.fixture
def wrapped(home: Place, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Opens the wrapped class as an application does, with these lines of sync.toml."""

    def make(toml: str = "") -> Any:
        home.configure(f"schema_files = []\n[dual_write]\nheartbeat_seconds = 0.3\n{toml}")
        for name, value in environment(home.settings).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("SYNC_CONFIG", str(home.commands.folder / "sync.toml"))
        return DualWriteStore.wrap(Songs(home), None, WRITES)

    return make


def test_both_sides_have_what_the_class_wrote(wrapped: Any, table: Table) -> None:
    """Would break: a call is not passed on unchanged, or Postgres never gets its write."""
    song = uuid4()
    with wrapped() as store:
        assert store.save({"id": song, "title": "a"}) == "saved"
        assert table.target(table.key(id=song)) == {"title": "a"}
        assert store.save(song={"id": song, "title": "b"}) == "saved"
        assert store.title(song) == "b"
        assert table.target(table.key(id=song)) == {"title": "b"}
        store.forget(song)
        assert table.target(table.key(id=song)) is None
        assert table.tombstone(table.key(id=song)) is not None
    assert table.intents() == []


def test_a_method_that_is_not_there_is_refused_at_once(home: Place, wrapped: Any) -> None:
    """Would break: a misspelt name writes to one side for months."""
    wrapped().__exit__()
    with pytest.raises(SettingsError, match="Songs has no method sav"):
        DualWriteStore.wrap(Songs(home), None, {"sav": WRITES["save"]})


def test_queued_leaves_the_key_to_workers(wrapped: Any, table: Table) -> None:
    """Would break: `async_secondary` does not apply to wrapped classes."""
    song = uuid4()
    with wrapped('async_secondary = ["songs"]') as store:
        store.save({"id": song, "title": "a"})
        assert table.intents(table.key(id=song)) == [("recheck", "finished")]
    assert table.settled(table.key(id=song)) == {"title": "a"}


def test_two_calls_of_one_key_end_one_behind_the_other(wrapped: Any, table: Table) -> None:
    """Would break: the second call gets no intent of its own: its caller gets an error, or its key is read too early."""
    song = uuid4()
    with wrapped('async_secondary = ["songs"]') as store:

        def both() -> None:
            store.save({"id": song, "title": "a"})
            store.save({"id": song, "title": "b"})

        store._calls.call([("songs", {"id": song})], both, both)
        assert table.intents(table.key(id=song)) == [("recheck", "finished")] * 3
    assert table.settled(table.key(id=song)) == {"title": "b"}


def test_rule_17_a_call_that_failed_is_looked_at_when_it_can_no_longer_land(wrapped: Any, table: Table) -> None:
    """Would break: what cannot be sent again is forgotten while its first attempt may still arrive."""
    song = uuid4()
    with wrapped() as store:
        with pytest.raises(TimeoutError):
            store.rename(song, "landed all the same")
        assert table.intents(table.key(id=song)) == [("recheck", "unsure")]
        table.drain()
        assert table.intents(table.key(id=song)) == [("recheck", "unsure")], "the window is not over"
        table.sql(WINDOW_PASSES)
    assert table.settled(table.key(id=song)) == {"title": "landed all the same"}


def test_rule_17_a_class_whose_process_died_is_looked_at_later(wrapped: Any, table: Table) -> None:
    """Would break: the key of a call whose end nobody has seen stays different forever, or is read too early."""
    key = table.key(id=uuid4())
    writer = table.writer(alive=False)
    table.sql(
        "INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner) "
        "VALUES ('songs', %s, %s, 'recheck', 'open', 1, 1, %s)",
        (key.canonical, key.token, writer.name),
    )
    table.drain()
    assert table.intents(key) == [("recheck", "open")]
    table.sql(WINDOW_PASSES)
    assert table.settled(key) is None


def test_rule_17_the_window_begins_with_the_end_of_the_call(wrapped: Any, table: Table) -> None:
    """Would break: a call that gave up after 55 seconds may land for 60 more, and its key is read after five."""
    song = uuid4()
    with wrapped() as store:
        with pytest.raises(TimeoutError):
            store.rename(song, "landed all the same")
        table.sql("UPDATE sync.intent SET created_at = created_at - interval '1 hour'")
        assert table.drain() == 0
        assert table.reconcile_steps().pick([table.key(id=song)]) == {}
        assert table.intents(table.key(id=song)) == [("recheck", "unsure")]
        table.sql(WINDOW_PASSES)
    assert table.settled(table.key(id=song)) == {"title": "landed all the same"}


def test_rule_17_a_call_may_have_run_for_as_long_as_its_writer_lived(table: Table) -> None:
    """Would break: the same for a call whose end nobody has seen: it was announced long before its process died."""
    key, writer = table.key(id=uuid4()), table.writer()
    announced = Mutation("recheck", key, {})
    writer.journal.open(announced)
    table.sql("UPDATE sync.intent SET created_at = created_at - interval '1 hour'")
    table.sql(f"UPDATE sync.writer SET heartbeat_at = heartbeat_at - interval '{LEASE + 5} s' WHERE id = %s", (writer.name,))
    assert table.drain() == 0
    assert table.reconcile_steps().pick([key]) == {}
    assert table.intents(key) == [("recheck", "open")]
    assert table.settled(key) is None


def test_rule_17_the_end_of_what_could_not_be_repeated_disturbs_the_proof(table: Table) -> None:
    """Would break: the window was too short, the call lands later, and earlier passes allow a cut-over that loses it."""
    key, writer = table.key(id=uuid4()), table.writer()
    for state in ("finished", "unsure"):
        before = disturbed(table)
        writer.journal.mark([writer.journal.open(Mutation("recheck", key, {}))], state, "")
        table.sql(WINDOW_PASSES)
        assert table.settled(key) is None
        now = disturbed(table)
        assert (now != before) == (state == "unsure"), (before, now)
    assert now and now[1] == "a write that could not be repeated was settled in songs"


@pytest.mark.parametrize("away", ["refuse", "accept"])
def test_without_a_journal(wrapped: Any, table: Table, away: str) -> None:
    """Would break: a wrapped class writes although nobody can remember it (rules 28 and 31)."""
    song = uuid4()
    with wrapped(f'on_postgres_down = "{away}"') as store:
        store.save({"id": song, "title": "before"})
        with open_breaker(store._calls._registration.breaker):
            if away == "refuse":
                with pytest.raises(WriteRefused, match="journal"):
                    store.save({"id": song, "title": "after"})
                assert store.title(song) == "before"
                return
            assert store.save({"id": song, "title": "after"}) == "saved"
        until(lambda: table.intents(table.key(id=song)) or table.target(table.key(id=song)) == {"title": "after"})
    assert table.settled(table.key(id=song)) == {"title": "after"}


def test_rule_17_a_call_that_failed_without_a_journal_is_unsure(wrapped: Any, table: Table) -> None:
    """Would break: a call that raised is taken for done, and its key is read at once, before it lands."""
    song = uuid4()
    with wrapped('on_postgres_down = "accept"') as store:
        store.save({"id": song, "title": "before"})
        with open_breaker(store._calls._registration.breaker), pytest.raises(TimeoutError):
            store.rename(song, "landed all the same")
        until(lambda: table.intents(table.key(id=song)))
        assert table.intents(table.key(id=song)) == [("recheck", "unsure")]
        table.sql(WINDOW_PASSES)
    assert table.settled(table.key(id=song)) == {"title": "landed all the same"}


@pytest.mark.parametrize("serial", [True, False])
def test_rule_17_tables_of_lightweight_transactions_are_read_serially(
    home: Place, wrapped: Any, table: Table, serial: bool
) -> None:
    """Would break: a reconcile misses a transaction that was accepted but not yet written, and forgets the key."""
    song, seen = uuid4(), []
    home.cql(f"INSERT INTO KS.songs (id, title) VALUES ({song}, 'if') IF NOT EXISTS")
    with wrapped(f"[tables.songs]\nlightweight_transactions = {str(serial).lower()}\n") as store:
        reader = store._calls._of("songs").rows

        def listen(future: Any) -> None:
            seen.append(future.message.consistency_level)

        reader._cassandra.raw.add_request_init_listener(listen)
        store._calls.call([("songs", {"id": song})], lambda: None, lambda: None)
    assert seen == [ConsistencyLevel.LOCAL_SERIAL if serial else ConsistencyLevel.LOCAL_QUORUM]
    assert table.target(table.key(id=song)) == {"title": "if"}


def test_rows_that_the_class_inserts_into_postgres_have_a_place_in_the_proof(home: Place, table: Table) -> None:
    """Would break: they have no token, so that they are in no range: no pass is clean under load, and no fast rollback begins."""
    key = {"id": uuid4()}
    with DualWriteStore(home.settings, CONFIG) as store:
        be_primary(table, "postgres")
        store.call(
            [("songs", key)], lambda: None, lambda: home.sql(f"INSERT INTO songs (id, title) VALUES ('{key['id']}', 'a')")
        )
    found = table.sql("SELECT _sync_token FROM songs WHERE id = %s", (key["id"],))
    be_primary(table, "astra")
    assert found == [(table.key(**key).token,)]
    assert table.source(table.key(**key)) == {"title": "a"}
