"""Invariants 1 and 2 for deletes of partitions: a process is killed at each step, under either primary."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chaos.rooms import POINTS, Rooms
from support.places import NewPlace

pytest_plugins = ("support.fixtures",)


@pytest.fixture(scope="module")
def rooms(new_place: NewPlace) -> Iterator[Rooms]:
    with new_place() as place:
        made = Rooms(place)
        yield made
        made.close()


@pytest.mark.slow
@pytest.mark.parametrize(("point", "primary"), POINTS)
def test_wherever_a_process_ends(rooms: Rooms, point: str, primary: str) -> None:
    """Would break: a process that dies at this step loses a write or a delete, or leaves the sides different forever."""
    assert [fault for n in range(2) for fault in rooms.trial(point, primary, f"{point}:{primary}:{n}")] == []
