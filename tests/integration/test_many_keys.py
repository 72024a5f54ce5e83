"""Rule “many keys”: what is done for many keys with one statement is decided for each of them by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any
from uuid import uuid4

import pytest
from support.dual import NEVER_OPEN, Actor, Primary, Table, WriteBehind, clock, holding, now_us, prepare, until_waiting
from support.pair_table import CONFIG
from support.places import NewPlace
from support.reverse import be_primary, resender, reverse_writer

from sync.adapters.postgres.connection.pool import open_pool
from sync.adapters.postgres.dual_write.batch_journal import RowsJournal
from sync.adapters.postgres.dual_write.breaker import Breaker
from sync.adapters.postgres.dual_write.unrecorded import Unrecorded
from sync.core.mutations import Key
from sync.errors import EpochChanged, WriteRefused, WriteUnsure
from sync.flows.dual_write import ForwardWrite
from sync.flows.dual_write_batch import ForwardBatch
from sync.ports import PendingKey, Read, Written

pytest_plugins = ("support.fixtures", "support.pair_table")
SECOND = 1_000_000
X = {"a": "x", "b": None}


@pytest.fixture
def keys(table: Table) -> Iterator[list[Key]]:
    yield [table.key(id=uuid4()) for _ in range(6)]
    be_primary(table, "astra")
    table.drained()


def finished(table: Table, keys: Sequence[Key]) -> Actor:
    writer = table.writer()
    for key in keys:
        writer.put(key, a="x").primary().mark("finished")
    return writer


def readings(table: Table, keys: Sequence[Key]) -> list[tuple[Key, PendingKey, Read]]:
    picked = table.reconcile_steps().pick(keys)
    return [(key, picked[key], table.rows.read(key)) for key in keys]


# reconciles


def by_put(table: Table, key: Key) -> None:
    table.writer().put(key, a="new").done()


def by_delete(table: Table, key: Key) -> None:
    table.writer().delete(key).done()


def by_removal(table: Table, key: Key) -> None:
    table.sql("DELETE FROM sync.intent WHERE key = %s", (key.canonical,))


@pytest.mark.parametrize("change", [by_put, by_delete, by_removal])
@pytest.mark.parametrize("absent", [False, True])
def test_rule_15d_of_many_keys_the_one_that_changed_is_left(
    table: Table, keys: list[Key], change: Callable[[Table, Key], None], absent: bool
) -> None:
    """Would break: what was read before a write of one key is put over it, because the others are unchanged."""
    writer = finished(table, keys)
    if absent:
        table.drained()
        for key in keys:
            writer.delete(key).primary().mark("finished")
    found = readings(table, keys)
    change(table, keys[2])
    before, left = table.target(keys[2]), table.intents(keys[2])
    assert table.reconcile_steps().apply(found) == [keys[2]]
    assert (table.target(keys[2]), table.intents(keys[2])) == (before, left)
    others = [key for key in keys if key != keys[2]]
    assert [table.target(key) for key in others] == [None if absent else X] * 5
    assert [table.intents(key) for key in others] == [[]] * 5
    if change is by_removal:
        finished(table, keys[2:3])


def test_rule_15d_of_many_keys_only_what_was_picked_is_removed(table: Table, keys: list[Key]) -> None:
    finished(table, keys)
    found = readings(table, keys)
    assert not table.writer().update(keys[1], b="2").primary().target(), "there is no row yet"
    assert table.reconcile_steps().apply(found) == []
    assert [table.intents(key) for key in keys] == [[], [("update", "finished")], [], [], [], []]
    assert table.settled(keys[1]) == {"a": "x", "b": "2"}


def test_rows_and_absences_and_a_value_that_the_target_cannot_hold(table: Table, keys: list[Key]) -> None:
    """Would break: one row that is refused, or gone, decides over its batch."""
    writer = finished(table, keys)
    writer.delete(keys[0]).primary().mark("finished")
    writer.put(keys[1], a="\0").primary().mark("finished")
    assert table.drain() == 6
    assert [table.target(key) for key in keys] == [None, None, X, X, X, X]
    assert table.sql("SELECT reason FROM sync.reject WHERE key ->> 'id' IS NOT NULL") != []
    assert table.tombstone(keys[0]) is not None
    writer.put(keys[1], a="x").primary().mark("finished")
    writer.put(keys[0], a="x").primary().mark("finished")
    assert table.drain() == 2
    assert [table.target(key) for key in keys] == [X] * 6
    assert table.sql("SELECT reason FROM sync.reject") == [], "the row that was mended is no reject any more"


def test_rule_17_of_many_keys_one_that_could_not_be_repeated_disturbs_the_proof(table: Table, keys: list[Key]) -> None:
    finished(table, keys)
    before = table.sql("SELECT count(*) FROM sync.disturbance")
    table.sql(
        "UPDATE sync.intent SET kind = 'recheck', state = 'unsure', mutation = NULL WHERE key = %s", (keys[3].canonical,)
    )
    table.sql("UPDATE sync.intent SET ended_at = clock_timestamp() - interval '1 hour'")
    table.drained()
    assert table.sql("SELECT count(*) FROM sync.disturbance") == [(before[0][0] + 1,)]


def test_keys_of_partitions(new_place: NewPlace) -> None:
    """Would break: the tombstone of a partition is not looked at, or that of another one is."""
    with new_place() as place:
        place.cql("CREATE TABLE KS.notes (p int, c int, a text, PRIMARY KEY (p, c))")
        prepare(place.settings, CONFIG, "notes")
        with closing(Table(place.cassandra, place.settings, CONFIG, "notes")) as table:
            keys = [table.key(p=n % 2, c=n) for n in range(8)]
            finished(table, keys)
            found = readings(table, keys)
            table.sql("INSERT INTO sync.partition_tombstone VALUES ('notes', %s, 99)", (keys[1].token,))
            assert set(table.reconcile_steps().apply(found)) == {key for key in keys if key.token == keys[1].token}
            table.drained()
            assert table.check_equal() == 8
            versions = [version for (version,) in table.sql("SELECT _sync_version FROM notes")]
            be_primary(table, "postgres")
            writer, newest = reverse_writer(table), max(versions) + 3600 * SECOND
            for key in keys:
                writer.begin("put", key, a="y")
            table.sql("INSERT INTO sync.partition_tombstone VALUES ('notes', %s, %s)", (keys[0].token, newest))
            table.sql("UPDATE sync.intent SET state = 'finished'")
            raised = resender(table).resend_steps.pick(keys)
            assert all(
                found.version > max(versions) + 5 * SECOND for key, found in raised.items() if key.token == keys[0].token
            )
            table.drained()
            assert table.check_equal() == 8


def test_rows_with_arrays_and_keys_that_are_none(new_place: NewPlace) -> None:
    """Would break: an array of arrays is one array in Postgres, so that the elements of one row are another's."""
    with new_place() as place:
        place.cql("CREATE TABLE KS.lists (id uuid PRIMARY KEY, l list<int>, v text)")
        place.sql("CREATE TABLE lists (id uuid PRIMARY KEY, l int[], v text)")
        prepare(place.settings, CONFIG, "lists")
        with closing(Table(place.cassandra, place.settings, CONFIG, "lists")) as table:
            keys = [table.key(id=uuid4()) for _ in range(4)]
            writer = table.writer()
            for n, key in enumerate(keys):
                writer.put(key, l=[n, n + 1], v="x").primary().mark("finished")
            writer.delete(keys[3]).primary().mark("finished")
            table.drained()
            assert [table.target(key) for key in keys] == [*({"l": [n, n + 1], "v": "x"} for n in range(3)), None]
            assert not rows_journal(table, writer).takes_rows


