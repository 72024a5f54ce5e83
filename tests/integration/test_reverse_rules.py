"""Rules 17 and 22 to 27 against real servers: Postgres is primary, and somebody else acts between any two steps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import pytest
from support.commands import environment
from support.dual import WINDOW_PASSES, Table, WriteBehind, disturbed, holding, now_us, until_waiting
from support.pair_table import CONFIG
from support.places import NewPlace
from support.prepared_places import prepared
from support.reverse import ReverseWriter, be_primary, both, resender, reverse_writer, write_time

from sync.adapters.postgres.dual_write.locks import lock_of
from sync.core.encode.base import Reject
from sync.core.mutations import Key, Kind
from sync.errors import EpochChanged, WriteRefused
from sync.flows.reverse_write import ReverseWrite
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures", "support.pair_table")
NOTHING = None


@pytest.fixture
def key(table: Table) -> Iterator[Key]:
    be_primary(table, "postgres")
    yield table.key(id=uuid4())
    table.drained()


@pytest.fixture
def writer(table: Table, key: Key) -> ReverseWriter:
    return reverse_writer(table)


# rule 17


@pytest.mark.parametrize("state", ["finished", "unsure"])
def test_rule_17_the_end_of_what_could_not_be_repeated_disturbs_the_proof(
    table: Table, key: Key, writer: ReverseWriter, state: Literal["finished", "unsure"]
) -> None:
    """Would break: a failed call lands in Postgres after the read, and earlier passes allow a rollback that loses it."""
    before = disturbed(table)
    writer.actor.journal.mark([writer.journal.announce(key)], state, "")
    table.sql(WINDOW_PASSES)
    assert table.settled(key) is NOTHING
    assert (disturbed(table) != before) == (state == "unsure")


# rule 22


def test_rule_22_a_reconcile_takes_the_intents_of_its_own_epoch_alone(table: Table, key: Key, writer: ReverseWriter) -> None:
    """Would break: a reconcile of the old direction reads the old primary, and overwrites a newer write in the new one."""
    writer.begin("put", key, a="1", b="1")
    table.sql("UPDATE sync.intent SET state = 'finished'")
    assert table.epoch > 1
    from sync.adapters.postgres.dual_write.reconcile import ReconcileSteps

    old = ReconcileSteps(table.pool, table.mapped, table.encoder, 30, table.epoch - 1)
    assert old.pick([key]) == {}
    assert table.settled(key) == {"a": "1", "b": "1"}


def test_rule_22_a_forward_write_is_told_that_the_epoch_has_changed(table: Table, key: Key, writer: ReverseWriter) -> None:
    """Would break: a writer that slept through the cut-over writes to the old primary, and calls it done."""
    with pytest.raises(EpochChanged) as told:
        writer.actor.put(key, a="old", b="old")
    assert (told.value.primary, told.value.state) == ("postgres", "open")
    assert both(table, key) == (NOTHING, NOTHING)
    be_primary(table, "astra")
    with pytest.raises(EpochChanged):
        writer.begin("put", key, a="new", b="new")
    assert both(table, key) == (NOTHING, NOTHING)
    assert table.intents(key) == []


# rule 23


@pytest.mark.parametrize("known", ["row", "tombstone", "intent"])
def test_rule_23_a_write_exceeds_all_that_is_known_of_the_key(
    table: Table, key: Key, writer: ReverseWriter, known: str
) -> None:
    """Would break: a write is stamped older than what the source holds, and vanishes there."""
    ahead = now_us() + 30_000_000
    if known == "row":
        writer.begin("put", key, at=ahead, a="1", b="1").done()
    elif known == "tombstone":
        writer.begin("delete", key, at=ahead).done()
    else:
        writer.begin("put", key, at=ahead, a="1", b="1")
        table.sql("DELETE FROM pairs WHERE id = %s", (key_uuid(table, key),))
    later = reverse_writer(table).begin("put", key, a="2", b="2").done()
    assert later.version > ahead
    assert both(table, key) == ({"a": "2", "b": "2"}, {"a": "2", "b": "2"})
    assert table.version(key) == later.version


def test_rule_23_a_transaction_has_its_rows_and_their_intents(table: Table, key: Key) -> None:
    """Would break: of a transaction of the application's only a part is committed, or sent (test_transactions has the rest)."""
    table.sql("CREATE TABLE IF NOT EXISTS own (id uuid)")
    settings, row = table.settings.model_copy(update={"storage_backend": "postgres"}), {"id": key_uuid(table, key)}
    with DualWriteStore(settings, CONFIG) as store:
        with pytest.raises(ZeroDivisionError), store.transaction() as tx:
            tx.put("pairs", {**row, "a": "1"})
            _ = 1 / 0
        assert (both(table, key), table.intents(key)) == ((NOTHING, NOTHING), [])
        with store.transaction() as tx:
            tx.put("pairs", {**row, "a": "1"})
            tx.execute("INSERT INTO own VALUES (%s)", (row["id"],))
            tx.update("pairs", row, {"b": "2"})
            assert (table.target(key), table.intents(key)) == (NOTHING, [])
        assert table.sql("SELECT 1 FROM own WHERE id = %s", (row["id"],)) == [(1,)]
    table.drained()
    assert both(table, key) == ({"a": "1", "b": "2"},) * 2


