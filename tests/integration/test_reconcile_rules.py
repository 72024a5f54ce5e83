"""Rules 9, 15 and 16 against real servers: a reconcile takes its steps one at a time, and a writer acts in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from uuid import uuid4

import pytest
from support.dual import Primary, Table, WriteBehind, until_waiting
from support.pair_table import CONFIG
from support.places import NewPlace
from support.prepared_places import prepared
from support.reverse import be_primary
from support.running_commands import until

from sync.adapters.cassandra.connection.pages import quoted
from sync.adapters.postgres.backfill import loader
from sync.core.mutations import Key, Mutation
from sync.core.ring import WHOLE_RING
from sync.core.versions import STEP, UNREPEATABLE_WINDOW_SECONDS
from sync.errors import SourceUnavailable
from sync.flows.dual_write import ForwardWrite
from sync.ports import Read
from sync.wiring.backfill.command import make_plan
from sync.wiring.backfill.worker import copy_job

pytest_plugins = ("support.fixtures", "support.pair_table")
NOTHING = None


@pytest.fixture
def key(table: Table) -> Iterator[Key]:
    yield table.key(id=uuid4())
    table.drained()


@pytest.mark.parametrize("arrives", ["at once", "never", "after the reconcile"])
@pytest.mark.parametrize("crash", [False, True])
def test_rule_15b_a_list_that_is_sent_again_is_not_doubled(new_place: NewPlace, arrives: str, crash: bool) -> None:
    """Would break: a list's elements have no names; sent twice with one timestamp, each of them is there twice."""
    with prepared(new_place, CONFIG, pairs="id uuid PRIMARY KEY, l list<int>, a text") as place:
        opened = Table(place.cassandra, place.settings, CONFIG, "pairs")
        key, row = opened.key(id=uuid4()), {"a": "x", "l": [1, 2]}
        write = opened.writer(alive=False).put(key, **row)
        if arrives == "at once":
            write.primary()
        if crash:
            opened.reconciler().claim(key).replay()  # and it dies
        opened.drained()
        if arrives == "after the reconcile":
            write.primary()
        assert (opened.source(key), opened.target(key)) == (row, row)
        opened.close()


def test_rule_15b_repetitions_of_a_list_that_share_a_timestamp_are_not_under_way_together(new_place: NewPlace) -> None:
    """Would break: from the fourth on they share a timestamp; if two time out and both arrive, each element is doubled."""
    with prepared(new_place, CONFIG, pairs="id uuid PRIMARY KEY, l list<int>, a text") as place:
        opened = Table(place.cassandra, place.settings, CONFIG, "pairs")
        key, row = opened.key(id=uuid4()), {"a": "x", "l": [1, 2]}
        opened.writer(alive=False).put(key, **row)
        late: list[tuple[Mutation, int]] = []
        with monkeypatched(opened, late) as sending:
            for _ in range(5):
                opened.sql("UPDATE sync.intent SET lease_until = NULL")
                assert opened.drain() == 0
            assert len({at for _, at in late}) == len(late) == STEP - 1, "each that was sent has a timestamp of its own"
            ((error,),) = opened.sql("SELECT error FROM sync.intent")
            assert "a list was sent" in error
            window = f"interval '{UNREPEATABLE_WINDOW_SECONDS} s'"
            opened.sql(f"UPDATE sync.intent SET lease_until = NULL, replayed_at = replayed_at - {window}")
            assert opened.drain() == 0
            assert len(late) == STEP
        for mutation, at in late[:-1]:  # the last two have one timestamp: one of them never arrives
            sending(mutation, at)
        assert opened.settled(key) == row
        opened.close()


@contextmanager
def monkeypatched(table: Table, late: list[tuple[Mutation, int]]) -> Iterator[Callable[[Mutation, int], object]]:
    """Make writes time out, and collect them; yield what really sends one."""
    with pytest.MonkeyPatch.context() as patch:
        really = table.rows.write
        patch.setattr(table.rows, "write", lambda m, v: (late.append((m, v)), ("unsure", "timed out"))[1])
        yield really


# the backfill's range (rule 9)