# resends


@pytest.mark.parametrize("known", ["row", "tombstone", "intent", "ahead"])
def test_rule_27_of_many_keys_each_rises_above_what_is_known_of_it(table: Table, keys: list[Key], known: str) -> None:
    """Would break: a row is sent with a version that hides nothing, because another key's was looked at."""
    be_primary(table, "postgres")
    writer, ahead = reverse_writer(table), now_us() + 3600 * SECOND
    for key in keys:
        writer.begin("put", key, a="x")
    table.sql("UPDATE sync.intent SET state = 'finished'")
    name = (keys[4].canonical, ahead)
    if known == "row":
        table.sql(
            "UPDATE pairs SET _sync_version = %s WHERE id = %s", (ahead, table.cells.values({"id": keys[4].cells[0]})["id"])
        )
    elif known == "tombstone":
        table.sql("INSERT INTO sync.tombstone (table_name, key, token, version) VALUES ('pairs', %s, 1, %s)", name)
    elif known == "intent":
        table.sql("UPDATE sync.intent SET version = %(v)s WHERE key = %(k)s", {"k": name[0], "v": ahead})
    else:
        table.sql("INSERT INTO sync.ahead (table_name, key, token, version, shown) VALUES ('pairs', %s, 1, %s, '{}')", name)
    before = {key: table.version(key) or 0 for key in keys}
    picked = resender(table).resend_steps.pick(keys)
    assert [found.version > before[key] for key, found in picked.items()] == [True] * 6
    assert [found.version > ahead for found in picked.values()] == [False] * 4 + [True, False]
    assert [found.version for found in picked.values()] == [table.version(key) for key in keys]
    table.sql("DELETE FROM sync.ahead")
    table.sql("UPDATE sync.intent SET version = 1 WHERE version = %s", (ahead,))


