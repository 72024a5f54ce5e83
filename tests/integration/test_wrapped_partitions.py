"""Rule 47 against real servers: methods of a wrapped class that write a partition, whose keys nobody knows before the call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from random import Random
from typing import Any, Literal
from uuid import uuid4

import pytest
from support.backfills import until
from support.breakers import open_breaker
from support.dual import WINDOW_PASSES, clock, disturbed, now_us
from support.partitions import rows, settled, tombstone
from support.places import NewPlace
from support.reverse import authority
from support.rooms import Scene, opened
from support.wrapped_partitions import WRITES, AsyncRooms, some_plays

from sync.adapters.postgres.capture.partition_rechecks import PartitionRechecks
from sync.adapters.postgres.cutover.epochs import StillOpen
from sync.adapters.postgres.dual_write.intents import list_intents
from sync.adapters.postgres.schema.sql_writers import TRIGGERS
from sync.errors import LeaseLost, TargetBusy, WriteRefused, WriteUnsure
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
PRIMARIES = ("astra", "postgres")
SECOND = 1_000_000
PLAYS = [(1, "x", "one"), (2, "y", "two")]
AB = {"a": "1", "b": "1"}


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Scene]:
    with opened(new_place) as made:
        yield made


@pytest.fixture
def scene(home: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    home.begin(monkeypatch)
    return home


@pytest.fixture
def room() -> str:
    return str(uuid4())


def announce(scene: Scene, store: Any, room: str) -> Any:
    """A call that has been announced."""
    begun = store._calls.begin([("plays", {"room": room})])
    assert scene.plays.intents() == [("recheck_partition", "open")]
    return begun


def both(scene: Scene, room: str) -> dict[Any, Any]:
    """What workers have made of it: the same on both sides."""
    scene.drain()
    source, target = rows(scene.plays, room)
    assert source == target
    return source


@pytest.mark.parametrize("primary", PRIMARIES)
def test_rule_47_workers_make_the_partition_equal(scene: Scene, room: str, primary: str) -> None:
    """Would break: the keys that a call has written or deleted are not known, and differ for ever; or those of another room go."""
    scene.be_primary(primary)
    other = str(uuid4())
    with scene.wrap() as store:
        store.replace(other, PLAYS)
        assert store.replace(room, PLAYS) == 2
        assert both(scene, room).keys() == {(1, "x"), (2, "y")}
        store.replace(room, [(2, "y", "again"), (3, "z", "new")])
        assert {at: row["a"] for at, row in both(scene, room).items()} == {(2, "y"): "again", (3, "z"): "new"}
        store.clear(room)
        assert both(scene, room) == {}
        assert len(both(scene, other)) == 2
        assert scene.intents() == []


@pytest.mark.parametrize("primary", PRIMARIES)
def test_rule_47_an_open_one_of_a_live_writer_is_left_alone(scene: Scene, room: str, primary: str) -> None:
    """Would break: a worker rechecks the partition before it is written, and what comes afterwards is nobody's."""
    scene.be_primary(primary)
    with scene.wrap() as store:
        store.replace(room, PLAYS)
        scene.drain()
        seen: list[Any] = []

        def look() -> None:
            scene.drain()
            seen.append([intent for intent in scene.plays.intents() if intent[0] == "recheck_partition"])

        scene.primary.halfway = look
        store.replace(room, [(5, "v", "late")])
        assert seen == [[("recheck_partition", "open")]]
        assert both(scene, room).keys() == {(5, "v")}


@pytest.mark.parametrize("primary", PRIMARIES)
def test_rule_47_the_partition_of_a_dead_writer_is_rechecked(scene: Scene, room: str, primary: str) -> None:
    """Would break: what a call wrote before its process died is on one side for ever; or it is read while it may still land."""
    scene.be_primary(primary)
    with scene.wrap() as store:
        store.replace(room, PLAYS)
        scene.drain()
        begun = announce(scene, store, room)
        scene.primary.clear(room)
        scene.drain()
        before = disturbed(scene.plays)
        assert ("recheck_partition", "open") in scene.plays.intents()
        scene.die(30 + 15)
        scene.drain()
        assert ("recheck_partition", "open") in scene.plays.intents(), "it may still land"
        scene.die(3600)
        scene.plays.sql(WINDOW_PASSES)
        assert both(scene, room) == {}
        assert scene.intents() == []
        now = disturbed(scene.plays)
        assert now != before and now and now[1] == "a write that could not be repeated was settled in plays"
        begun.withdraw()  # so that the store can end


