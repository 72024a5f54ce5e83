"""docs/guide.md shows what the program prints: its plain copy is run again, on fewer rows."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from support.places import Place

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow

MAKER: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "make_blocks.py"))


def test_the_guide_shows_what_the_program_prints(place: Place) -> None:
    """Would break: the page shows another version's output (`make blocks` regenerates it)."""
    scene = MAKER["Scene"](place.cassandra.session, place.keyspace, place.commands.folder, place.commands.env)
    told = dict(MAKER["tell_guide"](scene, songs=200))
    assert len(told) == 9
    assert MAKER["differing"](told) == []
