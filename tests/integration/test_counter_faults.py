"""Increments whose answers are lost, late or refused, and workers that die or sleep: nothing is counted twice (rule “counters”)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import pytest
from support.backfills import until
from support.counters import CLAIM_PASSES, CONFIG, PLAYS, faulty, recheck, sums
from support.dual import WINDOW_PASSES, Died, Table, disturbed
from support.places import Place
from support.prepared_places import home_of
from support.reverse import be_primary, both

from sync.adapters.postgres.dual_write.counters import CounterSteps
from sync.errors import WriteRefused, WriteUnsure
from sync.flows import resend_counters
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow

home = home_of(CONFIG, plays=PLAYS)


@pytest.fixture
def table(home: Place) -> Iterator[Table]:
    """Counters; nothing is open."""
    with closing(Table(home.cassandra, home.settings, CONFIG, "plays")) as opened:
        opened.sql("DELETE FROM sync.intent; DELETE FROM sync.sql_change")
        opened.sql("DELETE FROM sync.disturbance")
        opened.sql("UPDATE sync.writer SET state = 'signed_off'")
        yield opened


@pytest.fixture
def forward(home: Place, table: Table) -> Iterator[DualWriteStore]:
    """Astra is primary."""
    be_primary(table, "astra")
    with DualWriteStore(home.settings, CONFIG) as store:
        yield store


@pytest.fixture
def reverse(home: Place, table: Table) -> Iterator[DualWriteStore]:
    """Postgres is primary."""
    be_primary(table, "postgres")
    with DualWriteStore(home.settings.model_copy(update={"storage_backend": "postgres"}), CONFIG) as store:
        yield store


@pytest.fixture
def key() -> dict[str, UUID]:
    return {"song": uuid4()}


def counted(store: DualWriteStore, table: Table, key: dict[str, UUID], **amounts: int) -> None:
    """Increment in Postgres; the intent is ready for a worker."""
    store.increment("plays", key, amounts)
    until(lambda: not any(state == "open" for _, state in table.intents()), what="its intent is marked")


def drained(table: Table) -> int:
    """One worker's drain, whatever failed before."""
    table.sql("UPDATE sync.intent SET lease_until = NULL")
    return table.drain()


def errors(table: Table) -> str:
    return "; ".join(str(error) for (error,) in table.sql("SELECT DISTINCT error FROM sync.intent"))


# Astra is primary


@pytest.mark.parametrize("fault", ["lost", "landed", "late"])
def test_an_increment_without_an_answer_is_unsure(
    table: Table, forward: DualWriteStore, key: dict[str, UUID], fault: str
) -> None:
    """Would break: it is repeated, and counted twice; or the key is read before it arrives, and the sides differ."""
    forward.increment("plays", key, {"times": 1})
    with faulty(fault) as faults:
        with pytest.raises(WriteUnsure, match="it may have been counted, or still be, and repeating it may count it twice"):
            forward.increment("plays", key, {"times": 1})
        assert drained(table) == 0 and table.intents() == [("recheck", "unsure")], "it may still arrive"
        faults.land()
        table.sql(WINDOW_PASSES)
        assert drained(table) == 1 and len(faults.sent) == 1
    assert both(table, table.key(**key)) == sums(1 if fault == "lost" else 2)
    assert disturbed(table)


def test_a_refused_increment_leaves_nothing(table: Table, forward: DualWriteStore, key: dict[str, UUID]) -> None:
    """Would break: an intent that waits for a minute, and a gate that is red, for an increment that was never made."""
    with faulty("refused"), pytest.raises(WriteRefused, match="the primary refused the increment: the source says no"):
        forward.increment("plays", key, {"times": 1})
    assert table.intents() == [] and both(table, table.key(**key)) == (None, None)


def test_an_older_sum_is_not_written_over_a_newer_one(table: Table, forward: DualWriteStore, key: dict[str, UUID]) -> None:
    """Would break: a reconcile that has read before an increment puts the old sum into Postgres (rule 15d)."""
    forward.increment("plays", key, {"times": 1})
    which = table.key(**key)
    recheck(table, which)
    earlier = table.reconciler().claim(which).read()
    forward.increment("plays", key, {"times": 1})
    assert earlier.settle() is False, "it has changed meanwhile"
    assert table.settled(which) == {"times": 2, "skips": None}


# Postgres is primary


@pytest.mark.parametrize("fault", ["lost", "landed", "late", "dies"])
def test_no_second_increment_is_sent_while_the_first_may_arrive(
    table: Table, reverse: DualWriteStore, key: dict[str, UUID], fault: str
) -> None:
    """Would break: the source counts twice, and nobody sees it before the next drift report."""
    counted(reverse, table, key, times=5)
    with faulty(fault) as faults:
        with suppress(Died):
            assert drained(table) == 0
        counted(reverse, table, key, times=2)
        assert drained(table) == 0 and len(faults.sent) == 1, "a newer increment waits, too"
        assert ("update", "claimed") in table.intents() and "it may still arrive" in errors(table)
        faults.land()
        table.sql(CLAIM_PASSES)
        assert drained(table) == 1
    assert faults.sent == ([{"times": 5}, {"times": 7}] if fault == "lost" else [{"times": 5}, {"times": 2}])
    assert both(table, table.key(**key)) == sums(7) and table.intents() == []
    assert disturbed(table), "the window is an assumption: passes from before it prove nothing"


