"""Rules 32, 39, 40 and 43 against real servers: what a feed tells becomes a recheck, whatever is there already."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from support.capture import (
    DELETE,
    FEED,
    UPDATE,
    announce,
    batch,
    by_another,
    changed,
    free_ledger,
    ledger,
    read_feeds_of,
)
from support.dual import Actor, Table, now_us
from support.partitions import plays
from support.places import NewPlace, Place
from support.reverse import be_primary, reverse_writer

from sync.core.capture.changes import ChangedKey
from sync.core.mutations import Key
from sync.errors import FeedTaken, PreflightError

pytest_plugins = ("support.fixtures",)
AB: dict[str, Any] = {"a": "1", "b": "1"}
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


def test_rule_43_what_was_sent_comes_back_and_is_not_sent_again(table: Table, key: Key) -> None:
    """Would break: with Postgres as primary each write sent is told of, sent again, told of again, and no switch ever ends."""
    be_primary(table, "postgres")
    reverse_writer(table).begin("put", key, **AB).done()
    for _ in range(2):
        sent = table.version(key) or 0
        announce(table, changed(table, key, sent))
        table.drained()
        assert table.version(key) == sent
    by_another(table, UPDATE, key, sent + 1)
    announce(table, changed(table, key, sent + 1))
    assert table.settled(key) == AB, "a stray is overwritten all the same"
    assert (table.version(key) or 0) > sent + 1


# the ledger


def test_position_and_announcements_are_one_transaction(table: Table, key: Key) -> None:
    """Would break: a follower that dies goes on behind events that nobody has announced."""
    made = ledger(table)
    table.sql("ALTER TABLE sync.intent ADD CONSTRAINT never CHECK (owner <> 'follow a feed') NOT VALID")
    try:
        with pytest.raises(Exception, match="never"):
            made.record(FEED, batch(changed(table, key), position="7"))
    finally:
        table.sql("ALTER TABLE sync.intent DROP CONSTRAINT never")
    assert read_feeds_of(table).position is None
    made.record(FEED, batch(changed(table, key), position="7"))
    assert read_feeds_of(table).position == "7"
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
    assert read_feeds_of(table).position is None
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


def test_the_end_of_the_migration_is_one_line(table: Table, key: Key) -> None:
    """Would break: `sync finish` beside a follower ends it with an unexpected error, and with another one behind that."""
    made = ledger(table)
    table.sql("ALTER TABLE sync.feed RENAME TO gone")
    try:
        with pytest.raises(PreflightError, match="`sync finish` has ended the migration"):
            made.record(FEED, batch(changed(table, key)))
    finally:
        table.sql("ALTER TABLE sync.gone RENAME TO feed")
    made.close()
