"""Rules 32, 39, 40 and 43 against real servers: what a feed tells becomes a recheck, whatever is there already."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from support.capture import FEED, announce, batch, changed, free_ledger, ledger
from support.commands import ROOT
from support.dual import Actor, Table, now_us
from support.partitions import CONFIG, plays
from support.places import NewPlace, Place
from support.reverse import be_primary, reverse_writer

from sync.adapters.capture.key_lines import KeyLines
from sync.adapters.postgres.capture.feeds import read_feeds
from sync.core.capture.changes import ChangedKey
from sync.core.cutover.followers import FeedFact
from sync.core.keys.json_form import key_json
from sync.core.mutations import Key
from sync.errors import FeedTaken, FeedUnreadable, WriteRefused
from sync.flows.follow import follow
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
AB = {"a": "1", "b": "1"}
SECOND = 1_000_000


@pytest.fixture(scope="module")
def opened(new_place: NewPlace) -> Iterator[tuple[Place, Table]]:
    with plays(new_place) as made:
        yield made


@pytest.fixture(scope="module")
def table(opened: tuple[Place, Table]) -> Table:
    return opened[1]


@pytest.fixture
def key(table: Table) -> Iterator[Key]:
    """A key of the test's own, while Astra is primary."""
    be_primary(table, "astra")
    yield table.key(room=str(uuid4()), day=1, song="x")
    table.sql("UPDATE sync.intent SET not_before = NULL")
    table.drained()
    table.sql("DELETE FROM sync.feed")


@pytest.fixture
def writer(table: Table, key: Key) -> Actor:
    return table.writer()


def by_another(table: Table, statement: str, key: Key, at: int | None = None) -> None:
    """A statement of somebody else's in the source; WHERE is the key's, and TIMESTAMP its time, where it is given."""
    room, day, song = (
        table.cells.values(dict(zip(table.cells.key_names, key.cells, strict=True)))[n] for n in ("room", "day", "song")
    )
    text = statement.replace("TABLE", f'"{table.mapped.source.keyspace}".plays').replace(
        "TIMESTAMP", f"USING TIMESTAMP {at}" if at else ""
    )
    table.cassandra.session.execute(text, {"room": room, "day": day, "song": song})


WHERE = "WHERE room = %(room)s AND day = %(day)s AND song = %(song)s"
DELETE, UPDATE = f"DELETE FROM TABLE TIMESTAMP {WHERE}", f"UPDATE TABLE TIMESTAMP SET a = 'theirs' {WHERE}"


# rule 32


def test_what_another_has_written_comes_to_postgres(table: Table, key: Key) -> None:
    """Would break: a change past the store is there on one side alone until the next drift pass."""
    by_another(table, UPDATE, key)
    announce(table, changed(table, key, now_us()))
    assert table.intents(key) == [("recheck", "finished")]
    assert table.settled(key) == {"a": "theirs", "b": None}


def test_rule_32_a_recheck_that_is_picked_does_not_stand_for_a_new_event(table: Table, key: Key, writer: Actor) -> None:
    """Would break: the reconcile has read before the second write, and removes the intent that stands for it."""
    at = now_us()
    announce(table, changed(table, key, at))
    reconcile = table.reconciler().claim(key).read()
    by_another(table, UPDATE, key, at)
    announce(table, changed(table, key, at))  # of the very same microsecond
    reconcile.settle()
    assert table.settled(key) == {"a": "theirs", "b": None}


def test_an_event_told_twice_is_one_intent(table: Table, key: Key) -> None:
    """Would break: three nodes tell of each write, and a backlog is three times as long."""
    at = now_us()
    for _ in range(3):
        announce(table, changed(table, key, at), changed(table, key, at))
    assert table.intents(key) == [("recheck", "finished")]


# rule 39


def test_rule_39_the_next_write_is_stamped_above_a_delete_that_was_told(table: Table, key: Key, writer: Actor) -> None:
    """Would break: Cassandra hides the write under the delete, whose time no read shows; Postgres has it."""
    writer.put(key, **AB).done()
    ahead = now_us() + 30 * SECOND
    by_another(table, DELETE, key, ahead)
    announce(table, changed(table, key, ahead))
    assert table.settled(key) is None
    put = writer.put(key, **AB)
    assert put.version > ahead
    put.done()
    assert table.settled(key) == AB