def test_an_answer_that_is_lost_begins_the_window_anew(table: Table, reverse: DualWriteStore, key: dict[str, UUID]) -> None:
    """Would break: the window begins with the claim, and ends before the attempt can no longer arrive."""
    counted(reverse, table, key, times=1)

    def slowly(*_: Any) -> tuple[str, str]:
        table.sql("UPDATE sync.intent SET replayed_at = replayed_at - interval '69 s'")
        return "unsure", "timed out"

    with patch("sync.adapters.cassandra.rows.rows.SourceRows.increment", slowly):
        assert drained(table) == 0
    ((age,),) = table.sql("SELECT extract(epoch FROM clock_timestamp() - replayed_at) FROM sync.intent")
    assert age < 30


def test_a_refused_increment_is_sent_again_at_once(table: Table, reverse: DualWriteStore, key: dict[str, UUID]) -> None:
    """Would break: a source that has no replica for a moment costs a minute, and the proof."""
    counted(reverse, table, key, times=1)
    with faulty("refused"):
        assert drained(table) == 0 and "the source says no" in errors(table)
        assert table.intents() == [("recheck", "finished")]
        assert drained(table) == 1
    assert both(table, table.key(**key)) == sums(1) and disturbed(table) is None


def test_what_is_late_is_not_sent(table: Table, reverse: DualWriteStore, key: dict[str, UUID]) -> None:
    """Would break: a worker sends long after its claim, when another one may have taken the key over."""
    counted(reverse, table, key, times=1)
    now, looks = resend_counters._now, []

    def later() -> float:
        looks.append(1)
        return now() + (11 if len(looks) > 1 else 0)

    with faulty() as faults, patch.object(resend_counters, "_now", later):
        assert drained(table) == 0
    assert faults.sent == [] and "nothing was sent" in errors(table)
    assert drained(table) == 1 and both(table, table.key(**key)) == sums(1)


@pytest.mark.parametrize("end", ["equal", "unsure", "release"])
def test_a_worker_whose_claim_was_taken_over_has_the_key_read_again(
    table: Table, reverse: DualWriteStore, key: dict[str, UUID], end: str
) -> None:
    """Would break: it slept for longer than the window, sends what another one has sent meanwhile, and nobody looks."""
    counted(reverse, table, key, times=3)
    which = table.key(**key)
    steps = CounterSteps(table.pool, table.mapped, table.encoder, 30, table.epoch)
    claim = steps.claim([which])[which]
    table.sql(CLAIM_PASSES)
    assert drained(table) == 1 and table.intents() == []
    assert table.rows.increment(which, {"times": 3}) == ("written", "")
    getattr(steps, end)(which, claim)
    assert table.intents() == [("recheck", "claimed" if end == "unsure" else "finished")]
    if end == "unsure":
        assert drained(table) == 0, "it may still arrive"
        table.sql(WINDOW_PASSES)
        table.sql(CLAIM_PASSES)
    assert drained(table) == 1
    assert both(table, which) == sums(3)


def test_an_increment_in_the_middle_has_its_own_intent(table: Table, reverse: DualWriteStore, key: dict[str, UUID]) -> None:
    """Would break: the end of an attempt removes the intent of an increment that came after its read."""
    counted(reverse, table, key, times=1)
    increment = table.rows.__class__.increment

    def between(rows: Any, which: Any, amounts: dict[str, int]) -> tuple[str, str]:
        if amounts == {"times": 1}:
            counted(reverse, table, key, times=10)
        return increment(rows, which, amounts)

    with patch("sync.adapters.cassandra.rows.rows.SourceRows.increment", between):
        assert drained(table) == 2, "the second one in the same drain"
    assert table.intents() == [] and both(table, table.key(**key)) == sums(11)


def test_what_no_increment_can_mend_is_said(home: Place, table: Table, reverse: DualWriteStore) -> None:
    """Would break: a worker that adds for ever to a counter that Cassandra hides, or deletes one, which it cannot do reliably."""
    for name, change, said in (
        (
            "gone",
            "DELETE FROM plays WHERE song = '{}'",
            "the row was deleted in Postgres, and Cassandra cannot reliably delete",
        ),
        ("null", "UPDATE plays SET times = NULL WHERE song = '{}'", "times is 4 in the source and null in Postgres"),
        ("hidden", "", r"still lacks times \+1: somebody else writes it, or its counter was deleted in Cassandra"),
    ):
        key = {"song": uuid4()}
        counted(reverse, table, key, times=4)
        assert drained(table) == 1
        if change:
            home.sql(change.format(key["song"]))
        else:
            home.cql(f"UPDATE KS.plays SET skips = skips + 0 WHERE song = {key['song']}")
            home.cql(f"DELETE times FROM KS.plays WHERE song = {key['song']}")
            home.sql(f"UPDATE plays SET times = 0, skips = 0 WHERE song = '{key['song']}'")
        if name == "hidden":
            counted(reverse, table, key, times=1)
        else:
            recheck(table, table.key(**key))
        assert drained(table) == 0
        assert re.search(said, errors(table)), (name, errors(table))
        table.sql("DELETE FROM sync.intent; DELETE FROM sync.sql_change")
