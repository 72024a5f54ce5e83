"""`kill -9` of the command at every step of a cut-over, a rollback and the end, while several processes write.

Running the command again completes or undoes the switch; meanwhile the application writes on, in one epoch. Nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.places import NewPlace
from support.running_commands import until

from switches.scene import AFTER, OTHER, Scene, operator, scene

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
POINTS = ("switch.begun", "switch.closed", "switch.drained", "switch.before_commit", "switch.committed")


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Scene]:
    """A migration with an application that writes throughout these tests; its writes are judged after the last one."""
    with new_place() as place, scene(place) as made:
        for _ in range(2):
            made.start()
        made.begun()
        made.prove()
        yield made
        verdict = made.finish()
        assert verdict.all == []
        assert [error for told in made.told() for error in (*told.refused, *told.unsure)] == []


def due(home: Scene) -> str:
    """Which switch is next; its gates are green."""
    home.expire()
    home.as_if_proved()
    return "cutover" if home.epoch[1] == "astra" else "rollback"


def be_due(home: Scene, kind: str) -> None:
    """The same, but make this switch the next one."""
    if due(home) != kind:
        home.switch(OTHER[kind])
        home.as_if_proved()


@pytest.mark.parametrize("kind", ["cutover", "rollback"])
def test_what_disturbs_the_proof_behind_the_gates_stops_the_switch(home: Scene, kind: str) -> None:
    """Would break: a write that cannot be repeated is settled after the gates, arrives after the cut-over, and is lost."""
    be_due(home, kind)
    epoch, before, _ = home.epoch
    home.place.sql(
        "CREATE FUNCTION disturb() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO sync.disturbance (table_name, why) VALUES ('pairs', 'a test'); RETURN NEW; END $$",
        "CREATE TRIGGER disturb AFTER INSERT ON sync.switch FOR EACH ROW EXECUTE FUNCTION disturb()",
    )
    try:
        done = home.run(kind, "--yes", "--json")
        assert done.code == 2, done
        assert "the proof was invalidated meanwhile" in done.err
        assert home.epoch == (epoch, before, "open")
    finally:
        home.place.sql("DROP TRIGGER disturb ON sync.switch", "DROP FUNCTION disturb()")
    in_one_epoch(home, before)


def in_one_epoch(home: Scene, primary: str) -> None:
    """Every process continues to write, to this primary, and the epoch is open."""
    for process in home.processes:
        process.await_writes()
    assert home.epoch[1:] == (primary, "open")
    assert {w["epoch"] for w in home.writers()} == {home.epoch[0]}


@pytest.mark.parametrize(("point", "kind"), [(point, kind) for kind in ("cutover", "rollback") for point in POINTS])
def test_a_command_that_is_killed_is_completed_or_undone_by_the_next(home: Scene, point: str, kind: str) -> None:
    """Would break: a dead command leaves writers waiting forever, or on two primaries, or an epoch that nothing can end."""
    be_due(home, kind)
    epoch, before, _ = home.epoch
    done = home.run(kind, "--yes", "--json", SYNC_FAILPOINTS=f"{point}=kill:1")
    assert done.code == -9, done
    committed = point == "switch.committed"
    until(lambda: home.epoch[2] == "open", what="the epoch is open again by itself")
    in_one_epoch(home, AFTER[kind] if committed else before)
    home.expire()
    told = home.switch(kind)
    assert told["switched"] is not committed
    assert home.epoch[0] == epoch + 1
    in_one_epoch(home, AFTER[kind])


def test_the_lease_of_a_command_that_died_is_respected_and_then_not(home: Scene) -> None:
    """Would break: a command that is merely slow counts as dead; or a dead one counts as alive forever."""
    kind = due(home)
    epoch, before, _ = home.epoch
    assert home.run(kind, "--yes", SYNC_FAILPOINTS="switch.begun=kill:1").code == -9
    told = home.run(kind, "--yes", "--json")
    assert told.code == 2
    assert f"a {kind} by " in told.err
    assert "is under way" in told.err
    assert home.epoch == (epoch, before, "open")
    home.expire()
    home.switch(kind)


@pytest.mark.parametrize("point", ["switch.closed", "switch.before_commit"])
def test_a_command_that_stops_within_the_pause_holds_nobody_up(home: Scene, tmp_path: Path, point: str) -> None:
    """Would break: a command whose host hangs in the middle of the cut-over holds the epoch, and with it every write."""
    kind = due(home)
    epoch, before, _ = home.epoch
    with operator(home, tmp_path) as commands, ThreadPoolExecutor(1) as executor:
        stopping = executor.submit(commands.but(SYNC_FAILPOINTS=f"{point}=stop:1").run, kind, "--yes", "--json")
        sleeper = until(lambda: asleep(commands), what="the command sleeps")
        until(lambda: home.epoch[2] == "open", what="the epoch is open again")
        for process in home.processes:
            process.await_writes()
        sleeper.resume()
        done = stopping.result(30)
    assert done.code in (1, 2), done
    assert ("took too long" if point == "switch.closed" else "idle-in-transaction") in done.err
    assert home.epoch == (epoch, before, "open")
    home.expire()
    home.switch(kind)
    in_one_epoch(home, AFTER[kind])


def asleep(commands: Any) -> psutil.Process | None:
    """The command that a failpoint has stopped."""
    zygote = commands.zygote._process
    found = psutil.Process(zygote.pid).children() if zygote else []
    return next((p for p in found if p.status() == psutil.STATUS_STOPPED), None)


def test_two_operators_at_once(home: Scene, tmp_path: Path) -> None:
    """Would break: of two simultaneous commands the second one switches back; or it waits, and then switches unasked."""
    with operator(home, tmp_path) as commands, ThreadPoolExecutor(1) as executor:
        for _ in range(2):
            kind = due(home)
            epoch = home.epoch[0]
            other = executor.submit(commands.but(SYNC_FAILPOINTS="switch.begun=sleep:0.5").run, kind, "--yes", "--json")
            mine = home.run(kind, "--yes", "--json", SYNC_FAILPOINTS="switch.begun=sleep:0.5")
            codes = sorted((mine.code, other.result().code))
            assert codes in ([0, 2], [0, 0]), (mine, other.result())
            assert home.epoch == (epoch + 1, AFTER[kind], "open"), "one switch, and not two"
            refused = mine if mine.code else other.result()
            if refused.code:
                assert "is under way" in refused.err or "has changed" in refused.err
            home.as_if_proved()


def test_a_cutover_does_not_begin_with_gates_that_were_judged_in_another_epoch(home: Scene, tmp_path: Path) -> None:
    """Would break: while one operator is being asked, another switches there and back: the proof is of an earlier epoch."""
    be_due(home, "cutover")
    with operator(home, tmp_path) as commands, ThreadPoolExecutor(1) as executor:
        waiting = commands.but(SYNC_FAILPOINTS="switch.before_begin=stop:1").run
        late = executor.submit(waiting, "cutover", "--yes", "--json")
        sleeper = until(lambda: asleep(commands), what="the command waits")
        home.switch("cutover")
        home.as_if_proved()
        home.switch("rollback")
        epoch = home.epoch
        sleeper.resume()
        done = late.result(30)
    assert done.code == 2, done
    assert "has changed" in done.err
    assert home.epoch == epoch
    in_one_epoch(home, "astra")
