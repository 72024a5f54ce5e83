"""Rules 41 and 42 against real servers: what followers must have told before the primary changes, and what a gap undoes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from math import inf
from uuid import uuid4

import pytest
from support.capture import FEED, batch, changed, changed_partition, ledger
from support.dual import Table
from support.partitions import plays
from support.places import NewPlace, Place
from support.reverse import authority, be_primary
from support.running_commands import until

from sync.adapters.postgres.capture.feed_ledger import FeedLedger, FeedLimits
from sync.adapters.postgres.capture.feeds import forget, read_feeds
from sync.adapters.postgres.cutover.gates import GateFacts
from sync.core.capture.changes import Gap
from sync.core.cutover.followers import followers_gate
from sync.core.mutations import Key
from sync.errors import GateRefused, PreflightError, StillOpen
from sync.flows.cutover import CutoverResult, Limits, Switch
from sync.ports import Primary

pytest_plugins = ("support.fixtures",)
LIMITS = FeedLimits(300.0, 2.0, 60.0)


@pytest.fixture(scope="module")
def opened(new_place: NewPlace) -> Iterator[tuple[Place, Table]]:
    with plays(new_place) as made:
        yield made


@pytest.fixture(scope="module")
def table(opened: tuple[Place, Table]) -> Table:
    return opened[1]


@pytest.fixture
def key(table: Table) -> Iterator[Key]:
    be_primary(table, "astra")
    table.sql("UPDATE sync.writer SET state = 'signed_off'")
    yield table.key(room=str(uuid4()), day=1, song="x")
    table.sql("UPDATE sync.intent SET not_before = NULL")
    table.drained()
    table.sql("DELETE FROM sync.feed")
    table.sql("DELETE FROM sync.gap")


def switched(table: Table, said: list[str], pause: float = 20.0, settle: float = 20.0) -> CutoverResult:
    """A cut-over of this table alone, whose gates are all green."""
    with authority(table) as epochs:
        limits = Limits(1.0, settle, pause, 0.2)
        return Switch(epochs, lambda _: table.drain(), limits, said.append, lambda: "").run("cutover", table.epoch, {})


def tell(made: FeedLedger, enough: Callable[[], bool]) -> None:
    """The follower goes on, with nothing to tell, until it is enough."""

    def told() -> bool:
        made.record(FEED, batch())
        return enough()

    until(told, what="what is told is enough")


def test_rule_42_a_cut_over_waits_for_what_was_told_before_the_epoch_closed(table: Table, key: Key) -> None:
    """Would break: what another wrote just before is not announced yet, and Postgres becomes primary without it."""
    made, said = ledger(table), list[str]()
    made.record(FEED, batch(told=time.time() - 5))
    with ThreadPoolExecutor(1) as threads:
        done = threads.submit(switched, table, said)
        until(lambda: any("waiting for what others have changed" in line for line in said), what="it waits")
        assert "closing: writes wait now" not in said, "writes wait for a follower that is behind"
        made.record(FEED, batch(changed(table, key), told=time.time() - 4))
        tell(made, lambda: "closing: writes wait now" in said)
        tell(made, done.done)
        result = done.result(30)
    assert result.epoch.primary == "postgres"
    table.epoch = result.epoch.epoch
    made.close()


def test_rule_42_the_epoch_is_opened_again_where_a_follower_stays_behind(table: Table, key: Key) -> None:
    """Would break: a follower that has died lets the primary change, or stops every write for ever."""
    made, said = ledger(table), list[str]()
    with ThreadPoolExecutor(1) as threads:
        done = threads.submit(switched, table, said, pause=1.0)
        tell(made, lambda: "closing: writes wait now" in said)
        made.record(FEED, batch(told=time.time() - 60))  # it says no more
        table.sql("UPDATE sync.feed SET told_until = told_until - interval '1 minute'")
        with pytest.raises(GateRefused, match="feed a feed is"):
            done.result(60)
    assert table.sql("SELECT state FROM sync.epoch ORDER BY epoch DESC LIMIT 1") == [("open",)]
    with pytest.raises(PreflightError, match="a feed"), table.pool.connection() as connection:
        forget(connection, FEED, LIMITS)  # it is followed
    made.release(FEED)
    with table.pool.connection() as connection:
        forget(connection, FEED, LIMITS)
    result = switched(table, said)
    table.epoch = result.epoch.epoch
    made.close()


def test_rule_42_the_switch_itself_looks_once_more(table: Table, key: Key) -> None:
    """Would break: a feed that is taken up between the look and the switch is not waited for."""
    made = ledger(table)
    with authority(table) as epochs:
        number = epochs.begin("cutover", table.epoch)
        epochs.close(number, 5)
        with pytest.raises(StillOpen, match="has told nothing yet"):
            epochs.switch_primary(number, {})
        epochs.abandon(number, "")
    made.close()


def test_rule_40_a_drain_of_a_switch_waits_for_an_announcement_s_time(table: Table, key: Key) -> None:
    """Would break: the switch reads a key before a quorum has the write, or goes on without it."""
    made, said = ledger(table, write_timeout=1.0), list[str]()
    made.record(FEED, batch(changed(table, key, age=0), changed_partition(table, age=0, room="r"), told=float("inf")))
    begun = time.monotonic()
    result = switched(table, said, settle=0.1)
    assert time.monotonic() - begun > 0.5
    assert table.intents() == []
    table.epoch = result.epoch.epoch
    made.close()


def test_rule_41_a_gap_counts_from_when_every_clock_has_passed_it(table: Table, key: Key) -> None:
    """Would break: a pass that was under way, or began a moment later, proves what it cannot have seen."""
    made = ledger(table, write_timeout=2.0)
    now = time.time()
    made.record(FEED, batch(gaps=[Gap("plays", now - 10, "a segment is gone"), Gap(None, now - 100, "older")]))
    with table.pool.connection() as connection:
        found = GateFacts(connection).disturbed()
        assert "plays" not in GateFacts(connection).disturbed(gaps=False), "an emergency rollback waives what others write"
    (at, why), (everywhere, _) = found["plays"], found[""]
    assert abs(at.timestamp() - (now - 10 + 2 + 60)) < 5
    assert abs(everywhere.timestamp() - (now - 100 + 2 + 60)) < 5
    assert "a feed has lost (a segment is gone)" in why
    made.close()


@pytest.mark.parametrize("name", ["commitlog:a-node", "pulsar a-subscription"])
def test_rule_49_passes_from_before_a_feed_was_followed_prove_nothing(table: Table, key: Key, name: str) -> None:
    """Would break: what others wrote before, while passes had been made already, is told by nobody, and every gate is green."""

    def followed() -> float:
        with table.pool.connection() as connection:
            assert not GateFacts(connection).disturbed(gaps=False), "an emergency rollback waives what others write"
            at, why = GateFacts(connection).disturbed()[""]
        assert why == f"{name} was first followed"
        return at.timestamp()

    made = ledger(table)
    made.take("keys a-file")  # read from its beginning
    with table.pool.connection() as connection:
        assert not GateFacts(connection).disturbed()
    made.take(name)
    began = followed()
    made.record(name, batch())
    made.release(name)
    made.take(name)
    assert followed() == began, "a follower that goes on from its place has missed nothing"
    made.close()


@pytest.mark.parametrize(
    ("primary", "told", "is_gap"), [("astra", 0.0, True), ("astra", inf, False), ("postgres", 0.0, False)]
)
def test_rule_41_what_a_forgotten_feed_had_not_told_is_a_gap(
    table: Table, key: Key, primary: Primary, told: float, is_gap: bool
) -> None:
    """Would break: a feed that is behind is forgotten, the gate is green again, and nobody ever tells the rest."""
    be_primary(table, primary)
    made = ledger(table)
    made.record(FEED, batch(told=told or time.time()))
    made.release(FEED)
    made.close()
    with table.pool.connection() as connection:
        assert forget(connection, FEED, LIMITS) is is_gap
        found = GateFacts(connection).disturbed()
    assert ("" in found) is is_gap
    if is_gap:
        at, why = found[""]
        assert abs(at.timestamp() - (time.time() + 62)) < 10 and "it was forgotten" in why


def test_a_follower_that_is_behind_is_a_red_gate(table: Table, key: Key) -> None:
    """Would break: nobody learns before the cut-over that a follower has died."""
    made = ledger(table)

    def gate() -> tuple[bool, str]:
        with table.pool.connection() as connection:
            found = followers_gate(read_feeds(connection))
        return found.green, found.figure

    assert gate() == (False, "a feed has told nothing yet")
    made.record(FEED, batch(told=time.time() - 100))
    assert gate()[1].startswith("a feed is 1")
    made.record(FEED, batch())
    assert gate() == (True, "1 feed, caught up")
    made.record(FEED, batch(told=float("inf")))
    made.release(FEED, "it broke")
    assert gate()[0]
    made.close()


def test_status_shows_feeds_and_gaps(opened: tuple[Place, Table], key: Key) -> None:
    """Would break: an operator does not see that a follower is behind, or has lost something."""
    place, table = opened
    made = ledger(table)
    made.record(FEED, batch(changed(table, key), gaps=[Gap(None, time.time(), "a segment is gone")], told=time.time() - 30))
    status = place.commands.run("status", "--json").json
    (feed,), (gap,) = status["feeds"], status["gaps"]
    assert (feed["name"], feed["keys"], feed["gaps"], feed["followed"]) == (FEED, 1, 1, True)
    assert feed["behind_seconds"] > 29
    assert (gap["table"], gap["why"]) == (None, "a segment is gone")
    shown = place.commands.run("status").out
    assert re.search(r"feed a feed: \d+\.\d s behind; 1 key, 0 partitions", shown), shown
    assert "gap of a feed: every table" in shown, shown
    with closing(made):
        made.release(FEED)
