"""Rules 20, 21, 30 and 31 against real servers: the cut-over, one step at a time, with a writer between the steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from socket import socket
from uuid import uuid4

import pytest
from support.backfills import until
from support.commands import environment
from support.dual import Table, stamping, until_waiting
from support.places import Place
from support.prepared_places import home_of
from support.reverse import authority, be_primary, both, reverse_writer

from sync.adapters.postgres.cutover.writers import fence
from sync.adapters.postgres.dual_write.registration import Registration
from sync.adapters.postgres.schema.source_schema import remember
from sync.core.mutations import Key, Mutation
from sync.errors import EpochChanged, GateRefused, SettingsError, StillOpen, Unreachable, WriteRefused
from sync.ports import Written
from sync.settings import Config, DualWriteTuning
from sync.stores import DualWriteStore, open_store
from sync.stores.both_sides import source

pytest_plugins = ("support.fixtures",)
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=4, heartbeat_seconds=0.2, max_wait_seconds=5))
PAUSE = 20.0


home = home_of(CONFIG, pairs="id uuid PRIMARY KEY, a text, b text")


@pytest.fixture
def table(home: Place) -> Iterator[Table]:
    """Rows of two columns; the source is primary, no switch is under way, no writer is registered."""
    opened = Table(home.cassandra, home.settings, CONFIG, "pairs")
    opened.sql("UPDATE sync.switch SET finished_at = clock_timestamp(), state = 'abandoned' WHERE finished_at IS NULL")
    opened.sql("UPDATE sync.epoch SET state = 'open' WHERE epoch = (SELECT max(epoch) FROM sync.epoch)")
    opened.sql("DELETE FROM sync.intent; DELETE FROM sync.sql_change")
    opened.sql("UPDATE sync.writer SET state = 'signed_off'")
    be_primary(opened, "astra")
    yield opened
    opened.close()


@pytest.fixture
def key(table: Table) -> Key:
    return table.key(id=uuid4())


@contextmanager
def registered(table: Table, **tuning: object) -> Iterator[Registration]:
    """A process that is registered, with its heartbeat."""
    one = Registration(table.pool, CONFIG.dual_write.model_copy(update=tuning), lambda _: None)
    try:
        yield one
    finally:
        one.end()


# rule 20


@pytest.mark.parametrize("primary", ["astra", "postgres"])
def test_rule_20_the_epoch_is_held_until_the_intent_is_committed(table: Table, key: Key, primary: str) -> None:
    """Would break: the epoch switches between a writer's read of it and its intent, which is then of a past epoch."""
    be_primary(table, primary)
    forward, reverse = table.writer(), reverse_writer(table, alive=False)
    with authority(table) as epochs, ThreadPoolExecutor(2) as executor:
        switch = epochs.begin("cutover" if primary == "astra" else "rollback")
        acknowledge(table, switch)
        with stamping(table):
            begin = forward.begin if primary == "astra" else reverse.begin
            writing = executor.submit(begin, "put", key, a="1", b="1")
            until_waiting(table, 1)
            closing = executor.submit(epochs.close, switch, PAUSE)
            until_waiting(table, 2)
            assert not closing.done(), "the epoch closed under a writer's hands"
        closing.result()
        writing.result()
        with pytest.raises(StillOpen, match="1 open intent"):
            epochs.switch_primary(switch, {})
        epochs.abandon(switch, "")
    assert table.settled(key) == {"a": "1", "b": "1"}


# rule 21


def test_rule_21_no_write_begins_while_the_epoch_is_closing(table: Table, key: Key) -> None:
    """Would break: intents come in faster than they are drained, or one of the old epoch is left."""
    with authority(table) as epochs:
        switch = epochs.begin("cutover")
        epochs.close(switch, PAUSE)
        with pytest.raises(EpochChanged) as told:
            table.writer(alive=False).put(key, a="1", b="1")
        assert told.value.state == "closing"
        epochs.switch_primary(switch, {})
    assert both(table, key) == (None, None)
    be_primary(table, "postgres")


