"""Rules 18 and 19 against real servers: a backfill overwrites nothing, and skipped keys that differ are rechecked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from support.backfills import Site
from support.running_commands import until
from support.sources import SONGS, song

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.postgres.backfill import loader
from sync.adapters.postgres.connection.connect import Connection
from sync.core.ring import WHOLE_RING
from sync.errors import PreflightError
from sync.settings import Settings

ROWS = 60
STATES = ["open", "finished", "unsure", "claimed"]


@pytest.fixture
def site(settings: Settings, cassandra: Cassandra, tmp_path: Path) -> Site:
    """60 songs in the source, an empty target."""
    opened = Site(settings, cassandra, tmp_path)
    opened.cql(SONGS)
    opened.fill("INSERT INTO {ks}.songs (id, title, year, made, tags) VALUES (?, ?, ?, ?, ?)", map(song, range(ROWS)))
    opened.apply()
    return opened


def _begin(site: Site) -> list[int]:
    return site.begin(["songs"], WHOLE_RING.split(2))


def _id(i: int) -> UUID:
    return song(i)[0]  # type: ignore[no-any-return]


def _key(i: int) -> bytes:
    """The canonical bytes of a key."""
    return b"\0\0\0\x10" + _id(i).bytes


def _token(site: Site, i: int) -> int:
    return int(site.rows("songs")[(_id(i),)]["_sync_token"])


def _insert(connection: Connection, i: int, token: int, title: str | None = None, version: int = 7) -> None:
    """The i-th song in the target as a live write leaves it, with another title if one is given."""
    key, own, year, made, tags = song(i)
    connection.execute(
        "INSERT INTO songs (id, title, year, made, tags, _sync_token, _sync_version) "
        "VALUES (%s, %s, %s, %s::timestamp AT TIME ZONE 'UTC', %s::jsonb, %s, %s)",
        (key, title or own, year, made, '{"n": "%s"}' % tags["n"] if tags else None, token, version),
    )


def _intents(site: Site, kind: str = "recheck") -> list[tuple[Any, ...]]:
    return site.sql("SELECT key, token, state, version, mutation FROM sync.intent WHERE kind = %s ORDER BY key", (kind,))


def _stale(site: Site, runs: list[int]) -> int:
    return site.progress(runs)["songs"].rows_stale


def test_rule_18_rows_that_are_there_survive_a_backfill(site: Site) -> None:
    """Would break: a backfill writes history over what a writer has put into the target since (invariant 2)."""
    runs = _begin(site)
    with closing(site.connect()) as connection:
        _insert(connection, 1, _token(site, 1))
        _insert(connection, 2, _token(site, 2), "newer")
        connection.execute(
            "INSERT INTO songs (id, title, _sync_token, _sync_version) VALUES (%s, 'own', 5, 7)", (UUID(int=9),)
        )
    site.copy(runs)
    there = {i: (title, version) for i, title, version in site.sql("SELECT id, title, _sync_version FROM songs")}
    assert there[_id(1)] == ("song 1", 7)
    assert there[_id(2)] == ("newer", 7)
    assert there[UUID(int=9)] == ("own", 7)
    assert len(there) == ROWS + 1
    assert (_stale(site, runs), site.progress(runs)["songs"].rows_written) == (2, ROWS - 2)


def test_rule_18_deleted_keys_stay_deleted(site: Site) -> None:
    """Would break: a row that was deleted while its range was still to be copied comes back (invariant 2)."""
    runs = _begin(site)
    site.sql("INSERT INTO sync.tombstone VALUES ('songs', %s, %s, 5)", (_key(3), _token(site, 3)))
    site.sql("INSERT INTO sync.tombstone VALUES ('other', %s, %s, 5)", (_key(4), _token(site, 4)))
    site.copy(runs)
    assert site.rows("songs").keys() - site.copied("songs").keys() == {(_id(3),)}
    assert site.sql("SELECT version FROM sync.tombstone WHERE table_name = 'songs'") == [(5,)]
    assert _stale(site, runs) == 1


@pytest.mark.parametrize("state", STATES)
def test_rule_18_keys_with_an_intent_are_left_alone(site: Site, state: str) -> None:
    """Would break: an old value is inserted while a write of its key is under way, and the intent is lost."""
    runs = _begin(site)
    site.sql(
        "INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner) "
        "VALUES ('songs', %s, %s, 'put', %s, 9, 1, 'w')",
        (_key(5), _token(site, 5), state),
    )
    site.copy(runs)
    assert site.rows("songs").keys() - site.copied("songs").keys() == {(_id(5),)}
    assert [row[2:4] for row in _intents(site, "put")] == [(state, 9)]
    assert [row[0] for row in _intents(site)] == [_key(5)]
    assert _stale(site, runs) == 1


def test_rule_19_skipped_keys_that_differ_or_lack_a_row_get_one_recheck_intent(site: Site) -> None:
    """Would break: a skipped key that differs is never read again, or is read once for each time it was skipped."""
    runs = _begin(site)
    tokens = {i: _token(site, i) for i in range(1, 5)}
    with closing(site.connect()) as connection:
        _insert(connection, 1, tokens[1])
        _insert(connection, 2, tokens[2], "newer")
        connection.execute("UPDATE songs SET title = NULL WHERE id = %s", (_id(2),))
        connection.execute("INSERT INTO sync.tombstone VALUES ('songs', %s, %s, 5)", (_key(3), tokens[3]))
        _insert(connection, 4, tokens[4])
        connection.execute("""UPDATE songs SET tags = '{"n": "4", "more": "x"}' WHERE id = %s""", (_id(4),))
    site.copy(runs)
    site.finish(runs)
    ((floor,),) = site.sql("SELECT floor FROM sync.run")
    wanted = sorted((_key(i), tokens[i], "finished", floor, None) for i in (2, 3, 4))
    assert _intents(site) == wanted
    again = site.backfill(["songs"])["songs"]
    assert _intents(site) == wanted, "a second backfill adds nothing"
    assert (again.rows_read, again.rows_written, again.rows_stale) == (ROWS, 0, ROWS)


def test_rule_19_a_second_backfill_finds_what_changed_behind_its_back(site: Site) -> None:
    """Would break: writes made outside the store after the first backfill are never found."""
    site.backfill(["songs"])
    site.cql(f"UPDATE {{ks}}.songs SET title = 'changed' WHERE id = {_id(7)}")
    site.cql(f"INSERT INTO {{ks}}.songs (id, title) VALUES ({_id(ROWS)}, 'new')")
    second = site.backfill(["songs"])["songs"]
    assert (second.rows_written, second.rows_stale) == (1, ROWS)
    assert [row[0] for row in _intents(site)] == [_key(7)]
    assert site.copied("songs")[(_id(7),)]["title"] is None  # song 7 has none


@contextmanager
def _copying(
    site: Site, runs: list[int], monkeypatch: pytest.MonkeyPatch, before_merge: Callable[[], object]
) -> Iterator[None]:
    """A worker in a thread; `before_merge` is called when it holds its lease and has read, before its transaction."""
    called = threading.Event()

    def failpoint(name: str) -> None:
        if name == "backfill.encoded" and not called.is_set():
            called.set()
            before_merge()

    monkeypatch.setattr(loader, "failpoint", failpoint)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            site.copy(runs)
        except BaseException as error:  # noqa: BLE001  (whatever it is, the test shows it)
            errors.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    yield
    worker.join(30)
    assert not worker.is_alive(), "the worker hangs"
    assert not errors, errors


def _waits_for_a_lock(site: Site) -> bool:
    found = site.sql("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
    return bool(found)


def test_rules_9_and_18_a_tombstone_written_while_the_merge_waits_for_its_range_is_seen(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: one statement locks the range and reads tombstones, so its snapshot is older than its lock."""
    site.configure("streams = 1")
    runs, token = site.begin(["songs"], WHOLE_RING.split(1)), _token(site, 6)
    with closing(site.connect()) as deleter, deleter.transaction():
        share = "SELECT 1 FROM sync.range WHERE range_start < %s AND %s <= range_end FOR SHARE"
        with _copying(site, runs, monkeypatch, lambda: deleter.execute(share, (token, token))):
            until(lambda: _waits_for_a_lock(site), what="the merge waits for the range")
            deleter.execute("INSERT INTO sync.tombstone VALUES ('songs', %s, %s, 5)", (_key(6), token))
            deleter.execute("COMMIT")
    assert site.rows("songs").keys() - site.copied("songs").keys() == {(_id(6),)}
    assert [row[0] for row in _intents(site)] == [_key(6)]