def test_rule_39_without_a_time_it_has_this_moment_s(table: Table, key: Key, writer: Actor) -> None:
    """Would break: a writer whose clock is behind writes below a delete that nobody's time is known of."""
    by_another(table, DELETE, key)
    before = now_us()
    announce(table, changed(table, key))
    assert table.settled(key) is None
    assert (table.tombstone(key) or 0) >= before - SECOND  # by Postgres's clock


def test_rule_39_a_stray_is_overwritten_above_its_own_time(table: Table, key: Key) -> None:
    """Would break: after the cut-over the row is sent below the stray change, which stays."""
    be_primary(table, "postgres")
    reverse_writer(table).begin("put", key, **AB).done()
    ahead = now_us() + 30 * SECOND
    by_another(table, UPDATE, key, ahead)
    announce(table, changed(table, key, ahead))
    assert read_feeds_of(table).strays == 1
    assert table.settled(key) == AB


# rule 40


def test_rule_40_a_key_is_not_read_before_a_quorum_has_the_write(table: Table, key: Key) -> None:
    """Would break: one node tells, a quorum read does not show the write yet, and the announcement is gone."""
    made = ledger(table, write_timeout=60.0)
    made.record(FEED, batch(changed(table, key, now_us(), age=0)))
    assert table.drain() == 0
    assert table.reconcile_steps().pick([key]) == {}, "a reconcile for another intent of the key takes it"
    assert table.intents(key) == [("recheck", "finished")]
    by_another(table, UPDATE, key)  # now a quorum has it
    table.sql("UPDATE sync.intent SET not_before = clock_timestamp() - interval '1 ms', lease_until = NULL")
    assert table.settled(key) == {"a": "theirs", "b": None}
    made.close()


def test_rule_40_a_repetition_waits_as_long_as_the_last_one(table: Table, key: Key) -> None:
    """Would break: an event that is told again, later, is read by the time of the first one."""
    at = now_us()
    made = ledger(table, write_timeout=60.0)
    made.record(FEED, batch(changed(table, key, at, age=59)))
    made.record(FEED, batch(changed(table, key, at, age=0)))
    ((left,),) = table.sql(
        "SELECT extract(epoch FROM not_before - clock_timestamp())::float8 FROM sync.intent WHERE key = %s", (key.canonical,)
    )
    assert left > 30
    made.close()


# rule 43


def test_rule_43_an_event_with_the_version_of_the_row_is_not_taken_for_our_own(table: Table, key: Key, writer: Actor) -> None:
    """Would break: somebody else has written in the same microsecond, and the event is dropped as the wrapper's own."""
    put = writer.put(key, **AB).done()
    by_another(table, DELETE, key, put.version)  # a delete wins over a write of the same time
    announce(table, changed(table, key, put.version))
    assert table.settled(key) is None


# the ledger


def read_feeds_of(table: Table) -> FeedFact:
    with table.pool.connection() as connection:
        return read_feeds(connection)[0]


def test_position_and_announcements_are_one_transaction(table: Table, key: Key) -> None:
    """Would break: a follower that dies goes on behind events that nobody has announced."""
    made = ledger(table)
    table.sql("ALTER TABLE sync.intent ADD CONSTRAINT never CHECK (owner <> 'follow a feed') NOT VALID")
    try:
        with pytest.raises(Exception, match="never"):
            made.record(FEED, batch(changed(table, key), position="7"))
    finally:
        table.sql("ALTER TABLE sync.intent DROP CONSTRAINT never")
    assert made.position(FEED) is None
    made.record(FEED, batch(changed(table, key), position="7"))
    assert made.position(FEED) == "7"
    made.close()


def test_two_followers_of_one_feed(table: Table, key: Key) -> None:
    """Would break: both record, and the one that is behind sets the position back."""
    first, second = ledger(table, "first"), free_ledger(table, "second")
    with pytest.raises(FeedTaken, match="first"):
        second.take(FEED)
    table.sql("UPDATE sync.feed SET lease_until = clock_timestamp() - interval '1 s'")
    assert second.take(FEED) is None
    with pytest.raises(FeedTaken, match="second"):
        first.record(FEED, batch(changed(table, key), position="9"))
    assert second.position(FEED) is None
    assert table.intents(key) == []
    first.close()
    second.close()


