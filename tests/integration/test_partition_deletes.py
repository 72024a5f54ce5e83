"""Rules 33 to 38 against real servers: a partition is deleted with one call, and somebody else acts between any two steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any, Literal
from uuid import uuid4

import pytest
from psycopg import sql
from support.dual import Actor, Primary, Table, clock, holding, now_us, until_waiting
from support.partitions import CONFIG, begin, begin_reverse, plays, rows, settled, tombstone
from support.places import NewPlace
from support.reverse import authority, be_primary, resender, reverse_writer

from sync.adapters.postgres.backfill.merge import Merge
from sync.adapters.postgres.backfill.range_ledger import RangeLedger
from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.dual_write.intents import list_intents, shown_key
from sync.adapters.postgres.dual_write.locks import lock_of_partition
from sync.core.encode.base import Reject
from sync.core.mutations import Key
from sync.core.ring import UNKNOWN_TOKEN, WHOLE_RING
from sync.errors import SettingsError, StillOpen, WriteRefused
from sync.wiring.backfill.worker import copy_job
from sync.wiring.dual_write.resolve import resolve

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
SECOND = 1_000_000
AB: dict[str, Any] = {"a": "1", "b": "1"}


@pytest.fixture(scope="module")
def table(new_place: NewPlace) -> Iterator[Table]:
    with plays(new_place) as (_, opened):
        yield opened


@pytest.fixture
def room(table: Table) -> Iterator[str]:
    """A partition of the test's own, while Astra is primary."""
    be_primary(table, "astra")
    yield str(uuid4())
    table.drained()


@pytest.fixture
def writer(table: Table, room: str) -> Actor:
    return table.writer()


def key(table: Table, room: str, day: int = 1, song: str = "x") -> Key:
    return table.key(room=room, day=day, song=song)


def test_one_call_deletes_a_partition_on_both_sides(table: Table, room: str, writer: Actor) -> None:
    """Would break: rows are left on one side, or the rows of another partition go."""
    other = str(uuid4())
    for day in range(3):
        writer.put(key(table, room, day), **AB).done()
    writer.put(key(table, other), **AB).done()
    delete = begin(writer, room=room).done()
    assert rows(table, room) == ({}, {})
    assert len(rows(table, other)[1]) == 1
    assert tombstone(table, room) == delete.version
    assert table.intents() == []


# rule 33


