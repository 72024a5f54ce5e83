"""Readings: a server that hangs is waited for only so long, and is asked by one thread."""

from __future__ import annotations

import time
from threading import Event

import pytest

from sync.errors import SettingsError, Unreachable
from sync.wiring.readings import Readings, answer


def test_what_hangs_is_not_waited_for() -> None:
    """Would break: a page that waits for a server that hangs; or a thread more with each look, until there are too many."""
    readings, going, begun = Readings(), Event(), list[str]()

    def hangs() -> str:
        begun.append("once")
        going.wait()
        return "late"

    first = readings.begin("postgres", hangs)
    with pytest.raises(Unreachable, match=r"no answer within 0\.05 s"):
        answer(first, time.monotonic(), 0.05)
    assert readings.begin("postgres", hangs) is first
    assert answer(readings.begin("redis", lambda: "well"), time.monotonic(), 60) == "well"
    going.set()
    assert answer(first, time.monotonic(), 60) == "late"
    assert begun == ["once"]
    assert answer(readings.begin("postgres", lambda: "new"), time.monotonic(), 60) == "new"


def test_an_error_is_the_askers() -> None:
    """Would break: an error ends a thread in silence, and the server counts as one that hangs."""

    def fails() -> None:
        raise SettingsError("planted")

    with pytest.raises(SettingsError, match="planted"):
        answer(Readings().begin("postgres", fails), time.monotonic(), 60)


def test_the_page_comes_before_prometheus_gives_it_up() -> None:
    """Would break: the limits grow, and a hanging server is a scrape that fails."""
    readings = Readings()
    assert readings.probe_seconds + readings.state_seconds < 15