def test_rows_and_rows_that_are_gone_are_sent(table: Table, keys: list[Key]) -> None:
    be_primary(table, "postgres")
    writer = reverse_writer(table)
    for key in keys:
        writer.begin("put", key, a="x").done()
    for key in keys[:3]:
        writer.begin("delete", key)
    for key in keys[3:]:
        writer.begin("put", key, a="x", b="y")
    table.sql("UPDATE sync.intent SET state = 'finished'")
    assert table.drain() == 6
    assert [table.source(key) for key in keys] == [None] * 3 + [{"a": "x", "b": "y"}] * 3
    assert table.intents() == []


# writes of many rows


def rows_journal(table: Table, writer: Actor, breaker: Breaker | None = None) -> RowsJournal:
    own = writer.journal
    return RowsJournal(table.pool, table.mapped, table.encoder, own._writer, breaker or Breaker(NEVER_OPEN), own)


def batch(table: Table, writer: Actor, primary: Any = None, behind: Any = None) -> ForwardBatch:
    one = ForwardWrite(writer.journal, primary or table.rows, behind or WriteBehind())
    return ForwardBatch(one, rows_journal(table, writer))


def puts(writer: Actor, keys: Sequence[Key], **values: Any) -> list[Any]:
    return [writer.mutation("put", key, **(values or {"a": "x"})) for key in keys]


def test_rule_12_rows_that_are_accepted_end_their_intents(table: Table, keys: list[Key]) -> None:
    writer = table.writer()
    ends = batch(table, writer).write(puts(writer, keys))
    assert (ends.errors, ends.alone) == ({}, [])
    assert [table.intents(key) for key in keys] == [[]] * 6
    assert [(table.source(key), table.target(key)) for key in keys] == [(X, X)] * 6


@pytest.mark.parametrize("known", ["row", "tombstone", "intent", "ahead"])
def test_rule_2_of_many_keys_each_stamp_exceeds_what_is_known_of_its_key(table: Table, keys: list[Key], known: str) -> None:
    """Would break: a write of a host whose clock is behind is acknowledged, and lost to an earlier one."""
    ahead, behind = table.writer(clock=now_us() + 3 * SECOND), table.writer()
    if known == "intent":
        newest = ahead.put(keys[1], a="earlier", b="earlier").primary().version
    elif known == "ahead":
        newest = now_us() + 3 * SECOND
        table.sql(
            "INSERT INTO sync.ahead (table_name, key, token, version, shown) VALUES ('pairs', %s, 1, %s, '{}')",
            (keys[1].canonical, newest),
        )
    else:
        newest = ahead.put(keys[1], a="earlier", b="earlier").done().version
        if known == "tombstone":
            newest = ahead.delete(keys[1]).done().version
    stamped = [
        intent
        for intent in rows_journal(table, behind).open(puts(behind, keys), [0] * 6)
        if not isinstance(intent, Exception)
    ]
    assert [intent.version > newest for intent in stamped] == [False, True, False, False, False, False]
    assert {intent.version % 1000 for intent in stamped} == {behind.journal._writer.slot}
    table.sql("DELETE FROM sync.ahead")
    behind.dies()
    ahead.dies()


