"""`sync rollback --fast`: the emergency exit, in seconds, without a drift pass; and what it still requires."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
from support.places import NewPlace
from support.running_commands import until

from switches.scene import Scene, scene
from switches.test_gates import DIFFERENCE, INTENTS, NO_DIFFERENCE, NO_INTENT, NO_WRITER, a_writer
from switches.writer import TABLE

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
DISTURBANCE = "INSERT INTO sync.disturbance (table_name, why) VALUES ('{}', 'an intent was resolved by hand')"
CALM = ("DELETE FROM sync.disturbance",)
A_PASS = (
    "INSERT INTO sync.drift_pass (runs, clean, repaired, started_at, report, proof, epoch) "
    "VALUES ('{{}}', {clean}, {repaired}, clock_timestamp(), '{{}}', "
    '\'[{{"table_name": "pairs", "clean": {clean}, "repaired": {repaired}}}]\', 2)'
)
NO_PASS = ("DELETE FROM sync.drift_pass WHERE epoch = 2",)
REDS = {
    "a write that was recorded late": (
        "undisturbed", "recorded late", (a_writer(epoch=2, state="signed_off", recorded="clock_timestamp()"),), (NO_WRITER,)
    ),
    "an intent that was given up": ("undisturbed", "resolved by hand in pairs", (DISTURBANCE.format("pairs"),), CALM),
    "a finding": ("undisturbed", "was not clean", (A_PASS.format(clean="false", repaired=0),), NO_PASS),
    "a repair that no pass has followed": ("undisturbed", "repaired", (A_PASS.format(clean="true", repaired=1),), NO_PASS),
    "a difference that a shadow read found": (
        "shadow reads", "since the last clean pass: pairs 1 key", (DIFFERENCE.format(kind="extra", at="clock_timestamp()"),), (NO_DIFFERENCE,)
    ),
    "a row that SQL inserted": (
        "rows by hand", "pairs 1", (f"INSERT INTO pairs (id, a) VALUES ('{uuid4()}', 'by hand')",),
        ("DELETE FROM pairs WHERE a = 'by hand'",),
    ),
    "intents that fail": ("intents", "failed: refused", (INTENTS.format(attempts=2, count=1),), (NO_INTENT,)),
    "a writer that is not heard of": ("writers", "sent its last heartbeat", (a_writer(epoch=2, silent=100),), (NO_WRITER,)),
    "a writer with unrecorded writes": ("writers", "3 unrecorded", (a_writer(epoch=2, unrecorded=3),), (NO_WRITER,)),
    "a writer that was fenced": ("writers", "has not been cleared", (a_writer(epoch=2, state="unclean"),), (NO_WRITER,)),
}  # fmt: skip


@contextmanager
def cut_over(new_place: NewPlace, processes: int) -> Iterator[Scene]:
    """Postgres is primary."""
    with new_place() as place, scene(place, rows=3) as made:
        made.prove()
        for _ in range(processes):
            made.start()
        made.begun()
        made.switch("cutover")
        yield made


@pytest.fixture(scope="module")
def still(new_place: NewPlace) -> Iterator[Scene]:
    """Nobody writes."""
    with cut_over(new_place, 0) as made:
        yield made


def test_nothing_is_lost_on_the_fast_way_back(new_place: NewPlace) -> None:
    """Would break: the only way back takes two passes over every row, for hours, while the application is down."""
    with cut_over(new_place, 2) as made:
        for process in made.processes:
            until(lambda p=process: p.told.answered > 100, what="it writes to Postgres")
        refused = made.run("rollback", "--yes", "--json")
        assert refused.code == 2 and "proof" in refused.err, "without --fast the proof stays a gate"
        told = made.run("rollback", "--fast", "--yes", "--json")
        assert told.code == 0, told
        assert told.json["primary"] == "astra" and "2 clean full passes" in told.json["waived"]
        assert "waives: 2 clean full passes" in told.err
        for process in made.processes:
            process.await_writes()
        audits = made.place.sql(
            "SELECT detail ->> 'waived' FROM sync.audit WHERE what IN ('cutover done', 'rollback begun', 'rollback done') ORDER BY id"
        )
        assert [bool(waived) for (waived,) in audits] == [False, True, True]
        verdict = made.finish()
        assert verdict.all == []


@pytest.mark.parametrize("what", REDS)
def test_what_the_fast_way_back_does_not_go_without(still: Scene, what: str) -> None:
    """Would break: in an emergency, writes that one side lacks are lost without a warning."""
    gate, says, spoil, mend = REDS[what]
    flags = ("--fast", "--json") if gate == "writers" else ("--fast", "--json", "--no-writers")
    still.place.sql(*spoil)
    try:
        done = still.run("rollback", "--yes", *flags)
        reds = {g["name"]: g["figure"] for g in done.json["gates"] if not g["green"]}
        assert done.code == 2 and set(reds) == {gate}, done
        assert says in reds[gate] and still.epoch == (2, "postgres", "open")
    finally:
        still.place.sql(*mend)
    dry = still.run("rollback", "--fast", "--dry-run", "--json", "--no-writers")
    assert (dry.code, dry.json["switched"]) == (0, False), dry


def test_it_asks_and_tells_what_it_waives(still: Scene) -> None:
    """Would break: somebody rolls back without proof, and is not told so."""
    done = still.run("rollback", "--fast", "--no-writers")
    assert done.code == 1 and "waives: 2 clean full passes" in done.err
    assert "without proof" in done.err and "--yes" in done.err
    assert still.run("cutover", "--fast").code == 1, "there is no cut-over without proof"


def test_what_disturbs_between_the_gates_and_the_switch_is_seen(still: Scene) -> None:
    """Would break: an intent is given up while the writers answer, and the rollback continues without checking again."""
    function = f"BEGIN {DISTURBANCE.format(TABLE)}; RETURN NEW; END"
    still.place.sql(
        f"CREATE FUNCTION disturb() RETURNS trigger LANGUAGE plpgsql AS $${function}$$",
        "CREATE TRIGGER disturb AFTER UPDATE OF closed_at ON sync.switch FOR EACH ROW EXECUTE FUNCTION disturb()",
    )
    try:
        done = still.run("rollback", "--fast", "--yes", "--json", "--no-writers")
        assert done.code == 2 and "resolved by hand" in done.err, done
        assert still.epoch == (2, "postgres", "open")
    finally:
        still.place.sql("DROP TRIGGER disturb ON sync.switch", "DROP FUNCTION disturb()", *CALM)
    assert json.loads(still.run("rollback", "--fast", "--yes", "--json", "--no-writers").out)["primary"] == "astra"