def silence(scene: Scene, store: Any, how: str) -> None:
    """The call's writer counts as dead, and does not know it: it was cut off for long, or fenced."""
    if how == "cut off":
        scene.die(3600)
    else:
        writer = store._calls._registration.writer
        was = writer.id
        scene.plays.sql("UPDATE sync.writer SET state = 'unclean', fenced_at = clock_timestamp() WHERE id = %s", (was,))
        until(lambda: writer.id != was)  # it has registered again
        scene.plays.sql("UPDATE sync.writer SET heartbeat_at = heartbeat_at - interval '1 hour' WHERE id = %s", (was,))
    scene.plays.sql(WINDOW_PASSES)


LATE = [(7, "w", "late")]
UNSURE = [("recheck_partition", "unsure")]


@pytest.mark.parametrize("how", ["cut off", "fenced"])
@pytest.mark.parametrize("end", ["finished", "raised", "away"])
def test_rule_47_who_was_taken_for_dead_leaves_another_recheck(scene: Scene, room: str, how: str, end: str) -> None:
    """Would break: a worker has looked, and what the call writes afterwards is on one side for ever."""
    with scene.wrap() as store:
        begun = announce(scene, store, room)
        scene.old.replace(room, PLAYS)
        silence(scene, store, how)
        assert both(scene, room).keys() == {(1, "x"), (2, "y")}
        assert scene.plays.intents() == []
        scene.old.replace(room, LATE)
        if end == "raised":
            begun.fail(TimeoutError())
        else:
            breaker = store._calls._registration.breaker
            breaker.failures = 0
            with open_breaker(breaker) if end == "away" else nullcontext():
                begun.finish()
        until(lambda: scene.plays.intents() == UNSURE)
        scene.plays.sql(WINDOW_PASSES)
        assert both(scene, room).keys() == {(7, "w")}
    assert scene.intents() == []


