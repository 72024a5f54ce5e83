"""What tests of all types share: a lab with the user types, and the values that a type is tried with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.edges import edges
from support.lab import Lab, open_lab
from support.matrix import TYPES
from support.values import sample, strategy
from sync.adapters.cassandra.connection.connect import Cassandra
from sync.core.cql import CqlType
from sync.settings import Settings


@pytest.fixture(scope="module")
def lab(cassandra: Cassandra, base_settings: Settings) -> Iterator[Lab]:
    """A keyspace and a database of this module's own, with the user types."""
    with open_lab(cassandra, base_settings) as opened:
        for statement in TYPES:
            cassandra.session.execute(statement.format(opened.keyspace))
        yield opened


def values_of(cql: CqlType) -> list[Any]:
    """Null, the edges, and a sample of the type's values."""
    several = 8 if (cql.dimension or 0) > 50 else 60
    return [*([] if cql.name == "counter" else [None]), *edges(cql), *sample(strategy(cql), several)]