def test_rule_21_nothing_switches_while_rows_are_copied(table: Table) -> None:
    """Would break: a backfill writes over the new primary; or every writer waits for it until the pause is over."""
    with authority(table) as epochs:
        switch = epochs.begin("cutover")
        acknowledge(table, switch)
        table.sql("INSERT INTO sync.run (kind, table_name, floor) VALUES ('backfill', 'pairs', 0)")
        epochs.close(switch, PAUSE)
        with pytest.raises(GateRefused, match=r"^1 backfill under way: nothing has changed") as refused:
            epochs.switch_primary(switch, {})
        assert not isinstance(refused.value, StillOpen), "it is not tried again"
        epochs.abandon(switch, "")
        assert (epochs.current().primary, epochs.current().state) == ("astra", "open")
    table.sql("DELETE FROM sync.run WHERE kind = 'backfill' AND state = 'open'")


@pytest.mark.parametrize("state", ["open", "finished", "unsure", "claimed"])
def test_rule_21_nothing_switches_while_an_intent_is_left(table: Table, key: Key, state: str) -> None:
    """Would break: the new primary lacks what the old one acknowledged."""
    write = table.writer().put(key, a="1", b="1").primary()
    table.sql("UPDATE sync.intent SET state = %s", (state,))
    with authority(table) as epochs:
        switch = epochs.begin("cutover")
        acknowledge(table, switch)
        epochs.close(switch, PAUSE)
        with pytest.raises(StillOpen):
            epochs.switch_primary(switch, {})
        assert epochs.current().primary == "astra"
        write.target()
        table.drained()
        epoch, _ = epochs.switch_primary(switch, {})
    assert (epoch.primary, epoch.state) == ("postgres", "open")
    assert both(table, key) == ({"a": "1", "b": "1"}, {"a": "1", "b": "1"})


def test_rule_17_the_proof_is_asked_for_again_within_the_switch(table: Table) -> None:
    """Would break: an unsure write is settled while the epoch closes, and lands after a cut-over on the older proof."""
    with authority(table) as epochs:
        switch = epochs.begin("cutover")
        epochs.close(switch, PAUSE)
        with pytest.raises(GateRefused, match="the proof is old: nothing has changed"):
            epochs.switch_primary(switch, {}, lambda: "the proof is old")
        epochs.abandon(switch, "")
        assert (epochs.current().epoch, epochs.current().state) == (table.epoch, "open")


def test_rule_21_the_floor_rises_with_the_switch(table: Table) -> None:
    """Would break: a write after the cut-over gets a lower stamp than an unrecorded one before it."""
    with authority(table) as epochs:
        before = epochs.current().floor
        table.sql("UPDATE sync.epoch SET floor = floor + 3600000000 WHERE epoch = %s", (table.epoch,))
        switch = epochs.begin("cutover")
        epochs.close(switch, PAUSE)
        after, _ = epochs.switch_primary(switch, {})
    assert after.floor > before + 3_600_000_000
    table.sql("UPDATE sync.epoch SET floor = %s WHERE epoch = %s", (before, after.epoch))


def test_rule_21_too_slow_opens_the_same_epoch_again(table: Table, key: Key) -> None:
    """Would break: a command that dies while the epoch is closed stops the application for good."""
    with DualWriteStore(table.settings, CONFIG) as store, authority(table) as epochs:
        store.put("pairs", {"id": uuid4(), "a": "0"})
        switch = epochs.begin("cutover")
        until(lambda: not epochs.not_ready(switch), what="the writer answers")
        epochs.close(switch, 0.5)  # and its command dies
        assert store.put("pairs", {"id": table.cells.values({"id": key.cells[0]})["id"], "a": "1", "b": "1"})
        with pytest.raises(GateRefused, match="too long"):
            epochs.switch_primary(switch, {})
        epochs.abandon(switch, "")
        assert epochs.current().epoch == table.epoch
    assert table.settled(key) == {"a": "1", "b": "1"}


