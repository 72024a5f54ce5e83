"""A few switches in a row under load from several processes; `make switches` does many."""

from __future__ import annotations

import pytest
from support.places import NewPlace

from switches.run import report, row_of_switches
from switches.scene import scene

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
SWITCHES, MAX_MS = 4, 5000
"""While other tests run on the machine, a pause takes longer than the 250 ms that `make switches` allows."""


def test_switches_in_a_row_under_load_lose_nothing(new_place: NewPlace) -> None:
    """Would break: a write acknowledged around a cut-over is lost, comes back or is on one side; or the application stops."""
    with new_place() as place, scene(place) as made:
        found = row_of_switches(made, SWITCHES, processes=3, sql=1)
        print("\n" + report(found))
        assert found.verdict.all == []
        assert found.refused == []
        assert found.writes > 100 * SWITCHES
        assert found.longest < MAX_MS
