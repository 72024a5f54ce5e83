"""What `sync worker` says about the intents that are left."""

from __future__ import annotations

import time
from unittest.mock import patch

from sync.commands.worker import Draining


def said(draining: Draining, left: int) -> list[str]:
    return [line.text for line in draining.lines({"songs": left})]


def test_open_intents_their_rate_and_the_time_left() -> None:
    """Would break: an operator who waits for 10,000 intents cannot see whether they become fewer."""
    draining = Draining()
    with patch.object(time, "monotonic", side_effect=[0.0, 2.0, 4.0]):
        assert said(draining, 10_000) == ["songs: 10,000 intents open"]
        assert said(draining, 8_000) == ["songs: 8,000 intents open, 1,000/s, 8s left"]
        assert said(draining, 9_000) == ["songs: 9,000 intents open, 250/s, 36s left"]
    assert draining.lines({}) == []
    assert said(draining, 5) == ["songs: 5 intents open"]
    assert said(Draining(), 1) == ["songs: 1 intent open"]