def test_rule_21_writes_that_waited_go_to_the_new_primary(table: Table, key: Key) -> None:
    """Would break: a write that waited for the cut-over is refused, or goes to the old primary alone."""
    with DualWriteStore(table.settings, CONFIG) as store, authority(table) as epochs, ThreadPoolExecutor(1) as executor:
        store.put("pairs", {"id": uuid4(), "a": "0"})
        switch = epochs.begin("cutover")
        until(lambda: not epochs.not_ready(switch), what="the writer answers")
        epochs.close(switch, PAUSE)
        row = {"id": table.cells.values({"id": key.cells[0]})["id"], "a": "1", "b": "1"}
        waiting = executor.submit(store.put, "pairs", row)
        time.sleep(0.2)
        assert not waiting.done()
        table.drained()
        epochs.switch_primary(switch, {})
        assert waiting.result(60) is True
        assert store.primary == "postgres"
        assert store.get("pairs", {"id": row["id"]}) == row
        until(lambda: any(epochs.waits(switch).values()), what="the writer tells how long its write waited")
        assert [len(ms) for ms in epochs.waits(switch).values()] == [1]
    table.epoch += 1
    assert table.settled(key) == {"a": "1", "b": "1"}


def test_a_write_does_not_wait_for_ever(table: Table, key: Key) -> None:
    """Would break: an epoch that stays closed hangs every request of the application."""
    config = CONFIG.model_copy(update={"dual_write": CONFIG.dual_write.model_copy(update={"max_wait_seconds": 0.5})})
    with DualWriteStore(table.settings, config) as store, authority(table) as epochs:
        store.put("pairs", {"id": uuid4(), "a": "0"})
        epochs.close(epochs.begin("cutover"), PAUSE)
        with pytest.raises(WriteRefused, match="closing"):
            store.put("pairs", {"id": uuid4(), "a": "1"})


# rules 29 and 30


def test_rule_29_a_writer_with_a_write_under_way_does_not_sign_off(table: Table, key: Key) -> None:
    """Would break: nobody will record what it is about to write without an intent, and it counts as clean."""
    with registered(table) as one:
        assert one.write_behind.begin_accepting()
        one.end()
        assert not one.write_behind.begin_accepting(), "who would record it?"
        assert table.sql("SELECT state FROM sync.writer WHERE id = %s", (one.writer.id,)) == [("active",)]
        one.write_behind.end_accepting()
    assert table.sql("SELECT state FROM sync.writer WHERE id = %s", (one.writer.id,)) == [("signed_off",)]


def test_rule_30_a_switch_needs_every_writer_s_answer(table: Table) -> None:
    """Would break: a writer that is cut off from Postgres goes on writing to the old primary, and nobody waits for it."""
    silent = table.writer()
    with authority(table) as epochs:
        switch = epochs.begin("cutover")
        assert [w.writer for w in epochs.not_ready(switch)] == [silent.name]
        epochs.close(switch, PAUSE)
        with pytest.raises(StillOpen, match=silent.name):
            epochs.switch_primary(switch, {})
        acknowledge(table, switch)
        epochs.switch_primary(switch, {})


def test_rule_30_a_writer_answers_only_what_it_can_keep(table: Table, key: Key) -> None:
    """Would break: a writer that has promised writes to the old primary without an intent, unknown to the cut-over."""
    with registered(table) as one, authority(table) as epochs:
        assert one.write_behind.begin_accepting(), "before anything is announced"
        switch = epochs.begin("cutover")
        until(lambda: told(table, one) == (switch, 1), what="it has promised, and one write is still being made")
        assert not one.write_behind.begin_accepting(), "promised"
        assert [w.why for w in epochs.not_ready(switch)] == ["1 writes are not recorded yet"]
        one.write_behind.add_unrecorded(
            table.writer().journal, Mutation("put", key, {"a": b"1", "b": None}), one.write_behind.stamp(key), "finished"
        )
        one.write_behind.end_accepting()
        until(lambda: [w for w in epochs.not_ready(switch) if w.writer == one.writer.id] == [], what="it is recorded")
        assert table.intents(key) == [("recheck", "finished")], "the primary has the values"
        epochs.abandon(switch, "")
        until(lambda: not one._switch, what="it hears that the switch is over")
        assert one.write_behind.begin_accepting()
        one.write_behind.end_accepting()


