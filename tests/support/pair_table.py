"""The table of the protocol's tests: rows of two columns, as in the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from support.dual import Table, prepare
from support.places import NewPlace
from sync.settings import Config

CONFIG = Config(schema_files=())
COLUMNS = "(id uuid PRIMARY KEY, a text, b text)"


@pytest.fixture(scope="module")
def table(new_place: NewPlace) -> Iterator[Table]:
    """A table of the module's own; every test has a key of its own in it."""
    with new_place() as place:
        place.cql(f"CREATE TABLE KS.pairs {COLUMNS}")
        prepare(place.settings, CONFIG, "pairs")
        with closing(Table(place.cassandra, place.settings, CONFIG, "pairs")) as opened:
            yield opened
