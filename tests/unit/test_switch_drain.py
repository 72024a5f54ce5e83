"""The backlog before a switch closes, on doubles alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from sync.flows import cutover
from sync.flows.cutover import Limits, Switch


class Renewed:
    """An authority that counts how often the switch is renewed."""

    def __init__(self) -> None:
        self.times = 0

    def renew(self, _switch: int) -> None:
        self.times += 1


def test_what_is_written_without_end_is_drained_for_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: SQL that writes all the time keeps a rollback for ever, and its lease runs out meanwhile."""
    monkeypatch.setattr(cutover, "_SLICE_SECONDS", 0.1)
    authority = Renewed()

    def endless(stopped: Callable[[], bool]) -> int:
        done = 0
        while not stopped():
            done += 1
        return done

    Switch(cast("Any", authority), endless, Limits(1, 0.5, 1, 1), lambda _: None, lambda: "")._drain_most(1)
    assert authority.times >= 2


def test_a_backlog_that_is_done_ends_it() -> None:
    """Would break: each switch takes as long as a backlog may take."""
    left, authority = [3, 2, 0], Renewed()
    Switch(cast("Any", authority), lambda _: left.pop(0), Limits(1, 600, 1, 1), lambda _: None, lambda: "")._drain_most(1)
    assert left == [] and authority.times == 3