@contextmanager
def a_backfill_about_to_commit(table: Table, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """A backfill whose rows are in the target and not yet committed; the function lets it go on to its end."""
    from contextlib import closing

    from sync.adapters.postgres.backfill.range_ledger import RangeLedger
    from sync.adapters.postgres.connection.connect import connect

    reached, go = threading.Event(), threading.Event()

    def pause(point: str) -> None:
        if point == "backfill.merged":
            reached.set()
            assert go.wait(60)

    monkeypatch.setattr(loader, "failpoint", pause)
    plan = make_plan(table.settings, CONFIG, ["pairs"])
    with closing(connect(table.settings, autocommit=True)) as connection, ThreadPoolExecutor(1) as pool:
        runs = RangeLedger(connection, 30).begin({t.name: WHOLE_RING.split(1) for t in plan.tables})
        copying = pool.submit(copy_job, table.settings, CONFIG, runs, lambda: False)
        assert reached.wait(60), copying.exception(1)

        def finish() -> None:
            go.set()
            copying.result(60)

        try:
            yield finish
        finally:
            finish()
            table.sql("UPDATE sync.run SET state = 'done'")


def legacy(table: Table, key: Key) -> None:
    """Write a row from before the migration."""
    keyspace = quoted(table.mapped.source.keyspace)
    uuid = table.cells.values({"id": key.cells[0]})["id"]
    table.cassandra.session.execute(f"INSERT INTO {keyspace}.pairs (id, a, b) VALUES (%s, 'legacy', 'legacy')", (uuid,))


def test_rule_9_a_delete_waits_for_the_backfill_of_its_range(table: Table, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a row is read, then deleted, then merged: the key is back."""
    legacy(table, key)
    with a_backfill_about_to_commit(table, monkeypatch) as finish, ThreadPoolExecutor(1) as pool:
        delete = table.writer().delete(key).primary()
        deleting = pool.submit(delete.target)
        waits(table, deleting)
        finish()
        assert deleting.result(20)
    assert table.settled(key) is NOTHING


def test_rule_9_a_reconcile_that_finds_no_row_waits_for_the_backfill_of_its_range(
    table: Table, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: the same, where the delete's writer has died and a reconcile finishes its work."""
    legacy(table, key)
    with a_backfill_about_to_commit(table, monkeypatch) as finish, ThreadPoolExecutor(1) as pool:
        table.writer(alive=False).delete(key)
        reconcile = table.reconciler().claim(key).replay().read()
        reconcile_steps = pool.submit(reconcile.settle)
        waits(table, reconcile_steps)
        finish()
        assert not reconcile_steps.result(20), "the backfill has brought a row"
    assert table.settled(key) is NOTHING


def test_rule_9_deleted_and_written_again_while_its_range_is_copied_lives(
    table: Table, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: the new row is taken for the deleted one, or the old one comes back over it."""
    legacy(table, key)
    with a_backfill_about_to_commit(table, monkeypatch) as finish, ThreadPoolExecutor(1) as pool:
        writer = table.writer()
        delete = writer.delete(key).primary()
        deleting = pool.submit(delete.target)
        waits(table, deleting)
        put = writer.put(key, a="new").primary()
        putting = pool.submit(put.target)
        finish()
        deleting.result(20), putting.result(20)
    assert table.settled(key) == {"a": "new", "b": None}


def waits(table: Table, future: Future[bool]) -> None:
    """It waits for a lock; without the rule it would have ended by now."""
    try:
        future.result(0.7)
    except TimeoutError:
        until_waiting(table, 1)


# reconcile (rule 15)


def test_rule_15a_what_is_still_open_is_not_removed(table: Table, key: Key) -> None:
    """Would break: the intent of a write that is not in the primary yet is removed by a reconcile that has not seen it."""
    table.writer().put(key, a="0").primary().mark("finished")
    slow = table.writer()
    write = slow.put(key, a="1")
    reconcile = table.reconciler().claim(key).replay().read()
    write.primary()
    slow.dies()
    reconcile.settle()
    assert table.intents(key) == [("put", "open")]
    assert table.settled(key) == {"a": "1", "b": None}


def test_rule_15b_what_was_unsure_is_sent_again_before_it_is_forgotten(table: Table, key: Key) -> None:
    """Would break: a first attempt that arrives late changes the source when nobody looks at the key any more."""
    writer, primary = table.writer(), Primary(table.rows, ["late"])
    write = writer.put(key, a="1")
    assert primary.write(write.mutation, write.version)[0] == "unsure"
    write.mark("unsure")
    assert table.settled(key) == {"a": "1", "b": None}
    primary.land()
    assert table.settled(key) == {"a": "1", "b": None}


def test_rule_15b_it_is_sent_with_its_own_timestamp(table: Table, key: Key) -> None:
    """Would break: a repeated old write wins over one that was acknowledged since."""
    old = table.writer(alive=False).put(key, a="old", b="old")
    new = table.writer().put(key, a="new").done()
    assert table.drain() == 1
    assert old.version < new.version
    assert table.settled(key) == {"a": "new", "b": None}


def test_rule_15b_a_reconcile_whose_repetition_is_unsure_removes_nothing(table: Table, key: Key) -> None:
    """Would break: the intent goes although nobody knows whether its write arrived."""
    table.writer(alive=False).put(key, a="1")
    assert table.drain(Primary(table.rows, ["lost"])) == 0
    assert table.intents(key) == [("put", "claimed")]
    ((attempts, error),) = table.sql("SELECT attempts, error FROM sync.intent WHERE key = %s", (key.canonical,))
    assert (attempts, error) == (1, "a write could not be repeated: timed out")
    assert table.settled(key) == {"a": "1", "b": None}


@pytest.mark.parametrize("key_is_hot", [False, True])
def test_rule_15b_a_repetition_that_is_refused_is_not_done(table: Table, key: Key, key_is_hot: bool) -> None:
    """Would break: the repetition's refusal is taken for the outcome of the first attempt, which lands when nobody looks."""
    writer, primary = table.writer(), Primary(table.rows, ["late"])
    write = writer.put(key, a="1")
    assert primary.write(write.mutation, write.version)[0] == "unsure"
    write.mark("unsure")
    refusing = Primary(table.rows, ["refused"])
    if key_is_hot:
        with ThreadPoolExecutor(1) as executor, pytest.raises(SourceUnavailable, match="refuses to repeat"):
            table.reconcile_steps().apply_locked(key, table.reconcile(executor, refusing)._look)
    else:
        assert table.drain(refusing) == 0
        ((attempts, error),) = table.sql("SELECT attempts, error FROM sync.intent WHERE key = %s", (key.canonical,))
        assert (attempts, error) == (1, "the source refuses to repeat a write: the primary says no")
    assert table.intents(key) == [("put", "claimed")]
    primary.land()
    assert table.settled(key) == {"a": "1", "b": None}


def test_rule_15d_what_changed_since_it_was_claimed_is_read_again(table: Table, key: Key) -> None:
    """Would break: a slow reconcile puts the old row over one that was accepted since, and no intent is left."""
    table.writer().put(key, a="old", b="old").primary().mark("finished")
    reconcile = table.reconciler().claim(key).replay().read()
    table.writer().put(key, a="new").done()
    assert not reconcile.settle()
    assert table.target(key) == {"a": "new", "b": None}
    assert table.settled(key) == {"a": "new", "b": None}


def test_rule_15d_a_delete_since_it_was_claimed_is_seen(table: Table, key: Key) -> None:
    """Would break: the same with a delete: the key is back."""
    table.writer().put(key, a="old").primary().mark("finished")
    reconcile = table.reconciler().claim(key).replay().read()
    table.writer().delete(key).done()
    assert not reconcile.settle()
    assert table.settled(key) is NOTHING


def test_rule_15d_nothing_is_done_once_the_picked_intents_are_gone(table: Table, key: Key) -> None:
    """Would break: a cut-over comes between, SQL deletes the row and leaves no tombstone, and what was read brings it back."""
    write = table.writer(alive=False).put(key, a="1").primary()
    reconcile = table.reconciler().claim(key).replay().read()
    assert write.target()
    be_primary(table, "postgres")
    table.sql("DELETE FROM pairs WHERE id = %s", (table.cells.values({"id": key.cells[0]})["id"],))
    assert not reconcile.settle()
    assert table.target(key) is NOTHING
    be_primary(table, "astra")
    table.writer().delete(key).done()


def test_rule_15d_only_what_was_picked_is_removed(table: Table, key: Key) -> None:
    """Would break: an intent that came after the read is removed, too, and its write stays on one side for good."""
    table.writer().put(key, a="1").primary().mark("finished")
    reconcile = table.reconciler().claim(key).replay().read()
    assert not table.writer().update(key, b="2").primary().target(), "there is no row yet"
    assert reconcile.settle()
    assert table.intents(key) == [("update", "finished")]
    assert table.settled(key) == {"a": "1", "b": "2"}


def test_rule_15d_a_reconciled_key_has_a_newer_version_than_before(table: Table, key: Key) -> None:
    """Would break: two reconciles of one key do not notice each other."""
    table.writer().put(key, a="1").done()
    old = table.writer().update(key, a="2").primary().mark("finished")
    table.writer().put(key, a="3").done()
    first, second = table.reconciler().claim(key).replay().read(), table.reconciler().claim(key).replay().read()
    bound = table.version(key) or 0
    assert bound > old.version
    assert first.settle()
    assert (table.version(key) or 0) > bound
    assert not second.settle()
    assert table.settled(key) == {"a": "3", "b": None}


def test_rule_15d_a_row_that_is_gone_leaves_a_tombstone(table: Table, key: Key) -> None:
    """Would break: an absent row leaves no tombstone, and a put that the delete overtook brings the row back."""
    put = table.writer().put(key, a="1").primary()
    table.writer().delete(key).primary().mark("finished")
    assert table.drain() == 1
    assert not put.target()
    assert table.settled(key) is NOTHING


def test_rule_15_two_drains_at_once_do_each_key_once(table: Table) -> None:
    """Would break: workers wait for each other, or settle a key with an older read than the other's."""
    keys = [table.key(id=uuid4()) for _ in range(60)]
    writer = table.writer()
    for key in keys:
        writer.put(key, a="1").primary().mark("finished")
        writer.update(key, b="2").primary().mark("finished")
    with ThreadPoolExecutor(2) as pool:
        done = [f.result(60) for f in [pool.submit(table.drain), pool.submit(table.drain)]]
    assert table.intents() == []
    assert sum(done) <= 2 * len(keys)
    for key in keys:
        assert table.target(key) == {"a": "1", "b": "2"}
    table.check_equal()


def test_rule_15_intents_that_cannot_be_worked_on_do_not_hold_up_the_others(table: Table) -> None:
    """Would break: one key whose primary does not answer stops the drain of all others."""
    keys = [table.key(id=uuid4()) for _ in range(5)]
    writer = table.writer()
    for key in keys:
        writer.put(key, a="1").primary().mark("finished")

    class OneIsAway(Primary):
        def read(self, key: Key) -> Read:
            if key == keys[1]:
                raise SourceUnavailable("no answer")
            return super().read(key)

    assert table.drain(OneIsAway(table.rows)) == 4
    assert table.intents() == [("put", "finished")]
    table.drained()
    table.check_equal()


def test_rule_15_the_open_intent_of_a_live_writer_is_not_kept_for_ever(table: Table, key: Key) -> None:
    """Would break: an intent whose commit's answer was lost is unknown to its live writer, and is never removed."""
    table.writer().put(key, a="1")
    table.sql("UPDATE sync.intent SET created_at = clock_timestamp() - interval '1 hour'")
    assert table.drain() == 1
    assert table.intents(key) == []
    assert table.settled(key) == {"a": "1", "b": None}


# a hot key (rule 16)


def test_rule_16_a_key_that_is_written_all_the_time_is_reconciled(table: Table, key: Key) -> None:
    """Would break: a reconcile that finds the key changed each time never ends, or starves."""
    writer, stop = table.writer(), threading.Event()
    flow = ForwardWrite(writer.journal, table.rows, WriteBehind())
    table.writer().update(key, b="missed").primary().mark("finished")

    written: list[int] = []

    def hammer() -> None:
        while not stop.is_set():
            n = len(written)
            flow.write(writer.mutation("update" if n else "put", key, a=str(n)))
            written.append(n)

    def slowly(_: Key) -> None:
        time.sleep(0.1)  # time for another write, each time

    with ThreadPoolExecutor(1) as pool:
        hammering = pool.submit(hammer)
        try:
            until(lambda: len(written) > 5, what="it is being written")
            begin = time.monotonic()
            table.sql("INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner) "
                      "VALUES ('pairs', %s, %s, 'recheck', 'finished', 1, 1, 'x')", (key.canonical, key.token))  # fmt: skip
            while ("recheck", "finished") in table.intents(key):
                table.drain(Primary(table.rows, reads=slowly))
                assert time.monotonic() - begin < 60, "the key was never reconciled"
        finally:
            stop.set()
        hammering.result(60)
    assert (table.settled(key) or {})["a"] is not None


def test_rule_16_a_claim_is_committed_before_its_write_is_sent_again(table: Table, key: Key) -> None:
    """Would break: the write is sent again, the worker dies, its claim is rolled back, and the intent is withdrawn."""
    refused = table.writer(alive=False).put(key, a="1")

    def look(_: Key, picked: object) -> object:
        for replay in picked.replay:  # type: ignore[attr-defined]
            table.rows.write_again(replay)
        raise SourceUnavailable("and then the read fails")

    with pytest.raises(SourceUnavailable):
        table.reconcile_steps().apply_locked(key, look)  # type: ignore[arg-type]
    refused.withdraw()
    assert table.settled(key) == table.source(key)
    assert table.target(key) == table.source(key)


# many keys at once


def test_rows_that_are_read_together_are_those_that_are_read_alone(table: Table) -> None:
    """Would break: a key gets another's row, an absent row shifts those after it, or a row of nulls counts as absent."""
    keys = [table.key(id=uuid4()) for _ in range(40)]
    for n, key in enumerate(keys):
        if n % 3 == 0:
            table.writer().put(key, a=str(n), b="x" * (n * 1000)).primary()
        elif n % 3 == 1:
            table.writer().put(key).primary()
    found = table.rows.read_many(keys)
    assert found == [table.rows.read(key) for key in keys]
    assert [read.cells is None for read in found] == [n % 3 == 2 for n in range(40)]
    assert table.rows.read_many([]) == []
    assert table.rows.read_many(keys[:1]) == found[:1]
    table.drained()
    table.check_equal()