def test_what_is_not_migrated_is_counted_and_what_postgres_cannot_hold_is_a_reject(table: Table, key: Key) -> None:
    """Would break: one such event stops the feed, or is forgotten."""
    bad = ChangedKey(table.name, (b"nul\x00",), (b"\x00\x00\x00\x01", b"x"), None, time.time())
    announce(table, ChangedKey("another", (b"1",), None, None, time.time()), bad)
    feed = read_feeds_of(table)
    assert (feed.unmapped, feed.rejects, feed.keys) == (1, 1, 0)
    assert table.sql("SELECT table_name, action FROM sync.reject") == [("plays", "reject")]
    table.sql("DELETE FROM sync.reject")


# sync follow keys


def line(table: Table, key: Key, **more: object) -> bytes:
    return json.dumps({"table": table.name, "key": key_json(table.mapped.source.primary_key, key.cells), **more}).encode()


def followed(table: Table, path: Path) -> None:
    with closing(free_ledger(table, "keys")) as made:
        follow(KeyLines(FEED, path, {table.name: table.mapped.source}), made, 0, print, lambda _: None)


def test_lines_of_a_file(table: Table, key: Key, tmp_path: Path) -> None:
    """Would break: the next run announces everything again, or passes over what was added."""
    other = table.key(room=str(uuid4()), day=2, song="y")
    path = tmp_path / "keys"
    path.write_bytes(line(table, key) + b"\n\n")
    followed(table, path)
    assert table.intents(key) == [("recheck", "finished")]
    path.write_bytes(path.read_bytes() + line(table, other, timestamp=5))  # no end of the line
    followed(table, path)
    followed(table, path)
    assert (read_feeds_of(table).keys, read_feeds_of(table).position) == (2, f"{path.stat().st_size} 3")
    assert read_feeds_of(table).ended


def test_a_bad_line_is_named_and_nothing_of_it_is_recorded(table: Table, key: Key, tmp_path: Path) -> None:
    """Would break: what stands before it is lost or doubled, or nobody knows where to look."""
    path = tmp_path / "keys"
    path.write_bytes(line(table, key) + b'\n{"table": "plays", "key": {"room": "secret"}}\n')
    for _ in range(2):
        with pytest.raises(FeedUnreadable, match=r'line 2: "key" must be an object with room, day and song') as error:
            followed(table, path)
        assert "secret" not in str(error.value)
    assert read_feeds_of(table).keys == 1
    assert "line 2" in read_feeds_of(table).error
    path.write_bytes(line(table, key) + b"\n" + line(table, key) + b"\n")
    followed(table, path)
    assert (read_feeds_of(table).keys, read_feeds_of(table).error) == (2, "")


def piped(place: Place, text: bytes, *words: str) -> dict[str, Any]:
    """What `sync follow keys -` prints when this is piped into it."""
    environment = {**place.commands.env, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "sync", "follow", "keys", "-", *words]
    done = subprocess.run(command, input=text, env=environment, cwd=place.commands.folder, capture_output=True, timeout=120)
    assert done.returncode == 0, done
    return dict(json.loads(done.stdout))


def test_the_command_records_what_is_piped_in_and_is_told_to_forget(opened: tuple[Place, Table], key: Key) -> None:
    """Would break: `sync follow keys -` records nothing, or blocks every later cut-over for ever."""
    place, table = opened
    printed = piped(place, line(table, key) + b"\n", "--name", "pipe", "--json")
    assert printed == {"feed": "pipe", "keys": 1, "partitions": 0, "gaps": 0}
    assert table.intents(key) == [("recheck", "finished")]
    assert not read_feeds_of(table).ended, "what is piped in may go on: a cut-over waits until somebody says that it does not"
    assert place.commands.run("follow", "forget", "pipe").code == 0
    assert place.commands.run("follow", "forget", "pipe").code == 1


# announce()


def test_an_application_announces_a_key_itself(table: Table, key: Key) -> None:
    """Would break: the application's own row is announced, and nothing follows."""
    by_another(table, UPDATE, key)
    with DualWriteStore(table.settings, CONFIG) as store:
        store.announce("plays", {"room": key.cells[0].decode(), "day": 1, "song": "x"})
        with pytest.raises(WriteRefused):
            store.announce("plays", {"room": "r"})
    table.sql("UPDATE sync.intent SET not_before = NULL")
    assert table.settled(key) == {"a": "theirs", "b": None}