def test_rule_2_a_stamp_exceeds_what_this_process_accepted_alone(table: Table, keys: list[Key]) -> None:
    writer, newest = table.writer(), now_us() + 3 * SECOND
    stamped = rows_journal(table, writer).open(puts(writer, keys), [0, newest, 0, 0, 0, 0])
    assert [intent.version > newest for intent in stamped if not isinstance(intent, Exception)] == [False, True, *[False] * 4]
    writer.dies()


def test_rules_6_and_12_of_many_rows_those_that_are_too_old_are_refused(table: Table, keys: list[Key]) -> None:
    """Would break: a batch that a newer write or delete has overtaken undoes it, or none of the batch is written."""
    writer = table.writer()
    journal, mutations = rows_journal(table, writer), puts(writer, keys)
    opened = [intent for intent in journal.open(mutations, [0] * 6) if not isinstance(intent, Exception)]
    for put, intent in zip(mutations, opened, strict=True):
        assert table.rows.write(put, intent.version)[0] == "written"
    table.writer().put(keys[0], a="newer").done()
    table.writer().delete(keys[1]).done()
    table.sql("DELETE FROM sync.intent WHERE id = %s", (opened[2].id,))
    assert journal.write(list(zip(mutations, opened, strict=True))) == 3
    assert [table.target(key) for key in keys] == [{"a": "newer", "b": None}, None, None, X, X, X]
    assert [table.intents(key) for key in keys] == [[("put", "finished")]] * 2 + [[]] * 4
    finished(table, keys[2:3])


def test_rule_5_keys_are_locked_before_the_statement_that_reads_them(table: Table, keys: list[Key]) -> None:
    """Would break: a put whose statement began before a delete committed does not see the tombstone: the key is back."""
    writer = table.writer()
    journal, mutations = rows_journal(table, writer), puts(writer, keys)
    opened = [intent for intent in journal.open(mutations, [0] * 6) if not isinstance(intent, Exception)]
    for put, intent in zip(mutations, opened, strict=True):
        assert table.rows.write(put, intent.version)[0] == "written"
    delete = table.writer().delete(keys[5]).primary()
    with ThreadPoolExecutor(2) as pool:
        with holding(table, "SELECT FROM sync.intent WHERE id = %s FOR UPDATE", (opened[0].id,)):
            slow = pool.submit(journal.write, list(zip(mutations, opened, strict=True)))
            until_waiting(table, 1)
            quick = pool.submit(delete.target)
            try:
                quick.result(0.7)
            except TimeoutError:
                until_waiting(table, 2)
        slow.result(20), quick.result(20)
    assert table.settled(keys[5]) is None


def test_rules_12_and_13_of_many_rows_each_has_its_own_answer(table: Table, keys: list[Key]) -> None:
    """Would break: what the primary refuses of one row, all are said to be refused; or an unsure one is forgotten."""
    writer, behind = table.writer(), WriteBehind()
    primary = Primary(table.rows, ["refused", "landed", "lost"])
    ends = batch(table, writer, primary, behind).write(puts(writer, keys))
    assert [type(ends.errors.get(n)) for n in range(6)] == [WriteRefused, WriteUnsure, WriteUnsure, *[type(None)] * 3]
    assert [table.intents(key) for key in keys] == [[], [("put", "unsure")], [("put", "unsure")], [], [], []]
    assert [table.target(key) for key in keys] == [None, None, None, X, X, X]
    assert behind.notified == ["pairs"]
    table.drained()
    assert [(table.source(key), table.target(key)) for key in keys] == [(None, None), *[(X, X)] * 5]


