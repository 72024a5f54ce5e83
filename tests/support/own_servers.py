"""Three servers of a module's own, for tests that stop and kill them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.environments import settings_in
from support.servers import stack_in, up
from sync import local
from sync.adapters.cassandra.connection.connect import Cassandra, open_cassandra
from sync.local.stack import Stack
from sync.settings import Settings


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The servers; ended with the module, whatever state they are in."""
    folder = tmp_path_factory.mktemp("own") / "servers"
    up(folder)
    yield stack_in(folder)
    local.down(folder)


@pytest.fixture(scope="module")
def own_settings(stack: Stack) -> Settings:
    """Settings of these servers."""
    return settings_in(stack.endpoints().env())


@pytest.fixture(scope="module")
def own_cassandra(own_settings: Settings) -> Iterator[Cassandra]:
    """The tests' own session."""
    with open_cassandra(own_settings) as opened:
        yield opened
