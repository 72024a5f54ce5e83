"""The sweeper of `sync worker`."""

from __future__ import annotations

import logging

import pytest
from pydantic import SecretStr

from sync.local.ports import choose
from sync.settings import load_settings
from sync.wiring.dual_write.worker import Sweeper


def test_a_server_that_stays_away_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Would break: the same line every two seconds while Postgres is unreachable, or its state is of an older version."""
    url = f"postgresql://nobody@127.0.0.1:{choose(set())}/none?sslmode=disable"
    sweeper = Sweeper(load_settings(None).model_copy(update={"database_url": SecretStr(url)}))
    with caplog.at_level(logging.WARNING):
        assert [sweeper.sweep() for _ in range(3)] == [{}, {}, {}]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["sweep"]
