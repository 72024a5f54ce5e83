"""docs/guide.md shows what the program prints: its plain copy is run again, on fewer rows."""

from __future__ import annotations

import runpy
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from support.places import Place

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow

MAKER: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "make_blocks.py"))


def test_the_guide_shows_what_the_program_prints(place: Place) -> None:
    """Would break: the page shows another version's output (`make blocks` regenerates it)."""
    with closing(Redis.from_url(place.commands.env["REDIS_URL"])) as queue:
        queue.flushdb()  # jobs that other tests have left would be a worker's first, and in its output
    scene = MAKER["Scene"](place.cassandra.session, place.keyspace, place.commands.folder, place.commands.env)
    told = dict(MAKER["tell_guide"](scene, songs=200))
    assert len(told) == 9
    assert MAKER["differing"](told) == []