def test_rule_23_writes_of_a_key_are_stamped_one_after_the_other(table: Table, key: Key, writer: ReverseWriter) -> None:
    """Would break: two writes of a key are stamped at the same time, and the source keeps a different one than Postgres."""
    with ThreadPoolExecutor(1) as executor:
        with holding(table, "SELECT pg_advisory_xact_lock(%s)", (lock_of(key),)):
            waiting = executor.submit(writer.begin, "put", key, a="1", b="1")
            until_waiting(table)
            # The stamp that waits for the lock must see what the lock's holder commits.
            values = (table.name, key.canonical, key.token, now_us() + 9_000_000)
            table.sql("INSERT INTO sync.tombstone VALUES (%s, %s, %s, %s)", values)
        assert waiting.result().version > (table.tombstone(key) or 0)
        waiting.result().done()


def test_rule_23_row_and_intent_are_one_transaction(table: Table, key: Key, writer: ReverseWriter) -> None:
    """Would break: a process that dies leaves a row that the source never gets."""
    table.sql(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no room for an intent'; END $$; "
        "CREATE TRIGGER no BEFORE INSERT ON sync.intent EXECUTE FUNCTION no()"
    )
    try:
        with pytest.raises(Reject, match="no room"):
            writer.begin("put", key, a="1", b="1")
    finally:
        table.sql("DROP TRIGGER no ON sync.intent; DROP FUNCTION no()")
    assert (table.target(key), table.intents(key)) == (NOTHING, [])


def test_rule_23_a_delete_leaves_its_tombstone(table: Table, key: Key, writer: ReverseWriter) -> None:
    """Would break: after the delete, a write is stamped older than the delete, and the source hides it for ever."""
    writer.begin("put", key, a="1", b="1").done()
    gone = writer.begin("delete", key).done()
    assert table.tombstone(key) == gone.version
    assert both(table, key) == (NOTHING, NOTHING)


def test_a_clock_that_is_far_ahead_may_not_write(table: Table, key: Key, writer: ReverseWriter) -> None:
    """Would break: one wrong clock stamps writes that nobody can exceed for hours."""
    with pytest.raises(WriteRefused, match="clock"):
        writer.begin("put", key, at=now_us() + 3_600_000_000, a="1", b="1")
    assert (table.target(key), table.intents(key)) == (NOTHING, [])


# rule 24


def test_rule_24_an_update_of_an_absent_row_writes_nothing(table: Table, key: Key, writer: ReverseWriter) -> None:
    """Would break: the source makes a row of the updated columns alone, which Postgres does not have."""
    assert writer.begin("update", key, a="1").intent is None
    assert table.intents(key) == []
    assert both(table, key) == (NOTHING, NOTHING)
    flow, write_behind = flow_of(table, writer)
    assert flow.write(writer.mutation("update", key, a="1")) is False
    assert table.settled(key) is NOTHING
    assert write_behind.kept == []


# rule 25


