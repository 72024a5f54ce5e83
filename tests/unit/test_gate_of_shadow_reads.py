"""The gate of the shadow reads, judged on facts."""

from __future__ import annotations

import pytest

from sync.core.cutover.gates import ShadowFacts, shadow_gate


@pytest.mark.parametrize(
    ("facts", "green", "figure"),
    [
        (ShadowFacts(0, {}, {}), True, "none compared (shadow_reads in sync.toml)"),
        (ShadowFacts(1, {}, {}), True, "1 answer compared, no difference since the last clean pass"),
        (
            ShadowFacts(2000, {"b": 1, "a": 2}, {}),
            False,
            "2,000 answers compared; since the last clean pass: a 2 keys, b 1 key",
        ),
        (ShadowFacts(0, {"a": 1}, {}), False, "0 answers compared; since the last clean pass: a 1 key"),
        (
            ShadowFacts(5, {}, {"a": 1}),
            True,
            "5 answers compared, no difference since the last clean pass; with a value that Python can represent on one side "
            "only: a 1 key",
        ),
    ],
)
def test_what_was_found_since_the_last_clean_pass_is_red(facts: ShadowFacts, green: bool, figure: str) -> None:
    """Would break: a proof that is older than what contradicts it allows a cut-over; or a value that no pass changes forbids it."""
    gate = shadow_gate(facts)
    assert (gate.name, gate.green, gate.figure) == ("shadow reads", green, figure)
    assert "sync drift-report" in gate.remedy
