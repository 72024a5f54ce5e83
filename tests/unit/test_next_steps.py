"""What a drift report says is to be done next."""

from __future__ import annotations

import pytest
from support import reports

from sync.core.drift.report import Proved, next_step

FIRST = Proved(1, 2, "none before it", "astra")


@pytest.mark.parametrize(
    ("proved", "said"),
    [
        (FIRST, "run `sync drift-report` once more: a cutover requires 2 clean passes in a row"),
        (Proved(2, 2, "", "astra"), "`sync cutover --dry-run` shows the other gates: 2 clean passes in a row prove both sides equal"),
        (Proved(2, 2, "", "postgres"), "`sync rollback --dry-run` shows the other gates: 2 clean passes in a row prove both sides equal"),
        (
            Proved(0, 2, "pass 4 began before a write was recorded late", "astra"),
            "run `sync drift-report` again: this pass does not count for a cutover, pass 4 began before a write was recorded late",
        ),
    ],
)  # fmt: skip
def test_after_a_clean_pass_there_is_a_step(proved: Proved, said: str) -> None:
    """Would break: `next: both sides are equal`, which is not a step."""
    assert next_step([reports.table()], proved) == said


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"in_flight": 1}, "1 key in flight: let `sync worker` reconcile them, then run it again"),
        ({"unknown": 1}, "0 ranges and 1 row not proved equal: look at the errors, and run it again"),
        ({"rejected": 2}, "equal, except for 2 rows that Postgres cannot hold: `sync rejects`"),
        ({"different": 3}, "look at the findings, then run `sync drift-report --repair`, and once more without it"),
    ],
)
def test_what_is_not_equal_comes_first(rows: dict[str, int], said: str) -> None:
    """Would break: a cut-over is advised despite a finding."""
    assert next_step([reports.table(rows=rows)], FIRST) == said