def test_rule_25_the_source_gets_the_row_s_version_as_its_timestamp(table: Table, key: Key, writer: ReverseWriter) -> None:
    """Would break: the source orders writes by another clock than Postgres, and keeps a different one."""
    flow, _ = flow_of(table, writer)
    assert flow.write(writer.mutation("put", key, a="1", b="1")) is True
    assert write_time(table, key, "a") == table.version(key)
    assert table.intents(key) == []
    assert flow.write(writer.mutation("update", key, b=None)) is True
    assert both(table, key) == ({"a": "1", "b": None}, {"a": "1", "b": None})
    assert flow.write(writer.mutation("delete", key)) is True
    assert both(table, key) == (NOTHING, NOTHING)
    first = reverse_writer(table).begin("put", key, a="2", b="2")
    second = writer.begin("put", key, a="3", b="3").done()
    first.done()  # later than the second, and older
    assert both(table, key) == ({"a": "3", "b": "3"}, {"a": "3", "b": "3"})
    assert second.version == table.version(key)


@pytest.mark.parametrize("landed", [True, False])
def test_rule_25_a_source_that_does_not_answer_is_not_noticed(
    table: Table, key: Key, writer: ReverseWriter, landed: bool
) -> None:
    """Would break: a sick secondary costs the application an error, or the source a write (invariant 8)."""
    flow, write_behind = flow_of(table, writer, Slow(table, landed))
    assert flow.write(writer.mutation("put", key, a="1", b="1")) is True
    assert [state for _, _, state, _ in write_behind.kept] == ["finished"]
    assert table.intents(key) == [("put", "open")]
    assert table.settled(key) == {"a": "1", "b": "1"}


# rule 26


def test_rule_26_only_the_intents_that_were_picked_go(table: Table, key: Key, writer: ReverseWriter) -> None:
    """Would break: a write that came between the read and the end is forgotten, and the source stays behind."""
    first = writer.begin("put", key, a="1", b="1")
    writer.actor.journal.mark([first.intent], "finished", "")  # type: ignore[list-item]
    going = resender(table).pick(key)
    writer.begin("put", key, a="2", b="2")
    going.send().remove()
    assert table.intents(key) == [("put", "open")]
    assert table.settled(key) == {"a": "2", "b": "2"}


def test_rule_26_what_was_picked_goes_though_it_was_locked_for_a_moment(
    table: Table, key: Key, writer: ReverseWriter
) -> None:
    """Would break: a worker that looks which intents are due locks those that another one has just taken; these are done, and
    stay until their lease ends: half a minute, for which a switch waits.
    """
    first = writer.begin("put", key, a="1", b="1")
    writer.actor.journal.mark([first.intent], "finished", "")  # type: ignore[list-item]
    going = resender(table).pick(key).send()
    with ThreadPoolExecutor(1) as pool:
        with holding(table, "SELECT 1 FROM sync.intent FOR UPDATE"):
            removed = pool.submit(going.remove)
            until_waiting(table)
        removed.result(60)
    assert table.intents(key) == []


def test_rule_26_an_old_reconcile_does_not_overwrite(table: Table, key: Key, writer: ReverseWriter) -> None:
    """Would break: a reconcile that slept sends an old row of Postgres over the current one."""
    first = writer.begin("put", key, a="1", b="1")
    writer.actor.journal.mark([first.intent], "finished", "")  # type: ignore[list-item]
    asleep = resender(table).pick(key)
    writer.begin("put", key, a="2", b=None).done()
    asleep.send().remove()
    assert both(table, key) == ({"a": "2", "b": None}, {"a": "2", "b": None})


def test_rule_26_nulls_are_sent(table: Table, key: Key, writer: ReverseWriter) -> None:
    """Would break: a column that is null in Postgres keeps its old value in the source."""
    writer.begin("put", key, a="1", b="1").done()
    emptied = writer.begin("update", key, b=None)
    writer.actor.journal.mark([emptied.intent], "finished", "")  # type: ignore[list-item]
    assert table.settled(key) == {"a": "1", "b": None}


def test_rule_26_a_row_that_is_gone_is_deleted(table: Table, key: Key, writer: ReverseWriter) -> None:
    """Would break: a deleted row stays in the source, and comes back with a rollback."""
    writer.begin("put", key, a="1", b="1").done()
    gone = writer.begin("delete", key)
    writer.actor.journal.mark([gone.intent], "finished", "")  # type: ignore[list-item]
    assert table.settled(key) is NOTHING


# rule 27