def test_rule_30_a_promise_holds_while_postgres_is_away(table: Table) -> None:
    """Would break: a writer that is cut off after its promise thinks that the switch has ended."""
    with registered(table) as one, authority(table) as epochs:
        switch = epochs.begin("cutover")
        until(lambda: told(table, one)[0] == switch, what="it has promised")
        one._own = Away()  # type: ignore[assignment]
        epochs.abandon(switch, "")
        time.sleep(0.5)
        assert not one.write_behind.begin_accepting()
        one._own = table.pool
        until(one.write_behind.begin_accepting, what="it hears that the switch is over")
        one.write_behind.end_accepting()


def test_rule_30_nothing_is_accepted_where_postgres_is_primary(table: Table) -> None:
    """Would break: after the switch Postgres is away briefly, and a writer accepts writes on Astra, now the secondary."""
    with registered(table) as one, authority(table) as epochs:
        switch = epochs.begin("cutover")
        until(lambda: told(table, one)[0] == switch, what="it has promised")
        epochs.close(switch, PAUSE)
        epochs.switch_primary(switch, {})
        until(lambda: one.primary == "postgres" and not one._switch, what="it knows")
        time.sleep(0.5)
        assert not one.write_behind.begin_accepting()
        with registered(table) as another:
            assert not another.write_behind.begin_accepting()
        table.epoch += 1
        be_primary(table, "astra")
        until(one.write_behind.begin_accepting, what="Astra is primary again")
        one.write_behind.end_accepting()


def test_rule_30_a_writer_that_comes_during_a_switch_has_promised(table: Table) -> None:
    """Would break: a process that starts between the answers and the cut-over holds the cut-over up, or does not wait for it."""
    with authority(table) as epochs:
        switch = epochs.begin("cutover")
        with registered(table) as one:
            assert epochs.not_ready(switch) == []
            assert not one.write_behind.begin_accepting()


# rule 31


def test_rule_31_a_fenced_writer_stops_the_switch_until_a_pass_has_looked(table: Table) -> None:
    """Would break: what a writer wrote without an intent before it died is in the old primary only."""
    silent = table.writer()
    with authority(table) as epochs:
        before = epochs.current().floor
        fence(epochs.connection, silent.name)
        assert epochs.current().floor > before
        switch = epochs.begin("cutover")
        assert [w.why for w in epochs.not_ready(switch)] == ["unclean"]
        begun = datetime.now(UTC)
        assert epochs.clear(begun, 10, 0) == [], "a pass that began so soon may have missed a late write"
        floor = epochs.current().floor
        table.sql("UPDATE sync.writer SET fenced_at = fenced_at - interval '1 minute'")
        assert epochs.clear(begun, 10, 60_000_000) == [silent.name]
        assert epochs.current().floor >= floor + 50_000_000
        assert epochs.not_ready(switch) == []
        table.sql("UPDATE sync.epoch SET floor = %s WHERE epoch = %s", (before + 1, table.epoch))


def test_rule_31_what_was_kept_until_after_the_switch_settles_by_the_new_primary(table: Table, key: Key) -> None:
    """Would break: a fenced writer that is still alive sends an old write over what the new primary holds."""
    be_primary(table, "postgres")
    held = reverse_writer(table).begin("put", key, a="new", b="new").done()
    late = table.writer()
    cells = table.cells.row({"a": "old", "b": "old"})
    stamp = held.version + 5_000_000  # its clock is ahead
    table.rows.write(Mutation("put", key, cells), stamp)
    late.journal.record([Written(Mutation("put", key, cells), stamp, "finished")])
    assert table.intents(key) == [("recheck", "finished")]
    assert table.settled(key) == {"a": "new", "b": "new"}


# two operators


def test_one_switch_at_a_time(table: Table) -> None:
    """Would break: two operators switch at once, and one of them undoes what the other has just done."""
    with authority(table) as first, authority(table) as second:
        switch = first.begin("cutover")
        with pytest.raises(GateRefused, match="a cutover by"):
            second.begin("cutover")
        first.close(switch, PAUSE)
        first.switch_primary(switch, {})
        with pytest.raises(GateRefused, match="changed"):
            second.begin("cutover")
        second.abandon(second.begin("rollback"), "")