@contextmanager
def inserting(table: Table) -> Iterator[Callable[[], None]]:
    """Within the block, an insert into the target has begun and waits, until the function is called."""
    table.sql(
        "CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_advisory_xact_lock(77); RETURN NEW; END $$; "
        "CREATE TRIGGER slow BEFORE INSERT ON plays FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    try:
        with holding(table, "SELECT pg_advisory_xact_lock(77)") as held:
            yield held.commit
    finally:
        table.sql("DROP TRIGGER slow ON plays; DROP FUNCTION slow()")


def test_rule_33_a_put_that_has_begun_is_waited_for(table: Table, room: str, writer: Actor) -> None:
    """Would break: the put's statement sees no tombstone; the delete commits; the row is written, in Postgres alone."""
    put = writer.put(key(table, room), **AB).primary()
    delete = begin(table.writer(), room=room).primary()
    with ThreadPoolExecutor(2) as threads, inserting(table) as go_on:
        written = threads.submit(put.target)
        until_waiting(table)
        deleted = threads.submit(delete.target)
        until_waiting(table, 2)
        go_on()
        assert written.result(30)
        deleted.result(30)
    assert settled(table, room) == {}


def test_rule_33_a_put_waits_for_a_delete_that_has_begun(table: Table, room: str, writer: Actor) -> None:
    """Would break: the put's statement sees no tombstone, which the delete then commits."""
    put = writer.put(key(table, room), **AB).primary()
    delete = begin(table.writer(), room=room).primary()
    with ThreadPoolExecutor(2) as threads, holding(table, "LOCK TABLE sync.partition_tombstone IN SHARE MODE") as held:
        deleted = threads.submit(delete.target)
        until_waiting(table)
        written = threads.submit(put.target)
        until_waiting(table, 2)
        held.commit()
        deleted.result(30)
        assert written.result(30) is False
    assert settled(table, room) == {}


def test_rule_33_a_reconcile_of_many_keys_waits_for_the_delete(table: Table, room: str, writer: Actor) -> None:
    """Would break: what a reconcile has read is written behind the delete, because nothing had changed when it looked."""
    writer.put(key(table, room), **AB).primary().mark("finished")
    step = table.reconciler().claim(key(table, room)).read()
    delete = begin(table.writer(), room=room).primary()
    with ThreadPoolExecutor(2) as threads, holding(table, "LOCK TABLE sync.partition_tombstone IN SHARE MODE") as held:
        deleted = threads.submit(delete.target)
        until_waiting(table)
        applied = threads.submit(step.settle)
        until_waiting(table, 2)
        held.commit()
        deleted.result(30)
        assert applied.result(30) is False
    assert settled(table, room) == {}


def test_rule_33_with_postgres_as_primary_a_put_that_has_begun_is_waited_for(table: Table, room: str) -> None:
    """Would break: the put takes a version below the delete's; Postgres keeps the row, and the delete hides it in the source."""
    be_primary(table, "postgres")
    with ThreadPoolExecutor(2) as threads, inserting(table) as go_on:
        written = threads.submit(reverse_writer(table).begin, "put", key(table, room), **AB)
        until_waiting(table)
        deleted = threads.submit(begin_reverse, table, room=room)
        until_waiting(table, 2)
        go_on()
        written.result(30).source()
        deleted.result(30).source()
    assert settled(table, room) == {}


def test_rule_33_keys_of_one_partition_do_not_wait_for_each_other(table: Table, room: str, writer: Actor) -> None:
    """Would break: the writes of a large partition queue for one lock."""
    lock = lock_of_partition(key(table, room))
    with holding(table, "SELECT pg_advisory_xact_lock_shared(%s)", (lock,)):
        assert writer.put(key(table, room), **AB).primary().target()


def test_rule_33_no_partition_is_deleted_while_an_older_writer_is_registered(table: Table, room: str, writer: Actor) -> None:
    """Would break: the older one takes no partition's lock and sees no tombstone of one: it brings rows back."""
    table.writer()
    table.sql("UPDATE sync.writer SET protocol = 0 WHERE id = (SELECT max(id) FROM sync.writer)")
    try:
        for primary, delete in (
            ("astra", lambda: begin(writer, room=room)),
            ("postgres", lambda: begin_reverse(table, room=room)),
        ):
            be_primary(table, primary)
            with pytest.raises(WriteRefused, match="1 writers are of an older version"):
                delete()
    finally:
        table.sql("UPDATE sync.writer SET protocol = 1")
    assert table.intents() == []


# rule 34


def test_rule_34_an_older_put_of_a_key_without_a_row_is_refused(table: Table, room: str, writer: Actor) -> None:
    """Would break: the put's second half comes after the delete's, and the row is back in Postgres."""
    put = writer.put(key(table, room), **AB).primary()
    begin(table.writer(), room=room).done()
    assert put.target() is False
    assert settled(table, room) == {}


@pytest.mark.parametrize("primary", ["astra", "postgres"])
def test_rule_34_a_write_after_a_delete_of_its_partition_exceeds_it(table: Table, room: str, primary: str) -> None:
    """Would break: the clock of the next writer is behind: its put is acknowledged, and the delete hides it in the source."""
    be_primary(table, primary)
    ahead = now_us() + 30 * SECOND
    delete: Any
    put: Any
    if primary == "astra":
        delete = begin(table.writer(), at=ahead, room=room).done()
        put = table.writer().put(key(table, room), **AB).done()
    else:
        delete = begin_reverse(table, at=ahead, room=room).done()
        put = reverse_writer(table).begin("put", key(table, room), **AB).done()
    assert put.version > delete.version >= ahead
    assert len(settled(table, room)) == 1


def test_rule_34_a_reconcile_sees_a_delete_since_it_was_claimed(table: Table, room: str, writer: Actor) -> None:
    """Would break: a key without a row is read before the delete, nothing of it has changed, and what was read is written."""
    writer.put(key(table, room), **AB).primary().mark("finished")
    step = table.reconciler().claim(key(table, room)).read()
    begin(table.writer(), room=room).done()
    assert step.settle() is False
    assert settled(table, room) == {}


def test_rule_34_a_reconciled_key_is_newer_than_the_delete_of_its_partition(table: Table, room: str, writer: Actor) -> None:
    """Would break: the row of a reconcile is older than the tombstone, and the next put of it, too."""
    delete = begin(writer, at=now_us() + 30 * SECOND, room=room).done()
    write = table.writer().put(key(table, room), **AB).primary().mark("finished")
    table.sql("UPDATE sync.intent SET version = 1")
    assert settled(table, room) != {}
    assert (table.version(write.mutation.key) or 0) > delete.version


def test_rule_34_an_absent_row_is_sent_with_the_newest_version(table: Table, room: str) -> None:
    """Would break: the source is sent a delete that is older than the one of the partition."""
    be_primary(table, "postgres")
    put = reverse_writer(table).begin("put", key(table, room), **AB).done()
    delete = begin_reverse(table, at=now_us() + 30 * SECOND, room=room)
    reverse_writer(table).begin("delete", put.mutation.key)
    table.sql("UPDATE sync.intent SET state = 'finished'")
    step = resender(table).pick(put.mutation.key)
    assert step.picked is not None
    assert step.picked.version > delete.version
    step.send().remove()
    assert settled(table, room) == {}


def test_rule_34_a_range_with_a_deleted_partition_is_not_copied_directly(table: Table, room: str, writer: Actor) -> None:
    """Would break: the page of a range without other tombstones goes straight into the table."""
    delete = begin(writer, room=room).done()
    mutation = writer.mutation("put", key(table, room), **AB)
    assert table.rows.write(mutation, delete.version + 1) == ("written", "")
    table.sql("DELETE FROM sync.tombstone; DELETE FROM sync.intent")
    with closing(connect(table.settings, autocommit=True)) as connection:
        ledger = RangeLedger(connection, 30)
        (run,) = ledger.begin({"plays": WHOLE_RING.split(1)})
        copy_job(table.settings, CONFIG, [run], lambda: False)
        assert ledger.finish(run)
    table.sql("DELETE FROM sync.run")
    assert rows(table, room)[1] == {}
    assert len(settled(table, room)) == 1


def test_rule_34_a_deleted_row_is_not_taken_for_an_expired_one(table: Table, room: str, writer: Actor) -> None:
    """Would break: with `ttl = "keep"`, a put whose second half is left brings back the row of a deleted partition."""
    put = writer.put(key(table, room), **AB).primary().mark("finished")
    begin(writer, room=room).done()
    picked = table.reconcile_steps().pick([put.mutation.key])[put.mutation.key]
    assert picked.deletes


# rule 35


@pytest.mark.parametrize("primary", ["astra", "postgres"])
@pytest.mark.parametrize("known", ["row", "tombstone", "intent", "partition", "ahead"])
def test_rule_35_a_delete_exceeds_what_is_known_of_its_partition(table: Table, room: str, known: str, primary: str) -> None:
    """Would break: an acknowledged delete leaves the row of a writer whose clock was ahead."""
    ahead, of = now_us() + 40 * SECOND, key(table, room)
    writer = table.writer()
    with clock(ahead):
        if known == "row":
            writer.put(of, **AB).done()
        elif known == "tombstone":
            writer.delete(of).done()
        elif known == "intent":
            writer.put(of, **AB)
        elif known == "partition":
            begin(writer, room=room).done()
    if known == "ahead":
        statement = "INSERT INTO sync.ahead (table_name, key, token, version, shown) VALUES ('plays', %s, %s, %s, '{}')"
        table.sql(statement, (of.canonical, of.token, ahead))
    be_primary(table, primary)
    delete = begin(table.writer(), room=room).done() if primary == "astra" else begin_reverse(table, room=room).done()
    assert delete.version > ahead
    table.sql("DELETE FROM sync.ahead")
    assert settled(table, room) == {}


def test_rule_35_nor_is_it_below_a_row_that_sql_has_deleted(table: Table, room: str) -> None:
    """Would break: with `sql_writers = "allow"`, as above: a key that SQL has changed has an intent without its token."""
    ahead, of = now_us() + 40 * SECOND, key(table, room)
    be_primary(table, "astra")
    table.sql(
        "INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner) "
        "SELECT 'plays', %s, %s, 'recheck', 'finished', %s, max(epoch), 'SQL' FROM sync.epoch",
        (of.canonical, UNKNOWN_TOKEN, ahead),
    )
    assert begin(table.writer(), room=room).done().version > ahead
    assert settled(table, room) == {}


def test_rule_35_a_put_exceeds_an_open_delete_of_its_partition(table: Table, room: str, writer: Actor) -> None:
    """Would break: the delete has landed and its writer died; a put whose clock is behind is acknowledged, and is hidden."""
    delete = begin(writer, at=now_us() + 30 * SECOND, room=room).primary()
    put = table.writer().put(key(table, room), **AB).done()
    assert put.version > delete.version
    assert len(settled(table, room)) == 1


@pytest.mark.parametrize(("kind", "primary"), [("cutover", "astra"), ("rollback", "postgres")])
@pytest.mark.parametrize("state", ["open", "finished", "unsure", "claimed"])
def test_rule_35_nothing_switches_while_a_delete_is_left(
    table: Table, room: str, kind: Literal["cutover", "rollback"], primary: str, state: str
) -> None:
    """Would break: rows that were deleted are back in the new primary."""
    be_primary(table, primary)
    if primary == "astra":
        table.writer().put(key(table, room), **AB).done()
        begin(table.writer(), room=room).primary()
    else:
        reverse_writer(table).begin("put", key(table, room), **AB).done()
        begin_reverse(table, room=room)
    table.sql("UPDATE sync.intent SET state = %s", (state,))
    with authority(table) as epochs:
        switch = epochs.begin(kind)
        table.sql("UPDATE sync.writer SET state = 'signed_off'")
        epochs.close(switch, 30)
        with pytest.raises(StillOpen):
            epochs.switch_primary(switch, {})
        table.drained()
        epoch, _ = epochs.switch_primary(switch, {})
    table.epoch = epoch.epoch
    assert epoch.primary != primary
    assert settled(table, room) == {}


# rule 36


def test_rule_36_a_newer_row_stays(table: Table, room: str, writer: Actor) -> None:
    """Would break: a put that is newer, and whose second half was quicker, is deleted in Postgres."""
    writer.put(key(table, room, 1), **AB).done()
    delete = begin(writer, room=room)
    table.writer().put(key(table, room, 2), **AB).done()
    delete.primary().target()
    assert rows(table, room)[1].keys() == {(2, "x")}
    assert settled(table, room).keys() == {(2, "x")}


def test_rule_36_a_newer_row_is_looked_at_again(table: Table, room: str, writer: Actor) -> None:
    """Would break: after a newer update of one column the source has that column alone, Postgres the old row with it."""
    writer.put(key(table, room), **AB).done()
    delete = begin(writer, room=room)
    table.writer().update(key(table, room), a="2").done()
    delete.primary().target()
    assert table.intents() == [("recheck", "finished")]
    assert settled(table, room) == {(1, "x"): {"a": "2", "b": None}}


def test_rule_36_a_merge_that_has_begun_is_waited_for(table: Table, room: str, writer: Actor) -> None:
    """Would break: the merge sees neither tombstone nor intent; the delete commits; the merge inserts the page."""
    delete, token = begin(writer, room=room).primary(), key(table, room).token
    table.sql("INSERT INTO sync.run (kind, table_name, floor) VALUES ('backfill', 'plays', 1)")
    table.sql(
        "INSERT INTO sync.range (run_id, table_name, range_start, range_end) "
        "SELECT id, 'plays', -9223372036854775808, 9223372036854775807 FROM sync.run WHERE table_name = 'plays'"
    )
    try:
        insert = "INSERT INTO plays (room, day, song, _sync_token, _sync_version) VALUES (%s, 1, 'x', %s, 1)"
        held = "SELECT FROM sync.range WHERE table_name = 'plays' FOR UPDATE"
        with ThreadPoolExecutor(1) as threads, holding(table, held) as merge:
            deleted = threads.submit(delete.target)
            until_waiting(table)
            merge.execute("SELECT set_config('sync.own', 'on', true)")  # as the loader's transactions do
            merge.execute(insert.encode(), (room, token))
            merge.commit()
            deleted.result(30)
        assert settled(table, room) == {}
    finally:
        table.sql("DELETE FROM sync.run")


def test_rule_34_a_page_that_was_read_before_is_not_merged(table: Table, room: str, writer: Actor) -> None:
    """Would break: a page is read, the partition is deleted, and the merge brings back every row."""
    of = key(table, room)
    begin(writer, room=room).done()
    with closing(connect(table.settings, autocommit=True)) as connection, connection.transaction():
        connection.execute("SELECT set_config('sync.own', 'on', true)")  # as the loader's transactions do
        merge = Merge(connection, table.mapped, table.encoder)
        merge.clear_stage()
        stage = sql.SQL("INSERT INTO {} (room, day, song, a, _sync_token, _sync_version) VALUES (%s, 1, 'x', '1', %s, 1)")
        connection.execute(stage.format(sql.Identifier("pg_temp", merge.stage)), (room, of.token))
        assert merge.insert() == 0
    assert settled(table, room) == {}


def test_rule_36_an_intent_that_is_gone_is_not_done_again(table: Table, room: str, writer: Actor) -> None:
    """Would break: a writer that was suspended leaves the tombstone of a delete that a worker has long ended."""
    writer.put(key(table, room), **AB).done()
    delete = begin(writer, room=room).primary()
    table.drained()
    assert rows(table, room) == ({}, {})
    table.sql("DELETE FROM sync.partition_tombstone")
    delete.target()
    assert tombstone(table, room) is None


def test_rule_36_a_rejected_row_that_is_deleted_is_no_reject(table: Table, room: str, writer: Actor) -> None:
    """Would break: a reject stays for ever and blocks the cut-over."""
    with pytest.raises(Reject):
        writer.put(key(table, room), a="\0").primary().target()
    table.drained()
    rejects = "SELECT count(*) FROM sync.reject"
    assert table.sql(rejects) == [(1,)]
    begin(writer, room=room, day={">=": 0}).done()
    table.drained()
    assert table.sql(rejects) == [(0,)]


# rule 37


def test_rule_37_an_unsure_delete_is_sent_again_before_it_is_forgotten(table: Table, room: str, writer: Actor) -> None:
    """Would break: it lands afterwards, and Postgres keeps the rows."""
    writer.put(key(table, room), **AB).done()
    delete = begin(writer, room=room).mark("unsure")
    assert settled(table, room) == {}
    put = writer.put(key(table, room), **AB).done()
    delete.primary()  # the first attempt arrives at last
    assert put.version > delete.version
    assert len(settled(table, room)) == 1


def test_rule_37_what_is_refused_when_sent_again_stays(table: Table, room: str, writer: Actor) -> None:
    """Would break: a refusal counts as an end, and the first attempt lands afterwards."""
    writer.put(key(table, room), **AB).done()
    begin(writer, room=room).mark("unsure")
    table.drain(Primary(table.rows, ["refused"]))
    assert table.intents() == [("delete_partition", "claimed")]
    ((attempts, error),) = table.sql("SELECT attempts, error FROM sync.intent")
    assert (attempts, "the primary says no" in error) == (1, True)
    assert settled(table, room) == {}


def test_rule_37_a_claimed_delete_is_not_withdrawn(table: Table, room: str, writer: Actor) -> None:
    """Would break: the writer is refused and withdraws what a worker is sending, which lands."""
    delete = begin(writer, room=room)
    writer.dies()
    table.drain(Primary(table.rows, ["late"]))
    assert delete.withdraw() is False


def test_rule_37_the_open_delete_of_a_live_writer_is_left_alone(table: Table, room: str, writer: Actor) -> None:
    """Would break: each delete is sent twice."""
    begin(writer, room=room)
    table.drain()
    assert table.intents() == [("delete_partition", "open")]


def test_rule_37_an_acknowledged_delete_is_not_sent_again(table: Table, room: str, writer: Actor) -> None:
    """Would break: a source that is away holds up what only Postgres lacks."""
    writer.put(key(table, room), **AB).done()
    begin(writer, room=room).primary().mark("finished")
    table.drain(Primary(table.rows, ["refused"]))
    assert settled(table, room) == {}


def test_rule_37_a_delete_is_not_given_up_by_hand(table: Table, room: str, writer: Actor) -> None:
    """Would break: `sync intents --resolve` looks for the row of a key that is the beginning of many."""
    delete = begin(writer, room=room).mark("unsure")
    with pytest.raises(SettingsError, match="sent again until the source takes it"):
        resolve(table.settings, CONFIG, [delete.intent.id], None, lambda _: None, lambda _: None)
    with closing(connect(table.settings, autocommit=True)) as connection:
        (listed,) = list_intents(connection, "plays", 10)
    shown = shown_key(table.mapped.source, None, {}, bytes(listed["key"]), bytes(listed["source_key"]))
    assert (listed["kind"], shown) == ("delete_partition", {"room": room})


# rule 38


def test_rule_38_the_source_gets_the_delete_with_its_own_version(table: Table, room: str) -> None:
    """Would break: a row that was put again meanwhile is hidden in the source by what a worker sends."""
    be_primary(table, "postgres")
    begin_reverse(table, room=room)
    put = reverse_writer(table).begin("put", key(table, room), **AB).done()
    table.sql("UPDATE sync.intent SET state = 'finished'")
    assert settled(table, room).keys() == {(1, "x")}
    assert put.intent is not None


def test_rule_38_rows_tombstone_and_intent_are_one_transaction(table: Table, room: str) -> None:
    """Would break: rows are gone in Postgres and nobody tells Astra; a rollback then brings them back."""
    be_primary(table, "postgres")
    reverse_writer(table).begin("put", key(table, room), **AB).done()
    table.sql("ALTER TABLE sync.intent ADD CONSTRAINT no CHECK (kind <> 'delete_partition')")
    try:
        with pytest.raises(Reject):
            begin_reverse(table, room=room)
    finally:
        table.sql("ALTER TABLE sync.intent DROP CONSTRAINT no")
    assert tombstone(table, room) is None
    assert len(settled(table, room)) == 1


def test_rule_38_what_the_source_refuses_is_kept(table: Table, room: str) -> None:
    """Would break: the intent goes without an acknowledgement, and the source keeps the rows."""
    be_primary(table, "postgres")
    reverse_writer(table).begin("put", key(table, room), **AB).done()
    begin_reverse(table, room=room)
    table.sql("UPDATE sync.intent SET state = 'finished'")
    table.drain(Primary(table.rows, ["refused"]))
    assert table.intents() == [("delete_partition", "finished")]
    assert settled(table, room) == {}