def test_rule_12_of_many_rows_one_that_the_target_cannot_hold_is_left_to_workers(table: Table, keys: list[Key]) -> None:
    writer = table.writer()
    given = puts(writer, keys)
    given[3] = writer.mutation("put", keys[3], a="\0")
    ends = batch(table, writer).write(given)
    assert (ends.errors, ends.alone) == ({}, [])
    assert [table.intents(key) for key in keys] == [[], [], [], [("put", "finished")], [], []]
    assert [table.target(key) for key in keys] == [X, X, X, None, X, X]


def test_rule_12_of_many_rows_one_that_a_trigger_refuses_is_left_to_workers(table: Table, keys: list[Key]) -> None:
    """Would break: nothing of the batch arrives, as long as it is sent together."""
    table.sql("ALTER TABLE pairs ADD CONSTRAINT no_poison CHECK (a <> 'poison')")
    writer = table.writer()
    given = puts(writer, keys)
    given[3] = writer.mutation("put", keys[3], a="poison")
    try:
        assert batch(table, writer).write(given).errors == {}
        assert [table.intents(key) for key in keys] == [[], [], [], [("put", "finished")], [], []]
        assert [table.target(key) for key in keys] == [X, X, X, None, X, X]
    finally:
        table.sql("ALTER TABLE pairs DROP CONSTRAINT no_poison")


def test_rule_20_a_batch_begins_under_its_epoch_alone(table: Table, keys: list[Key]) -> None:
    """Would break: a batch is written into the former primary."""
    writer = table.writer()
    be_primary(table, "postgres")
    with pytest.raises(EpochChanged):
        batch(table, writer).write(puts(writer, keys))
    assert [(table.source(key), table.intents(key)) for key in keys] == [(None, [])] * 6


def test_rule_3_a_clock_too_far_ahead_stamps_none_of_them(table: Table, keys: list[Key]) -> None:
    writer = table.writer(skew=60)
    with clock(now_us() + 120 * SECOND):
        ends = batch(table, writer).write(puts(writer, keys))
    assert [type(error) for error in ends.errors.values()] == [WriteRefused] * 6
    assert table.intents() == []


def test_rule_28_without_a_journal_each_row_goes_alone(table: Table, keys: list[Key]) -> None:
    writer = table.writer()
    one = ForwardWrite(writer.journal, table.rows, WriteBehind())
    ends = ForwardBatch(one, rows_journal(table, writer, Breaker(0))).write(puts(writer, keys))
    assert (ends.errors, ends.alone) == ({}, [0, 1, 2, 3, 4, 5])
    assert [table.source(key) for key in keys] == [None] * 6


def test_rule_9_rows_wait_for_the_backfill_of_their_ranges(table: Table, keys: list[Key]) -> None:
    """Would break: a merge and a batch each write many rows, in orders of their own: they deadlock."""
    writer = table.writer()
    journal, mutations = rows_journal(table, writer), puts(writer, keys)
    opened = [intent for intent in journal.open(mutations, [0] * 6) if not isinstance(intent, Exception)]
    for put, intent in zip(mutations, opened, strict=True):
        assert table.rows.write(put, intent.version)[0] == "written"
    table.sql("INSERT INTO sync.run (kind, table_name, floor) VALUES ('backfill', 'pairs', 0)")
    table.sql(
        "INSERT INTO sync.range (run_id, table_name, range_start, range_end) "
        "SELECT max(id), 'pairs', -9223372036854775808, 9223372036854775807 FROM sync.run"
    )
    insert, ids = b"INSERT INTO pairs (id) VALUES (%s)", [table.cells.values({"id": key.cells[0]})["id"] for key in keys]
    with ThreadPoolExecutor(1) as pool:
        with holding(table, "SELECT set_config('sync.own', 'on', true)") as merge:
            merge.execute("SELECT FROM sync.range FOR UPDATE")
            merge.execute(insert, (ids[5],))
            written = pool.submit(journal.write, list(zip(mutations, opened, strict=True)))
            until_waiting(table, 1)
            merge.execute(insert, (ids[0],))
        assert written.result(20) == 6
    table.sql("UPDATE sync.run SET state = 'done'")
    assert [table.target(key) for key in keys] == [X] * 6


