"""Rule 46 against real servers: an event that names a partition alone becomes a recheck of each key that it may concern."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from support.capture import FEED, announce, batch, changed_partition, ledger
from support.dual import Actor, Table, now_us
from support.partitions import plays, rows, settled, tombstone
from support.places import NewPlace, Place
from support.reverse import be_primary, reverse_writer

from sync.adapters.postgres.capture import partition_rechecks as rechecks
from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.dual_write.intents import list_intents, shown_key
from sync.core.mutations import Key
from sync.core.ring import MAX_TOKEN, MIN_TOKEN

pytest_plugins = ("support.fixtures",)
AB: dict[str, Any] = {"a": "1", "b": "1"}
SECOND = 1_000_000
ENDS = (MIN_TOKEN, MAX_TOKEN)


@pytest.fixture(scope="module")
def opened(new_place: NewPlace) -> Iterator[tuple[Place, Table]]:
    with plays(new_place) as made:
        yield made


@pytest.fixture(scope="module")
def table(opened: tuple[Place, Table]) -> Table:
    return opened[1]


@pytest.fixture
def room(table: Table) -> Iterator[str]:
    """A partition of the test's own, while Astra is primary."""
    be_primary(table, "astra")
    yield str(uuid4())
    table.sql("UPDATE sync.intent SET not_before = NULL")
    table.drained()


@pytest.fixture
def writer(table: Table, room: str) -> Actor:
    return table.writer()


def key(table: Table, room: str, day: int = 1, song: str = "x") -> Key:
    return table.key(room=room, day=day, song=song)


def delete_partition(table: Table, room: str, at: int) -> None:
    """Somebody else deletes the partition."""
    name = f'"{table.mapped.source.keyspace}".plays'
    table.cassandra.session.execute(f"DELETE FROM {name} USING TIMESTAMP {at} WHERE room = %s", (room,))


def insert(table: Table, room: str, day: int, at: int) -> None:
    """Somebody else inserts a row."""
    name = f'"{table.mapped.source.keyspace}".plays'
    text = f"INSERT INTO {name} (room, day, song, a, b) VALUES (%s, %s, 'x', 'theirs', 'theirs') USING TIMESTAMP {at}"
    table.cassandra.session.execute(text, (room, day))


def test_rule_46_rows_that_another_has_deleted_with_their_partition_go(table: Table, room: str, writer: Actor) -> None:
    """Would break: nobody knows which rows of the target are gone in the source; or those of another partition are read."""
    other = str(uuid4())
    for day in range(5):
        writer.put(key(table, room, day), **AB).done()
    writer.put(key(table, other), **AB).done()
    at = now_us()
    delete_partition(table, room, at)
    announce(table, changed_partition(table, at, room=room))
    assert table.intents() == [("recheck_partition", "finished")]
    assert settled(table, room) == {}
    assert tombstone(table, room) == at
    assert len(rows(table, other)[1]) == 1


def test_rule_46_rows_that_another_has_written_come(table: Table, room: str) -> None:
    """Would break: the event does not tell the key, and nobody looks what the source has."""
    for day in range(3):
        insert(table, room, day, now_us())
    announce(table, changed_partition(table, now_us(), room=room))
    assert len(settled(table, room)) == 3


def test_rule_46_the_next_write_is_stamped_above_the_delete(table: Table, room: str, writer: Actor) -> None:
    """Would break: the key has no row and no tombstone, its put is stamped below the delete, and Cassandra hides it."""
    ahead = now_us() + 30 * SECOND
    delete_partition(table, room, ahead)
    announce(table, changed_partition(table, ahead, room=room))
    assert settled(table, room) == {}
    put = writer.put(key(table, room), **AB)
    assert put.version > ahead
    put.done()
    assert settled(table, room) == {(1, "x"): AB}


def test_rule_46_a_put_under_way_that_the_delete_hides(table: Table, room: str, writer: Actor) -> None:
    """Would break: it is written behind the look at the target's rows; Postgres has it alone."""
    put = writer.put(key(table, room), **AB).primary()
    delete_partition(table, room, put.version + SECOND)
    announce(table, changed_partition(table, put.version + SECOND, room=room))
    table.drain()
    assert not put.target(), "a put below the partition's tombstone is accepted"
    assert settled(table, room) == {}


def test_rule_46_the_tombstone_comes_before_the_target_is_looked_at(table: Table, room: str, writer: Actor) -> None:
    """Would break: a put that is hidden comes between the look and the tombstone, and nobody looks again."""
    put = writer.put(key(table, room), **AB).primary()
    at = put.version + SECOND
    delete_partition(table, room, at)
    announce(table, changed_partition(table, at, room=room))
    looked = rechecks.PartitionRechecks.leave_target
    outcome: list[bool] = []

    def then_put(self: rechecks.PartitionRechecks, *arguments: object) -> object:
        found = looked(self, *arguments)  # type: ignore[arg-type]
        if not outcome:
            outcome.append(put.target())
        return found

    with patch.object(rechecks.PartitionRechecks, "leave_target", then_put):
        table.drain()
    assert outcome == [False]
    assert settled(table, room) == {}


