"""`sync drift-report --continuous`: what each pass is asked for, the rests, and when it gives up."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sync.arguments import build_parser
from sync.cli import INTERRUPTED
from sync.commands import continuous, continuous_pass
from sync.errors import Interrupted, SettingsError, WorkFailed


class Passes:
    """Passes that end with these codes; the one after them is Ctrl-C."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.codes: Iterator[int] = iter(())
        self.asked, self.rests = list[list[str]](), list[float]()
        patch.setattr(continuous, "_one_pass", self.one)
        patch.setattr(continuous.time, "sleep", self.rests.append)
        patch.setattr(continuous.signal, "signal", lambda *_: None)

    def one(self, options: list[str]) -> int:
        self.asked.append(options)
        try:
            return next(self.codes)
        except StopIteration:
            raise KeyboardInterrupt from None

    def run(self, *argv: str, codes: tuple[int, ...]) -> None:
        self.codes = iter(codes)
        continuous.run_passes(build_parser().parse_args(["drift-report", "--continuous", *argv]))


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    return Passes(monkeypatch)


def test_passes_follow_each_other_whatever_they_find(passes: Passes) -> None:
    """Would break: a finding ends the proof, or passes are made without a rest."""
    with pytest.raises(Interrupted, match="the verdicts stay"):
        passes.run("--rest", "7", codes=(0, 2, 0))
    assert len(passes.asked) == 4 and passes.rests == [7, 7, 7]


def test_a_share_lengthens_the_rest_after_a_long_pass(passes: Passes) -> None:
    """Would break: a third of the time is asked for, and passes take nearly all of it; or it shortens the rest that was asked for."""
    assert continuous.rest_between(600, 60, 0.25) == 1800
    assert continuous.rest_between(600, 60, 1) == 60
    assert continuous.rest_between(4, 60, 0.25) == 60
    with pytest.raises(Interrupted):
        passes.run("--rest", "7", "--share", "0.5", codes=(0, 2))
    assert passes.rests == [7, 7]
    assert "--share" not in passes.asked[0], "within a pass it means nothing"


def test_each_pass_is_asked_for_the_same(passes: Passes) -> None:
    """Would break: an option counts for the first pass alone, or for none."""
    given: tuple[Any, ...] = (
        "--table",
        "a b",
        "--table",
        "c",
        "--workers",
        "3",
        "--quiet",
        "--repair",
        "--format",
        "html",
        "--output",
        "x.html",
        "--rate",
        "500",
    )
    with pytest.raises(Interrupted):
        passes.run(*given, codes=(0,))
    assert passes.asked[0] == passes.asked[1]
    parse = build_parser().parse_args
    one, whole = (vars(parse(["drift-report", *options])) for options in (passes.asked[0], given))
    assert one == whole


def test_a_restart_is_of_the_first_pass(passes: Passes) -> None:
    """Would break: every pass throws away the verdicts of one that was stopped by an outage."""
    with pytest.raises(Interrupted):
        passes.run("--restart", codes=(0, 1))
    assert ["--restart" in options for options in passes.asked] == [True, False, False]


def test_it_gives_up_after_some_that_failed_in_a_row(passes: Passes) -> None:
    """Would break: a wrong password is tried for weeks, or an outage of a minute ends the proof."""
    with pytest.raises(WorkFailed, match="5 passes in a row could not be made"):
        passes.run("--rest", "0", codes=(1, 1, 1, 1, 0, 1, 1, 1, 1, 1))
    assert passes.rests == [10, 10, 10, 10, 0, 10, 10, 10, 10]


def test_it_does_not_list_passes(passes: Passes) -> None:
    """Would break: one of two options that exclude each other is passed over."""
    with pytest.raises(SettingsError, match="leave one of them out"):
        passes.run("--history", codes=())


def test_a_pass_that_is_interrupted_before_it_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a traceback, where the command that started it ends at once."""

    class Interrupting(threading.Thread):
        def start(self) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(continuous_pass.threading, "Thread", Interrupting)
    assert continuous_pass.run([]) == INTERRUPTED


def test_a_pass_whose_interrupt_is_lost_is_interrupted_again() -> None:
    """Would break: an interrupt that Python drops, at a fork, say, is the only one, and the command waits for ever."""
    program = """
import sys, time
from sync.commands import continuous_pass
def main(_):
    try:
        print("begun", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("dropped", flush=True)
    time.sleep(60)
continuous_pass.main, continuous_pass.AGAIN_SECONDS = main, 0.2
sys.exit(continuous_pass.run([]))
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as started:
        assert started.stdout and started.stdin
        assert started.stdout.readline() == "begun\n"
        started.stdin.close()
        assert started.stdout.read() == "dropped\n"
    assert started.returncode == INTERRUPTED