# statements that take too long for many keys


@pytest.fixture
def quick(table: Table, monkeypatch: pytest.MonkeyPatch) -> Iterator[Breaker]:
    """No statement takes longer than two seconds; a breaker that opens with the first failure."""
    with closing(open_pool(table.settings, 4, 2)) as pool, monkeypatch.context() as patch:
        patch.setattr(table, "pool", pool)
        yield Breaker(1)


@contextmanager
def slow_rows(table: Table, name: str) -> Iterator[None]:
    """Within the block each row that is inserted takes 0.4 s."""
    table.sql(
        "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.4); RETURN NEW; END $$; "
        f"CREATE TRIGGER late BEFORE INSERT ON {name} FOR EACH ROW EXECUTE FUNCTION late()"
    )
    try:
        yield
    finally:
        table.sql(f"DROP TRIGGER late ON {name}; DROP FUNCTION late()")


@pytest.mark.slow
@pytest.mark.parametrize("slow", ["pairs", "sync.intent"])
def test_many_rows_that_take_too_long_together_go_alone(table: Table, keys: list[Key], quick: Breaker, slow: str) -> None:
    """Would break: a statement for 64 rows is cancelled, and the whole process takes Postgres to be down."""
    writer = table.writer()
    writer.journal._breaker = quick
    together = ForwardBatch(ForwardWrite(writer.journal, table.rows, WriteBehind()), rows_journal(table, writer, quick))
    with slow_rows(table, slow):
        ends = together.write(puts(writer, keys))
    assert (ends.errors, quick.causes) == ({}, {})
    if slow == "pairs":
        assert [(table.source(key), table.target(key)) for key in keys] == [(X, X)] * 6
    else:
        assert ends.alone == [0, 1, 2, 3, 4, 5]
    assert table.intents() == []


@pytest.mark.slow
def test_many_keys_that_take_too_long_together_are_drained_alone(table: Table, keys: list[Key], quick: Breaker) -> None:
    """Would break: a worker fails with the same batch for ever."""
    finished(table, keys)
    with slow_rows(table, "pairs"):
        table.drained()
    assert [table.target(key) for key in keys] == [X] * 6


@pytest.mark.slow
def test_rule_31_many_writes_that_take_too_long_together_are_recorded_alone(
    table: Table, keys: list[Key], quick: Breaker
) -> None:
    """Would break: the same writes are tried for ever, and the writer never signs off."""
    writer, gone = table.writer(), list[Written]()
    writer.journal._breaker = quick
    unrecorded = Unrecorded(1_000_000, gone.append)
    for put in puts(writer, keys):
        unrecorded.add(writer.journal, Written(put, now_us(), "unsure"))
    with slow_rows(table, "sync.intent"):
        assert unrecorded.record(lambda: None) == {"pairs"}
    assert (len(unrecorded), len(gone), quick.causes) == (0, 6, {})
    assert [table.intents(key) for key in keys] == [[("put", "unsure")]] * 6


# what was written alone


def test_rule_31_many_writes_are_recorded_each_as_it_was(table: Table, keys: list[Key]) -> None:
    """Would break: of writes that nobody knows of, some are forgotten, or sent again though they are done."""
    writer = table.writer()
    given = [Written(put, now_us(), "unsure") for put in puts(writer, keys[:3])]
    given += [Written(writer.mutation("delete", key), now_us(), "finished") for key in keys[3:]]
    writer.journal.record(given)
    assert [table.intents(key) for key in keys] == [[("put", "unsure")]] * 3 + [[("delete", "finished")]] * 3
    assert [version for (version,) in table.sql("SELECT version FROM sync.intent ORDER BY id")] == [
        each.version for each in given
    ]
    table.drained()
    assert [(table.source(key), table.target(key)) for key in keys] == [(X, X)] * 3 + [(None, None)] * 3
    be_primary(table, "postgres")
    writer.journal.record([*given, *given])
    assert [table.intents(key) for key in keys] == [[("recheck", "finished")]] * 6
