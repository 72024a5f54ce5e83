"""Writers that are suspended (SIGSTOP) in the middle of a write for a whole switch, or die there; then they are fenced.

Each is a process of its own, stopped at a step of its write. The operator fences it, a pass with repair clears it, and after
two clean passes the switch goes through; the others overwrite what it had in flight. When it wakes up, its registration is
gone: its next statement tells it of the new epoch, and it continues under a new name, with the new primary.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from support.commands import Done
from support.places import NewPlace
from support.running_commands import until

from switches.scene import TOML, Process, Scene, operator, scene
from sync.adapters.postgres.connection.connect import connect

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
FORWARD = ("write.before_intent", "write.after_intent", "write.after_primary", "write.before_commit")
# No file proves that a dead writer accepted nothing, as when a container's disk is lost with it.
NO_FILES = TOML.replace("[dual_write]", '[dual_write]\nwriters_folder = "/proc/none"')
REVERSE = ("reverse.before_write", "reverse.before_commit", "reverse.committed")


@pytest.fixture
def home(new_place: NewPlace) -> Iterator[Scene]:
    with new_place() as place, scene(place, rows=30, toml=NO_FILES) as made:
        made.start()
        yield made


def ids(processes: list[Process]) -> list[str]:
    return [process.told.writer for process in processes]


def refused(home: Scene, kind: str, *gates: str) -> Done:
    """The switch is refused by these gates alone."""
    done = home.run(kind, "--yes", "--json")
    assert done.code == 2, done
    assert {gate["name"] for gate in done.json["gates"] if not gate["green"]} == set(gates), done
    return done


def fence_and_clear(home: Scene, kind: str, gone: list[Process]) -> None:
    """What the operator does about writers without a heartbeat; the gates ask for each step."""
    names = ids(gone)
    until(lambda: home.run(kind, "--dry-run", "--json").code == 2, what="their silence is noticed")
    refused(home, kind, "writers")
    for name in names:
        assert home.run("writers", "--fence", name).code == 0
    refused(home, kind, "writers", "proof")
    until(lambda: _cleared(home, names), what="a pass with repair clears them")
    home.prove()


def _cleared(home: Scene, names: list[str]) -> bool:
    done = home.run("drift-report", "--repair", "--workers", "1", "--format", "json")
    assert done.code in (0, 2), done
    return not {w["id"] for w in home.writers()} & set(names)


def awake(home: Scene, sleepers: list[Process], primary: str) -> None:
    """They wake up, and continue to write to the new primary under new names."""
    names = ids(sleepers)
    for process in sleepers:
        process.signal(signal.SIGCONT)
    for process in sleepers:
        process.await_writes(20, 30)
        assert not process.stopped
    until(lambda: all(w["epoch"] == home.epoch[0] and w["state"] == "active" for w in home.writers()))
    assert len(home.writers()) == len(home.processes)
    assert not {w["id"] for w in home.writers()} & set(names), "who was fenced goes on as another one"
    assert home.epoch[1:] == (primary, "open")


def asleep_at(home: Scene, points: tuple[str, ...]) -> list[Process]:
    """One writer per step, suspended at that step of one of its writes."""
    made = [home.start(failpoints=f"{point}=stop:12", own=2) for point in points]
    for process in made:
        process.await_stop()
    return made


def test_split_brain_writers_that_slept_through_a_cutover_and_back(home: Scene) -> None:
    """Would break: a write in flight at the cut-over is lost, or hides a newer one; a fenced writer uses the old primary."""
    sleepers = asleep_at(home, FORWARD)
    home.begun()
    home.prove()
    fence_and_clear(home, "cutover", sleepers)
    home.switch("cutover")
    home.processes[0].await_writes(40, 30)
    awake(home, sleepers, "postgres")
    again = asleep_at(home, REVERSE)
    held = again[REVERSE.index("reverse.before_commit")].told.ops[-1][0]
    home.as_if_proved()
    fence_and_clear(home, "rollback", again)
    home.switch("rollback")
    home.processes[0].await_writes(40, 30)
    awake(home, again, "astra")
    verdict = home.finish()
    assert verdict.all == []
    # A writer that sleeps in its transaction locks its key until the server ends that: others are refused for this key only.
    refused = [error for told in home.told() for error in told.refused]
    assert [error for error in refused if not (error.startswith(held) and "locked by another transaction" in error)] == []


def test_writers_that_are_killed_at_the_switch(home: Scene) -> None:
    """Would break: a cut-over ignores the intents of a writer that died during it, or never becomes possible again."""
    dying = [home.start(failpoints=f"{point}=kill:12", own=2) for point in (*FORWARD, "write.after_secondary")]
    for process in dying:
        until(lambda p=process: p.popen.poll() == -signal.SIGKILL, what="it dies")
    home.begun()
    home.prove()
    fence_and_clear(home, "cutover", dying)
    home.switch("cutover")
    dying = [home.start(failpoints=f"{point}=kill:12", own=2) for point in REVERSE]
    for process in dying:
        until(lambda p=process: p.popen.poll() == -signal.SIGKILL, what="it dies")
    home.as_if_proved()
    fence_and_clear(home, "rollback", dying)
    home.switch("rollback")
    home.processes[0].await_writes(20, 30)
    verdict = home.finish()
    assert verdict.all == []


def test_a_writer_that_dies_within_the_pause(new_place: NewPlace, tmp_path: Path) -> None:
    """Would break: the cut-over ignores a write under way; or the application waits until the dead writer is fenced."""
    short = NO_FILES.replace("max_pause_seconds = 2.0", "max_pause_seconds = 1.0")
    with new_place() as place, scene(place, rows=30, toml=short) as home, operator(home, tmp_path) as commands:
        home.start()
        dying = home.start(threads=3, failpoints="write.after_primary=sleep:0.5", own=2)
        home.begun()
        home.prove()
        # On one open connection: the closing must be noticed before the writes under way have ended.
        with ThreadPoolExecutor(1) as executor, closing(connect(home.place.settings, autocommit=True)) as watching:
            switching = commands.but(SYNC_FAILPOINTS="switch.closed=sleep:0.2").run
            command = executor.submit(switching, "cutover", "--yes", "--json")
            while watching.execute("SELECT 1 FROM sync.epoch WHERE state = 'closing'").fetchone() is None:
                assert not command.done(), command.result()
            dying.signal(signal.SIGKILL)
            done = command.result(30)
        assert done.code == 2, done
        assert "left after 1 s, nothing has changed" in done.err
        assert home.epoch == (1, "astra", "open")
        home.processes[0].await_writes()
        fence_and_clear(home, "cutover", [dying])
        home.switch("cutover")
        home.processes[0].await_writes()
        assert home.finish().all == []
        assert max(home.processes[0].told.waits) < 1500
