"""`sync dashboard`, samples and passes for weeks when something hangs or is killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from support.places import NewPlace, Place

from sync.adapters.postgres.connection.connect import connect
from sync.wiring.dashboard import sampler as sampling
from sync.wiring.dashboard.sampler import Sampler

pytest_plugins = ("support.fixtures",)


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    """A table that is copied."""
    with new_place() as place:
        place.cql("CREATE TABLE KS.songs (id text PRIMARY KEY, title text)")
        place.cql(*(f"INSERT INTO KS.songs (id, title) VALUES ('key-{n}', 'old')" for n in range(40)))
        place.configure("schema_files = []\n")
        for command in (["schema", "apply"], ["backfill", "--workers", "1"]):
            assert place.commands.run(*command).code == 0
        yield place


def test_a_sample_that_gets_no_answer_is_given_up(home: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: whoever takes samples stands still for as long as Postgres, or somebody's lock, lets it wait."""
    monkeypatch.setattr(sampling, "ANSWER_SECONDS", 0.5)
    with closing(connect(home.settings)) as other:
        other.execute("LOCK TABLE sync.sample")
        sampler = Sampler(home.settings)
        thread = threading.Thread(target=sampler.tick, daemon=True)
        thread.start()
        thread.join(30)
        assert not thread.is_alive()
        assert sampler._next > time.monotonic() + 2, "the next attempt waits a multiple of that"
    home.sql("DELETE FROM sync.sample")
    Sampler(home.settings).tick()
    assert home.sql("SELECT count(*) FROM sync.sample") == [(1,)]