@pytest.mark.parametrize(
    ("title", "ending", "wanted"),
    [
        ("newer", "COMMIT", ("newer", 1, 1)),
        (None, "COMMIT", ("song 6", 1, 0)),
        ("newer", "ROLLBACK", ("song 6", 0, 0)),
    ],
)
def test_rule_18_a_row_that_another_transaction_is_inserting_is_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch, title: str | None, ending: str, wanted: tuple[str, int, int]
) -> None:
    """Would break: the direct COPY fails on a key that a live write inserts at the same moment, or loses that key's row."""
    site.configure("streams = 1")
    runs, token = site.begin(["songs"], WHOLE_RING.split(1)), _token(site, 6)
    with closing(site.connect()) as writer:
        writer.execute("BEGIN")
        with _copying(site, runs, monkeypatch, lambda: _insert(writer, 6, token, title)):
            until(lambda: _waits_for_a_lock(site), what="the load waits for the other transaction")
            writer.execute(ending.encode())
    ((found, version),) = site.sql("SELECT title, _sync_version FROM songs WHERE id = %s", (_id(6),))
    assert (found, _stale(site, runs), len(_intents(site))) == wanted
    assert (version == 7) == (ending == "COMMIT")
    assert len(site.copied("songs")) == ROWS


def test_rules_3_and_18_rows_get_the_floor_which_rises_with_each_start(site: Site) -> None:
    """Would break: rows get a version below stamps that were possible before this start (rule 1: too low loses data)."""
    before = site.sql("SELECT floor, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM sync.epoch")[0]
    runs = _begin(site)
    ((first,),) = site.sql("SELECT floor FROM sync.epoch")
    assert first > before[0]
    assert first >= before[1]
    site.configure("streams = 1")
    site.copy(runs, lambda: bool(site.sql("SELECT 1 FROM songs")))
    half = dict(site.sql("SELECT id, _sync_version FROM songs"))
    assert half and set(half.values()) == {first}
    assert _begin(site) == runs, "an unfinished run goes on"
    ((second,),) = site.sql("SELECT floor FROM sync.epoch")
    assert second > first
    site.copy(runs)
    site.finish(runs)
    for key, version in site.sql("SELECT id, _sync_version FROM songs"):
        assert version == (first if key in half else second)


def test_invariant_6_nothing_is_copied_once_postgres_is_primary(site: Site) -> None:
    """Would break: a worker that slept through a cut-over goes on writing history into the new primary."""
    runs = _begin(site)
    site.sql("""INSERT INTO sync.epoch (epoch, "primary", floor) VALUES (2, 'postgres', 1)""")
    with pytest.raises(PreflightError, match="Postgres is primary"):
        site.copy(runs)
    assert site.copied("songs") == {}
    with pytest.raises(PreflightError, match="Postgres is primary"):
        _begin(site)