def test_rule_46_the_tombstone_waits_for_a_merge_of_the_range(table: Table, room: str) -> None:
    """Would break: a merge that has looked for tombstones inserts the row that is gone."""
    table.sql("INSERT INTO sync.run (kind, table_name, floor) VALUES ('backfill', 'plays', 1)")
    table.sql(
        "INSERT INTO sync.range (run_id, table_name, range_start, range_end) SELECT id, 'plays', %s, %s FROM sync.run", ENDS
    )
    at = now_us()
    delete_partition(table, room, at)
    announce(table, changed_partition(table, at, room=room))
    with closing(connect(table.settings)) as held:
        held.execute("SELECT FROM sync.range FOR UPDATE")
        table.drain()
        assert tombstone(table, room) is None
        held.rollback()
    table.sql("DELETE FROM sync.run")
    table.sql("UPDATE sync.intent SET lease_until = NULL")
    table.drain()
    assert tombstone(table, room) == at


def test_rule_46_strays_of_a_partition_are_overwritten(table: Table, room: str) -> None:
    """Would break: with Postgres as primary a partition that somebody deletes or fills in Cassandra stays so."""
    be_primary(table, "postgres")
    writer = reverse_writer(table)
    for day in range(3):
        writer.begin("put", key(table, room, day), **AB).done()
    ahead = now_us() + 30 * SECOND
    insert(table, room, 9, ahead - 1)
    delete_partition(table, room, ahead - SECOND)
    announce(table, changed_partition(table, ahead, room=room))
    assert settled(table, room) == {(day, "x"): AB for day in range(3)}


def test_rule_40_a_partition_is_not_read_before_a_quorum_has_the_write(table: Table, room: str) -> None:
    """Would break: the keys of an event that a quorum does not have yet are looked for, and not again."""
    made = ledger(table, write_timeout=60.0)
    made.record(FEED, batch(changed_partition(table, now_us(), age=0, room=room)))
    assert table.drain() == 0
    assert table.intents() == [("recheck_partition", "finished")]
    made.close()


def test_rule_46_is_no_delete_of_the_partition(table: Table, room: str, writer: Actor) -> None:
    """Would break: while a partition waits for its recheck, every write of it is stamped above the event, for nothing."""
    made = ledger(table, write_timeout=60.0)
    ahead = now_us() + 30 * SECOND
    made.record(FEED, batch(changed_partition(table, ahead, age=0, room=room)))
    put = writer.put(key(table, room), **AB)
    assert put.version < ahead
    put.done()
    made.close()


def test_rule_46_many_events_are_expanded_once_and_in_steps(table: Table, room: str, writer: Actor) -> None:
    """Would break: a partition with many rows is held in memory, or expanded for each event."""
    for day in range(7):
        writer.put(key(table, room, day), **AB).done()
    at = now_us()
    delete_partition(table, room, at)
    for more in range(5):
        announce(table, changed_partition(table, at - more, room=room))
    pages: list[object] = []
    looked = rechecks.PartitionRechecks.leave_target

    def counting(self: rechecks.PartitionRechecks, *arguments: object) -> object:
        pages.append(looked(self, *arguments))  # type: ignore[arg-type]
        return pages[-1]

    with patch.object(rechecks, "_PAGE_ROWS", 3), patch.object(rechecks.PartitionRechecks, "leave_target", counting):
        table.drain()
    assert len(pages) == 4, pages  # 3 + 3 + 1 rows, and no more
    assert settled(table, room) == {}


def test_an_operator_sees_which_partition_it_is(table: Table, room: str) -> None:
    """Would break: `sync intents` fails at a key that has fewer columns than others."""
    announce(table, changed_partition(table, now_us(), age=0, room=room))
    with table.pool.connection() as connection:
        (found,) = list_intents(connection, "plays", 5)
    assert found["kind"] == "recheck_partition"
    assert shown_key(table.mapped.source, table.mapped.target, {}, found["key"], bytes(found["source_key"])) == {"room": room}


def test_one_that_cannot_be_expanded_is_given_up(opened: tuple[Place, Table], room: str) -> None:
    """Would break: it blocks every switch, and `sync intents --resolve` ends with an unexpected error."""
    place, table = opened
    announce(table, changed_partition(table, room=room))
    ((number,),) = table.sql("SELECT id FROM sync.intent WHERE kind = 'recheck_partition'")
    done = place.commands.run("intents", "--resolve", str(number), "--yes")
    assert done.code == 0 and "a partition that is not rechecked" in done.out + done.err, done
    assert table.sql("SELECT 1 FROM sync.intent") == []
    assert "resolved" in str(table.sql("SELECT why FROM sync.disturbance ORDER BY id DESC LIMIT 1"))