@pytest.mark.parametrize("since", ["before the cut-over", "after the cut-over"])
@pytest.mark.parametrize("held", ["another row", "a row that is not there", "nothing where a row is"])
def test_rule_27_a_repair_exceeds_what_the_source_holds(
    table: Table, key: Key, writer: ReverseWriter, held: str, since: str
) -> None:
    """Would break: a value written into the source with a newer timestamp than the row's survives every repair."""
    if held != "a row that is not there":
        writer.begin("put", key, a="1", b="1").done()
    stray = now_us()
    kind: Any = "delete" if held == "nothing where a row is" else "put"
    values = {} if kind == "delete" else {"a": "stray", "b": None}
    assert table.rows.write(writer.mutation(kind, key, **values), stray) == ("written", "")
    if since == "before the cut-over":
        # As at every switch (rule 3).
        table.sql("UPDATE sync.epoch SET floor = %s WHERE epoch = %s", (stray + 1, table.epoch))
    table.sql(
        "INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner) "
        "VALUES (%s, %s, %s, 'recheck', 'finished', 1, %s, 'drift report')",
        (table.name, key.canonical, key.token, table.epoch),
    )
    expected = NOTHING if held == "a row that is not there" else {"a": "1", "b": "1"}
    assert table.settled(key) == expected


def test_a_list_that_is_sent_twice_is_not_doubled(new_place: NewPlace) -> None:
    """Would break: a list's elements have no names; sent twice with one timestamp, each of them is there twice."""
    with prepared(new_place, CONFIG, pairs="id uuid PRIMARY KEY, l list<int>") as place:
        table = Table(place.cassandra, place.settings, CONFIG, "pairs")
        be_primary(table, "postgres")
        key, writer = table.key(id=uuid4()), reverse_writer(table)
        written = writer.begin("put", key, l=[1, 2]).source()
        writer.actor.journal.mark([written.intent], "finished", "")  # type: ignore[list-item]
        for _ in range(2):
            resender(table).pick(key).send()
        assert table.source(key) == {"l": [1, 2]}
        table.drained()
        assert table.source(key) == {"l": [1, 2]}
        table.close()


class Slow:
    """A source that answers after its caller has gone."""

    def __init__(self, table: Table, landed: bool) -> None:
        self._table, self._landed = table, landed

    def write(self, mutation: Any, version: int) -> Any:
        return "unsure", "timed out"

    def send(self, mutation: Any, version: int, done: Any) -> bool:
        if self._landed:
            self._table.rows.write(mutation, version)
        done("unsure", "timed out")
        return True


class Now:
    """The source, waited for, so that a test sees what it did."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def write(self, mutation: Any, version: int) -> Any:
        return self._table.rows.write(mutation, version)

    def write_many(self, writes: Any) -> Any:
        return self._table.rows.write_many(writes)

    def send(self, mutation: Any, version: int, done: Any) -> bool:
        done(*self._table.rows.write(mutation, version))
        return True


def flow_of(table: Table, writer: ReverseWriter, secondary: Any = None) -> tuple[ReverseWrite, WriteBehind]:
    write_behind = WriteBehind()
    columns = frozenset(p.source.name for p in table.encoder.pairs)
    return ReverseWrite(writer.journal, writer.actor.journal, secondary or Now(table), write_behind, columns), write_behind


def key_uuid(table: Table, key: Key) -> Any:
    return table.cells.values({"id": key.cells[0]})["id"]


@pytest.mark.parametrize("point", ["resend.picked", "resend.sent", "resend.removed"])
@pytest.mark.parametrize("kind", ["put", "delete"])
def test_a_worker_that_dies_while_it_sends_a_row_costs_nothing(
    table: Table, key: Key, writer: ReverseWriter, tmp_path: Path, point: str, kind: Kind
) -> None:
    """Would break: the row that a worker was sending when it was killed is never sent."""
    writer.begin("put", key, a="1", b="1").done()
    values: dict[str, Any] = {"a": "2"} if kind == "put" else {}
    written = writer.begin(kind, key, **values)
    writer.actor.journal.mark([written.intent], "finished", "")  # type: ignore[list-item]
    (tmp_path / "sync.toml").write_text("schema_files = []\n")
    env = {**os.environ, **environment(table.settings), "SYNC_FAILPOINTS": f"{point}=kill:1"}
    work = [sys.executable, "-c", f"from workers.tasks import reconcile; reconcile({table.name!r})"]
    killed = subprocess.run(work, env=env, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-500:]
    assert table.settled(key) == ({"a": "2", "b": None} if kind == "put" else NOTHING)