@pytest.mark.parametrize("step", ["bury", "leave_target", "remove", "failed"])
@pytest.mark.parametrize("how", ["cut off", "fenced"])
def test_rule_47_a_worker_that_looks_as_the_call_ends_removes_nothing(
    scene: Scene, room: str, how: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: it has read before the call's last statements, and removes what says that they were made."""
    with scene.wrap() as store:
        begun = announce(scene, store, room)
        scene.old.clear(room)
        silence(scene, store, how)
        real, ended = getattr(PartitionRechecks, step), []

        def late(*arguments: Any) -> Any:
            if not ended:
                ended.append(scene.old.replace(room, LATE))
                begun.finish()
            return real(*arguments)

        def busy(*_: Any) -> None:
            raise TargetBusy("a test")

        with monkeypatch.context() as patched:
            patched.setattr(PartitionRechecks, step, late)
            if step == "failed":
                patched.setattr(PartitionRechecks, "leave", busy)
                patched.setattr(PartitionRechecks, "leave_target", busy)
            scene.drain()
        assert ended and scene.plays.intents() == UNSURE
        scene.plays.sql(WINDOW_PASSES)
        assert both(scene, room).keys() == {(7, "w")}


def test_rule_47_a_worker_removes_a_recheck_only_as_it_was_picked(scene: Scene, room: str) -> None:
    """Would break: the same worker has picked it anew meanwhile, and its first look removes it."""
    with scene.wrap() as store:
        begun = announce(scene, store, room)
        silence(scene, store, "cut off")
        rechecks = PartitionRechecks(scene.plays.pool, scene.plays.mapped, scene.plays.encoder, 30, scene.plays.epoch)
        (first,) = rechecks.due("worker")
        begun.finish()
        scene.plays.sql(WINDOW_PASSES)
        (again,) = rechecks.due("worker")
        rechecks.remove(first)
        with pytest.raises(LeaseLost):
            rechecks.bury(first)
        assert scene.plays.intents() == UNSURE
        rechecks.remove(again)
        assert scene.plays.intents() == []


def test_rule_47_a_call_that_raised_is_looked_at_when_it_can_no_longer_land(scene: Scene, room: str) -> None:
    """Would break: half of the partition is written, or all of it later, and nobody looks; or earlier passes still count."""
    with scene.wrap() as store:
        store.replace(room, PLAYS)
        scene.drain()

        def fails() -> None:
            raise TimeoutError("the driver gave up waiting")

        scene.old.halfway = fails
        before = disturbed(scene.plays)
        with pytest.raises(TimeoutError):
            store.replace(room, PLAYS)
        assert scene.plays.intents() == [("recheck_partition", "unsure")]
        assert scene.drain() == 0
        scene.plays.sql(WINDOW_PASSES)
        assert both(scene, room) == {}
        assert disturbed(scene.plays) != before


@pytest.mark.parametrize("end", ["finished", "unsure", "dies"])
def test_rule_47_what_the_call_hides_does_not_come_behind_the_look(scene: Scene, room: str, end: str) -> None:
    """Would break: a put that began during the call is hidden in the source, and accepted in the target after the recheck."""
    writer = scene.plays.writer()
    with scene.wrap() as store:
        begun = announce(scene, store, room)
        put = writer.put(scene.plays.key(room=room, day=1, song="x"), **AB).primary()
        scene.old.clear(room)
        if end == "finished":
            begun.finish()
        elif end == "unsure":
            begun.fail(TimeoutError())
        else:
            scene.die(3600)
        scene.plays.sql(f"{WINDOW_PASSES} WHERE kind = 'recheck_partition'")
        scene.drain()
        assert not put.target(), "a put below the partition's tombstone is accepted"
        assert settled(scene.plays, room) == {}
        if end == "dies":
            begun.withdraw()  # so that the store can end


@pytest.mark.parametrize("ahead", [now_us() + 1000 * SECOND, 2**63 - 1], ids=["ahead", "highest"])
def test_rule_47_each_recheck_of_a_call_whose_end_is_unknown_leaves_a_newer_tombstone(
    scene: Scene, room: str, ahead: int
) -> None:
    """Would break: a worker took its writer for dead, and left the tombstone before the call; the second one looks the same.

    Or nothing of the table is drained, as no number is greater than the tombstone's.
    """
    token = scene.plays.cells.first_columns({"room": room}).token
    with scene.wrap() as store:
        begun = announce(scene, store, room)
        scene.plays.sql("INSERT INTO sync.partition_tombstone VALUES ('plays', %s, %s)", (token, ahead))
        scene.die(3600)
        scene.plays.sql(WINDOW_PASSES)
        scene.drain()
        found = tombstone(scene.plays, room)
        assert found and (found > ahead or ahead == 2**63 - 1)
        assert scene.plays.intents() == []
        begun.withdraw()


@pytest.mark.parametrize("end", ["finished", "raised"])
def test_rule_47_a_call_ends_at_its_own_host_s_time(scene: Scene, room: str, end: str) -> None:
    """Would break: Postgres's clock is ahead; a write after the call is stamped above that, and outlives the next call."""
    statement = "SELECT version FROM sync.intent WHERE kind = 'recheck_partition'"
    with scene.wrap() as store:
        begun = announce(scene, store, room)
        ((announced,),) = scene.plays.sql(statement)
        scene.plays.sql("SELECT pg_sleep(0.01)")  # a version may be a millisecond ahead, for its slot
        with clock(announced - SECOND):
            begun.finish() if end == "finished" else begun.fail(TimeoutError())
        assert scene.plays.sql(statement) == [(announced,)]


def test_rule_47_the_next_write_is_stamped_above_the_call(scene: Scene, room: str) -> None:
    """Would break: a store whose clock is behind puts a row after the call, is acknowledged, and the source hides the row."""
    with scene.wrap() as store:
        store.clear(room)
        ended = now_us()
        put = scene.plays.writer(clock=ended - 5 * SECOND).put(scene.plays.key(room=room, day=1, song="x"), **AB)
        assert put.version > ended - SECOND
        put.done()
        assert both(scene, room) == {(1, "x"): AB}


def test_rule_47_a_call_is_announced_above_all_that_is_known_of_its_partition(scene: Scene, room: str) -> None:
    """Would break: a row was written by a clock ahead; its recheck raises nothing, and a stamp falls between."""
    key = scene.plays.key(room=room, day=1, song="x")
    with clock(now_us() + 20 * SECOND):
        put = scene.plays.writer().put(key, **AB).done()
    with scene.wrap() as store:
        announce(scene, store, room).withdraw()
        begun = store._calls.begin([("plays", {"room": room})])
        ((version,),) = scene.plays.sql("SELECT version FROM sync.intent WHERE kind = 'recheck_partition'")
        assert version > put.version
        begun.finish()
        assert both(scene, room) == {(1, "x"): AB}


@pytest.mark.parametrize(("kind", "primary"), [("cutover", "astra"), ("rollback", "postgres")])
def test_rule_47_nothing_switches_while_a_call_is_under_way(
    scene: Scene, room: str, kind: Literal["cutover", "rollback"], primary: str
) -> None:
    """Would break: what the call writes after the switch is in the old primary alone."""
    scene.be_primary(primary)
    with scene.wrap() as store:
        begun = announce(scene, store, room)
        with authority(scene.plays) as epochs:
            switch = epochs.begin(kind)
            scene.plays.sql("UPDATE sync.writer SET epoch = (SELECT max(epoch) FROM sync.epoch), state = 'signed_off'")
            epochs.close(switch, 30)
            with pytest.raises(StillOpen):
                epochs.switch_primary(switch, {})
            epochs.abandon(switch, "a test")
        begun.finish()
    scene.settled()


def test_a_partition_and_keys_of_another_table_are_announced_together(scene: Scene, room: str) -> None:
    """Would break: the keys wait for workers as the partition does; or one of the two is not announced."""
    seen: list[Any] = []
    statement = "SELECT count(*), count(DISTINCT xmin::text) FROM sync.intent WHERE state = 'open'"
    scene.old.halfway = lambda: seen.append(scene.plays.sql(statement))
    with scene.wrap() as store:
        store.found(room, "me", PLAYS)
        assert seen == [[(2, 1)]]
        assert scene.intents() == [("recheck_partition", "finished")]
        assert scene.owners.target(scene.owners.key(room=room)) == {"owner": "me"}
        assert len(both(scene, room)) == 2


@pytest.mark.parametrize("end", ["finished", "raised"])
@pytest.mark.parametrize("when", ["before the store", "within the call"])
def test_with_postgres_as_primary_and_without_triggers_workers_look(scene: Scene, room: str, when: str, end: str) -> None:
    """Would break: a partition of the table was attached without triggers, or they are off: what a call writes is not sent."""
    scene.be_primary("postgres")
    triggers = [name for name in TRIGGERS if name != "_sync_begins"]

    def set_triggers(how: str) -> None:
        for name in triggers:
            scene.plays.sql(f"ALTER TABLE plays {how} TRIGGER {name}")

    try:
        if when == "before the store":
            set_triggers("DISABLE")
        with scene.wrap() as store:
            begun = announce(scene, store, room)
            set_triggers("DISABLE")
            scene.new.replace(room, PLAYS)
            begun.finish() if end == "finished" else begun.fail(TimeoutError())
            scene.plays.sql(WINDOW_PASSES)
            assert both(scene, room).keys() == {(1, "x"), (2, "y")}
    finally:
        set_triggers("ENABLE ALWAYS")


def test_with_postgres_as_primary_its_own_triggers_tell(scene: Scene, room: str) -> None:
    """Would break: every row of the partition is sent again for each call; or what a failed call has committed is not sent."""
    scene.be_primary("postgres")
    with scene.wrap() as store:
        store.replace(room, [(day, "x", "one") for day in range(50)])
        scene.drain()
        scene.new.halfway = lambda: 1 / 0
        scene.new._delete = lambda room: scene.new._insert(room, 1, "x", "two")  # type: ignore[method-assign]
        with pytest.raises(ZeroDivisionError):
            store.clear(room)
        del scene.new._delete
        assert scene.plays.intents() == [("recheck", "finished")]
        found = both(scene, room)
        assert len(found) == 50 and found[1, "x"]["a"] == "two"


@pytest.mark.parametrize("end", ["finished", "unsure"])
def test_without_a_journal_the_partition_is_remembered(scene: Scene, room: str, end: str) -> None:
    """Would break: what a call wrote during an outage of Postgres is never looked at (rules 28 and 31)."""

    def fails() -> None:
        raise TimeoutError("the driver gave up waiting")

    with scene.wrap() as store:
        store.replace(room, PLAYS)
        scene.drain()
        with open_breaker(store._calls._registration.breaker):
            if end == "unsure":
                scene.old.halfway = fails
                with pytest.raises(TimeoutError):
                    store.clear(room)
            else:
                store.clear(room)
        until(lambda: store._calls._registration.write_behind.unrecorded_count == 0)
        assert scene.plays.intents() == [("recheck_partition", end)]
        scene.plays.sql(WINDOW_PASSES)
        assert both(scene, room) == {}


def test_a_suspended_process_says_that_it_is_unsure(scene: Scene, room: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a worker took its writer for dead, and has looked already; the call comes afterwards (rules 17 and 30)."""
    with scene.wrap() as store:
        begun = announce(scene, store, room)
        scene.plays.sql("DELETE FROM sync.intent; DELETE FROM sync.sql_change")  # as a worker has rechecked it
        monkeypatch.setattr(type(begun.write), "_was_suspended", property(lambda _: True))
        scene.old.replace(room, PLAYS)
        with pytest.raises(WriteUnsure):
            begun.finish()
        until(lambda: store._calls._registration.write_behind.unrecorded_count == 0)
        assert scene.plays.intents() == [("recheck_partition", "unsure")]
        scene.plays.sql(WINDOW_PASSES)
        assert len(both(scene, room)) == 2


def test_a_cancelled_task_leaves_its_partition_unsure(scene: Scene, room: str) -> None:
    """Would break: the task is gone, its call may have been done, and nobody looks."""
    scene.configure()

    async def main() -> None:
        old, new = AsyncRooms(scene.old), AsyncRooms(scene.new)
        async with DualWriteStore.wrap(old, new, {"clear": WRITES["clear"]}) as store:
            await store.clear(room)
            old.entered.clear()
            old.gate.clear()
            task = asyncio.create_task(store.clear(room))
            await old.entered.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert sorted(scene.plays.intents()) == [("recheck_partition", "finished"), ("recheck_partition", "unsure")]

    asyncio.run(main())
    scene.settled()


def test_a_partition_in_a_table_that_keeps_what_expires_is_refused(scene: Scene, room: str) -> None:
    """Would break: the recheck deletes rows in Postgres that have expired, and were to be kept."""
    called: list[int] = []
    scene.old.halfway = lambda: called.append(1)
    text = "plays keeps what expires: name each key that a method writes"
    with scene.wrap('[tables.plays]\nttl = "keep"\n') as store, pytest.raises(WriteRefused, match=text):
        store.clear(room)
    assert not called


@pytest.mark.parametrize("named", [{}, {"day": 1}, {"room": None}, {"room": "r", "song": "s"}, {"room": "r", "b": "b"}])
def test_what_is_neither_a_key_nor_a_partition_is_refused(scene: Scene, named: dict[str, Any]) -> None:
    """Would break: a mistake in `writes` announces something else than what is written."""
    called: list[int] = []
    scene.old.halfway = lambda: called.append(1)
    with scene.wrap(writes={"clear": lambda room: ("plays", named)}) as store, pytest.raises(WriteRefused):
        store.clear("r")
    assert not called and scene.intents() == []


def test_an_operator_sees_the_partition_that_is_being_written(scene: Scene, room: str) -> None:
    """Would break: `sync intents` fails at an open intent of a partition."""
    with scene.wrap() as store:
        begun = announce(scene, store, room)
        with scene.plays.pool.connection() as connection:
            (found,) = list_intents(connection, "plays", 10)
        assert (found["kind"], found["state"]) == ("recheck_partition", "open")
        begun.withdraw()
    assert scene.intents() == []


def at_once(scene: Scene, store: Any, rounds: int, meanwhile: Callable[[], object]) -> None:
    """Six threads write three rooms, each in an order of its own."""

    def write(number: int) -> None:
        dice = Random(number)
        for _ in range(rounds):
            store.found(f"room {dice.randrange(3)}", f"o{number}", some_plays(dice))

    with ThreadPoolExecutor(6) as threads:
        written = [threads.submit(write, number) for number in range(6)]
        meanwhile()
        for each in written:
            each.result(120)


@pytest.mark.parametrize("primary", PRIMARIES)
def test_threads_that_write_the_same_rooms(scene: Scene, primary: str) -> None:
    """Would break: a worker removes the intent of another call; two calls wait for each other."""
    scene.be_primary(primary)
    with scene.wrap() as store:
        at_once(scene, store, 8, lambda: [scene.drain() for _ in range(5)])
    scene.settled()


def test_two_calls_of_a_room_are_two_intents(scene: Scene, room: str) -> None:
    """Would break: the first call's end takes the second one's announcement with it."""
    with scene.wrap() as store:
        first = announce(scene, store, room)
        second = store._calls.begin([("plays", {"room": room})])
        first.finish()
        scene.drain()
        assert scene.plays.intents() == [("recheck_partition", "open")]
        scene.old.replace(room, PLAYS)
        second.finish()
        assert len(both(scene, room)) == 2
