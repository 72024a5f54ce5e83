"""Rules 1 to 14 against real servers, each as the interleaving that it prevents: the model's shortest traces are the scripts.

Two actors take the steps of the protocol one at a time; at the end every writer is gone, everything is drained, and both
sides hold the same row: the one that the acknowledged writes explain.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from support.dual import (
    Died,
    Primary,
    Table,
    Write,
    WriteBehind,
    clock,
    holding,
    now_us,
    stamping,
    until_waiting,
)

from sync.adapters.cassandra.connection.pages import quoted
from sync.core.mutations import Key
from sync.errors import TargetUnavailable, WriteRefused, WriteUnsure
from sync.flows.dual_write import ForwardWrite
from sync.ports import TableJournal, Written

pytest_plugins = ("support.fixtures", "support.pair_table")
SECOND = 1_000_000
NOTHING = None


@pytest.fixture
def key(table: Table) -> Iterator[Key]:
    yield table.key(id=uuid4())
    table.drained()


# versions


def test_rule_1_a_row_without_timestamps_still_has_the_version_of_its_intent(table: Table, key: Key) -> None:
    """Would break: a row that only holds nulls is settled with version 0, and an older put is taken for newer."""
    old, new = table.writer(), table.writer()
    put = old.put(key, a="old", b="old")
    new.update(key, a=None).primary().target()
    settle = table.reconciler().claim(key).replay().read()
    put.primary()
    assert settle.settle()
    assert not put.target(), "it is older than what is settled"
    assert table.settled(key) == {"a": None, "b": "old"}


def test_rule_1_the_version_never_falls(table: Table, key: Key) -> None:
    """Would break: a reconcile lowers a row's version to what it read, and an older put is taken for newer."""
    old, new = table.writer(), table.writer()
    new.put(key, b="1").done()
    put = old.put(key, a="old", b="old")
    new.put(key).done()
    bound = table.version(key)
    table.sql(
        "INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner) "
        "VALUES ('pairs', %s, %s, 'recheck', 'finished', 1, 1, 'backfill')",
        (key.canonical, key.token),
    )
    assert table.reconciler().claim(key).replay().read().settle()
    assert bound is not None and (table.version(key) or 0) > bound
    put.primary()
    assert not put.target()
    assert table.settled(key) == {"a": None, "b": None}


@pytest.mark.parametrize("known", ["row", "tombstone", "intent"])
def test_rule_2_a_stamp_exceeds_all_that_is_known_of_the_key(table: Table, key: Key, known: str) -> None:
    """Would break: the write of a host whose clock is behind is acknowledged, and lost to an earlier one."""
    ahead, behind = table.writer(clock=now_us() + 3 * SECOND), table.writer()
    if known == "row":
        ahead.put(key, a="earlier", b="earlier").done()
    elif known == "tombstone":
        ahead.put(key, a="earlier", b="earlier").done()
        ahead.delete(key).done()
    else:
        ahead.put(key, a="earlier", b="earlier").primary()
    behind.put(key, a="later").done()
    assert table.settled(key) == {"a": "later", "b": None}


def test_rule_2_stamps_of_two_writers_at_one_moment_differ(table: Table, key: Key) -> None:
    """Would break: two rows with one timestamp are mixed cell by cell into a row that nobody has written."""
    first, second = at_one_moment(table, key, table.writer(), table.writer())
    assert first.version != second.version
    assert {first.version % 1000, second.version % 1000} == {
        first.actor.journal._writer.slot,
        second.actor.journal._writer.slot,
    }
    first.done()
    second.done()
    assert table.settled(key) in ({"a": "x", "b": "y"}, {"a": "y", "b": "x"})


def test_rule_2_stamps_of_one_writers_threads_at_one_moment_differ(table: Table, key: Key) -> None:
    """Would break: as above, for the threads of one process, which share its slot."""
    writer = table.writer()
    first, second = at_one_moment(table, key, writer, writer)
    assert first.version != second.version
    first.done()
    second.done()
    assert table.settled(key) in ({"a": "x", "b": "y"}, {"a": "y", "b": "x"})


