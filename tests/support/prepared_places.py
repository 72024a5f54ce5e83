"""A place whose tables are ready for the first dual write, as a module's fixture or for a single test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from support.dual import prepare
from support.places import NewPlace, Place
from sync.settings import Config


@contextmanager
def prepared(new_place: NewPlace, config: Config, **tables: str) -> Iterator[Place]:
    """A place with these tables, each given by its columns: in the source, and in the target as an operator makes them."""
    with new_place() as place:
        place.cql(*(f"CREATE TABLE KS.{name} ({columns})" for name, columns in tables.items()))
        prepare(place.settings, config, *tables)
        yield place


def home_of(config: Config, **tables: str) -> Any:
    """A module's fixture `home` with these tables: `home = home_of(CONFIG, songs="id uuid PRIMARY KEY, title text")`."""

    @pytest.fixture(scope="module", name="home")
    def home(new_place: NewPlace) -> Iterator[Place]:
        with prepared(new_place, config, **tables) as place:
            yield place

    return home
