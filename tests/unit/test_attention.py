"""What `sync status --check` calls attention to: nothing of a healthy migration, and a line for each thing that is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from sync.core.cutover.attention import attention

TABLE = {"table": "songs", "ranges": {"total": 4, "done": 2, "running": 1, "failed": 0}, "error": ""}
WRITER = {"id": "app:1", "state": "active", "heartbeat_age_seconds": 2.0, "clock_skew_us": None}
WELL: dict[str, Any] = {
    "gates_error": None,
    "gates": [{"name": "proof", "green": False, "figure": "no pass yet", "remedy": "sync drift-report"}],
    "workers": 1,
    "tables": [TABLE],
    "drift_under_way": [TABLE],
    "intents": {"open": 3, "oldest_age_seconds": 4.0, "spooled": 0, "stuck": 0},
    "writers": [WRITER],
    "last_drift": {"pass": 7, "clean": True, "findings": 0, "repaired": 0},
    "shadow_reads": {"since_repair": 0},
    "rejects": {},
}


def lines(**changes: Any) -> list[str]:
    return attention(WELL | changes, 30, 60)


def test_a_healthy_migration_needs_none() -> None:
    """Would break: a scheduler calls somebody because a backfill is under way."""
    assert lines() == []
    assert lines(last_drift=None, tables=[], writers=[], workers=0, intents={**WELL["intents"], "open": 0}) == []
    assert lines(last_drift={"pass": 7, "clean": False, "findings": 2, "repaired": 2}) == [], "what was found is repaired"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gates_error": "Cassandra is away"}, "the gates could not be evaluated: Cassandra is away"),
        (
            {"gates": [{"name": "followers", "green": False, "figure": "mine is 60 s behind", "remedy": "start it"}]},
            "followers: mine is 60 s behind: start it",
        ),
        ({"workers": None}, "Redis does not answer: workers are notified late, and nobody knows how many run"),
        ({"workers": 0}, "3 intents, and no worker runs: sync worker"),
        (
            {"tables": [{**TABLE, "ranges": {**TABLE["ranges"], "failed": 1}, "error": "no room"}]},  # type: ignore[dict-item]
            "songs: the copy has 1 failed range: no room: sync backfill tries again",
        ),
        ({"tables": [{**TABLE, "error": "no room"}]}, "songs: the copy waits: no room"),
        ({"drift_under_way": [{**TABLE, "error": "away"}]}, "songs: the drift pass waits: away"),
        ({"intents": {**WELL["intents"], "spooled": 2}}, "2 writes not recorded in Postgres yet: sync writers"),
        ({"intents": {**WELL["intents"], "stuck": 1}}, "1 intent could not be reconciled so far: sync intents"),
        ({"intents": {**WELL["intents"], "oldest_age_seconds": 1200.0}}, "an intent is 20 min old: sync intents"),
        (
            {"writers": [{**WRITER, "heartbeat_age_seconds": 31.0}]},
            "writer app:1 is without a heartbeat for 31 s: if it has ended, sync writers --fence app:1",
        ),
        (
            {"writers": [{**WRITER, "state": "unclean"}]},
            "writer app:1 ended without signing off, or was fenced: sync drift-report --repair clears it",
        ),
        (
            {"writers": [{**WRITER, "clock_skew_us": -61_000_000}]},
            "writer app:1: its clock is -61.0 s off Postgres's: correct it",
        ),
        (
            {"last_drift": {"pass": 7, "clean": False, "findings": 1, "repaired": 0}},
            "drift pass 7: 1 finding: sync drift-report --repair",
        ),
        (
            {"shadow_reads": {"since_repair": 2}},
            "shadow reads: 2 keys differed since the last repair: sync drift-report --repair",
        ),
        ({"rejects": {"songs": 1, "genres": 1}}, "2 rejected rows: sync rejects"),
    ],
)
def test_each_thing_that_is_wrong_has_its_line(changes: dict[str, Any], said: str) -> None:
    """Would break: something is wrong, and the check's exit code is 0."""
    assert lines(**changes) == [said]