def at_one_moment(table: Table, key: Key, one: object, other: object) -> tuple[Write, Write]:
    """Two puts of one key whose stamps are made at the same moment, neither seeing the other's intent."""
    with ThreadPoolExecutor(2) as pool, clock(now_us()):
        with stamping(table):
            first = pool.submit(one.put, key, a="x", b="y")  # type: ignore[attr-defined]
            second = pool.submit(other.put, key, a="y", b="x")  # type: ignore[attr-defined]
            until_waiting(table, 1)
            first_or_both(table)
        return first.result(20), second.result(20)


def first_or_both(table: Table) -> None:
    """Wait until both have made their stamps, or only one has, if the writer makes the other wait before sending."""
    try:
        until_waiting(table, 2, seconds=1)
    except AssertionError:
        until_waiting(table, 1)


def test_rule_3_no_stamp_is_below_the_floor(table: Table, key: Key) -> None:
    """Would break: a host an hour behind overwrites a row from before the migration; the write is acknowledged, and lost."""
    table.cassandra.session.execute(
        f"INSERT INTO {quoted(table.mapped.source.keyspace)}.pairs (id, a, b) VALUES (%s, 'legacy', 'legacy')",
        (key_id(table, key),),
    )
    table.sql("UPDATE sync.epoch SET floor = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
    table.writer(clock=now_us() - 3600 * SECOND).put(key, a="new").done()
    assert table.settled(key) == {"a": "new", "b": None}


def key_id(table: Table, key: Key) -> object:
    return table.cells.values({"id": key.cells[0]})["id"]


def test_rule_3_a_clock_too_far_ahead_stamps_nothing(table: Table, key: Key) -> None:
    """Would break: one broken clock gives a key a version that no other write exceeds for minutes, floors included."""
    writer, write_behind = table.writer(skew=60), WriteBehind(accepts=True)
    flow = ForwardWrite(writer.journal, table.rows, write_behind)
    with clock(now_us() + 120 * SECOND), pytest.raises(WriteRefused, match="clock"):
        flow.write(writer.mutation("put", key, a="1"))
    assert (table.source(key), table.target(key), table.intents(key), write_behind.unrecorded_writes) == (None, None, [], [])
    with clock(now_us() + 50 * SECOND):
        assert flow.write(writer.mutation("put", key, a="1"))


def test_rule_4_an_updated_row_exists_though_its_cells_are_null(table: Table, key: Key) -> None:
    """Would break: a row made by CQL's UPDATE has no row marker and vanishes with its last cell, in the source alone."""
    writer = table.writer()
    writer.update(key, a="1").done()
    assert table.settled(key) == {"a": "1", "b": None}
    assert writer.update(key, a=None).primary().target()
    assert table.settled(key) == {"a": None, "b": None}


# writes into Postgres


def test_rule_5_the_key_is_locked_before_the_statement_that_reads_it(table: Table, key: Key) -> None:
    """Would break: a put whose statement began before a delete committed does not see the tombstone: the key is back."""
    put, delete = table.writer().put(key, a="1").primary(), table.writer().delete(key).primary()
    with ThreadPoolExecutor(2) as pool:
        with holding(table, "SELECT FROM sync.intent WHERE id = %s FOR UPDATE", (put.intent.id,)):
            slow = pool.submit(put.target)
            until_waiting(table, 1)
            quick = pool.submit(delete.target)
            waits_or_is_done(table, quick)
        slow.result(20), quick.result(20)
    assert table.settled(key) is NOTHING


def waits_or_is_done(table: Table, future: object) -> None:
    try:
        future.result(0.7)  # type: ignore[attr-defined]
    except TimeoutError:
        until_waiting(table, 2)


def test_rule_6_a_put_older_than_the_tombstone_is_refused(table: Table, key: Key) -> None:
    """Would break: a put that was overtaken by a delete brings the key back."""
    put = table.writer().put(key, a="1", b="1").primary()
    table.writer().delete(key).done()
    assert not put.target()
    assert table.intents(key) == [("put", "finished")]
    assert table.settled(key) is NOTHING


def test_rule_6_a_put_older_than_the_row_is_refused(table: Table, key: Key) -> None:
    """Would break: the older of two puts stays because it arrived last."""
    put = table.writer().put(key, a="old", b="old").primary()
    table.writer().put(key, a="new").done()
    assert not put.target()
    assert table.settled(key) == {"a": "new", "b": None}


def test_rule_7_an_update_older_than_the_row_is_refused(table: Table, key: Key) -> None:
    """Would break: the older of two updates stays because it arrived last."""
    table.writer().put(key, a="0", b="0").done()
    update = table.writer().update(key, a="old").primary()
    table.writer().update(key, a="new").done()
    assert not update.target()
    assert table.settled(key) == {"a": "new", "b": "0"}


def test_rule_7_updates_in_opposite_orders_on_both_sides_converge(table: Table, key: Key) -> None:
    """Would break: of two updates of different columns the refused one is missing in the target for ever."""
    table.writer().put(key, a="0", b="0").done()
    one, other = table.writer().update(key, a="1"), table.writer().update(key, b="2")
    assert other.primary().target()
    assert not one.primary().target()
    assert table.settled(key) == {"a": "1", "b": "2"}


def test_rule_7_an_update_of_a_row_that_the_target_lacks_writes_no_part_of_it(table: Table, key: Key) -> None:
    """Would break: the target holds a part of a row (invariant 3)."""
    table.writer().put(key, a="1", b="1").primary().mark("finished")
    update = table.writer().update(key, a="2").primary()
    assert not update.target()
    assert table.target(key) is NOTHING
    assert table.settled(key) == {"a": "2", "b": "1"}


def test_rule_8_a_delete_older_than_the_row_is_refused(table: Table, key: Key) -> None:
    """Would break: a delete that was overtaken by a put takes the new row away."""
    table.writer().put(key, a="0").done()
    delete = table.writer().delete(key).primary()
    table.writer().put(key, a="new").done()
    assert not delete.target()
    assert table.settled(key) == {"a": "new", "b": None}


def test_rule_8_a_delete_is_remembered_where_there_was_no_row(table: Table, key: Key) -> None:
    """Would break: a put that was overtaken by the delete finds no tombstone and brings the key back."""
    put = table.writer().put(key, a="1").primary()
    delete = table.writer().delete(key).primary()
    assert delete.target()
    assert table.tombstone(key) == delete.version
    assert not put.target()
    assert table.settled(key) is NOTHING


def test_rule_8_the_newest_delete_is_remembered(table: Table, key: Key) -> None:
    """Would break: an older delete that arrives later lowers the tombstone, and a put between both comes back."""
    writer = table.writer()
    first, put, second = writer.delete(key).primary(), writer.put(key, a="1").primary(), writer.delete(key).primary()
    second.target()
    first.target()
    assert table.tombstone(key) == second.version
    assert not put.target()
    assert table.settled(key) is NOTHING


def test_rule_10_a_put_leaves_the_tombstone(table: Table, key: Key) -> None:
    """Would break: the next put removes the tombstone, while writes older than the delete may still arrive."""
    old = table.writer().put(key, a="0").primary()
    deleted = table.writer().delete(key).done()
    table.writer().put(key, a="1").done()
    assert table.tombstone(key) == deleted.version
    table.sql("DELETE FROM pairs WHERE id = %s", (key_id(table, key),))  # an operator's mistake, found by a drift pass
    assert not old.target()
    assert table.settled(key) == {"a": "1", "b": None}
    assert (table.tombstone(key) or 0) >= deleted.version


# intents


def test_rule_11_the_intent_is_committed_before_the_primary_is_written(table: Table, key: Key) -> None:
    """Would break: a process that dies after the primary's acknowledgement leaves a write that nobody knows of."""
    writer = table.writer()
    flow = ForwardWrite(writer.journal, Primary(table.rows, ["dies"]), WriteBehind())
    with pytest.raises(Died):
        flow.write(writer.mutation("put", key, a="1"))
    assert table.intents(key) == [("put", "open")]
    assert table.settled(key) == {"a": "1", "b": None}


def test_rule_11_a_writer_that_is_alive_keeps_its_open_intents(table: Table, key: Key) -> None:
    """Would break: work is done twice all the time; with a reconcile that does not replay, a write is lost."""
    writer = table.writer()
    write = writer.put(key, a="1")
    assert table.drain() == 0
    assert table.intents(key) == [("put", "open")]
    writer.dies()
    assert table.drain() == 1
    assert write.target() is False
    assert table.settled(key) == {"a": "1", "b": None}


def test_rule_12_a_refused_write_is_reconciled(table: Table, key: Key) -> None:
    """Would break: the guard refuses an update of an absent row, its intent goes all the same, and the row never arrives."""
    update = table.writer().update(key, a="1").primary()
    assert not update.target()
    assert table.intents(key) == [("update", "finished")]
    assert table.settled(key) == {"a": "1", "b": None}


def test_rule_12_an_accepted_write_ends_its_intent(table: Table, key: Key) -> None:
    """Would break: every write's key is reconciled, too."""
    assert table.writer().put(key, a="1").primary().target()
    assert table.writer().update(key, a="2").primary().target()
    assert table.writer().delete(key).primary().target()
    assert table.intents(key) == []


@pytest.mark.parametrize("kind", ["put", "update", "delete"])
def test_rule_12_a_write_whose_intent_is_gone_changes_nothing(table: Table, key: Key, kind: str) -> None:
    """Would break: a writer that slept through a reconcile changes the row once more."""
    table.writer().put(key, a="0", b="0").done()
    write = table.writer(alive=False).begin(kind, key, **({} if kind == "delete" else {"a": "1"}))  # type: ignore[arg-type]
    assert table.drain() == 1
    before = table.sql("SELECT xmin FROM pairs WHERE id = %s", (key_id(table, key),)), tombstones(table, key)
    assert write.primary().target() is False
    assert before == (table.sql("SELECT xmin FROM pairs WHERE id = %s", (key_id(table, key),)), tombstones(table, key))
    assert table.intents(key) == []
    assert table.settled(key) == {"put": {"a": "1", "b": None}, "update": {"a": "1", "b": "0"}, "delete": None}[kind]


def tombstones(table: Table, key: Key) -> object:
    return table.sql("SELECT xmin, version FROM sync.tombstone WHERE key = %s", (key.canonical,))


def test_rule_12_a_sick_secondary_costs_the_caller_nothing(table: Table, key: Key) -> None:
    """Would break: a failure of the secondary is an error for the application, or the write is forgotten (invariant 8)."""
    writer, write_behind = table.writer(), WriteBehind()
    flow = ForwardWrite(sick(writer.journal, ("write",)), table.rows, write_behind)
    assert flow.write(writer.mutation("put", key, a="1"))
    assert [(state, type(intent).__name__) for _, intent, state, _ in write_behind.kept] == [("finished", "Intent")]
    _, intent, *outcome = write_behind.kept[0]
    writer.journal.mark([intent], *outcome)
    assert table.intents(key) == [("put", "finished")]
    assert table.settled(key) == {"a": "1", "b": None}


class Sick:
    """A journal some of whose methods find Postgres away."""

    def __init__(self, journal: Any, fails: tuple[str, ...]) -> None:
        self._journal, self._fails = journal, fails

    def __getattr__(self, name: str) -> object:
        if name in self._fails:
            return self._away
        return getattr(self._journal, name)

    def _away(self, *_: object) -> None:
        raise TargetUnavailable("away")


def sick(journal: TableJournal, fails: tuple[str, ...]) -> Any:
    """Such a journal; Any, as it has the methods of the other one."""
    return Sick(journal, fails)


def test_rule_13_a_refused_write_leaves_nothing(table: Table, key: Key) -> None:
    """Would break: a write that the application was told is refused is made later by a reconcile."""
    writer, write_behind = table.writer(), WriteBehind()
    flow = ForwardWrite(writer.journal, Primary(table.rows, ["refused"]), write_behind)
    with pytest.raises(WriteRefused, match="the primary says no"):
        flow.write(writer.mutation("put", key, a="1"))
    assert table.intents(key) == []
    assert table.settled(key) is NOTHING


def test_rule_13_what_a_reconcile_has_claimed_is_not_withdrawn(table: Table, key: Key) -> None:
    """Would break: the intent is withdrawn while a reconcile sends its write again: the target never gets it."""
    refused = table.writer(alive=False).put(key, a="1")
    reconcile = table.reconciler().claim(key)
    assert not refused.withdraw()
    reconcile.replay()  # and dies here
    assert table.intents(key) == [("put", "claimed")]
    assert table.settled(key) == {"a": "1", "b": None}


def test_rule_13_a_refused_write_that_was_claimed_is_unsure(table: Table, key: Key) -> None:
    """Would break: the application is told that nothing was written, and then it is."""
    writer = table.writer(alive=False)

    class Claims(Primary):
        def write(self, *args: object) -> Any:
            table.reconciler().claim(key)
            return "refused", "no"

    with pytest.raises(WriteUnsure, match="a reconcile had begun"):
        ForwardWrite(writer.journal, Claims(table.rows), WriteBehind()).write(writer.mutation("put", key, a="1"))
    assert table.settled(key) == {"a": "1", "b": None}


@pytest.mark.parametrize("fate", ["landed", "lost", "late"])
def test_rule_13_a_time_out_is_unsure_whatever_becomes_of_the_write(table: Table, key: Key, fate: str) -> None:
    """Would break: a write that timed out is taken for refused; it lands after all, and the source alone has it."""
    writer, write_behind, primary = table.writer(), WriteBehind(), Primary(table.rows, [fate])
    with pytest.raises(WriteUnsure):
        ForwardWrite(writer.journal, primary, write_behind).write(writer.mutation("put", key, a="1"))
    assert table.intents(key) == [("put", "unsure")]
    assert write_behind.notified == ["pairs"]
    assert table.settled(key) == {"a": "1", "b": None}
    primary.land()
    assert table.settled(key) == {"a": "1", "b": None}


def test_rule_14_a_mark_kept_in_memory_is_no_record(table: Table, key: Key) -> None:
    """Would break: what only a process or Redis remembers is lost with it, and the write is on one side for ever."""
    writer, write_behind = table.writer(), WriteBehind()
    flow = ForwardWrite(sick(writer.journal, ("write", "mark")), table.rows, write_behind)
    assert flow.write(writer.mutation("put", key, a="1"))
    write_behind.kept.clear()  # the process ends, and Redis with it
    write_behind.notified.clear()
    assert table.intents(key) == [("put", "open")]
    writer.dies()
    assert table.drain() == 1
    assert table.settled(key) == {"a": "1", "b": None}


def test_rule_14_a_write_without_intent_counts_as_unrecorded(table: Table, key: Key) -> None:
    """Would break: a write that only memory knows is taken for recorded."""
    writer, write_behind = table.writer(), WriteBehind(accepts=True)
    flow = ForwardWrite(sick(writer.journal, ("open",)), table.rows, write_behind)
    assert flow.write(writer.mutation("put", key, a="1"))
    assert table.intents(key) == []
    ((_, mutation, version, state),) = write_behind.unrecorded_writes
    assert state == "finished"
    assert table.target(key) is NOTHING
    writer.journal.record([Written(mutation, version, state)])
    assert table.settled(key) == {"a": "1", "b": None}