def test_a_switch_whose_command_died_is_taken_back(table: Table) -> None:
    """Would break: after a kill -9 nobody can cut over any more."""
    with authority(table) as dead, authority(table) as next_one:
        left = dead.begin("cutover")
        dead.close(left, PAUSE)
        with pytest.raises(GateRefused, match="under way"):
            next_one.begin("cutover")
        table.sql("UPDATE sync.switch SET lease_until = clock_timestamp() - interval '1 s' WHERE id = %s", (left,))
        switch = next_one.begin("cutover")
        assert next_one.current().state == "open"
        with pytest.raises(GateRefused):
            dead.renew(left)
        with pytest.raises(GateRefused):
            dead.switch_primary(left, {})
        next_one.abandon(switch, "")


class Away:
    """A pool without a server."""

    def connection(self) -> object:
        from psycopg_pool import PoolTimeout

        raise PoolTimeout("away")


def acknowledge(table: Table, switch: int) -> None:
    """Make every registered writer promise."""
    table.sql("UPDATE sync.writer SET acknowledged = %s", (switch,))


def told(table: Table, one: Registration) -> tuple[int | None, int]:
    """The switch for which a writer has promised, and how many writes it says are not recorded."""
    return table.sql("SELECT acknowledged, unrecorded FROM sync.writer WHERE id = %s", (one.writer.id,))[0]  # type: ignore[return-value]


# what a process expects


@pytest.mark.parametrize("primary", ["astra", "postgres"])
@pytest.mark.parametrize("dual", ["true", "false"])
def test_a_process_that_expects_the_other_store_does_not_start(
    home: Place, table: Table, monkeypatch: pytest.MonkeyPatch, primary: str, dual: str
) -> None:
    """Would break: a process that was started with an old setting writes to the secondary."""
    be_primary(table, primary)
    table.writer()  # somebody writes to both sides: the epoch is in force
    home.configure("schema_files = []")
    for name, value in {**environment(home.settings), "SYNC_DUAL_WRITE": dual, "SYNC_CONFIG": toml(home)}.items():
        monkeypatch.setenv(name, value)
    other = {"astra": "postgres", "postgres": "astra"}[primary]
    monkeypatch.setenv("STORAGE_BACKEND", other)
    with pytest.raises(SettingsError, match=rf"is primary since .*epoch {table.epoch}.*set STORAGE_BACKEND={primary}$"):
        open_store()
    assert table.sql("SELECT count(*) FROM sync.writer WHERE state = 'active'") == [(1,)], "it left itself registered"
    monkeypatch.setenv("STORAGE_BACKEND", primary)
    monkeypatch.setenv("SYNC_ALLOW_ONE_SIDED", "true")
    song = {"id": uuid4(), "a": "1", "b": None}
    with open_store() as store:
        store.put("pairs", song)
        assert store.get("pairs", {"id": song["id"]}) == song
        assert getattr(store, "primary", primary) == primary


def test_a_process_starts_while_the_source_is_away(home: Place, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: with Astra down, the application on Postgres cannot be deployed (invariant 8)."""
    monkeypatch.setattr(source, "_AGAIN_SECONDS", 0.2)
    with authority(table) as epochs:
        remember(epochs.connection, [table.mapped.source])
    be_primary(table, "postgres")
    away = home.settings.model_copy(update={"cassandra_port": free_port(), "storage_backend": "postgres"})
    song, key = uuid4(), {}
    with DualWriteStore(away, CONFIG) as store:
        key = {"id": song}
        assert store.put("pairs", {**key, "a": "1", "b": "1"}) is True
        assert store.update("pairs", key, {"b": None}) is True
        assert store.get("pairs", key) == {**key, "a": "1", "b": None}
        with pytest.raises(WriteRefused, match="there is no table"):
            store.put("nothing", {"id": song})
        store._source._settings = home.settings  # the source comes back
        until(lambda: store._source._store is not None, what="it is found")
        assert store.put("pairs", {"id": uuid4(), "a": "2"}) is True
    assert table.settled(table.key(**key)) == {"a": "1", "b": None}
    be_primary(table, "astra")
    with pytest.raises(Unreachable):
        DualWriteStore(away.model_copy(update={"storage_backend": "astra"}), CONFIG)


def free_port() -> int:
    """A port where nobody listens."""
    with closing(socket()) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def toml(home: Place) -> str:
    """The path of the place's sync.toml."""
    return str(home.commands.folder / "sync.toml")
